//! How full the disks are, in spite of those that do not answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::statvfs::{Statvfs, statvfs};
use procfs::process::Process;
use tokio::time::Instant;

use super::mounts::{Mount, select};
use super::{Selection, Slot};
use crate::pollers::{PollError, Reason};
use crate::sample::Readings;

/// The disks of the host.
///
/// Local ones are read by one thread, remote ones by a thread each: a dead server takes nobody
/// else with it. A thread that hangs is not joined by a second one.
pub(super) struct Disks {
    selection: Selection,
    /// How long disks are waited for.
    wait: Duration,
    /// Reads under way, by the remote mount; the local ones are under no path.
    slots: BTreeMap<Option<PathBuf>, Slot<Vec<(PathBuf, Usage)>>>,
}

/// How full a file system is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    size_bytes: f64,
    used_ratio: f64,
    inodes_used_ratio: Option<f64>,
}

impl Disks {
    pub(super) fn new(selection: Selection, wait: Duration) -> Self {
        Self { selection, wait, slots: BTreeMap::new() }
    }

    /// Writes what the disks say that answer in time, and of remote ones whether they do.
    pub(super) async fn read(&mut self, out: &mut Readings) -> Result<(), PollError> {
        // The list comes from the kernel's memory and never hangs.
        let mounts = Process::myself().and_then(|own| own.mountinfo()).map_err(|error| {
            PollError::new(Reason::Malformed, format!("read /proc/self/mountinfo: {error}"))
        })?;
        let mut groups = BTreeMap::<Option<PathBuf>, Vec<PathBuf>>::new();
        for Mount { point, remote } in select(&mounts.0, &self.selection) {
            groups.entry(remote.then(|| point.clone())).or_default().push(point);
        }
        self.slots.retain(|key, slot| groups.contains_key(key) || slot.is_stuck());
        let mut asked = Vec::new();
        for (key, points) in groups {
            let slot = self.slots.entry(key.clone()).or_default();
            if !slot.is_stuck() {
                slot.start("disks", move || usages(points))?;
            }
            asked.push(key);
        }
        let until = Instant::now() + self.wait;
        for key in asked {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            let answer = slot.within(until.saturating_duration_since(Instant::now())).await;
            let stuck = if answer.is_none() { 1.0 } else { 0.0 };
            if let Some(mount) = &key {
                let mount = mount.to_string_lossy();
                out.push_tagged("host", "disk_stuck", &[("mount", &mount)], stuck);
            } else if answer.is_none() {
                out.push("host", "disk_stuck", stuck);
            }
            for (point, usage) in answer.unwrap_or_default() {
                write(&point, usage, out);
            }
        }
        Ok(())
    }
}

fn write(point: &std::path::Path, usage: Usage, out: &mut Readings) {
    let mount = point.to_string_lossy();
    let row = out.row("host", &[("mount", &mount)]);
    out.set(row, "disk_used_ratio", usage.used_ratio);
    out.set(row, "disk_bytes", usage.size_bytes);
    if let Some(ratio) = usage.inodes_used_ratio {
        out.set(row, "disk_inodes_used_ratio", ratio);
    }
}

/// Asks each file system. May block for ever. One that refuses is left out: it went away, or is
/// not ours to see.
fn usages(points: Vec<PathBuf>) -> Vec<(PathBuf, Usage)> {
    points
        .into_iter()
        // A container's /etc/hosts is a mount of a single file: no disk of its own.
        .filter(|point| point.is_dir())
        .filter_map(|point| statvfs(&point).ok().and_then(|stat| usage(&stat)).map(|u| (point, u)))
        .collect()
}

fn usage(stat: &Statvfs) -> Option<Usage> {
    let numbers = Blocks {
        fragment_bytes: stat.fragment_size(),
        all: stat.blocks(),
        free: stat.blocks_free(),
        available: stat.blocks_available(),
        files: stat.files(),
        files_free: stat.files_free(),
    };
    numbers.usage()
}

/// The numbers of statvfs(3).
#[derive(Debug, Clone, Copy)]
struct Blocks {
    fragment_bytes: u64,
    all: u64,
    free: u64,
    available: u64,
    files: u64,
    files_free: u64,
}

impl Blocks {
    /// As df(1) computes it: blocks reserved for root count neither as used nor as free, so that a
    /// disk no program can write to any more is at 1. None for one without size.
    fn usage(self) -> Option<Usage> {
        let used = self.all.saturating_sub(self.free);
        let reachable = used.saturating_add(self.available);
        if self.all == 0 || reachable == 0 {
            return None;
        }
        let inodes_used = self.files.saturating_sub(self.files_free);
        Some(Usage {
            size_bytes: self.all as f64 * self.fragment_bytes as f64,
            used_ratio: used as f64 / reachable as f64,
            inodes_used_ratio: (self.files > 0).then(|| inodes_used as f64 / self.files as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCKS: Blocks = Blocks {
        fragment_bytes: 4096,
        all: 1000,
        free: 300,
        available: 250,
        files: 100,
        files_free: 75,
    };

    #[test]
    fn reserved_blocks_count_neither_as_used_nor_as_free() {
        let usage = BLOCKS.usage().unwrap();
        assert_eq!(usage.used_ratio, 700.0 / 950.0);
        assert_eq!(usage.inodes_used_ratio, Some(0.25));
        assert_eq!(usage.size_bytes, 4_096_000.0);
    }

    #[test]
    fn a_file_system_without_size_is_none() {
        assert_eq!(Blocks { all: 0, free: 0, available: 0, ..BLOCKS }.usage(), None);
        assert_eq!(Blocks { files: 0, ..BLOCKS }.usage().unwrap().inodes_used_ratio, None);
    }
}
