//! net-snmp's snmpd on a port of its own, with nothing of the system's configuration.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;

/// A running agent; it ends with this.
pub(crate) struct Snmpd {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
    /// The library that fakes its clock.
    faked: Option<String>,
}

impl Snmpd {
    /// Starts one; `None`, and a line why, where it is not installed.
    pub(crate) async fn start(conf: &str) -> Option<Self> {
        let (folder, port) = (folder(conf), free_port());
        Self::started(Self { folder, port, child: None, faked: None }).await
    }

    /// Starts it on a clock that [`Snmpd::advance`] sets; `None` if that is not installed either.
    pub(super) async fn start_on_own_clock(conf: &str) -> Option<Self> {
        let told = Command::new("faketime").args(["-f", "+0", "printenv", "LD_PRELOAD"]).output();
        let library = match told {
            Ok(told) => String::from_utf8(told.stdout).unwrap().trim().to_owned(),
            Err(error) => {
                eprintln!("skipped: cannot start faketime: {error}");
                return None;
            }
        };
        let folder = folder(conf);
        std::fs::write(folder.path().join("clock"), "+0").unwrap();
        Self::started(Self { folder, port: free_port(), child: None, faked: Some(library) }).await
    }

    /// For the agent, so many seconds more have passed than for us.
    pub(super) fn advance(&self, seconds: u64) {
        let path = self.folder.path().join("clock");
        let new = self.folder.path().join("clock.new");
        std::fs::write(&new, format!("+{seconds}")).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    async fn started(mut agent: Self) -> Option<Self> {
        if let Err(error) = agent.spawn() {
            eprintln!("skipped: snmpd does not start: {error}");
            return None;
        }
        agent.wait().await;
        Some(agent)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(super) async fn start_again(&mut self) {
        self.spawn().unwrap();
        self.wait().await;
    }

    pub(super) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Removes what it remembers between two runs.
    pub(super) fn forget(&self) {
        let state = self.folder.path().join("state");
        if state.exists() {
            std::fs::remove_dir_all(state).unwrap();
        }
    }

    fn spawn(&mut self) -> std::io::Result<()> {
        let folder = self.folder.path();
        let mut command = Command::new("/usr/sbin/snmpd");
        if let Some(library) = &self.faked {
            command.env("LD_PRELOAD", library).env("FAKETIME_NO_CACHE", "1");
            command.env("FAKETIME_TIMESTAMP_FILE", folder.join("clock"));
        }
        let child = command
            .args(["-f", "-Lf"])
            .arg(folder.join("log"))
            .arg("-C")
            .arg("-c")
            .arg(folder.join("snmpd.conf"))
            .args(["-I", "-smux"])
            .arg(format!("udp:127.0.0.1:{}", self.port))
            .env("SNMP_PERSISTENT_DIR", folder.join("state"))
            .env("MIBS", "")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// Until it answers, be it only that it does not know the asker.
    async fn wait(&mut self) {
        // An engine's discovery is answered whatever the configuration.
        let question = watchpost::wire::usm::discovery(*watchpost::wire::usm::MESSAGE_IDS.start());
        let mut answer = [0; 1_500];
        for _ in 0..200 {
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(("127.0.0.1", self.port)).await.unwrap();
            socket.send(&question).await.unwrap();
            let wait = Duration::from_millis(100);
            match tokio::time::timeout(wait, socket.recv(&mut answer)).await {
                Ok(Ok(_)) => return,
                // Refused at once: it has not opened its port yet.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => {}
            }
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        panic!("snmpd does not answer: {log}");
    }
}

fn folder(conf: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("snmpd.conf"), conf).unwrap();
    folder
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Passes datagrams on to an agent and back, and counts the requests.
pub(super) struct Relay {
    pub(super) address: String,
    requests: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Relay {
    pub(super) async fn before(agent: &Snmpd) -> Self {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, to) = (socket.local_addr().unwrap().to_string(), agent.address());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = requests.clone();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut bytes = [0; 65_536];
            loop {
                let (length, from) = socket.recv_from(&mut bytes).await.unwrap();
                counted.fetch_add(1, Ordering::Relaxed);
                let other = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
                other.send_to(&bytes[..length], &to).await.unwrap();
                let length = other.recv(&mut bytes).await.unwrap();
                socket.send_to(&bytes[..length], from).await.unwrap();
            }
        });
        Self { address, requests, _task: task }
    }

    /// How many requests there were since this was last asked.
    pub(super) fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        self.stop();
    }
}
