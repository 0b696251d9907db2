use std::path::Path;

use super::*;
use crate::sample::{Sample, Timestamp};

const GRACE: Duration = Duration::from_secs(10);

const LIMITS: Limits = Limits {
    fsync: Fsync::Every(Duration::from_secs(1)),
    bytes_max: 1 << 30,
    age_max: Duration::from_secs(3_600),
    memory_bytes_max: 1 << 20,
    segment_bytes: 16 << 20,
};

struct Fixture {
    journal: Journal,
    metrics: Arc<Metrics>,
    catalogue: Arc<Catalogue>,
}

impl Fixture {
    fn open(folder: Option<&Path>, limits: Limits) -> Self {
        let metrics = Arc::new(Metrics::default());
        let catalogue = Arc::new(Catalogue::default());
        let env = Env {
            folder: folder.map(Path::to_owned),
            catalogue: catalogue.clone(),
            clock: Arc::new(Clock::system()),
            metrics: metrics.clone(),
        };
        Self { journal: Journal::open(env, limits), metrics, catalogue }
    }

    /// Appends groups of one batch whose samples have these values, `per_batch` in each.
    fn append(&self, values: std::ops::Range<u32>, per_batch: usize) -> u64 {
        let mut end = self.journal.end();
        let values: Vec<_> = values.collect();
        for values in values.chunks(per_batch) {
            let sample = |(n, value): (usize, &u32)| Sample {
                series: self.catalogue.intern("m", "f", &[("n", &n.to_string())]),
                value: f64::from(*value),
            };
            let samples = values.iter().enumerate().map(sample).collect();
            let time = Timestamp::from_secs(i64::from(values[0]));
            end = self.journal.append(&Arc::new(vec![Batch { target: "t".into(), time, samples }]));
        }
        end
    }

    async fn kept(&self, end: u64) {
        timeout(GRACE, self.journal.kept(end)).await.unwrap().unwrap();
    }

    async fn close(self) {
        self.journal.close(GRACE).await;
    }

    fn counted(&self, name: &str) -> u64 {
        let page = self.metrics.render();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }
}

/// All values a reader gets without waiting.
async fn values(reader: &mut Reader) -> Vec<u32> {
    let mut values = Vec::new();
    while let Some(group) = reader.take().await {
        let samples = group.batches.iter().flat_map(|batch| &batch.samples);
        let before = values.len();
        values.extend(samples.map(|sample| sample.value as u32));
        assert_eq!(group.end - group.first, (values.len() - before) as u64);
    }
    values
}

fn range(values: std::ops::Range<u32>) -> Vec<u32> {
    values.collect()
}

#[tokio::test]
async fn what_was_kept_is_read_again_after_an_end_without_warning() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        // Never closed: nothing of it gets a last chance.
        let fixture = Fixture::open(Some(folder.path()), LIMITS);
        let mut reader = fixture.journal.reader("all", Start::Oldest);
        assert_eq!(values(&mut reader).await, range(0..round * 1_000));
        let end = fixture.append(round * 1_000..(round + 1) * 1_000, 7);
        assert_eq!(end, u64::from(round + 1) * 1_000);
        fixture.kept(end).await;
        assert_eq!(values(&mut reader).await, range(round * 1_000..(round + 1) * 1_000));
        let checked = verify::folder(folder.path()).unwrap();
        assert_eq!(checked.iter().map(|segment| segment.samples).sum::<u64>(), end);
        assert!(checked.iter().all(|segment| !segment.is_damaged(false)), "{checked:?}");
        std::mem::forget(reader);
    }
}

#[tokio::test]
async fn a_reader_goes_on_after_what_it_committed_and_the_rest_goes() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        let fixture = Fixture::open(Some(folder.path()), LIMITS);
        let mut reader = fixture.journal.reader("sink", Start::Now);
        fixture.append(round * 10..(round + 1) * 10, 5);
        // It takes the second half of what is waiting only the next time.
        let expected = if round == 0 { 0 } else { round * 10 - 5 };
        let mut got = Vec::new();
        while got.last() != Some(&(round * 10 + 4)) {
            let group = timeout(GRACE, reader.next()).await.unwrap().unwrap();
            got.extend(group.batches[0].samples.iter().map(|sample| sample.value as u32));
        }
        assert_eq!(got, range(expected..round * 10 + 5));
        reader.commit();
        fixture.close().await;
        // All segments but the newest, which is still read, are gone at the next start.
        assert!(segment::list(folder.path()).unwrap().len() <= 2);
    }
}

#[tokio::test]
async fn the_oldest_goes_at_the_bound_and_who_had_not_read_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { bytes_max: 64 << 10, segment_bytes: 8 << 10, ..LIMITS };
    let fixture = Fixture::open(Some(folder.path()), limits);
    let mut slow = fixture.journal.reader("slow", Start::Oldest);
    let mut quick = fixture.journal.reader("quick", Start::Oldest);
    let mut read = Vec::new();
    for n in 0..50 {
        fixture.kept(fixture.append(n * 1_000..(n + 1) * 1_000, 100)).await;
        read.extend(values(&mut quick).await);
        quick.commit();
    }
    assert!(read == range(0..50_000));
    // Memory still has what disk has not.
    drop(slow);
    slow = fixture.journal.reader("slow", Start::Oldest);
    let read = values(&mut slow).await;
    let lost = 50_000 - read.len() as u32;
    assert!(lost > 40_000, "{lost}");
    assert!(read == range(lost..50_000));
    let counted = |reader: &str| {
        fixture.counted(&format!("watchpost_journal_lost_samples_total{{reader=\"{reader}\"}}"))
    };
    assert_eq!((counted("slow"), counted("quick")), (u64::from(lost), 0));
    let bytes: u64 = segment::list(folder.path()).unwrap().iter().map(|file| file.bytes).sum();
    assert!(bytes <= (64 + 16) << 10, "{bytes}");
    fixture.close().await;
}

#[tokio::test]
async fn who_is_behind_reads_from_disk_in_order_or_the_newest_first() {
    for (catch_up, is_in_order) in [(CatchUp::Oldest, true), (CatchUp::Newest, false)] {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { segment_bytes: 100 << 10, ..LIMITS };
        let fixture = Fixture::open(Some(folder.path()), limits);
        drop(fixture.journal.reader("sink", Start::Oldest));
        fixture.kept(fixture.append(0..100_000, 100)).await;
        fixture.close().await;
        let fixture = Fixture::open(Some(folder.path()), limits);
        let mut reader = fixture.journal.reader("sink", Start::Oldest);
        reader.set_catch_up(catch_up);
        let mut got = Vec::new();
        // What comes meanwhile goes first, or last; and a reader that is replaced does not notice.
        for n in 100_000..100_200 {
            fixture.append(n..n + 1, 1);
            for _ in 0..6 {
                let Some(group) = reader.take().await else { continue };
                let samples = group.batches.iter().flat_map(|batch| &batch.samples);
                got.extend(samples.map(|sample| sample.value as u32));
            }
            if n % 50 == 7 {
                reader.commit();
                drop(reader);
                reader = fixture.journal.reader("sink", Start::Oldest);
                reader.set_catch_up(catch_up);
            }
        }
        got.extend(values(&mut reader).await);
        reader.commit();
        assert_eq!(got.is_sorted(), is_in_order);
        if !is_in_order {
            assert_eq!(got[0], 100_000);
        }
        got.sort_unstable();
        assert!(got == range(0..100_200));
        assert_eq!(reader.waiting().samples, 0);
        fixture.close().await;
    }
}

#[tokio::test]
async fn without_a_folder_memory_keeps_what_readers_need_within_the_bound() {
    let fixture = Fixture::open(None, LIMITS);
    fixture.kept(fixture.append(0..100, 10)).await;
    let mut reader = fixture.journal.reader("sink", Start::Now);
    fixture.append(100..200, 10);
    assert_eq!(values(&mut reader).await, range(100..200));
    drop(std::mem::replace(&mut reader, fixture.journal.reader("sink", Start::Now)));
    assert_eq!(values(&mut reader).await, range(100..200));
    reader.commit();
    assert_eq!(fixture.journal.shared.lock().bytes, 0);
    fixture.append(200..200_000, 10);
    assert!(fixture.journal.shared.lock().bytes <= 1 << 20);
    let got = values(&mut reader).await;
    let lost = 199_800 - got.len() as u32;
    assert!(got == range(200 + lost..200_000));
    let counted = "watchpost_journal_lost_samples_total{reader=\"sink\"}";
    assert_eq!(fixture.counted(counted), u64::from(lost));
    fixture.journal.end_reader("sink");
    assert_eq!(reader.next().await, None);
    fixture.close().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_tried_again_and_nothing_is_lost_meanwhile() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("state/journal");
    let fixture = Fixture::open(Some(&folder), LIMITS);
    std::fs::write(parent.path().join("state"), "in the way").unwrap();
    let mut reader = fixture.journal.reader("sink", Start::Now);
    let end = fixture.append(0..100, 10);
    assert_eq!(timeout(GRACE, fixture.journal.kept(end)).await.unwrap(), Err(NotKept));
    assert_eq!(values(&mut reader).await, range(0..100));
    assert_eq!(fixture.counted("watchpost_journal_writable"), 0);
    std::fs::remove_file(parent.path().join("state")).unwrap();
    let end = fixture.append(100..200, 10);
    let kept = async {
        while fixture.journal.kept(end).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(GRACE, kept).await.unwrap();
    assert_eq!(fixture.counted("watchpost_journal_writable"), 1);
    fixture.close().await;
    let checked = verify::folder(&folder).unwrap();
    assert_eq!(checked.iter().map(|segment| segment.samples).sum::<u64>(), 200);
}

#[tokio::test]
async fn numbers_a_reader_has_read_are_not_given_again_after_a_power_cut() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(Some(folder.path()), LIMITS);
    let mut reader = fixture.journal.reader("sink", Start::Oldest);
    fixture.kept(fixture.append(0..100, 10)).await;
    assert_eq!(values(&mut reader).await.len(), 100);
    reader.commit();
    fixture.close().await;
    let file = segment::list(folder.path()).unwrap().remove(0);
    let bytes = std::fs::read(&file.path).unwrap();
    // What was not on disk is gone, and the last frame is half there.
    std::fs::write(&file.path, &bytes[..bytes.len() - 150]).unwrap();
    let fixture = Fixture::open(Some(folder.path()), LIMITS);
    assert!(fixture.counted("watchpost_journal_torn_bytes_total") > 0);
    let mut other = fixture.journal.reader("other", Start::Oldest);
    let mut reader = fixture.journal.reader("sink", Start::Oldest);
    fixture.kept(fixture.append(100..110, 10)).await;
    assert_eq!(values(&mut reader).await, range(100..110));
    assert_eq!(values(&mut other).await, [range(0..80), range(100..110)].concat());
    let lost = "watchpost_journal_lost_samples_total{reader=\"other\"}";
    assert_eq!(fixture.counted(lost), 20);
    fixture.close().await;
    // What was torn is cut.
    let checked = verify::folder(folder.path()).unwrap();
    assert!(checked.iter().all(|segment| !segment.is_damaged(false)), "{checked:?}");
}

#[tokio::test]
async fn a_segment_killed_before_its_first_word_is_no_damage_and_is_written_again() {
    for torn in [&b""[..], b"wpjo"] {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Fixture::open(Some(folder.path()), LIMITS);
        fixture.kept(fixture.append(0..100, 10)).await;
        fixture.close().await;
        std::fs::write(segment::path_of(folder.path(), 100), torn).unwrap();
        let checked = verify::folder(folder.path()).unwrap();
        assert_eq!(checked.len(), 2);
        assert!(checked.iter().all(|segment| !segment.is_damaged(true)), "{checked:?}");
        let fixture = Fixture::open(Some(folder.path()), LIMITS);
        let mut reader = fixture.journal.reader("sink", Start::Oldest);
        fixture.kept(fixture.append(100..200, 10)).await;
        assert_eq!(values(&mut reader).await, range(0..200));
        fixture.close().await;
        let checked = verify::folder(folder.path()).unwrap();
        assert!(checked.iter().all(|segment| !segment.is_damaged(false)), "{checked:?}");
    }
}

#[tokio::test]
async fn fsync_always_syncs_before_it_counts_as_kept() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { fsync: Fsync::Always, ..LIMITS };
    let fixture = Fixture::open(Some(folder.path()), limits);
    fixture.kept(fixture.append(0..10, 10)).await;
    assert_eq!(fixture.counted("watchpost_journal_syncs_total"), 1);
    fixture.close().await;
}

#[tokio::test]
async fn a_reader_that_is_gone_for_good_holds_nothing_back() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Fixture::open(Some(folder.path()), LIMITS);
    drop(fixture.journal.reader("influxdb.old", Start::Oldest));
    drop(fixture.journal.reader("store", Start::Oldest));
    fixture.journal.retain_readers(|name| name.starts_with("influxdb."), &["influxdb.new"]);
    fixture.kept(fixture.append(0..10, 10)).await;
    fixture.close().await;
    assert_eq!(cursor::readers(folder.path()).unwrap(), ["store"]);
}
