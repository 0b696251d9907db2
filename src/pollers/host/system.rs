//! What the kernel tells of itself in /proc and /sys.

use procfs::net::InterfaceDeviceStatus;
use procfs::{Current, CurrentSI, KernelStats, LoadAverage, Meminfo, Uptime};

use super::{Part, Selection, sensors};
use crate::pollers::{PollError, Reason};
use crate::sample::Readings;

/// What one look at the system found. Parts not asked for, and those not there, are empty.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) cpu: Option<CpuTimes>,
    pub(super) memory: Option<Meminfo>,
    pub(super) load: Option<LoadAverage>,
    pub(super) uptime: Option<f64>,
    pub(super) network: Option<InterfaceDeviceStatus>,
    pub(super) temperatures: Vec<sensors::Reading>,
    /// The first part that every Linux has and that could not be read.
    pub(super) failure: Option<PollError>,
}

/// Reads the parts asked for. Blocks.
pub(super) fn read(parts: &[Part]) -> Snapshot {
    let mut found = Snapshot::default();
    let mut failure = None;
    for part in parts {
        match part {
            Part::Cpu => {
                found.cpu = kept(KernelStats::current(), &mut failure).map(|s| (&s.total).into());
            }
            Part::Memory => found.memory = kept(Meminfo::current(), &mut failure),
            Part::Load => found.load = kept(LoadAverage::current(), &mut failure),
            Part::Uptime => found.uptime = kept(Uptime::current(), &mut failure).map(|u| u.uptime),
            Part::Network => {
                found.network = kept(InterfaceDeviceStatus::current(), &mut failure);
            }
            Part::Temperature => found.temperatures = sensors::read("/sys/class".as_ref()),
            // Disks may hang, and have threads of their own.
            Part::Disk => {}
        }
    }
    found.failure = failure;
    found
}

fn kept<T>(read: procfs::ProcResult<T>, failure: &mut Option<PollError>) -> Option<T> {
    let wrong =
        |e: procfs::ProcError| PollError::new(Reason::Malformed, format!("read /proc: {e}"));
    read.map_err(|error| failure.get_or_insert_with(|| wrong(error))).ok()
}

impl Snapshot {
    /// Writes everything but the processor's share, which needs two snapshots.
    pub(super) fn write(&self, interfaces: &Selection, out: &mut Readings) {
        if let Some(ratio) = self.memory.as_ref().and_then(memory_used_ratio) {
            out.push("host", "memory_used_ratio", ratio);
        }
        if let Some(memory) = &self.memory {
            out.push("host", "memory_bytes", memory.mem_total as f64);
            if memory.swap_total > 0 {
                let free = memory.swap_free as f64 / memory.swap_total as f64;
                out.push("host", "swap_used_ratio", (1.0 - free).clamp(0.0, 1.0));
            }
        }
        if let Some(load) = &self.load {
            out.push("host", "load1", load.one.into());
            out.push("host", "load5", load.five.into());
            out.push("host", "load15", load.fifteen.into());
        }
        if let Some(uptime) = self.uptime {
            out.push("host", "uptime_seconds", uptime);
        }
        if let Some(network) = &self.network {
            write_network(network, interfaces, out);
        }
        for reading in &self.temperatures {
            let row = out.row("host", &[("sensor", &reading.sensor)]);
            out.set(row, "temperature_celsius", reading.celsius);
        }
    }
}

/// Processor time since the start of the system, in ticks of all processors together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CpuTimes {
    busy: u64,
    total: u64,
}

impl From<&procfs::CpuTime> for CpuTimes {
    fn from(t: &procfs::CpuTime) -> Self {
        // Time of guests is already in `user` and `nice` (proc(5)).
        let of = |ticks: Option<u64>| ticks.unwrap_or(0);
        let busy = [t.user, t.nice, t.system, of(t.irq), of(t.softirq), of(t.steal)];
        let busy = busy.into_iter().fold(0, u64::saturating_add);
        Self { busy, total: busy.saturating_add(t.idle).saturating_add(of(t.iowait)) }
    }
}

impl CpuTimes {
    /// The busy share of the time since; none where no time has gone by.
    pub(super) fn busy_ratio_since(self, before: Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|ticks| *ticks > 0)?;
        // iowait may run backwards (proc(5)), and so the total may grow less than its parts.
        let busy = self.busy.saturating_sub(before.busy);
        Some((busy as f64 / total as f64).min(1.0))
    }
}

/// The share that is not available to new programs without swapping.
fn memory_used_ratio(memory: &Meminfo) -> Option<f64> {
    if memory.mem_total == 0 {
        return None;
    }
    // Before Linux 3.14 the kernel does not estimate it.
    let available = memory
        .mem_available
        .unwrap_or_else(|| memory.mem_free.saturating_add(memory.buffers + memory.cached));
    Some((1.0 - available as f64 / memory.mem_total as f64).clamp(0.0, 1.0))
}

fn write_network(network: &InterfaceDeviceStatus, selection: &Selection, out: &mut Readings) {
    let mut devices: Vec<_> = network.0.values().filter(|d| selection.selects(&d.name)).collect();
    // The map's order changes from poll to poll; what is written in one order is found faster.
    devices.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for device in devices {
        let row = out.row("host", &[("interface", &device.name)]);
        for (field, value) in [
            ("network_receive_bytes_total", device.recv_bytes),
            ("network_transmit_bytes_total", device.sent_bytes),
            ("network_receive_errors_total", device.recv_errs),
            ("network_transmit_errors_total", device.sent_errs),
            ("network_receive_drops_total", device.recv_drop),
            ("network_transmit_drops_total", device.sent_drop),
        ] {
            out.set(row, field, value as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use procfs::prelude::*;
    use procfs::{ExplicitSystemInfo, FromBufReadSI};

    use super::*;

    fn times(capture: &str) -> CpuTimes {
        let system = ExplicitSystemInfo {
            boot_time_secs: 0,
            ticks_per_second: 100,
            page_size: 4096,
            is_little_endian: true,
        };
        let stats = KernelStats::from_buf_read(capture.as_bytes(), &system).unwrap();
        (&stats.total).into()
    }

    const STAT: &str = "cpu  100 0 50 800 50 0 0 0 20 0\ncpu0 100 0 50 800 50 0 0 0 20 0\n\
                        intr 1 0\nctxt 1\nbtime 1\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n";

    #[test]
    fn the_processors_share_is_of_the_time_between_two_polls() {
        let before = times(STAT);
        let after = times(&STAT.replace("100 0 50 800 50", "160 0 70 900 70"));
        assert_eq!(after.busy_ratio_since(before), Some(0.4));
        assert_eq!(before.busy_ratio_since(before), None);
        assert_eq!(before.busy_ratio_since(after), None);
    }

    #[test]
    fn memory_is_used_as_far_as_it_is_not_available() {
        let capture = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 250 kB\nBuffers: 10 kB\n\
            Cached: 200 kB\nSwapCached: 0 kB\nActive: 0 kB\nInactive: 0 kB\nSwapTotal: 0 kB\n\
            SwapFree: 0 kB\nDirty: 0 kB\nWriteback: 0 kB\nMapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\n\
            VmallocTotal: 0 kB\nVmallocUsed: 0 kB\nVmallocChunk: 0 kB\n";
        let memory = Meminfo::from_read(capture.as_bytes()).unwrap();
        assert_eq!(memory_used_ratio(&memory), Some(0.75));
    }
}
