//! Runs other programs for the poller and the action `exec`: never through a shell, in a clean
//! environment, with bounded output, and ended with their children.
//!
//! It knows no deadline: dropping the future of [`Process::run`] kills the program and its children,
//! and [`Process::run_until`] ends them when it is told to, giving them a moment to tidy up. Those
//! that leave the group, by a session of their own, are found by [`orphans`].

mod orphans;

use std::process::Stdio;
use std::sync::Arc;

pub use orphans::adopt;

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

/// Bytes of each of the two outputs. A plugin prints lines; a program that prints more is ended.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;

/// How long an output may stay open once the program has ended and its children have been killed:
/// by then only one that is nobody's child can hold it.
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
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether somebody it left behind still holds an output open.
    pub is_held: bool,
}

/// Why a program came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It could not be started, or not be waited for.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// It was ended for what it printed.
    #[error("it printed more than {OUTPUT_BYTES_MAX} bytes and was ended")]
    TooMuchOutput,
}

impl Finished {
    /// How it ended, for people: `exit status 2`, `killed by a signal`.
    #[must_use]
    pub fn ending(&self) -> String {
        self.code.map_or_else(|| "killed by a signal".into(), |code| format!("exit status {code}"))
    }
}

impl Process<'_> {
    /// Runs it to its end. What it leaves behind is killed then: a program that wants a service
    /// started asks the service manager.
    ///
    /// # Errors
    /// It could not be started or not be waited for, or printed too much.
    pub async fn run(&self) -> Result<Finished, ProcessError> {
        self.run_until(std::future::pending()).await
    }

    /// As [`Process::run`], but once `stop` is done the program and its group are asked to end by
    /// SIGTERM, and made to by SIGKILL [`TERM_GRACE`] later.
    ///
    /// # Errors
    /// It could not be started or not be waited for, or printed too much.
    pub async fn run_until(
        &self,
        stop: impl Future<Output = ()>,
    ) -> Result<Finished, ProcessError> {
        let mut running = self.start()?;
        let stdin = running.child.stdin.take();
        let mut stdout = Capture::new(running.child.stdout.take());
        let mut stderr = Capture::new(running.child.stderr.take());
        let (status, is_held) = {
            let mut feeding = std::pin::pin!(feed(stdin, self.stdin));
            let mut outputs =
                std::pin::pin!(async { tokio::try_join!(stdout.read(), stderr.read()).map(drop) });
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
                    read = &mut outputs, if !drained => {
                        read?;
                        drained = true;
                    }
                    () = &mut stopping, if !stopped => stopped = true,
                    status = running.child.wait() => break status?,
                }
            };
            running.kill_all();
            if !drained && let Ok(read) = tokio::time::timeout(DRAIN, outputs).await {
                read?;
                drained = true;
            }
            (status, !drained)
        };
        Ok(Finished { code: status.code(), stdout: stdout.bytes, stderr: stderr.bytes, is_held })
    }

    fn start(&self) -> std::io::Result<Running> {
        let (program, arguments) = self.command.split_first().expect("a command has a program");
        let run = orphans::Run::new();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("PATH", PATH).env("LC_ALL", "C");
        command.envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env(orphans::VARIABLE, run.name());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        // What `Running` does on a drop it does while the child, not yet waited for, still holds
        // the group's number: fields are dropped later.
        Ok(Running::new(child, run))
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // The only failure is that nobody is left in the group.
        killpg(group, signal).ok();
    }
}

/// A child whose whole kin ends with this value.
struct Running {
    child: Child,
    group: Option<Pid>,
    run: orphans::Run,
}

impl Running {
    fn new(child: Child, run: orphans::Run) -> Self {
        let group = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        run.is_by(group);
        Self { child, group, run }
    }

    /// Kills what is in the group, and what has left it. No SIGTERM first: who drops it does not
    /// wait any longer.
    fn kill_all(&mut self) {
        // Before the group: a child is found by its parent, while that lives.
        let kin = self.group.map(orphans::descendants).unwrap_or_default();
        signal(self.group.take(), Signal::SIGKILL);
        self.run.end(&kin);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Writes standard input and closes it. A program that does not read it is none the worse.
async fn feed(stdin: Option<tokio::process::ChildStdin>, bytes: &[u8]) {
    if let Some(mut stdin) = stdin {
        stdin.write_all(bytes).await.ok();
    }
}

/// One output of a program.
struct Capture<R> {
    from: Option<R>,
    bytes: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Capture<R> {
    fn new(from: Option<R>) -> Self {
        Self { from, bytes: Vec::new() }
    }

    /// Reads to the end, or to the bound; a failing pipe ends it like a closed one.
    async fn read(&mut self) -> Result<(), ProcessError> {
        let Some(from) = &mut self.from else { return Ok(()) };
        let mut chunk = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut chunk).await {
            if n > OUTPUT_BYTES_MAX - self.bytes.len() {
                return Err(ProcessError::TooMuchOutput);
            }
            self.bytes.extend_from_slice(&chunk[..n]);
        }
        Ok(())
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
        assert!(!finished.is_held);
    }

    #[tokio::test]
    async fn a_program_that_prints_without_end_is_ended_at_once() {
        for script in ["exec cat /dev/zero", "cat /dev/zero >&2", "head -c 1048577 /dev/zero"] {
            let command = shell(script);
            let run = Process { command: &command, env: &[], stdin: b"" };
            let error = run.run().await.unwrap_err();
            assert!(matches!(error, ProcessError::TooMuchOutput), "{script}: {error}");
        }
        let finished = run("head -c 1048576 /dev/zero", b"").await;
        assert_eq!((finished.code, finished.stdout.len()), (Some(0), OUTPUT_BYTES_MAX));
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
        assert!(error.to_string().starts_with("No such file"), "{error}");
    }

    #[tokio::test]
    async fn dropping_it_kills_the_children_too_even_those_deaf_to_sigterm() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pids");
        let script = format!(
            "trap '' TERM; sleep 600 & setsid sh -c 'echo $$ > {0}.own; exec sleep 600' & \
             until [ -s {0}.own ]; do sleep 0.01; done; \
             echo $! $(cat {0}.own) $$ > {0}.new; mv {0}.new {0}; wait",
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
            pids = tokio::time::timeout(Duration::from_secs(20), pids) => pids.expect("it starts"),
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
        let folder = tempfile::tempdir().unwrap();
        let script = format!(
            "setsid -f sh -c 'echo > {0}; exec sleep 5'; until [ -e {0} ]; do sleep 0.01; done; \
             echo done",
            folder.path().join("left").display()
        );
        let finished = run(&script, b"").await;
        assert_eq!(finished.stdout, b"done\n");
        assert!(finished.is_held, "this process has adopted nobody");
    }
}
