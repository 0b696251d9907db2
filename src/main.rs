//! The command: arguments, logging, exit codes.

use std::process::ExitCode;

fn main() -> ExitCode {
    watchpost::cli::main()
}
