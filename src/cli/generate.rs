//! `watchpost generate`: shell completions and manual pages, made of the command line's definition
//! so that they cannot differ from it. For packages; hidden from the help.

use std::io;
use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

/// What can be generated.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum Generate {
    /// Completions for a shell, to standard output.
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// The manual pages, `watchpost.1` and one for each subcommand, into a folder.
    Man {
        /// The folder; it must exist.
        folder: PathBuf,
    },
}

/// Generates it from the definition of the command line.
///
/// # Errors
/// What the operating system says of the output.
pub(super) fn run(
    what: &Generate,
    mut command: Command,
    out: &mut impl io::Write,
) -> io::Result<()> {
    let name = command.get_name().to_owned();
    match what {
        Generate::Completions { shell } => {
            // clap_complete panics where it cannot write: it writes here, which always works.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, name, &mut script);
            out.write_all(&script)
        }
        Generate::Man { folder } => clap_mangen::generate_to(command, folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        Command::new("watchpost").subcommand(Command::new("check").about("Checks."))
    }

    #[test]
    fn completions_know_the_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            run(&Generate::Completions { shell }, command(), &mut script).unwrap();
            assert!(String::from_utf8(script).unwrap().contains("check"), "{shell}");
        }
    }

    #[test]
    fn every_subcommand_has_a_manual_page() {
        let folder = tempfile::tempdir().unwrap();
        let what = Generate::Man { folder: folder.path().to_owned() };
        run(&what, command(), &mut io::sink()).unwrap();
        for page in ["watchpost.1", "watchpost-check.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".TH"), "{page}");
        }
    }
}
