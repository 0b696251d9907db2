//! What the journal costs: appending with the thread that writes in the same process, the bytes a
//! sample takes, and opening again after `kill -9` with an hour of 10,000 series in it.
//!
//! `cargo bench --bench journal`; the bounds are 3 million samples a second and 1 second.

#![expect(clippy::print_stdout, reason = "a table for people")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use watchpost::journal::{Env, Journal, Limits, Start};
use watchpost::metrics::Metrics;
use watchpost::sample::{Batch, Catalogue, Clock, Sample, Timestamp};

const TARGETS: usize = 100;

/// Series of a target, which are the samples of a poll.
const SERIES: usize = 100;

/// Polls of each target: an hour every ten seconds.
const STEPS: usize = 360;

const START: i64 = 1_767_225_600_000_000_000;

fn series(catalogue: &Catalogue) -> Vec<Vec<Sample>> {
    let target = |target: usize| {
        let name = format!("switch-{target}.example.org");
        let one = |n: usize| {
            let interface = format!("GigabitEthernet0/{n}");
            let tags = [("target", &*name), ("kind", "snmp"), ("ifName", &*interface)];
            let series = catalogue.intern("interface", "ifHCInOctets", &tags);
            Sample { series, value: (target * 7_919 + n * 31) as f64 / 7.0 }
        };
        (0..SERIES).map(one).collect()
    };
    (0..TARGETS).map(target).collect()
}

fn open(folder: &Path) -> (Journal, Arc<Catalogue>, Arc<Metrics>) {
    let (catalogue, metrics) = (Arc::new(Catalogue::default()), Arc::new(Metrics::default()));
    let env = Env {
        folder: Some(folder.to_owned()),
        catalogue: catalogue.clone(),
        clock: Arc::new(Clock::system()),
        metrics: metrics.clone(),
    };
    (Journal::open(env, Limits::default()), catalogue, metrics)
}

fn processor_time() -> Duration {
    let stat = procfs::process::Process::myself().and_then(|p| p.stat()).expect("there is /proc");
    Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (journal, catalogue, metrics) = open(folder.path());
    // A cursor at the start, so that all is kept.
    drop(journal.reader("bench", Start::Oldest));
    let polls = series(&catalogue);
    let total = TARGETS * SERIES * STEPS;
    let (cpu, started) = (processor_time(), Instant::now());
    let mut slowest = Duration::ZERO;
    for step in 0..STEPS {
        for samples in &polls {
            // As the pipeline does; a poll's batch is made anew each time.
            let time = Timestamp::from_nanos(START + step as i64 * 10_000_000_000);
            let batch = Batch { target: "switch".into(), time, samples: samples.clone() };
            if !journal.has_room() {
                journal.room().await;
            }
            let began = Instant::now();
            journal.append(&Arc::new(vec![batch]));
            slowest = slowest.max(began.elapsed());
        }
    }
    let end = journal.end();
    journal.kept(end).await.expect("a disk that works");
    let (wall, cpu) = (started.elapsed(), processor_time() - cpu);
    let bytes = metrics.counter("watchpost_journal_written_bytes_total", "", &[]).get();
    println!("append: {:.1} M samples/s", total as f64 / wall.as_secs_f64() / 1e6);
    println!("        {:.1} ns CPU a sample, both threads", cpu.as_nanos() as f64 / total as f64);
    println!("        {:.2} bytes a sample", bytes as f64 / total as f64);
    println!("        {slowest:?} the slowest append");
    // No close: as after kill -9.
    drop((journal, catalogue, polls));
    let started = Instant::now();
    let (journal, catalogue, _metrics) = open(folder.path());
    let opened = started.elapsed();
    let mut reader = journal.reader("bench", Start::Oldest);
    let mut samples = 0;
    while let Some(group) = reader.take_blocking() {
        samples += group.batches.iter().map(|batch| batch.samples.len()).sum::<usize>();
    }
    assert_eq!((samples, catalogue.len()), (total, TARGETS * SERIES));
    println!("reopen: {opened:?}, all {total} samples read again after {:?}", started.elapsed());
}
