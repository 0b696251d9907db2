//! What polling SNMP costs: CPU per varbind and memory, of many agents with large tables.
//!
//! One snmpd answers for all agents, as `benches/peers/w2.toml` asks it. A table as large as in
//! that workload needs interfaces, hence a network namespace:
//!
//! ```sh
//! unshare -n sh -c 'ip link set lo up; for i in $(seq 50); do
//!   ip link add v${i}a type veth peer name v${i}b; ip link set v${i}a up; ip link set v${i}b up; done
//!   cargo bench --bench snmp'
//! ```

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark speaks and may panic")]

use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use procfs::process::Process;
use tokio::task::JoinSet;
use tokio::time::Instant;
use watchpost::config::Loader;
use watchpost::pollers::{Kind, KindConfig, Poller, Shared, snmp};
use watchpost::sample::{Catalogue, Clock, Readings, TargetTags, Written};

const AGENTS: usize = 200;
const ROUNDS: usize = 5;

struct Snmpd(Child);

impl Drop for Snmpd {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).unwrap();
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let port = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    let Some(_agent) = agent(folder.path(), port) else {
        println!("skipped: snmpd is not installed");
        return;
    };
    let catalogue = Arc::new(Catalogue::default());
    let mut polled = targets(&catalogue, port);
    // The first round makes the series, and waits for the agent to be up.
    let (poller, readings) = &mut polled[0];
    while poller.poll(readings).await.is_err() {}
    polled = round(polled).await.0;
    let tags = 5.0 / 35.0;
    for _ in 0..ROUNDS {
        let (cpu, start) = (cpu_seconds(), Instant::now());
        let (back, samples, failed) = round(polled).await;
        polled = back;
        let varbinds = samples as f64 * (1.0 + tags);
        println!(
            "{varbinds:.0} varbinds of {AGENTS} agents in {:.2} s, {failed} failed: {:.2} µs CPU a varbind; {:.1} MiB",
            start.elapsed().as_secs_f64(),
            (cpu_seconds() - cpu) * 1e6 / varbinds,
            memory_bytes() as f64 / f64::from(1 << 20),
        );
    }
    println!("{} series", catalogue.len());
}

fn agent(folder: &Path, port: u16) -> Option<Snmpd> {
    let conf = folder.join("snmpd.conf");
    std::fs::write(&conf, "rocommunity public\n").unwrap();
    Command::new("/usr/sbin/snmpd")
        .args(["-f", "-C", "-I", "-smux", "-Lf"])
        .arg(folder.join("log"))
        .arg("-c")
        .arg(conf)
        .arg(format!("udp:0.0.0.0:{port}"))
        .env("SNMP_PERSISTENT_DIR", folder.join("state"))
        .env("MIBS", "")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()
        .map(Snmpd)
}

fn targets(catalogue: &Arc<Catalogue>, port: u16) -> Vec<(snmp::Snmp, Readings)> {
    let text: String = (0..AGENTS)
        .map(|i| {
            format!(
                "[snmp.a{i}]\nhost = \"127.2.0.{}:{port}\"\ncommunity = \"public\"\nprofiles = [\"w2.toml\"]\n",
                i + 1
            )
        })
        .collect();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/config.toml");
    let config = Loader { env: &|_| None }.load_text(&path, &text).unwrap();
    let clock = Arc::new(Clock::system());
    let shared = Arc::new(Shared::new(clock.clone()));
    config
        .targets
        .iter()
        .map(|target| {
            let KindConfig::Snmp(config) = &target.kind else { unreachable!("all are snmp") };
            let tags = TargetTags { target: target.name.clone(), tags: target.tags.clone() };
            let readings = Readings::new(catalogue.clone(), clock.clone(), tags);
            (config.poller(target, &shared), readings)
        })
        .collect()
}

/// Polls all of them once; how many samples there were, and how many polls failed.
async fn round(polled: Vec<(snmp::Snmp, Readings)>) -> (Vec<(snmp::Snmp, Readings)>, usize, usize) {
    let mut polls = JoinSet::new();
    for (mut poller, mut readings) in polled {
        polls.spawn(async move {
            let failed = poller.poll(&mut readings).await.is_err();
            let batches = readings.finish(Written::Everything);
            let samples = batches.iter().map(|batch| batch.samples.len()).sum::<usize>();
            (poller, readings, samples, failed)
        });
    }
    let (mut back, mut all, mut failures) = (Vec::new(), 0, 0);
    while let Some(done) = polls.join_next().await {
        let (poller, readings, samples, failed) = done.unwrap();
        back.push((poller, readings));
        all += samples;
        failures += usize::from(failed);
    }
    (back, all, failures)
}

fn cpu_seconds() -> f64 {
    let stat = Process::myself().unwrap().stat().unwrap();
    (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64
}

fn memory_bytes() -> u64 {
    Process::myself().unwrap().stat().unwrap().rss * procfs::page_size()
}
