//! `watchpost journal verify`: whether the journal is whole, also while a daemon writes it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value as Json, json};

use super::{bad_config, failed, load, print};
use crate::config::diagnostic::count;
use crate::journal::verify::{self, Checked};

/// What can be done with a journal.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Command {
    /// Check every frame: 0 if all is whole, 1 if something is damaged
    Verify(Verify),
}

/// What `verify` takes.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Verify {
    /// The journal's folder [default: `journal` in the configuration's state_dir]
    folder: Option<PathBuf>,
    /// Print what was found as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, command: &Command) -> ExitCode {
    let Command::Verify(args) = command;
    let folder = match &args.folder {
        Some(folder) => folder.clone(),
        None => match load(config) {
            Ok(config) => config.journal_dir(),
            Err(diagnostics) => return bad_config(&diagnostics),
        },
    };
    let checked = match verify::folder(&folder) {
        Ok(checked) => checked,
        Err(error) => return failed(&format!("cannot read {}: {error}", folder.display())),
    };
    let newest = checked.len().saturating_sub(1);
    let damaged = checked.iter().enumerate().filter(|(n, one)| one.is_damaged(*n == newest));
    let damaged = damaged.count();
    print(&if args.json {
        format!("{:#}\n", json(&checked, damaged))
    } else {
        shown(&checked, damaged)
    });
    if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn shown(checked: &[Checked], damaged: usize) -> String {
    let mut text = String::new();
    for one in checked {
        let Checked { file, frames, samples, bytes, .. } = one;
        text += &format!("{file}  {frames} frames  {samples} samples  {bytes} bytes");
        let notes = [
            (one.damage.corrupt_frames, "corrupt places"),
            (one.damage.corrupt_bytes, "corrupt bytes"),
            (one.damage.torn_bytes, "torn bytes at the end"),
            (one.unknown_samples, "samples of unknown series"),
            (one.missing_samples, "samples missing before or between"),
            (one.repeated_samples, "samples there twice"),
        ];
        for (number, what) in notes.iter().filter(|(number, _)| *number > 0) {
            text += &format!("  {number} {what}");
        }
        if let Some(error) = &one.error {
            text += &format!("  {error}");
        }
        text.push('\n');
    }
    let samples: u64 = checked.iter().map(|one| one.samples).sum();
    let verdict = if damaged == 0 { "whole".into() } else { format!("{damaged} damaged") };
    text + &format!("{}, {samples} samples: {verdict}\n", count(checked.len(), "segment"))
}

fn json(checked: &[Checked], damaged: usize) -> Json {
    let one = |one: &Checked| {
        json!({
            "file": one.file, "bytes": one.bytes, "frames": one.frames, "samples": one.samples,
            "corrupt_places": one.damage.corrupt_frames, "corrupt_bytes": one.damage.corrupt_bytes,
            "torn_bytes": one.damage.torn_bytes, "unknown_samples": one.unknown_samples,
            "missing_samples": one.missing_samples, "repeated_samples": one.repeated_samples,
            "error": one.error,
        })
    };
    json!({ "ok": damaged == 0, "segments": checked.iter().map(one).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::verify::Damage;

    #[test]
    fn what_is_wrong_is_told_with_its_file() {
        let whole = Checked { file: "0.journal".into(), samples: 7, ..Checked::default() };
        assert!(shown(std::slice::from_ref(&whole), 0).ends_with("1 segment, 7 samples: whole\n"));
        let damage = Damage { corrupt_frames: 1, corrupt_bytes: 9, torn_bytes: 0 };
        let bad = Checked { damage, ..whole.clone() };
        assert!(bad.is_damaged(true));
        let text = shown(&[whole, bad], 1);
        assert!(text.contains("1 corrupt places  9 corrupt bytes\n"), "{text}");
        assert!(text.ends_with("2 segments, 14 samples: 1 damaged\n"), "{text}");
        let torn = Damage { torn_bytes: 3, ..Damage::default() };
        let torn = Checked { damage: torn, ..Checked::default() };
        assert!(torn.is_damaged(false) && !torn.is_damaged(true));
    }
}
