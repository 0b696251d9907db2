//! This host itself: processor, memory, disks, temperatures, interfaces, load.
//!
//! What is read blocks a thread, never the runtime: a statvfs of a dead NFS server does not come
//! back. A read that hangs is not asked again until it is back, so nothing piles up. What a host
//! does not have, such as a temperature sensor, is left out and is no failure.

mod disks;
mod mounts;
mod sensors;
mod system;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::{Glob, Target};
use crate::pollers::{Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;

crate::choice! {
    /// A group of readings.
    pub enum Part {
        Cpu = "cpu", Memory = "memory", Disk = "disk", Temperature = "temperature",
        Network = "network", Load = "load", Uptime = "uptime",
    }
}

crate::config! {
    /// Which of several things are read; without `include` all are.
    pub struct Selection {
        /// Globs of what is read; all where none is written.
        pub include: Vec<Glob>,
        /// Globs of what is left out, even if it is included.
        pub exclude: Vec<Glob>,
    }
}

impl Selection {
    fn default_without(exclude: &[&str]) -> Self {
        let glob = |text: &&str| globset::Glob::new(text).ok().map(|g| Glob(g.compile_matcher()));
        Self { include: Vec::new(), exclude: exclude.iter().filter_map(glob).collect() }
    }

    fn selects(&self, name: impl AsRef<Path>) -> bool {
        let name = name.as_ref();
        let any = |globs: &[Glob]| globs.iter().any(|glob| glob.0.is_match(name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

crate::config! {
    /// The host watchpost runs on.
    pub struct Config {
        /// What is read: `cpu`, `memory`, `disk`, `temperature`, `network`, `load`, `uptime`.
        pub collect: Vec<Part> = Part::ALL.to_vec(),
        /// Which file systems, by globs of where they are mounted. Those that exist only in
        /// memory, and second mounts of the same one, are never read.
        pub mounts: Selection = Selection::default_without(&[]),
        /// Which network interfaces, by globs of their names.
        pub interfaces: Selection = Selection::default_without(&["lo", "veth*"]),
    }
    check(config, table) {
        if config.collect.is_empty() {
            table.error("collect", "there is nothing to read");
        }
    }
}

impl Kind for Config {
    type Poller = Host;

    fn poller(&self, target: &Target, _: &Arc<Shared>) -> Host {
        // Half of the deadline is for the disks that hang, so that the rest is still delivered.
        let disks = disks::Disks::new(self.mounts.clone(), target.timeout / 2);
        Host { config: self.clone(), disks, system: Slot::default(), before: None }
    }
}

/// Reads the host.
pub struct Host {
    config: Config,
    disks: disks::Disks,
    system: Slot<system::Snapshot>,
    /// Processor times of the poll before: a share is of the time between two polls.
    before: Option<system::CpuTimes>,
}

impl Poller for Host {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let parts = self.config.collect.clone();
        let snapshot = self.system.fresh("host", move || system::read(&parts)).await?;
        if let Some(now) = snapshot.cpu {
            if let Some(ratio) = self.before.and_then(|before| now.busy_ratio_since(before)) {
                out.push("host", "cpu_ratio", ratio);
            }
            self.before = Some(now);
        }
        snapshot.write(&self.config.interfaces, out);
        if self.config.collect.contains(&Part::Disk) {
            self.disks.read(out).await?;
        }
        snapshot.failure.map_or(Ok(()), Err)
    }
}

/// At most one blocking read under way, on a thread of its own.
///
/// Not the runtime's blocking threads: the runtime waits for those when it ends, and a system call
/// that hangs in a dead file system would keep the daemon from ending.
struct Slot<T> {
    pending: Option<oneshot::Receiver<T>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { pending: None }
    }
}

impl<T: Send + 'static> Slot<T> {
    /// Whether an earlier read still hangs.
    fn is_stuck(&mut self) -> bool {
        self.pending.as_mut().is_some_and(|pending| {
            matches!(pending.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        })
    }

    /// Starts a read. Only where none is stuck.
    fn start(
        &mut self,
        name: &str,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<&mut oneshot::Receiver<T>, PollError> {
        let (done, pending) = oneshot::channel();
        std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(STACK_BYTES)
            // Nobody waiting any more is no failure: the poll was dropped.
            .spawn(move || drop(done.send(read())))
            .map_err(|error| PollError::io("start a thread", &error))?;
        Ok(self.pending.insert(pending))
    }

    /// The value of a read begun now; one that hangs from before is waited for first.
    async fn fresh(
        &mut self,
        name: &str,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PollError> {
        if self.is_stuck()
            && let Some(pending) = &mut self.pending
        {
            // What it says is of then, not of now.
            pending.await.ok();
        }
        let died = || PollError::new(Reason::Bug, format!("the thread {name} panicked"));
        self.start(name, read)?.await.map_err(|_| died())
    }

    /// What a read under way says, if it says something within `wait`.
    async fn within(&mut self, wait: Duration) -> Option<T> {
        tokio::time::timeout(wait, self.pending.as_mut()?).await.ok()?.ok()
    }
}

/// Reading a few files and formatting nothing takes little; many threads may hang at a time.
const STACK_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests;
