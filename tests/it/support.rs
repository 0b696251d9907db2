//! What tests against real servers share: servers that die with their test, waits with a limit, and
//! pollers driven by hand.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, timeout};
use watchpost::actions::Notice;
use watchpost::config::{Config, Loader, Target};
use watchpost::pollers::{Kind, PollError, Poller, Shared};
use watchpost::rules::{Severity, State};
use watchpost::sample::{Catalogue, Clock, Readings, TargetTags, Written, is_stale};

/// The longest any wait may take: generous, since other tests run beside.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server that is killed when the test is done with it.
#[derive(Debug)]
pub(crate) struct Server(Child);

impl Server {
    /// Starts it with its output thrown away; `None` if it is not installed, which is told.
    pub(crate) fn start(command: &mut Command) -> Option<Self> {
        let started =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        match started {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                eprintln!("skipped: cannot start {}: {error}", command.get_program().display());
                None
            }
        }
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn stop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let id = i32::try_from(self.0.id()).expect("a process id");
            kill(Pid::from_raw(id), Signal::SIGTERM).expect("it runs");
            drop(self.0.wait());
        }
    }

    /// Kills it at once, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Takes over a server started otherwise.
impl From<Child> for Server {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A TCP port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl FnMut() -> bool) {
    until_within(LIMIT, || what.to_owned(), is_so).await;
}

/// As [`until`], within a limit of its own; `what` is asked for when that has passed.
pub(crate) async fn until_within(
    limit: Duration,
    what: impl Fn() -> String,
    mut is_so: impl FnMut() -> bool,
) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain until {}", what());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until something listens on a local port.
pub(crate) async fn until_listening(port: u16) {
    until(&format!("port {port} answers"), || {
        std::net::TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), LIMIT).is_ok()
    })
    .await;
}

/// Reads a configuration, which must be right.
pub(crate) fn config(text: &str) -> Config {
    let env = |_: &str| None;
    let loader = Loader { env: &env };
    loader.load_text(Path::new("test.toml"), text).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// The mistakes of a configuration, as they are shown.
pub(crate) fn mistakes(text: &str) -> String {
    let env = |_: &str| None;
    let loader = Loader { env: &env };
    let read = loader.load_text(Path::new("test.toml"), text);
    read.expect_err("a configuration with mistakes").to_string()
}

/// What pollers and actions share.
pub(crate) fn shared() -> Arc<Shared> {
    Arc::new(Shared::new(Arc::new(Clock::system())))
}

/// A poller driven by hand.
pub(crate) struct Driven<P> {
    pub(crate) poller: P,
    readings: Readings,
    catalogue: Arc<Catalogue>,
}

impl<P: Poller> Driven<P> {
    /// Of the kind's configuration of a target.
    pub(crate) fn new<K: Kind<Poller = P>>(
        kind: &K,
        target: &Target,
        shared: &Arc<Shared>,
    ) -> Self {
        let catalogue = Arc::new(Catalogue::default());
        let tags = TargetTags { target: target.name.clone(), tags: Arc::default() };
        let readings = Readings::new(catalogue.clone(), shared.clock.clone(), tags);
        Self { poller: kind.poller(target, shared), readings, catalogue }
    }

    /// One poll: its outcome, and what it wrote as `name{tags} value`, batch by batch.
    pub(crate) async fn poll(&mut self) -> (Result<(), PollError>, Vec<String>) {
        let polled = timeout(LIMIT, self.poller.poll(&mut self.readings)).await;
        (polled.expect("a poll that ends"), self.written())
    }

    /// As [`Driven::poll`], but `None` if it is not done within `limit`.
    pub(crate) async fn poll_within(
        &mut self,
        limit: Duration,
    ) -> Option<(Result<(), PollError>, Vec<String>)> {
        let outcome = timeout(limit, self.poller.poll(&mut self.readings)).await.ok()?;
        Some((outcome, self.written()))
    }

    /// What series that have run out say.
    pub(crate) fn expired(&mut self) -> Vec<String> {
        self.readings.expire();
        self.written()
    }

    /// When the first series runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.readings.next_expiry()
    }

    fn written(&mut self) -> Vec<String> {
        let batches = self.readings.finish(Written::News);
        let samples = batches.iter().flat_map(|batch| &batch.samples);
        let words = samples.map(|sample| {
            let series = self.catalogue.series(sample.series);
            match is_stale(sample.value) {
                true => format!("{series} stale"),
                false => format!("{series} {}", sample.value),
            }
        });
        words.collect()
    }

    /// Polls until something is written, past successes that wrote nothing.
    pub(crate) async fn readings(&mut self) -> Vec<String> {
        self.readings_until(|words| !words.is_empty()).await
    }

    /// Polls until what was written all together is enough. No poll may fail.
    pub(crate) async fn readings_until(
        &mut self,
        is_enough: impl Fn(&[String]) -> bool,
    ) -> Vec<String> {
        let end = Instant::now() + LIMIT;
        let mut all = Vec::new();
        while !is_enough(&all) {
            assert!(Instant::now() < end, "waited in vain for more than {all:?}");
            let (outcome, words) = self.poll().await;
            outcome.expect("a poll that succeeds");
            all.extend(words);
        }
        all
    }

    /// Polls, a little apart, until a poll succeeds.
    pub(crate) async fn until_up(&mut self) {
        let end = Instant::now() + LIMIT;
        while let (Err(error), _) = self.poll().await {
            assert!(Instant::now() < end, "waited in vain for a success: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Polls until a poll fails.
    pub(crate) async fn until_down(&mut self) -> PollError {
        let end = Instant::now() + LIMIT;
        loop {
            assert!(Instant::now() < end, "waited in vain for a failure");
            if let (Err(error), _) = self.poll().await {
                return error;
            }
        }
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().expect("a temporary path is text").to_owned()
}

/// Writes a file in a folder, and returns its path.
pub(crate) fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, content).expect("a writable folder");
    path
}

/// A notice of an alert of this target.
pub(crate) fn notice(target: &str) -> Notice {
    let labels = [("target".to_owned(), target.to_owned())];
    Notice {
        flapping: false,
        affected: Vec::new(),
        rule: "rack-hot".into(),
        state: State::Firing,
        severity: Severity::Critical,
        labels: Arc::new(labels.into_iter().collect()),
        value: Some(31.5),
        reason: "31.5 > 30".into(),
        summary: "it is hot".into(),
        description: String::new(),
        since: "2026-01-01T00:00:00.000Z".into(),
        at: "2026-01-01T00:00:05.000Z".into(),
        fingerprint: "0123456789abcdef".into(),
    }
}
