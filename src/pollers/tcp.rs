//! A TCP port that should accept connections, and perhaps say the right thing.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config;
use crate::config::{HostPort, Regex, Target};
use crate::pollers::resolve::connect;
use crate::pollers::{Family, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;

/// Most bytes read in search of what is expected: banners are short.
const READ_BYTES_MAX: usize = 16 << 10;

/// Most pieces they may come in: the expression is tried after each, so that a peer that sends
/// single bytes cannot make that dear.
const READS_MAX: usize = 256;

config! {
    /// A TCP port that should accept connections.
    pub struct Config {
        /// `host:port`.
        pub address: HostPort,
        /// What to send once connected; TOML's escapes make `"PING\r\n"`.
        pub send: Option<String>,
        /// What the answer must match: a regular expression, tried on the first 16 KiB.
        pub expect: Option<Regex>,
        /// Which addresses of a name to use: any, ipv4 or ipv6.
        pub family: Family = Family::Any,
    }
    check(config, table) {
        if config.address.port.is_none() {
            table.error("address", "needs a port, as in \"mail.example.org:25\"");
        }
    }
}

impl Kind for Config {
    type Poller = Tcp;

    fn poller(&self, _: &Target, shared: &Arc<Shared>) -> Tcp {
        Tcp { config: self.clone(), shared: shared.clone() }
    }
}

/// Connects, and has the exchange that is configured.
#[derive(Debug)]
pub struct Tcp {
    config: Config,
    shared: Arc<Shared>,
}

impl Poller for Tcp {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let Config { address, family, .. } = &self.config;
        let port = address.port.expect("checked when the configuration was read");
        let addresses = self.shared.resolver.lookup(&address.host, port, *family).await?;
        let started = Instant::now();
        let mut stream = connect(&addresses).await?;
        out.push("tcp", "connect_seconds", started.elapsed().as_secs_f64());
        if let Some(text) = &self.config.send {
            let sent = stream.write_all(text.as_bytes()).await;
            sent.map_err(|error| PollError::io("send", &error))?;
        }
        match &self.config.expect {
            Some(expected) => expect(&mut stream, &expected.0).await,
            None => Ok(()),
        }
    }
}

/// Reads until what came matches.
async fn expect(stream: &mut TcpStream, expected: &regex::Regex) -> Result<(), PollError> {
    let mut answer = Vec::new();
    for _ in 0..READS_MAX {
        let mut room = (&mut *stream).take((READ_BYTES_MAX - answer.len()) as u64);
        let read = room.read_buf(&mut answer).await;
        if read.map_err(|error| PollError::io("receive", &error))? == 0 {
            break;
        }
        if expected.is_match(&String::from_utf8_lossy(&answer)) {
            return Ok(());
        }
    }
    let message = format!("nothing in {} bytes of answer matches {expected}", answer.len());
    Err(PollError::new(Reason::Malformed, message))
}

#[cfg(test)]
mod tests;
