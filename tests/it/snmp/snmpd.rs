//! net-snmp's snmpd on a port of its own, with nothing of the system's configuration.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running agent; it ends with this.
pub(super) struct Snmpd {
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Snmpd {
    /// Starts one; `None`, and a line why, where it is not installed.
    pub(super) async fn start(conf: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("snmpd.conf"), conf).unwrap();
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut agent = Self { folder, port, child: None };
        if let Err(error) = agent.spawn() {
            eprintln!("skipped: snmpd does not start: {error}");
            return None;
        }
        agent.wait().await;
        Some(agent)
    }

    pub(super) fn address(&self) -> String {
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
        let child = Command::new("/usr/sbin/snmpd")
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

impl Drop for Snmpd {
    fn drop(&mut self) {
        self.stop();
    }
}
