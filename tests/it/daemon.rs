//! The real binary, started as a service manager starts it, on a state directory of its own and a
//! free port: what it does from its configuration to its exit code. Nothing here knows its inside.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use url::Url;
use watchpost::http_client::{HttpClient, Options, Request};

use crate::support::{LIMIT, file, text, until};

mod backtest;
mod conformance;
mod crash;
mod dashboards;
mod disks;
mod explain;
mod faults;
mod flow;
mod keeping;
mod listening;
mod operating;
mod push;
mod queries;
mod reload;
mod restart;
mod stopping;

const WATCHPOST: &str = env!("CARGO_BIN_EXE_watchpost");

/// A running daemon; killed when the test is done with it.
struct Daemon {
    child: Child,
    folder: TempDir,
    log: Arc<Mutex<String>>,
    address: SocketAddr,
}

impl Daemon {
    /// With this configuration, whose first lines may be more keys of `[api]`.
    async fn start(config: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        write(folder.path(), config);
        Self::start_in(folder).await
    }

    /// In a folder with a configuration.
    async fn start_in(folder: TempDir) -> Self {
        let mut command = Command::new(WATCHPOST);
        Self::start_by(command.args(["run", "--log-format", "json"]), folder).await
    }

    /// By a command that lacks only `--config`.
    async fn start_by(command: &mut Command, folder: TempDir) -> Self {
        let mut child = command
            .arg("--config")
            .arg(folder.path().join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let log = Arc::new(Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("a pipe"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let mut log = kept.lock().unwrap();
                log.push_str(&line.expect("text"));
                log.push('\n');
            }
        });
        let mut daemon = Self { child, folder, log, address: ([0, 0, 0, 0], 0).into() };
        daemon.address = daemon.started().await;
        daemon
    }

    /// Where it says that it listens.
    async fn started(&mut self) -> SocketAddr {
        let mut address = None;
        until("the daemon has started", || {
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended, {ended:?}: {}", self.log());
            let line = |line: &str| serde_json::from_str::<Json>(line).ok();
            let started = self.log().lines().filter_map(line).find(|l| l["message"] == "started");
            address = started.and_then(|line| line["api"].as_str()?.parse().ok());
            address.is_some()
        })
        .await;
        address.expect("it was there")
    }

    /// What it has logged so far.
    fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    fn is_running(&self) -> bool {
        nix::sys::signal::kill(Pid::from_raw(self.child.id().try_into().expect("an id")), None)
            .is_ok()
    }

    fn config_path(&self) -> PathBuf {
        self.folder.path().join("config.toml")
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("it runs");
    }

    /// Its exit code, and how long it took to end; a signal counts as -1.
    async fn exit(&mut self) -> (i32, Duration) {
        let began = Instant::now();
        let mut code = None;
        until("the daemon has ended", || {
            let status = self.child.try_wait().expect("a child");
            code = status.map(|status| status.code().unwrap_or(-1));
            if let Some(signal) = status.and_then(|status| status.signal()) {
                eprintln!("ended by signal {signal}");
            }
            code.is_some()
        })
        .await;
        (code.expect("it was there"), began.elapsed())
    }

    async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.exit().await.0, 0, "{}", self.log());
    }

    /// Reloads, and waits until it has counted so.
    async fn reload(&self, config: &str, result: &str) {
        let name = format!("watchpost_config_reloads_total{{result=\"{result}\"}}");
        let before = self.metric(&name).await;
        write(self.folder.path(), config);
        self.signal(Signal::SIGHUP);
        self.until("the reload is counted", async || self.metric(&name).await > before).await;
    }

    /// The answer to a GET, whatever its status.
    async fn get(&self, path: &str) -> String {
        self.get_with(path, None).await
    }

    /// As [`Daemon::get`], with a token.
    async fn get_with(&self, path: &str, token: Option<&str>) -> String {
        let url = Url::parse(&format!("http://{}{path}", self.address)).expect("a path");
        let mut request = Request::new(Method::GET, url);
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a header");
            request.headers.insert(AUTHORIZATION, value);
        }
        let client = HttpClient::new(Options { body_bytes_max: 64 << 20, ..Options::default() });
        let answer = timeout(LIMIT, client.send(request)).await;
        let answer = answer.expect("an answer in time").expect("an answer");
        String::from_utf8(answer.body.to_vec()).expect("text")
    }

    /// What Prometheus' API has under `data`.
    async fn data(&self, what: &str) -> Json {
        let answer: Json = serde_json::from_str(&self.get(&format!("/api/v1/{what}")).await)
            .expect("an answer in JSON");
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    async fn alerts(&self) -> Vec<Json> {
        self.data("alerts").await["alerts"].as_array().expect("a list").clone()
    }

    /// The states of the alerts, as `rule state`.
    async fn states(&self) -> Vec<String> {
        let alerts = self.alerts().await;
        let word = |json: &Json| json.as_str().expect("text").to_owned();
        let shown = |a: &Json| format!("{} {}", word(&a["labels"]["alertname"]), word(&a["state"]));
        alerts.iter().map(shown).collect()
    }

    /// A target as the API shows it.
    async fn target(&self, id: &str) -> Option<Json> {
        let data = self.data("targets").await;
        let targets = data["activeTargets"].as_array().expect("a list");
        targets.iter().find(|target| target["scrapeUrl"] == id).cloned()
    }

    async fn until_target(&self, id: &str, health: &str) {
        self.until(&format!("{id} is {health}"), async || {
            self.target(id).await.is_some_and(|target| target["health"] == health)
        })
        .await;
    }

    /// A number of `/metrics` by its name with its labels; 0 if it is not there.
    async fn metric(&self, name: &str) -> f64 {
        let page = self.get("/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, is_so: impl AsyncFnMut() -> bool) {
        self.until_within(LIMIT, what, is_so).await;
    }

    async fn until_within(
        &self,
        limit: Duration,
        what: &str,
        mut is_so: impl AsyncFnMut() -> bool,
    ) {
        let end = Instant::now() + limit;
        while !is_so().await {
            assert!(Instant::now() < end, "waited in vain until {what}: {}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Listens to the live stream.
    async fn events(&self) -> Events {
        self.events_by("/api/events").await
    }

    /// As [`Daemon::events`], by a path.
    async fn events_by(&self, path: &str) -> Events {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).await.expect("a request");
        let mut events = Events { stream, heard: String::new() };
        events.until_heard("watchpost").await;
        events
    }

    /// What a command prints that is given this daemon's configuration.
    fn command(&self, args: &[&str]) -> Output {
        command(&self.config_path(), args)
    }

    /// The memory it holds, in bytes.
    fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.expect("a line for it").trim().trim_end_matches(" kB");
        kib.parse::<u64>().expect("a number") * 1_024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The live stream.
struct Events {
    stream: TcpStream,
    heard: String,
}

impl Events {
    async fn until_heard(&mut self, what: &str) {
        let mut piece = [0; 4_096];
        while !self.heard.contains(what) {
            let read = timeout(LIMIT, self.stream.read(&mut piece)).await;
            let read = read.unwrap_or_else(|_| panic!("no {what} in {}", self.heard)).unwrap();
            assert!(read > 0, "it ended without {what}: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
    }
}

/// Writes a configuration on a state directory in the same folder and a free port.
fn write(folder: &Path, config: &str) -> PathBuf {
    write_for(folder, "127.0.0.1:0", config)
}

/// As [`write`], to listen on an address.
fn write_for(folder: &Path, listen: &str, config: &str) -> PathBuf {
    let state = text(&folder.join("state"));
    let head = format!("state_dir = '{state}'\n[api]\nlisten = '{listen}'\n");
    file(folder, "config.toml", &format!("{head}{config}"))
}

/// Runs the binary to its end.
fn command(config: &Path, args: &[&str]) -> Output {
    let output = Command::new(WATCHPOST).args(args).arg("--config").arg(config).output();
    output.expect("the binary")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A target whose value a test sets by writing a file.
struct Dial(PathBuf);

impl Dial {
    fn new(folder: &Path, name: &str, value: &str) -> Self {
        let dial = Self(folder.join(name));
        dial.set(value);
        dial
    }

    /// All at once, for it may be read meanwhile.
    fn set(&self, value: &str) {
        let new = self.0.with_extension("new");
        std::fs::write(&new, value).expect("a writable folder");
        std::fs::rename(new, &self.0).expect("a writable folder");
    }

    /// The target's table.
    fn table(&self, name: &str) -> String {
        let path = text(&self.0);
        format!(
            "[exec.{name}]\ncommand = ['cat', '{path}']\nformat = 'number'\n\
             interval = '200ms'\ntimeout = '190ms'\n"
        )
    }
}
