use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::journal::cursor::{CursorFile, Progress};
use crate::journal::encode::Encoder;
use crate::journal::format::Header;
use crate::journal::segment::{Damage, Frames, path_of};
use crate::journal::verify;
use crate::sample::STALE;

/// A sample before it has a series: target, row, field, value.
type Word = (u8, u8, u8, f64);

fn batches(catalogue: &Catalogue, groups: &[Vec<(i64, Vec<Word>)>]) -> Vec<Vec<Batch>> {
    let sample = |&(target, row, field, value): &Word| {
        let (target, row) = (format!("target-{target}"), format!("row {row}\n\"é"));
        let tags = [("target", &*target), ("row", &*row)];
        Sample { series: catalogue.intern("m", &format!("f{field}"), &tags), value }
    };
    let batch = |(time, words): &(i64, Vec<Word>)| Batch {
        target: format!("target-{}", words.first().map_or(0, |word| word.0)).into(),
        time: Timestamp::from_nanos(*time),
        samples: words.iter().map(sample).collect(),
    };
    groups.iter().map(|group| group.iter().map(batch).collect()).collect()
}

/// A segment of groups, and where each of its frames begins.
fn segment(catalogue: &Arc<Catalogue>, first: u64, groups: &[Vec<Batch>]) -> Vec<u8> {
    let mut encoder = Encoder::new(catalogue.clone());
    let header = Header { first, opened: Timestamp::from_secs(7) };
    let mut bytes = encoder.begin(header).to_vec();
    let mut sequence = first;
    for group in groups {
        encoder.encode(sequence, group, &mut bytes);
        sequence += group.iter().map(|batch| batch.samples.len() as u64).sum::<u64>();
    }
    bytes
}

/// All that can be read, in words, by sequence number; and what was damaged.
fn read(bytes: &[u8], first: u64, from: u64) -> (Vec<(u64, Vec<String>)>, Damage) {
    let catalogue = Arc::new(Catalogue::default());
    let mut decoder = Decoder::new(catalogue.clone(), first);
    let mut frames = Frames::new(bytes, bytes.len() as u64, first).unwrap().unwrap();
    let mut all = Vec::new();
    while let Some(payload) = frames.next().unwrap() {
        if let Some(Payload::Batches(read)) = decoder.payload(&frames.window()[payload], from) {
            all.push((read.first, words(&catalogue, &read.batches)));
        }
    }
    (all, frames.damage())
}

fn words(catalogue: &Catalogue, batches: &[Batch]) -> Vec<String> {
    let one = |batch: &Batch| {
        let samples = batch.samples.iter().map(|sample| {
            format!("{} {:x}", catalogue.series(sample.series), sample.value.to_bits())
        });
        format!("{} {} {:?}", batch.target, batch.time.as_nanos(), samples.collect::<Vec<_>>())
    };
    batches.iter().filter(|batch| !batch.samples.is_empty()).map(one).collect()
}

fn groups() -> impl Strategy<Value = Vec<Vec<(i64, Vec<Word>)>>> {
    let word = (0..4_u8, 0..20_u8, 0..9_u8, any::<f64>());
    let batch = (any::<i64>(), prop::collection::vec(word, 0..40));
    prop::collection::vec(prop::collection::vec(batch, 0..4), 0..12)
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back_bit_by_bit(words_in in groups(), first in 0..u64::MAX / 2) {
        let catalogue = Arc::new(Catalogue::default());
        let groups = batches(&catalogue, &words_in);
        let bytes = segment(&catalogue, first, &groups);
        let (read, damage) = read(&bytes, first, 0);
        prop_assert_eq!(damage, Damage::default());
        let read: Vec<_> = read.into_iter().flat_map(|(_, words)| words).collect();
        let expected: Vec<_> = groups.iter().flat_map(|group| words(&catalogue, group)).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn reading_goes_on_in_the_middle(words_in in groups(), skip in 0..200_u64) {
        let catalogue = Arc::new(Catalogue::default());
        let groups = batches(&catalogue, &words_in);
        let bytes = segment(&catalogue, 5, &groups);
        let all: usize = groups.iter().flatten().map(|batch| batch.samples.len()).sum();
        let decoder_catalogue = Arc::new(Catalogue::default());
        let mut decoder = Decoder::new(decoder_catalogue, 5);
        let mut frames = Frames::new(&*bytes, bytes.len() as u64, 5).unwrap().unwrap();
        let mut values = Vec::new();
        while let Some(payload) = frames.next().unwrap() {
            let payload = decoder.payload(&frames.window()[payload], 5 + skip);
            if let Some(Payload::Batches(read)) = payload {
                prop_assert!(read.first >= 5 + skip);
                let samples = read.batches.iter().flat_map(|batch| &batch.samples);
                values.extend(samples.map(|sample| sample.value.to_bits()));
            }
        }
        let expected = groups.iter().flatten().flat_map(|batch| &batch.samples);
        let expected: Vec<_> =
            expected.skip((skip as usize).min(all)).map(|sample| sample.value.to_bits()).collect();
        prop_assert_eq!(values, expected);
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>, cut in 0..64_usize) {
        _ = verify::bytes(&bytes);
        let header = Header { first: 0, opened: Timestamp::default() };
        _ = verify::bytes(&[&header.encode()[..cut.min(32)], &*bytes].concat());
        let catalogue = Arc::new(Catalogue::default());
        let mut decoder = Decoder::new(catalogue, 0);
        for kind in [DEFINITIONS, BATCHES] {
            // Past the checksum.
            decoder.payload(&[&[kind], &*bytes].concat(), 0);
        }
    }
}

/// Ten groups of three samples, each of a series of its own and of one they share.
fn ten() -> (Arc<Catalogue>, Vec<Vec<Batch>>) {
    let catalogue = Arc::new(Catalogue::default());
    let group = |n: u8| {
        let words = vec![(1, 0, 0, f64::from(n)), (1, n, 0, 2.0), (1, n, 1, STALE)];
        vec![(1_000 * i64::from(n), words)]
    };
    let groups = batches(&catalogue, &(0..10).map(group).collect::<Vec<_>>());
    (catalogue, groups)
}

#[test]
fn a_tail_cut_at_any_byte_loses_what_it_cuts_and_nothing_else() {
    let (catalogue, groups) = ten();
    let whole = segment(&catalogue, 9, &groups);
    let ends: Vec<_> = (0..=10).map(|n| segment(&catalogue, 9, &groups[..n]).len()).collect();
    for cut in 0..whole.len() {
        let (read, damage) = read(&whole[..cut], 9, 0);
        // A frame of definitions may be whole whose batches are not.
        let expected = ends.iter().filter(|end| **end <= cut).count().saturating_sub(1);
        assert_eq!(read.len(), expected, "{cut}");
        let read: Vec<_> = read.into_iter().flat_map(|(_, words)| words).collect();
        let expected: Vec<_> =
            groups[..expected].iter().flat_map(|group| words(&catalogue, group)).collect();
        assert_eq!(read, expected, "{cut}");
        assert!(damage.torn_bytes as usize <= cut);
    }
}

#[test]
fn a_flipped_bit_costs_its_frame_and_never_makes_another_sample() {
    let (catalogue, groups) = ten();
    let whole = segment(&catalogue, 9, &groups);
    let all: Vec<_> = read(&whole, 9, 0).0;
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (read, damage) = read(&flipped, 9, 0);
        assert_ne!(damage, Damage::default(), "{bit}");
        // Of definitions that are gone, samples may be missing in several groups.
        assert!(read.len() >= 9, "{bit}");
        for (first, words) in &read {
            let (_, expected) = all.iter().find(|(of, _)| of == first).unwrap();
            for word in words {
                let samples = word.split(['[', ']']).nth(1).unwrap().split(", ");
                for sample in samples {
                    assert!(expected[0].contains(sample), "{bit}: {sample} {expected:?}");
                }
            }
        }
    }
}

#[test]
fn zeros_and_noise_at_the_end_are_torn_and_in_the_middle_corrupt() {
    let (catalogue, groups) = ten();
    let whole = segment(&catalogue, 0, &groups);
    let zeros = [&*whole, &[0; 4_096]].concat();
    let (all, damage) = read(&zeros, 0, 0);
    assert_eq!((all.len(), damage.torn_bytes, damage.corrupt_frames), (10, 4_096, 0));
    let five = segment(&catalogue, 0, &groups[..5]).len();
    let noisy = [&whole[..five], &[7; 1_000], &whole[five..]].concat();
    let (all, damage) = read(&noisy, 0, 0);
    assert_eq!((all.len(), damage.torn_bytes), (10, 0));
    assert_eq!((damage.corrupt_frames, damage.corrupt_bytes), (1, 1_000));
}

#[test]
fn a_frame_of_another_segment_is_no_frame() {
    let (catalogue, groups) = ten();
    let whole = segment(&catalogue, 30, &groups);
    let (all, damage) = read(&whole, 31, 0);
    assert!(all.is_empty());
    assert!(damage.torn_bytes > 0 && damage.corrupt_frames == 1);
}

#[test]
fn bytes_that_look_like_frames_everywhere_end_in_time() {
    // Every fourth byte begins what could be a frame of a megabyte.
    let mut bytes = Header { first: 0, opened: Timestamp::default() }.encode().to_vec();
    bytes.extend([1, 1, 16, 0].repeat(2 << 20));
    assert_eq!(verify::bytes(&bytes), 0);
}

#[test]
fn a_poll_costs_little_more_than_its_values() {
    let catalogue = Arc::new(Catalogue::default());
    let words = (0..100_u8).map(|n| (1, n, 0, f64::from(n))).collect();
    let group = batches(&catalogue, &[vec![(1_767_225_600_000_000_000, words)]]).remove(0);
    let one = segment(&catalogue, 0, std::slice::from_ref(&group)).len();
    let two = segment(&catalogue, 0, &[group.clone(), group]).len();
    assert_eq!(two - one, 100 * 8 + 24);
}

/// What the files under `tests/journal` were made of: runs of series and gaps in them, series of
/// later frames, times that go backwards, and every sort of number.
fn of_the_first_version() -> (Arc<Catalogue>, Vec<Vec<Batch>>) {
    let catalogue = Arc::new(Catalogue::default());
    let numbers = [0.0, -0.0, 1.5, f64::MIN_POSITIVE, f64::MAX, f64::NAN, f64::NEG_INFINITY, STALE];
    let number = |at: usize| numbers[at % numbers.len()];
    let run = |target: u8, fields: &[u8]| -> Vec<Word> {
        fields
            .iter()
            .map(|field| (target, field / 3, *field, number(usize::from(*field))))
            .collect()
    };
    let time = 1_767_225_600_000_000_000;
    let words = [
        vec![(time, run(1, &[0, 1, 2, 3, 4, 5, 6, 7])), (time + 1, run(2, &[0, 1]))],
        vec![(time - 7_000_000_000, run(1, &[0, 2, 4, 6]))],
        vec![(time + 10_000_000_000, run(1, &[7, 8, 0])), (-1, run(3, &[5]))],
    ];
    let groups = batches(&catalogue, &words);
    (catalogue, groups)
}

#[test]
fn files_of_the_first_version_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journal");
    let (catalogue, groups) = of_the_first_version();
    let progress = Progress { head: 1_018, gaps: vec![(1_000, 1_003), (1_007, 1_011)] };
    if std::env::var_os("WATCHPOST_WRITE_JOURNAL_FIXTURE").is_some() {
        fs::write(path_of(&folder, 1_000), segment(&catalogue, 1_000, &groups)).unwrap();
        CursorFile::open(&folder, "influxdb.main").unwrap().0.write(&progress).unwrap();
    }
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(&folder).unwrap().flatten() {
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let (_, found) = CursorFile::open(copy.path(), "influxdb.main").unwrap();
    assert_eq!(found, Some(progress));
    let (read, damage) = read(&fs::read(path_of(copy.path(), 1_000)).unwrap(), 1_000, 0);
    assert_eq!(damage, Damage::default());
    let expected: Vec<_> = groups.iter().map(|group| words(&catalogue, group)).collect();
    assert_eq!(read, [1_000, 1_010, 1_014].into_iter().zip(expected).collect::<Vec<_>>());
    let checked = verify::folder(copy.path()).unwrap();
    assert_eq!((checked.len(), checked[0].samples, checked[0].is_damaged(false)), (1, 18, false));
}
