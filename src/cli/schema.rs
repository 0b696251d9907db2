//! `watchpost schema`: the JSON Schema of the configuration, for editors.

use std::io::Write;
use std::process::ExitCode;

use crate::config::schema;

/// Prints the schema.
pub(super) fn run() -> ExitCode {
    match std::io::stdout().write_all(format!("{:#}\n", schema()).as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
