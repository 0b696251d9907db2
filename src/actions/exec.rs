//! `exec = { command = ["/path/program", "{{ labels.target }}"] }`: runs a program, never a shell.
//!
//! The program is told of the alert three ways. Its arguments are templates. Its environment has
//! `WATCHPOST_RULE`, `_STATE` (`firing` or `inactive`), `_SEVERITY`, `_VALUE` (not set where no
//! data decided), `_REASON`, `_SUMMARY`, `_DESCRIPTION`, `_SINCE`, `_AT`, `_FINGERPRINT`, and of
//! each label `WATCHPOST_LABEL_<NAME>`, upper case with `_` for what is neither letter nor digit;
//! otherwise it is that of [`process`](crate::process). On standard input it gets the whole
//! [`Notice`] as JSON.
//!
//! Exit status 0 is done, and 75 (`EX_TEMPFAIL` of sysexits.h) asks for another try. Any other is a
//! failure that another try would only repeat. Taking longer than `timeout`, after which the program
//! and its group get SIGTERM and soon SIGKILL, or being killed by a signal is tried again; what
//! cannot be started at all is not.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;

use super::{Action, Kind, Notice, Rejected};
use crate::config::read::{Context, FromToml, Node};
use crate::config::show_duration;
use crate::pollers::Shared;
use crate::process::{CommandLine, Finished, Process, TERM_GRACE};
use crate::template::Template;

crate::config! {
    /// Runs a program.
    pub struct Config {
        /// The program and its arguments; these are templates, such as `"{{ labels.target }}"`.
        pub command: Command,
        /// The longest it may run before it is ended; default 10s.
        pub timeout: Option<Duration>,
    }
}

/// A program and the templates of its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    program: String,
    arguments: Vec<Template>,
}

impl FromToml for Command {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let CommandLine(words) = CommandLine::from_toml(node, cx)?;
        let items = node.get_ref().as_array()?;
        if words[0].contains("{{") || words[0].contains("{%") {
            let message = "the program cannot be a template: a label would choose what is run";
            cx.error(items[0].span(), message);
            return None;
        }
        let arguments: Vec<_> =
            items.iter().skip(1).map(|item| Template::from_toml(item, cx)).collect();
        Some(Self {
            program: words[0].clone(),
            arguments: arguments.into_iter().collect::<Option<_>>()?,
        })
    }

    fn schema() -> Json {
        CommandLine::schema()
    }
}

/// How a program asks for another try (`EX_TEMPFAIL` of sysexits.h).
const EXIT_TRY_AGAIN: i32 = 75;

/// Bytes of one environment variable: execve(2) takes 128 KiB, and nobody reads that much.
const VARIABLE_BYTES_MAX: usize = 16 << 10;

/// Bytes of all variables: execve(2) takes 2 MiB at least with the arguments. Labels beyond are
/// left out; standard input has them.
const VARIABLES_BYTES_MAX: usize = 256 << 10;

/// Characters of the program's last words that are logged.
const TAIL_CHARS_MAX: usize = 300;

impl Kind for Config {
    type Action = Exec;

    const TELLS_PEOPLE: bool = false;

    // To ask the program to end, and then to collect what is left of it.
    const GRACE: Duration = TERM_GRACE.saturating_add(Duration::from_secs(1));

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn action(&self, timeout: Duration, _: &Arc<Shared>) -> Exec {
        Exec { command: self.command.clone(), timeout }
    }
}

/// Runs a program.
#[derive(Debug)]
pub struct Exec {
    command: Command,
    timeout: Duration,
}

impl Action for Exec {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let mut command = vec![self.command.program.clone()];
        for (n, argument) in self.command.arguments.iter().enumerate() {
            let rendered = argument.render(notice).map_err(|error| {
                Rejected::Permanent(format!("cannot render argument {}: {error}", n + 1))
            })?;
            command.push(without_nul(&rendered));
        }
        let stdin = serde_json::to_vec(notice).expect("strings, numbers and maps of them are JSON");
        let process = Process { command: &command, env: &environment(notice), stdin: &stdin };
        let mut late = false;
        let stop = async {
            tokio::time::sleep(self.timeout).await;
            late = true;
        };
        let finished = process.run_until(stop).await;
        let program = &self.command.program;
        match finished {
            Err(error) => Err(Rejected::Permanent(format!("cannot run {program}: {error}"))),
            Ok(finished) if late => Err(Rejected::temporary(format!(
                "{program} took longer than {} and was ended{}",
                show_duration(self.timeout),
                tail(&finished)
            ))),
            Ok(finished) if finished.code == Some(0) => {
                Ok(format!("{program} ended well{}", tail(&finished)))
            }
            Ok(finished) => {
                let message = format!("{program}: {}{}", finished.ending(), tail(&finished));
                Err(match finished.code {
                    None | Some(EXIT_TRY_AGAIN) => Rejected::temporary(message),
                    Some(_) => Rejected::Permanent(message),
                })
            }
        }
    }
}

fn environment(notice: &Notice) -> Vec<(String, String)> {
    let mut variables = Vec::new();
    let mut room = VARIABLES_BYTES_MAX;
    let mut set = |name: String, value: &str| {
        let value = cut(value);
        let size = name.len() + value.len() + 2;
        if size <= room && variables.iter().all(|(known, _)| *known != name) {
            room -= size;
            variables.push((name, value));
        }
    };
    for (name, value) in [
        ("RULE", &*notice.rule),
        ("STATE", notice.state.as_str()),
        ("SEVERITY", notice.severity.as_str()),
        ("REASON", &notice.reason),
        ("SUMMARY", &notice.summary),
        ("DESCRIPTION", &notice.description),
        ("SINCE", &notice.since),
        ("AT", &notice.at),
        ("FINGERPRINT", &notice.fingerprint),
    ] {
        set(format!("WATCHPOST_{name}"), value);
    }
    if let Some(value) = notice.value {
        set("WATCHPOST_VALUE".into(), &value.to_string());
    }
    for (label, value) in notice.labels.iter() {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = label.chars().map(plain).take(VARIABLE_BYTES_MAX).collect();
        set(format!("WATCHPOST_LABEL_{name}"), value);
    }
    variables
}

/// A value that fits into a variable: execve(2) cannot take a NUL nor any length.
fn cut(value: &str) -> String {
    without_nul(&value[..value.floor_char_boundary(VARIABLE_BYTES_MAX)])
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The program's last words, for the log: what it said of an error, else what it printed.
fn tail(finished: &Finished) -> String {
    let said = if finished.stderr.trim_ascii().is_empty() { &finished.stdout } else { &finished.stderr };
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(TAIL_CHARS_MAX);
    let mut shown = String::from(if skipped > 0 { "…" } else { "" });
    shown.extend(text.chars().skip(skipped).map(|c| if c.is_control() { ' ' } else { c }));
    if shown.is_empty() { shown } else { format!(": {shown}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::testing::notice;
    use crate::rules::State;

    #[test]
    fn the_environment_has_the_alert_within_bounds() {
        let mut notice = notice("x", State::Firing);
        let labels = [
            ("target".to_owned(), "a\0b".to_owned()),
            ("if-name".to_owned(), "é".repeat(100_000)),
        ];
        notice.labels = Arc::new(labels.into_iter().collect());
        let environment = environment(&notice);
        let get = |name: &str| {
            environment.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(get("WATCHPOST_STATE"), Some("firing"));
        assert_eq!(get("WATCHPOST_VALUE"), Some("31.5"));
        assert_eq!(get("WATCHPOST_LABEL_TARGET"), Some("a\u{fffd}b"));
        assert_eq!(get("WATCHPOST_LABEL_IF_NAME").map(str::len), Some(VARIABLE_BYTES_MAX));
    }

    #[test]
    fn many_labels_do_not_keep_the_program_from_starting() {
        let mut notice = notice("x", State::Firing);
        let long = "y".repeat(VARIABLE_BYTES_MAX);
        let labels = (0..1_000).map(|n| (format!("l{n}"), long.clone()));
        notice.labels = Arc::new(labels.collect());
        let bytes: usize = environment(&notice).iter().map(|(n, v)| n.len() + v.len() + 2).sum();
        assert!(bytes <= VARIABLES_BYTES_MAX);
    }

    #[test]
    fn the_last_words_are_those_of_the_error() {
        let mut finished =
            Finished { code: Some(1), stdout: b"out\n".to_vec(), stderr: vec![], is_held: false };
        assert_eq!(tail(&finished), ": out");
        finished.stderr = b"first\nno \x1b[31mroute\n".to_vec();
        assert_eq!(tail(&finished), ": first no  [31mroute");
        finished.stderr = vec![b'x'; 10_000];
        assert_eq!(tail(&finished).chars().count(), TAIL_CHARS_MAX + 3);
    }
}
