//! What a poller writes into: readings by name in, batches of interned samples out.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHasher};
use tokio::time::Instant;

use super::{Batch, Catalogue, Clock, Row, STALE, Sample, SeriesId, Timestamp, push_tight};

/// Names and values of tags, shared with whoever has the same.
pub type Tags = Arc<[(Arc<str>, Arc<str>)]>;

/// The tags every series of a target carries.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetTags {
    /// The target's name.
    pub target: Arc<str>,
    /// All tags, `target`, `kind` and `site` among them.
    pub tags: Tags,
}

/// Most series of one target. A device or a topic that makes up labels for ever ends here; what
/// is over is counted as rejected.
const SERIES_MAX: usize = 100_000;

/// Longest tag value or name in bytes: longer ones are noise, and InfluxDB refuses them from 64 KiB.
pub(crate) const LABEL_BYTES_MAX: usize = 1_024;

/// A row to write fields into, from [`Readings::row`]. Valid for the `Readings` it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowRef(u32);

/// The row that takes what must be rejected.
const REJECTED: RowRef = RowRef(u32::MAX);

/// Collects the readings of one target, poll after poll.
///
/// Nothing is copied for a series known already, and polls that write the same fields in the same
/// order as before, which is what polls do, find each again at its place.
#[derive(Debug)]
pub struct Readings {
    catalogue: Arc<Catalogue>,
    clock: Arc<Clock>,
    tags: TargetTags,
    /// How many of the target's tags a row has: those that are not empty.
    own_tags: u32,
    rows: Vec<LocalRow>,
    /// Where rows are, once there are too many to look through.
    index: Option<Box<Index>>,
    series: u32,
    /// Counts batches from 1, so that a field knows in which one it was last written.
    generation: u32,
    /// The first generation of the poll under way.
    poll_started: u32,
    samples: Vec<Sample>,
    /// How many samples the last batch had: the next takes as much room, but not before it begins.
    room: u32,
    done: Vec<Batch>,
    /// For those that were told of [`Readings::stale_after`].
    expiring: Option<Box<Expiring>>,
    rejected: u64,
}

/// So many rows are looked through faster than they are hashed. Most targets have fewer, and there
/// may be ten thousand of them.
const UNINDEXED_ROWS_MAX: usize = 8;

#[derive(Debug, Default)]
struct Index {
    /// By the hash of measurement and tags as written; of two that share one, the second is at
    /// the next hash that is free.
    by_text: FxHashMap<u64, u32>,
    /// By the catalogue's row: tags written differently may still mean the same row.
    by_id: FxHashMap<u32, u32>,
}

#[derive(Debug, Default)]
struct Expiring {
    after: Option<Duration>,
    expiries: FxHashMap<SeriesId, Expiry>,
    /// No series runs out before this. It may be too early, since series are renewed without
    /// looking for the next; [`Readings::expire`] sets it right.
    not_before: Option<Instant>,
}

#[derive(Debug)]
struct LocalRow {
    row: Arc<Row>,
    id: u32,
    /// Where the next field is expected.
    cursor: u32,
    fields: Vec<LocalField>,
}

#[derive(Debug)]
struct LocalField {
    series: SeriesId,
    /// When it was last written; 0 while it is stale.
    written: u32,
}

#[derive(Debug)]
struct Expiry {
    at: Instant,
    row: u32,
    field: u32,
}

/// Which series a finished poll ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Everything the target has: what was written before and is not now has gone.
    Everything,
    /// News only: what was not written keeps its value.
    News,
}

impl Readings {
    /// For one target, whose tags every series gets.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>, clock: Arc<Clock>, tags: TargetTags) -> Self {
        Self {
            catalogue,
            clock,
            own_tags: place(tags.tags.iter().filter(|(_, value)| !value.is_empty()).count()),
            tags,
            rows: Vec::new(),
            index: None,
            series: 0,
            generation: 1,
            poll_started: 1,
            samples: Vec::new(),
            room: 0,
            done: Vec::new(),
            expiring: None,
            rejected: 0,
        }
    }

    /// Writes one reading without tags of its own.
    pub fn push(&mut self, measurement: &str, field: &str, value: f64) {
        let row = self.row(measurement, &[]);
        self.set(row, field, value);
    }

    /// Writes one reading with tags of its own.
    pub fn push_tagged(
        &mut self,
        measurement: &str,
        field: &str,
        tags: &[(&str, &str)],
        value: f64,
    ) {
        let row = self.row(measurement, tags);
        self.set(row, field, value);
    }

    /// The row of a measurement with tags of its own: for tables, to find it once for all fields.
    ///
    /// A tag that is empty, or that the target itself has, is left out. A tag too long, or a row
    /// too many, makes a row whose readings are rejected and counted.
    pub fn row(&mut self, measurement: &str, tags: &[(&str, &str)]) -> RowRef {
        let hash = match self.find(measurement, tags) {
            Ok(at) => return RowRef(at),
            Err(hash) => hash,
        };
        let too_long = |text: &str| text.len() > LABEL_BYTES_MAX;
        // Rows are bounded apart: one without readings has no series.
        if self.series_len().max(self.rows.len()) >= SERIES_MAX
            || too_long(measurement)
            || tags.iter().any(|(name, value)| too_long(name) || too_long(value))
        {
            return REJECTED;
        }
        let own = self.tags.tags.iter().map(|(k, v)| (&**k, &**v));
        let all: Vec<_> = own.chain(tags.iter().copied()).collect();
        if self.catalogue.is_full() && self.catalogue.find_row(measurement, &all).is_none() {
            return REJECTED;
        }
        let (id, row) = self.catalogue.row_of(&self.tags.tags, measurement, &all);
        let known = match &self.index {
            Some(index) => index.by_id.get(&id).copied(),
            None => self.rows.iter().position(|row| row.id == id).map(place),
        };
        let at = known.unwrap_or_else(|| {
            push_tight(&mut self.rows, LocalRow { row, id, cursor: 0, fields: Vec::new() });
            place(self.rows.len() - 1)
        });
        if self.index.is_none() && self.rows.len() > UNINDEXED_ROWS_MAX {
            let by_id = self.rows.iter().enumerate().map(|(at, row)| (row.id, place(at)));
            self.index = Some(Box::new(Index { by_id: by_id.collect(), ..Index::default() }));
        }
        if let Some(index) = &mut self.index {
            index.by_id.insert(id, at);
            index.by_text.insert(hash, at);
        }
        RowRef(at)
    }

    /// Where a row is; if it is not there, the hash it is to have.
    fn find(&self, measurement: &str, tags: &[(&str, &str)]) -> Result<u32, u64> {
        let is_it = |at: usize| self.is_row(&self.rows[at].row, measurement, tags);
        let hash = || hash_row(measurement, tags);
        let Some(index) = &self.index else {
            return (0..self.rows.len()).find(|at| is_it(*at)).map(place).ok_or_else(hash);
        };
        let mut hash = hash();
        while let Some(at) = index.by_text.get(&hash) {
            if is_it(*at as usize) {
                return Ok(*at);
            }
            hash = hash.wrapping_add(1);
        }
        Err(hash)
    }

    fn is_row(&self, row: &Row, measurement: &str, tags: &[(&str, &str)]) -> bool {
        let extra = |i: usize| {
            let (name, value) = tags[i];
            !value.is_empty()
                && !tags[..i].iter().any(|(earlier, _)| *earlier == name)
                && !self.tags.tags.iter().any(|(own, _)| **own == *name)
        };
        *row.measurement == *measurement
            && row.tags.len()
                == self.own_tags as usize + (0..tags.len()).filter(|i| extra(*i)).count()
            && (0..tags.len()).filter(|i| extra(*i)).all(|i| {
                let (name, value) = tags[i];
                let at = row.tags.binary_search_by(|(key, _)| (**key).cmp(name));
                at.is_ok_and(|at| *row.tags[at].1 == *value)
            })
    }

    /// Writes a field of a row. A value that is not finite is rejected and counted; of two values
    /// for one field in one batch the later counts.
    pub fn set(&mut self, row: RowRef, field: &str, value: f64) {
        if row == REJECTED || !value.is_finite() || field.len() > LABEL_BYTES_MAX {
            self.rejected += 1;
            return;
        }
        let Some(position) = self.position(row, field) else {
            self.rejected += 1;
            return;
        };
        let entry = &mut self.rows[row.0 as usize].fields[position];
        let series = entry.series;
        let twice = entry.written == self.generation;
        entry.written = self.generation;
        if twice && let Some(sample) = self.samples.iter_mut().rfind(|s| s.series == series) {
            sample.value = value;
        } else {
            if self.samples.is_empty() {
                self.samples.reserve_exact(self.room as usize);
            }
            self.samples.push(Sample { series, value });
        }
        if let Some(expiring) = &mut self.expiring
            && let Some(after) = expiring.after
        {
            let at = Instant::now() + after;
            let expiry = Expiry { at, row: row.0, field: place(position) };
            expiring.expiries.insert(series, expiry);
            expiring.not_before = Some(expiring.not_before.map_or(at, |next| next.min(at)));
        }
    }

    /// Where in its row a field is; made there if it is new and there is room.
    fn position(&mut self, row: RowRef, field: &str) -> Option<usize> {
        let local = &self.rows[row.0 as usize];
        let expected = local.cursor as usize;
        let is_it = |f: &LocalField| self.catalogue.is_field(f.series, field);
        let position = if local.fields.get(expected).is_some_and(is_it) {
            expected
        } else if let Some(known) = local.fields.iter().position(is_it) {
            known
        } else {
            self.add_field(row, field)?
        };
        let local = &mut self.rows[row.0 as usize];
        let next = if position + 1 == local.fields.len() { 0 } else { position + 1 };
        local.cursor = place(next);
        Some(position)
    }

    fn add_field(&mut self, row: RowRef, field: &str) -> Option<usize> {
        if self.series_len() >= SERIES_MAX {
            return None;
        }
        let local = &mut self.rows[row.0 as usize];
        if self.catalogue.is_full() && self.catalogue.find_series(local.id, field).is_none() {
            return None;
        }
        self.series += 1;
        let series = self.catalogue.series_of(local.id, self.catalogue.field(field));
        push_tight(&mut local.fields, LocalField { series, written: 0 });
        Some(local.fields.len() - 1)
    }

    /// From here on, a series written and then not written again for this long goes stale.
    pub fn stale_after(&mut self, after: Option<Duration>) {
        if after.is_some() || self.expiring.is_some() {
            self.expiring.get_or_insert_default().after = after;
        }
    }

    /// Ends a batch here: what follows belongs to another message, with its own time.
    pub fn cut(&mut self) {
        self.cut_at(self.clock.now());
    }

    /// As [`Readings::cut`], with the time the source itself gave.
    pub fn cut_at(&mut self, time: Timestamp) {
        self.generation = self.generation.wrapping_add(1).max(1);
        if self.samples.is_empty() {
            return;
        }
        self.room = place(self.samples.len());
        let samples = std::mem::take(&mut self.samples);
        self.done.push(Batch { target: self.tags.target.clone(), time, samples });
    }

    /// Ends the poll under way and hands out its batches; the next one begins.
    pub fn finish(&mut self, written: Written) -> Vec<Batch> {
        if written == Written::Everything {
            let since = self.poll_started;
            self.mark_stale(|field| field.written < since);
        }
        self.cut();
        self.poll_started = self.generation;
        std::mem::take(&mut self.done)
    }

    /// Writes the stale mark for every series that was not written in the poll under way: the
    /// target has failed, and what it last said no longer holds.
    pub fn stale_others(&mut self) {
        let since = self.poll_started;
        self.mark_stale(|field| field.written < since);
        let rows = &self.rows;
        if let Some(expiring) = &mut self.expiring {
            let is_there = |e: &Expiry| rows[e.row as usize].fields[e.field as usize].written != 0;
            expiring.expiries.retain(|_, expiry| is_there(expiry));
        }
    }

    fn mark_stale(&mut self, is_stale: impl Fn(&LocalField) -> bool) {
        for field in self.rows.iter_mut().flat_map(|row| &mut row.fields) {
            if field.written != 0 && is_stale(field) {
                field.written = 0;
                self.samples.push(Sample { series: field.series, value: STALE });
            }
        }
    }

    /// When to call [`Readings::expire`] next: no series with a [`Readings::stale_after`] runs out
    /// before.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Instant> {
        self.expiring.as_ref()?.not_before
    }

    /// Writes the stale mark for the series that have run out by now.
    pub fn expire(&mut self) {
        let now = Instant::now();
        let Self { expiring, rows, samples, .. } = self;
        let Some(expiring) = expiring else { return };
        if expiring.not_before.is_none_or(|next| now < next) {
            return;
        }
        expiring.expiries.retain(|series, expiry| {
            let over = expiry.at <= now;
            if over {
                rows[expiry.row as usize].fields[expiry.field as usize].written = 0;
                samples.push(Sample { series: *series, value: STALE });
            }
            !over
        });
        expiring.not_before = expiring.expiries.values().map(|expiry| expiry.at).min();
    }

    /// The time batches are stamped with.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How many readings have been rejected so far: not finite, a label too long, a series too many.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// How many series the target has had so far.
    #[must_use]
    pub fn series_len(&self) -> usize {
        self.series as usize
    }

    /// The name of the target.
    #[must_use]
    pub fn target(&self) -> &Arc<str> {
        &self.tags.target
    }
}

/// A place among rows, fields or tags, which are bounded by [`SERIES_MAX`].
fn place(at: usize) -> u32 {
    u32::try_from(at).expect("rows and fields are bounded")
}

fn hash_row(measurement: &str, tags: &[(&str, &str)]) -> u64 {
    let mut hasher = FxHasher::default();
    measurement.hash(&mut hasher);
    tags.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::is_stale;

    fn readings() -> (Arc<Catalogue>, Readings) {
        let catalogue = Arc::new(Catalogue::default());
        let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(100)));
        let tags = TargetTags {
            target: "gw".into(),
            tags: [("target", "gw"), ("kind", "icmp")].map(|(k, v)| (k.into(), v.into())).into(),
        };
        (catalogue.clone(), Readings::new(catalogue, clock, tags))
    }

    fn words(catalogue: &Catalogue, batches: &[Batch]) -> Vec<String> {
        let one = |s: &Sample| {
            let value = if is_stale(s.value) { "stale".to_owned() } else { s.value.to_string() };
            format!("{} {value}", catalogue.series(s.series))
        };
        batches.iter().flat_map(|b| b.samples.iter().map(one)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_is_back_has_its_series_and_ever_new_ones_are_bounded() {
        let catalogue = Arc::new(Catalogue::bounded(100));
        let clock = Arc::new(Clock::starting_at(Timestamp::from_secs(100)));
        let polled = |name: &str| {
            let own = [("target".into(), name.into())];
            let tags = TargetTags { target: name.into(), tags: own.into() };
            let mut readings = Readings::new(catalogue.clone(), clock.clone(), tags);
            readings.push("target", "up", 1.0);
            readings.push_tagged("disk", "used", &[("mount", "/")], 0.5);
            let samples: usize =
                readings.finish(Written::Everything).iter().map(|b| b.samples.len()).sum();
            (samples, readings.rejected())
        };
        for _ in 0..1_000 {
            assert_eq!(polled("same"), (2, 0));
        }
        assert_eq!(catalogue.len(), 2);
        let refused: u64 = (0..1_000).map(|n| polled(&format!("target-{n}")).1).sum();
        // A row takes room even where there is none left for its series.
        let made = catalogue.len() - 2;
        assert!((97..=98).contains(&made), "{made}");
        assert_eq!(refused, 2 * 1_000 - u64::try_from(made).unwrap());
        assert_eq!(polled("same"), (2, 0));
        assert_eq!(polled("target-0"), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_complete_poll_no_longer_has_goes_stale_once() {
        let (catalogue, mut readings) = readings();
        readings.push("icmp", "rtt_seconds", 0.5);
        readings.push_tagged("icmp", "hop", &[("n", "1")], 1.0);
        assert_eq!(
            words(&catalogue, &readings.finish(Written::Everything)),
            [
                r#"icmp_rtt_seconds{kind="icmp",target="gw"} 0.5"#,
                r#"icmp_hop{kind="icmp",n="1",target="gw"} 1"#
            ]
        );
        readings.push("icmp", "rtt_seconds", 0.6);
        assert_eq!(
            words(&catalogue, &readings.finish(Written::Everything)),
            [
                r#"icmp_rtt_seconds{kind="icmp",target="gw"} 0.6"#,
                r#"icmp_hop{kind="icmp",n="1",target="gw"} stale"#
            ]
        );
        readings.push("icmp", "rtt_seconds", 0.7);
        assert_eq!(readings.finish(Written::Everything)[0].samples.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn news_leave_other_series_alone_until_they_run_out() {
        let (catalogue, mut readings) = readings();
        readings.stale_after(Some(Duration::from_secs(5)));
        readings.push("climate", "t", 1.0);
        readings.cut();
        tokio::time::advance(Duration::from_secs(3)).await;
        readings.push("climate", "h", 2.0);
        let batches = readings.finish(Written::News);
        assert_eq!(batches.len(), 2);
        assert_eq!(batches[1].time, Timestamp::from_secs(103));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(readings.next_expiry(), Some(Instant::now()));
        readings.expire();
        assert_eq!(
            words(&catalogue, &readings.finish(Written::News)),
            [r#"climate_t{kind="icmp",target="gw"} stale"#]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn hostile_readings_are_rejected_and_counted() {
        let (catalogue, mut readings) = readings();
        readings.push("m", "nan", f64::NAN);
        readings.push("m", "inf", f64::INFINITY);
        readings.push_tagged("m", "f", &[("label", &"x".repeat(100_000))], 1.0);
        readings.push_tagged("m", "f", &[("target", "another")], 1.0);
        readings.push("m", "f", 2.0);
        assert_eq!(readings.rejected(), 3);
        assert_eq!(
            words(&catalogue, &readings.finish(Written::Everything)),
            [r#"m_f{kind="icmp",target="gw"} 2"#]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_target_ends_all_that_was_not_read_in_the_failing_poll() {
        let (catalogue, mut readings) = readings();
        readings.push("m", "a", 1.0);
        readings.push("m", "b", 1.0);
        readings.finish(Written::News);
        readings.push("m", "b", 2.0);
        readings.stale_others();
        let words = words(&catalogue, &readings.finish(Written::News));
        assert_eq!(words.len(), 2);
        assert!(words[1].ends_with("stale"));
        readings.stale_others();
        assert_eq!(readings.finish(Written::News)[0].samples.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn series_of_one_target_are_bounded() {
        let (_, mut readings) = readings();
        for i in 0..SERIES_MAX + 10 {
            readings.push_tagged("m", "f", &[("n", &i.to_string())], 1.0);
        }
        assert_eq!(readings.series_len(), SERIES_MAX);
        assert_eq!(readings.rejected(), 10);
    }
}
