//! Files: cut off, damaged, replaced, too many; disks that are full.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::sample::Clock;

fn files(bench: &Bench) -> Vec<String> {
    let entries = fs::read_dir(bench.folder.path()).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn one_sealed(bench: &mut Bench, polls: usize) {
    for poll in 0..polls {
        bench.now += 10_000;
        bench.write(0, 0b1111, bench.now, poll as f64);
    }
    bench.store.seal(at(bench.now)).unwrap();
}

#[test]
fn unfinished_files_are_removed_at_the_start() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 30);
    let whole = fs::read(bench.folder.path().join("raw-000000000001-0.seg")).unwrap();
    fs::write(bench.folder.path().join("raw-000000000002-0.tmp"), &whole[..200]).unwrap();
    bench.reopen();
    assert_eq!(files(&bench), ["raw-000000000001-0.seg"]);
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn a_file_cut_at_any_byte_is_left_out_and_its_number_not_used_again() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 3);
    let path = bench.folder.path().join("raw-000000000001-0.seg");
    let whole = fs::read(&path).unwrap();
    for len in 0..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        assert!(segment::read_all(&whole[..len]).is_err());
        let opened = bench.store.open_segment(&path);
        assert!(opened.is_err(), "{len} of {}", whole.len());
    }
    bench.reopen();
    assert_eq!(bench.store.counts.damaged.get(), 1);
    // All of it is in the journal still, since nothing says that it is sealed.
    bench.store.seal(at(bench.now)).unwrap();
    assert_eq!(files(&bench), ["raw-000000000001-0.seg", "raw-000000000002-0.seg"]);
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn a_damaged_block_is_left_out_and_the_rest_is_read() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 100);
    let path = bench.folder.path().join("raw-000000000001-0.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, &bytes).unwrap();
    one_sealed(&mut bench, 50);
    bench.reopen();
    let read = bench.read(0, i64::MAX / 1_000_000);
    assert_eq!(read.len(), 200);
    assert!(bench.store.counts.damaged.get() > 0);
}

#[test]
fn a_file_of_another_version_says_so_and_stays() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 3);
    let path = bench.folder.path().join("raw-000000000001-0.seg");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 7;
    fs::write(&path, &bytes).unwrap();
    let error = bench.store.open_segment(&path).unwrap_err();
    assert_eq!(error.to_string(), "format version 7, this watchpost reads version 1");
    bench.reopen();
    assert_eq!(files(&bench), ["raw-000000000001-0.seg"]);
}

#[test]
fn files_of_a_day_become_one_and_a_crash_in_between_doubles_nothing() {
    let mut bench = Bench::new(limits());
    (0..5).for_each(|_| one_sealed(&mut bench, 100));
    let before: Vec<_> = files(&bench)
        .into_iter()
        .map(|name| (name.clone(), fs::read(bench.folder.path().join(name)).unwrap()))
        .collect();
    bench.now += 2_000 * DAY;
    bench.store.seal(at(bench.now)).unwrap();
    bench.store.tidy(at(bench.now)).unwrap();
    assert_eq!(files(&bench), ["raw-000000000005-1.seg"]);
    bench.assert_same(0, i64::MAX / 1_000_000);
    let samples = bench.store.state().segments[0].meta.samples;
    assert_eq!(samples, 500 * FIELDS as u64);
    for (name, bytes) in before {
        fs::write(bench.folder.path().join(name), bytes).unwrap();
    }
    bench.reopen();
    assert_eq!(files(&bench), ["raw-000000000005-1.seg"]);
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn as_many_files_are_joined_as_their_directories_fit_into_memory() {
    let mut bench = Bench::new(limits());
    (0..6).for_each(|_| one_sealed(&mut bench, 100));
    bench.now += 2 * DAY;
    (0..2).for_each(|_| one_sealed(&mut bench, 100));
    let today = bench.now / DAY + 1;
    let numbers = |bytes| -> Vec<Vec<u64>> {
        let groups = bench.store.to_join(Tier::Raw, 1, today, bytes);
        groups
            .iter()
            .map(|group| group.iter().map(|segment| segment.meta.number).collect())
            .collect()
    };
    let one = bench.store.state().segments[0].directory_len();
    assert_eq!(numbers(u64::MAX), [vec![1, 2, 3, 4, 5, 6], vec![7, 8]]);
    assert_eq!(numbers(4 * one + 9), [vec![1, 2, 3, 4], vec![5, 6], vec![7, 8]]);
    assert_eq!(numbers(one), [[0; 0]; 0]);
}

#[test]
fn the_oldest_files_go_when_there_is_too_much() {
    let mut bench = Bench::new(limits());
    (0..10).for_each(|_| one_sealed(&mut bench, 100));
    let size = bench.store.state().segments[0].len;
    bench.store.set_limits(Limits { bytes: size * 4, ..limits() });
    bench.store.expire(at(bench.now));
    let kept = files(&bench);
    assert!((3..=4).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last().unwrap(), "raw-000000000010-0.seg");
    bench.assert_same(bench.now - 200 * 10_000, bench.now);
}

#[test]
fn retention_goes_by_when_samples_came() {
    let mut bench = Bench::new(Limits { raw: Duration::from_secs(86_400), ..limits() });
    one_sealed(&mut bench, 100);
    bench.now += DAY;
    one_sealed(&mut bench, 1);
    bench.store.expire(at(bench.now - DAY / 2));
    assert_eq!(files(&bench).len(), 2);
    bench.store.expire(at(bench.now + HOUR));
    assert_eq!(files(&bench), ["raw-000000000002-0.seg"]);
}

#[test]
fn without_files_the_last_two_cuts_are_there() {
    let catalogue = Arc::<Catalogue>::default();
    let store = Store::in_memory(catalogue.clone(), limits(), &Metrics::default(), at(0));
    let series = catalogue.intern("m", "a", &[]);
    for hour in 0..4 {
        let samples = vec![Sample { series, value: 1.0 }];
        let batch = Batch { target: "t".into(), time: at(hour * HOUR), samples };
        store.append(&[batch], at(hour * HOUR), 0);
        store.seal(at(hour * HOUR + 1)).unwrap();
    }
    let points = store.read(&[series], &Range::new(at(0), at(4 * HOUR))).unwrap();
    assert_eq!(points[0], [(3 * HOUR, 1.0)]);
}

#[test]
fn a_tool_reads_beside_the_daemon_and_changes_nothing() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 30);
    let unfinished = bench.folder.path().join("raw-000000000002-0.tmp");
    fs::write(&unfinished, b"being written").unwrap();
    let catalogue = Arc::<Catalogue>::default();
    let (path, now) = (bench.folder.path(), at(bench.now));
    let store = Store::open_read_only(path, None, &catalogue, limits(), now).unwrap();
    (bench.catalogue, bench.store) = (catalogue, store);
    bench.assert_same(0, i64::MAX / 1_000_000);
    assert!(unfinished.exists());
}

#[test]
fn a_file_that_grows_is_read_and_is_no_file_yet() {
    let mut bench = Bench::new(limits());
    one_sealed(&mut bench, 10);
    for target in 0..TARGETS {
        for poll in 0..100 * (target + 1) {
            bench.now += 10_000;
            bench.write(target, 0b1111, bench.now, poll as f64);
        }
    }
    bench.seal_longest();
    let longest = bench.store.state().head.rows().filter(|rows| rows.is_empty()).count();
    assert_eq!(longest, 1, "what the longest group had is half of it all");
    bench.seal_longest();
    bench.write(0, 0b0001, bench.now - 10_000, -1.0);
    bench.assert_same(0, i64::MAX / 1_000_000);
    let names = ["raw-000000000001-0.seg", "raw-000000000002-0.tmp"];
    assert_eq!(files(&bench), names);
    assert_eq!(bench.store.counts.segments[0].get(), 1.0);
    assert_eq!(bench.store.sealed_to(), 40, "what grows may be lost in a crash");
    // Nothing of it is joined, nor does it go before it is finished.
    bench.store.tidy(at(bench.now + 2_000 * DAY)).unwrap();
    bench.store.set_limits(Limits { bytes: 1, ..limits() });
    bench.store.expire(at(bench.now));
    assert_eq!(files(&bench), names);
    bench.assert_same(0, i64::MAX / 1_000_000);
    bench.store.seal(at(bench.now)).unwrap();
    assert_eq!(files(&bench), ["raw-000000000001-0.seg", "raw-000000000002-0.seg"]);
    let all = bench.journal.last().unwrap().0;
    assert_eq!(bench.store.sealed_to(), all);
    let segments = bench.store.state().segments.clone();
    assert_eq!(segments.iter().map(|segment| segment.meta.samples).sum::<u64>(), all);
    bench.reopen();
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn a_group_is_once_in_a_file_however_often_it_was_written() {
    let mut bench = Bench::new(limits());
    for round in 0..4 {
        for poll in 0..20 {
            bench.now += 10_000;
            bench.write(round % 2, 0b1111, bench.now, poll as f64);
        }
        bench.store.seal_but(0, at(bench.now)).unwrap();
        let growing = bench.store.state().segments[0].opened().unwrap();
        assert_eq!(growing.directory.groups.len(), 2.min(round + 1));
    }
    bench.store.seal(at(bench.now)).unwrap();
    let finished = bench.store.state().segments[0].opened().unwrap();
    let blocks = finished.directory.groups.iter().map(|group| group.blocks.len());
    assert_eq!(blocks.collect::<Vec<_>>(), [2, 2]);
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn a_file_that_grows_is_finished_even_if_nothing_came_since() {
    let mut bench = Bench::new(limits());
    bench.write(0, 0b1111, bench.now, 1.0);
    bench.store.seal_but(0, at(bench.now)).unwrap();
    assert_eq!(files(&bench), ["raw-000000000001-0.tmp"]);
    bench.store.seal(at(bench.now)).unwrap();
    assert_eq!(
        (files(&bench), bench.store.sealed_to()),
        (vec!["raw-000000000001-0.seg".into()], 4)
    );
    bench.store.seal(at(bench.now)).unwrap();
    assert_eq!(files(&bench), ["raw-000000000001-0.seg"]);
    bench.assert_same(0, i64::MAX / 1_000_000);
}

#[test]
fn a_full_disk_costs_nothing_until_memory_is_full_and_heals_by_itself() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(mount.path())
        .output();
    if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
        println!("skipped: cannot mount a small tmpfs, which takes root: {mounted:?}");
        return;
    }
    let _mounted = Mounted(mount.path().to_owned());
    let mut bench = Bench::new(limits());
    bench.store.folder = Some(mount.path().to_owned());
    let full = mount.path().join("ballast");
    let clock = Clock::starting_at(at(bench.now));
    // First on a disk that is full at once, then on one that is while a file grows.
    for (round, grows) in [(1, false), (2, true)] {
        for poll in 0..250 {
            bench.now += 10_000;
            bench.write(0, 0b1111, bench.now, f64::from(poll));
        }
        if grows {
            bench.store.seal_but(0, at(bench.now)).unwrap();
        }
        drop(fs::write(&full, vec![1; 100 << 10]));
        for poll in 0..500 {
            bench.now += 10_000;
            bench.write(0, 0b1111, bench.now, f64::from(poll * 7_919 % 1_009).sqrt());
        }
        if grows {
            assert!(bench.store.seal_but(0, at(bench.now)).is_err());
        }
        assert!(bench.store.work(&clock).is_err());
        assert!(bench.store.work(&clock).is_err());
        assert_eq!(bench.store.counts.failing.get(), 1.0);
        assert_eq!(bench.store.sealed_to(), 3_000 * (round - 1));
        bench.assert_same(0, i64::MAX / 1_000_000);
        fs::remove_file(&full).unwrap();
        bench.store.work(&clock).unwrap();
        assert_eq!(bench.store.counts.failing.get(), 0.0);
        assert_eq!(bench.store.sealed_to(), 3_000 * round);
        let names = fs::read_dir(mount.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        let expected = (1..=round).map(|number| format!("raw-{number:012}-0.seg"));
        assert_eq!(names, expected.collect::<Vec<_>>());
        bench.assert_same(0, i64::MAX / 1_000_000);
    }
}

/// Unmounts, whatever became of the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the store may still have a file open.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// What the files under `tests/store` were made of: holes, stale marks, late samples, and sums of a
/// day.
fn of_the_first_version() -> Bench {
    let day = Duration::from_secs(86_400);
    let late = Duration::from_secs(3_600);
    let mut bench =
        Bench::new(Limits { five_minutes: 2_000 * day, hour: 3_000 * day, late, ..limits() });
    for poll in 0..200 {
        bench.now += 60_000;
        let fields = if poll % 10 == 3 { 0b0101 } else { 0b1111 };
        let value = if poll == 77 { STALE } else { f64::from(poll) / 8.0 };
        bench.write(poll as usize % 2, fields, bench.now, value);
    }
    bench.write(0, 0b0010, bench.now - HOUR / 2 - 1, -1.5);
    bench
}

#[test]
fn files_of_the_first_version_are_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store");
    let mut bench = of_the_first_version();
    if std::env::var_os("WATCHPOST_WRITE_STORE_FIXTURE").is_some() {
        bench.store.seal(at(bench.now)).unwrap();
        bench.store.tidy(at(bench.now)).unwrap();
        bench.now += 2 * DAY;
        bench.store.state().since = bench.now;
        bench.store.tidy(at(bench.now)).unwrap();
        for name in files(&bench) {
            fs::copy(bench.folder.path().join(&name), path.join(format!("v1-{name}"))).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&path).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let name = name.strip_prefix("v1-").unwrap();
        fs::copy(entry.path(), folder.path().join(name)).unwrap();
    }
    bench.folder = folder;
    bench.reopen();
    assert_eq!(bench.store.counts.damaged.get(), 0);
    assert_eq!(bench.store.sealed_to(), bench.journal.last().unwrap().0);
    bench.assert_same(0, i64::MAX / 1_000_000);
    let tiers: Vec<_> = bench.store.state().segments.iter().map(|s| s.meta.tier).collect();
    assert_eq!(tiers, Tier::ALL);
    for name in files(&bench) {
        let bytes = fs::read(bench.folder.path().join(name)).unwrap();
        assert!(segment::read_all(&bytes).unwrap() > 0);
    }
}
