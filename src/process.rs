//! Runs other programs for the poller and the action `exec`: never through a shell, in a clean
//! environment, with bounded output, and ended with their children.
//!
//! It knows no deadline: dropping the future of [`Process::run`] kills the program and its group,
//! and [`Process::run_until`] ends them when it is told to, giving them a moment to tidy up. A child
//! that makes a session of its own leaves the group and is nobody's here; only the service manager's
//! cgroup holds those.

use std::process::Stdio;
use std::sync::Arc;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value as Json, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::config::read::{Context, FromToml, Node};

/// A program with its arguments as written in the configuration: a list, never a shell's line.
///
/// A relative path with a `/` is relative to the file it is written in; a bare name is looked for
/// in [`PATH`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine(pub Arc<[String]>);

impl FromToml for CommandLine {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().is_str() {
            cx.error_with_help(
                node.span(),
                "expected a list of the program and its arguments, found a string",
                "there is no shell: write [\"/bin/program\", \"argument\"]",
            );
            return None;
        }
        let mut words = Vec::<String>::from_toml(node, cx)?;
        if words.iter().any(|word| word.contains('\0')) {
            cx.error(node.span(), "an argument cannot contain a NUL");
            return None;
        }
        let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
            cx.error(node.span(), "the list needs a program as its first element");
            return None;
        };
        if program.contains('/') {
            *program = cx.resolve(program.as_ref()).to_string_lossy().into_owned();
        }
        Some(Self(words.into()))
    }

    fn schema() -> Json {
        json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 })
    }
}

/// Where bare program names are looked for, whatever watchpost's own environment says.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables programs are given from watchpost's own environment: where they may write, and time.
const INHERITED: [&str; 3] = ["HOME", "TMPDIR", "TZ"];

/// Bytes kept of each of the two outputs. A plugin prints lines; what is over is read, so that the
/// program does not hang, and thrown away.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How long an output may stay open once the program has ended and its group has been killed: by
/// then only a child that left the group can hold it.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(200);

/// How long a program that is asked to end may take to tidy up.
pub const TERM_GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// A program to run.
#[derive(Debug)]
pub struct Process<'a> {
    /// The program and its arguments; not empty.
    pub command: &'a [String],
    /// Variables of its environment, besides [`PATH`], `LC_ALL=C` and the few inherited ones.
    pub env: &'a [(String, String)],
    /// What it reads on standard input.
    pub stdin: &'a [u8],
}

/// What came of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finished {
    /// Its exit status; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Its standard output, at most [`OUTPUT_BYTES_MAX`] of it.
    pub stdout: Vec<u8>,
    /// Its standard error, at most [`OUTPUT_BYTES_MAX`] of it.
    pub stderr: Vec<u8>,
    /// Whether there was more output than is kept.
    pub truncated: bool,
}

impl Finished {
    /// How it ended, for people: `exit status 2`, `killed by a signal`.
    #[must_use]
    pub fn ending(&self) -> String {
        self.code.map_or_else(|| "killed by a signal".into(), |code| format!("exit status {code}"))
    }
}

impl Process<'_> {
    /// Runs it to its end. What it leaves behind in its process group is killed then: a program
    /// that wants a service started asks the service manager.
    ///
    /// # Errors
    /// It could not be started, or not be waited for.
    pub async fn run(&self) -> std::io::Result<Finished> {
        self.run_until(std::future::pending()).await
    }

    /// As [`Process::run`], but once `stop` is done the program and its group are asked to end by
    /// SIGTERM, and made to by SIGKILL [`TERM_GRACE`] later.
    ///
    /// # Errors
    /// It could not be started, or not be waited for.
    pub async fn run_until(&self, stop: impl Future<Output = ()>) -> std::io::Result<Finished> {
        let (program, arguments) = self.command.split_first().expect("a command has a program");
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C");
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        // Declared after the child, so that on a drop the group is killed while the child, not yet
        // waited for, still holds the group's number.
        let mut running = Running::new(child);
        let stdin = running.child.stdin.take();
        let mut stdout = Capture::new(running.child.stdout.take());
        let mut stderr = Capture::new(running.child.stderr.take());
        let (status, late) = {
            let mut feeding = std::pin::pin!(feed(stdin, self.stdin));
            let mut outputs = std::pin::pin!(async {
                tokio::join!(stdout.read(), stderr.read());
            });
            let group = running.group;
            let mut stopping = std::pin::pin!(async move {
                stop.await;
                signal(group, Signal::SIGTERM);
                tokio::time::sleep(TERM_GRACE).await;
                signal(group, Signal::SIGKILL);
            });
            let (mut fed, mut drained, mut stopped) = (false, false, false);
            let status = loop {
                tokio::select! {
                    () = &mut feeding, if !fed => fed = true,
                    () = &mut outputs, if !drained => drained = true,
                    () = &mut stopping, if !stopped => stopped = true,
                    status = running.child.wait() => break status?,
                }
            };
            running.kill_group();
            (status, !drained && tokio::time::timeout(DRAIN, outputs).await.is_err())
        };
        Ok(Finished {
            code: status.code(),
            truncated: late || stdout.truncated || stderr.truncated,
            stdout: stdout.bytes,
            stderr: stderr.bytes,
        })
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // The only failure is that nobody is left in the group.
        killpg(group, signal).ok();
    }
}

/// A child whose whole group ends with this value.
struct Running {
    child: Child,
    group: Option<Pid>,
}

impl Running {
    fn new(child: Child) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        Self { child, group }
    }

    /// Kills what is in the group. No SIGTERM first: who drops it does not wait any longer.
    fn kill_group(&mut self) {
        signal(self.group.take(), Signal::SIGKILL);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Writes standard input and closes it. A program that does not read it is none the worse.
async fn feed(stdin: Option<tokio::process::ChildStdin>, bytes: &[u8]) {
    if let Some(mut stdin) = stdin {
        stdin.write_all(bytes).await.ok();
    }
}

/// One output of a program, as far as it is kept.
struct Capture<R> {
    from: Option<R>,
    bytes: Vec<u8>,
    truncated: bool,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    fn new(from: Option<R>) -> Self {
        Self { from, bytes: Vec::new(), truncated: false }
    }

    /// Reads to the end; a failing pipe ends it like a closed one.
    async fn read(&mut self) {
        let Some(from) = &mut self.from else { return };
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            let kept = n.min(OUTPUT_BYTES_MAX - self.bytes.len());
            self.bytes.extend_from_slice(&chunk[..kept]);
            self.truncated |= kept < n;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    async fn run(script: &str, stdin: &[u8]) -> Finished {
        let env = [("OWN".to_owned(), "own value".to_owned())];
        let process = Process { command: &shell(script), env: &env, stdin };
        process.run().await.expect("a shell runs")
    }

    /// Waits until a process is gone or a zombie somebody else must reap.
    async fn ended(pid: i32) {
        for _ in 0..500 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} is still there");
    }

    #[tokio::test]
    async fn a_program_gets_input_and_a_clean_environment_and_gives_output_and_status() {
        let finished = run("cat; echo $OWN $CARGO_PKG_NAME; echo oops >&2; exit 3", b"in\n").await;
        assert_eq!(finished.stdout, b"in\nown value\n");
        assert_eq!(finished.stderr, b"oops\n");
        assert_eq!(finished.ending(), "exit status 3");
        assert!(!finished.truncated);
    }

    #[tokio::test]
    async fn output_is_bounded_and_the_program_does_not_hang_on_it() {
        let finished = run("head -c 3000000 /dev/zero; exit 0", b"").await;
        assert_eq!((finished.code, finished.stdout.len()), (Some(0), OUTPUT_BYTES_MAX));
        assert!(finished.truncated);
    }

    #[tokio::test]
    async fn a_program_that_does_not_read_its_input_ends_all_the_same() {
        let finished = run("exit 0", &vec![b'x'; 1 << 20]).await;
        assert_eq!(finished.code, Some(0));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_says_so() {
        let command = ["/nonexistent/program".to_owned()];
        let error = Process { command: &command, env: &[], stdin: b"" }.run().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn dropping_it_kills_the_children_too_even_those_deaf_to_sigterm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = format!(
            "trap '' TERM; sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait",
            file.display()
        );
        let command = shell(&script);
        let process = Process { command: &command, env: &[], stdin: b"" };
        let pids = async {
            loop {
                if let Ok(text) = std::fs::read_to_string(&file) {
                    return text;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let pids = tokio::select! {
            _ = process.run() => panic!("it does not end by itself"),
            pids = pids => pids,
        };
        for pid in pids.split_whitespace() {
            ended(pid.parse().unwrap()).await;
        }
    }

    #[tokio::test]
    async fn what_a_program_leaves_behind_in_its_group_ends_with_it() {
        let finished = run("sleep 600 & echo $!", b"").await;
        let pid = String::from_utf8(finished.stdout).unwrap();
        ended(pid.trim().parse().unwrap()).await;
    }

    #[tokio::test]
    async fn a_child_that_left_the_group_and_holds_the_output_does_not_hold_the_poll() {
        let finished = run("setsid sleep 5 & echo done", b"").await;
        assert_eq!(finished.stdout, b"done\n");
    }
}
