//! PromQL against what others say it means: Prometheus' own test suite, rules people use, and a
//! real Prometheus.

mod notation;
mod peer;
mod queries;
mod rules;
pub(crate) mod script;
pub(crate) mod suite;

use std::path::PathBuf;

/// The shared conformance material, where it is.
fn conformance() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
    let path = std::env::var_os("WATCHPOST_CONFORMANCE").map_or(beside.into(), PathBuf::from);
    if !path.is_dir() {
        eprintln!("skipped: no conformance material at {}", path.display());
        return None;
    }
    Some(path)
}
