//! The newest samples, in memory: series that come together lie in one group of rows.
//!
//! A group has a column of times and a cell a series and [row](rows). Series are grouped by the
//! batch that first brings them; a group that has more holes than cells is dissolved, and its
//! series group anew by what comes together then. Samples that are not newer than their group go
//! beside it. It refuses what is older than the window or ahead of the clock. It does no I/O and
//! reads no clock.

mod cell;
mod rows;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use super::block::{COLUMNS_MAX, is_absent};
use super::{Points, millis};
use crate::sample::{Batch, SeriesId, Timestamp, push_tight};
use rows::Columns;
use rows::Open;
pub(super) use rows::Rows;

/// A sample further ahead of the clock is refused: kept, it would make all that follows it late.
const AHEAD_MILLIS_MAX: i64 = 600_000;

/// A group of fewer rows is not judged by its holes.
const JUDGED_ROWS_MIN: usize = 16;

/// A series whose groups were dissolved so often is kept on its own.
const REGROUPINGS_MAX: u32 = 2;

/// Cuts a group may go without a row before it is forgotten.
const IDLE_CUTS_MAX: u8 = 2;

/// What a sample beside its group takes in memory, nearly.
const LATE_BYTES: usize = 40;

/// Samples beside their groups.
pub(super) type Late = BTreeMap<(SeriesId, i64), f64>;

#[derive(Debug, Default)]
struct Group {
    rows: Rows,
    /// The newest time it had, whether still here or not.
    last: i64,
    /// The append that made the newest row.
    appended: u32,
    idle_cuts: u8,
}

impl Group {
    fn is_mostly_holes(&self) -> bool {
        self.rows.len() >= JUDGED_ROWS_MIN && self.rows.samples() * 2 < self.rows.cells_len()
    }

    /// Takes its rows out, if it has any.
    fn take(&mut self) -> Option<Rows> {
        let fresh = Rows::new(self.rows.series.clone());
        Some(std::mem::replace(&mut self.rows, fresh)).filter(|rows| !rows.is_empty())
    }
}

/// Which group a series is in, in the bits of [`GROUP`], and how often its groups were dissolved. As
/// little as can be: there is one of these for every series. Where in the group it is, is looked for.
#[derive(Debug, Clone, Copy)]
struct Place(u32);

/// The bits of a place that say which group.
const GROUP: u32 = u32::MAX >> 2;

const NO_GROUP: u32 = GROUP;

const NOWHERE: Place = Place(NO_GROUP);

impl Place {
    fn group(self) -> u32 {
        self.0 & GROUP
    }

    fn regroupings(self) -> u32 {
        self.0 >> GROUP.count_ones()
    }

    fn put_in(&mut self, group: u32) {
        self.0 = self.0 & !GROUP | group;
    }

    /// Another group was dissolved.
    fn regroup(&mut self) {
        let more = (self.regroupings() + 1).min(REGROUPINGS_MAX);
        self.0 = more << GROUP.count_ones() | self.group();
    }
}

/// Where a sample goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Into {
    /// The newest row, which is open.
    Newest,
    /// A row before it.
    Row(usize),
    Late,
    Refused,
}

/// What became of a batch's samples.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Appended {
    pub(super) late: u64,
    pub(super) refused: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Head {
    /// By series.
    places: Vec<Place>,
    groups: Vec<Group>,
    /// Groups that were dissolved, to be used again.
    free: Vec<u32>,
    /// What dissolved groups had.
    dissolved: Vec<Rows>,
    /// The newest time of series without a group.
    floors: FxHashMap<SeriesId, i64>,
    late: Late,
    appends: u32,
    bytes: usize,
    /// Series in groups.
    grouped: usize,
    window_millis: i64,
    /// Beside the row that is open.
    open: Open,
}

impl Head {
    pub(super) fn new(window_millis: i64) -> Self {
        Self {
            places: Vec::new(),
            groups: Vec::new(),
            free: Vec::new(),
            dissolved: Vec::new(),
            floors: FxHashMap::default(),
            late: Late::new(),
            appends: 0,
            bytes: 0,
            grouped: 0,
            window_millis,
            open: Open::default(),
        }
    }

    /// From here on, samples so much older than the newest beside them are taken.
    pub(super) fn set_window(&mut self, millis: i64) {
        self.window_millis = millis;
    }

    /// What the samples take in memory, nearly.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What the newest rows of all groups take, where every group has one.
    pub(super) fn newest_bytes(&self) -> usize {
        self.grouped * size_of::<f64>()
    }

    /// Says that a series has samples up to a time elsewhere: none as old is in order any more.
    pub(super) fn has_until(&mut self, series: SeriesId, time: i64) {
        let floor = self.floors.entry(series).or_insert(time);
        *floor = time.max(*floor);
    }

    /// Takes a batch in; `new` is told of every series that was not known.
    pub(super) fn append(
        &mut self,
        batch: &Batch,
        now: Timestamp,
        new: &mut Vec<SeriesId>,
    ) -> Appended {
        let (time, now) = (millis(batch.time), millis(now));
        let mut appended = Appended::default();
        if time > now.saturating_add(AHEAD_MILLIS_MAX) {
            appended.refused = batch.samples.len() as u64;
            return appended;
        }
        self.appends = self.appends.wrapping_add(1);
        let (mut current, mut into, mut column) = (NO_GROUP, Into::Refused, 0);
        for sample in &batch.samples {
            // The mark of absence is ours alone; to everybody else it is some NaN.
            let value = if is_absent(sample.value) { f64::NAN } else { sample.value };
            let mut group = self.group_of(sample.series);
            if group == NO_GROUP {
                self.group_together(batch, new);
                group = self.group_of(sample.series);
            }
            if group != current {
                self.end(current, into);
                let known = &self.groups[group as usize];
                if known.is_mostly_holes() && known.appended != self.appends {
                    self.dissolve(group, true);
                    self.group_together(batch, new);
                    group = self.group_of(sample.series);
                }
                current = group;
                into = self.begin(current, time, now);
                column = 0;
            }
            match into {
                Into::Newest | Into::Row(_) => {
                    let group = &mut self.groups[current as usize];
                    // Mostly the one after the one before.
                    let found = group.rows.series.find(sample.series, column);
                    column = found.expect("a series is in its group");
                    match into {
                        Into::Row(row) => group.rows.rewrite(row, column, value),
                        _ => group.rows.set(column, value),
                    }
                    column += 1;
                }
                Into::Late => {
                    appended.late += 1;
                    if self.late.insert((sample.series, time), value).is_none() {
                        self.bytes += LATE_BYTES;
                    }
                }
                Into::Refused => appended.refused += 1,
            }
        }
        self.end(current, into);
        appended
    }

    fn group_of(&self, series: SeriesId) -> u32 {
        self.places.get(series.index()).copied().unwrap_or(NOWHERE).group()
    }

    /// Finds the row of a time in a group, or makes it. [`Head::end`] follows.
    fn begin(&mut self, at: u32, time: i64, now: i64) -> Into {
        let group = &mut self.groups[at as usize];
        if time <= group.last {
            if let Some(row) = group.rows.find(time) {
                self.bytes -= group.rows.bytes();
                if row + 1 < group.rows.len() {
                    return Into::Row(row);
                }
                group.rows.reopen(&mut self.open);
                return Into::Newest;
            }
            if time >= group.last.saturating_sub(self.window_millis) {
                return Into::Late;
            }
            if group.last <= now.saturating_add(AHEAD_MILLIS_MAX) {
                return Into::Refused;
            }
            // The clock was ahead, and has been put right: what it said does not bind us.
            self.dissolved.extend(group.take());
        }
        group.appended = self.appends;
        group.last = time;
        self.bytes -= group.rows.bytes();
        group.rows.begin(time, &mut self.open);
        Into::Newest
    }

    /// Ends what [`Head::begin`] began.
    fn end(&mut self, at: u32, into: Into) {
        let Some(group) = self.groups.get_mut(at as usize) else { return };
        if into == Into::Newest {
            group.rows.close(&mut self.open);
        }
        if matches!(into, Into::Newest | Into::Row(_)) {
            self.bytes += group.rows.bytes();
        }
    }

    /// Makes groups of those series of a batch that have none.
    fn group_together(&mut self, batch: &Batch, new: &mut Vec<SeriesId>) {
        let (mut together, mut alone) = (Vec::new(), Vec::new());
        for sample in &batch.samples {
            let index = sample.series.index();
            while self.places.len() <= index {
                push_tight(&mut self.places, NOWHERE);
            }
            let place = self.places[index];
            if place.group() != NO_GROUP {
                continue;
            }
            if !self.floors.contains_key(&sample.series) {
                new.push(sample.series);
            }
            if place.regroupings() >= REGROUPINGS_MAX { &mut alone } else { &mut together }
                .push(sample.series);
        }
        together.chunks(COLUMNS_MAX).for_each(|series| self.new_group(series));
        alone.chunks(1).for_each(|series| self.new_group(series));
    }

    fn new_group(&mut self, series: &[SeriesId]) {
        let at = self.free.pop().unwrap_or_else(|| {
            push_tight(&mut self.groups, Group::default());
            let at = u32::try_from(self.groups.len() - 1).expect("fewer groups than series");
            assert!(at < NO_GROUP, "there is no memory for so many groups");
            at
        });
        let mut last = i64::MIN;
        for series in series {
            self.places[series.index()].put_in(at);
            last = last.max(self.floors.remove(series).unwrap_or(i64::MIN));
        }
        self.grouped += series.len();
        let rows = Rows::new(Columns::from(series));
        self.groups[at as usize] = Group { rows, last, ..Group::default() };
    }

    /// Ends a group; its series have none, until they come again.
    fn dissolve(&mut self, at: u32, for_its_holes: bool) {
        let group = std::mem::take(&mut self.groups[at as usize]);
        self.grouped -= group.rows.series.len();
        for series in group.rows.series.iter() {
            let place = &mut self.places[series.index()];
            place.put_in(NO_GROUP);
            if for_its_holes {
                place.regroup();
            }
            self.floors.insert(series, group.last);
        }
        self.free.push(at);
        if !group.rows.is_empty() {
            self.dissolved.push(group.rows);
        }
    }

    /// Appends what a series has from `from` to `to`, both included; what counts more comes later.
    pub(super) fn read(&self, series: SeriesId, from: i64, to: i64, out: &mut Points) {
        for rows in &self.dissolved {
            if let Some(column) = rows.series.find(series, 0) {
                rows.read(column, from, to, out);
            }
        }
        if let Some(group) = self.groups.get(self.group_of(series) as usize)
            && let Some(column) = group.rows.series.find(series, 0)
        {
            group.rows.read(column, from, to, out);
        }
        read_late(&self.late, series, from, to, out);
    }

    /// Takes everything out. Groups stay, for what comes next.
    pub(super) fn cut(&mut self) -> (Vec<Rows>, Late) {
        self.bytes = 0;
        let mut all = std::mem::take(&mut self.dissolved);
        let mut idle = Vec::new();
        for (at, group) in self.groups.iter_mut().enumerate() {
            if group.rows.is_empty() {
                group.idle_cuts += u8::from(group.rows.series.len() > 0);
                if group.idle_cuts > IDLE_CUTS_MAX {
                    idle.push(at);
                }
                continue;
            }
            group.idle_cuts = 0;
            all.extend(group.take());
        }
        for at in idle {
            self.dissolve(u32::try_from(at).expect("fewer groups than series"), false);
        }
        (all, std::mem::take(&mut self.late))
    }

    /// Takes the longest groups out until what is left takes so many bytes at most; before them,
    /// what is not in a group. Those groups stay, for what comes next.
    pub(super) fn cut_longest(&mut self, bytes: usize) -> (Vec<Rows>, Late) {
        let mut taken = std::mem::take(&mut self.dissolved);
        let late = std::mem::take(&mut self.late);
        self.bytes -= taken.iter().map(Rows::bytes).sum::<usize>() + late.len() * LATE_BYTES;
        let mut order: Vec<u32> = (0..).take(self.groups.len()).collect();
        let rows = |at: &u32| self.groups[*at as usize].rows.len();
        order.sort_unstable_by_key(|at| Reverse(rows(at)));
        for at in order {
            if self.bytes <= bytes {
                break;
            }
            let group = &mut self.groups[at as usize];
            self.bytes -= group.rows.bytes();
            taken.extend(group.take());
        }
        (taken, late)
    }

    /// The rows that are here.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Rows> {
        self.dissolved.iter().chain(self.groups.iter().map(|group| &group.rows))
    }

    /// What is here beside the rows.
    pub(super) fn late(&self) -> &Late {
        &self.late
    }
}

fn read_late(late: &Late, series: SeriesId, from: i64, to: i64, out: &mut Points) {
    if !late.is_empty() && from <= to {
        out.extend(late.range((series, from)..=(series, to)).map(|((_, t), v)| (*t, *v)));
    }
}

/// What a cut took out of the head, until it is sealed.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) rows: Vec<Rows>,
    pub(super) late: Late,
    /// By series: where it is in `rows`. Made when first asked for, so that a cut takes no time.
    places: OnceLock<Vec<(SeriesId, u32, u32)>>,
    /// From when to when the samples came, by the clock, in milliseconds.
    pub(super) span: (i64, i64),
    /// Where the head was empty after the cut: all batches up to here in the journal are in it, or
    /// were taken out before.
    pub(super) journal: Option<u64>,
    pub(super) bytes: usize,
}

impl Frozen {
    pub(super) fn new(
        (rows, late): (Vec<Rows>, Late),
        span: (i64, i64),
        journal: Option<u64>,
        bytes: usize,
    ) -> Self {
        Self { rows, late, places: OnceLock::new(), span, journal, bytes }
    }

    /// Whether it is all the head had.
    pub(super) fn is_all(&self) -> bool {
        self.journal.is_some()
    }

    fn places(&self) -> &[(SeriesId, u32, u32)] {
        self.places.get_or_init(|| {
            let columns = |(rows, at): (&Rows, u32)| {
                let series = rows.series.iter().zip(0..);
                series.map(move |(series, column)| (series, at, column)).collect::<Vec<_>>()
            };
            let mut places: Vec<_> = self.rows.iter().zip(0..).flat_map(columns).collect();
            places.sort_unstable();
            places
        })
    }

    /// As [`Head::read`].
    pub(super) fn read(&self, series: SeriesId, from: i64, to: i64, out: &mut Points) {
        let places = self.places();
        let first = places.partition_point(|(s, ..)| *s < series);
        for (_, at, column) in places[first..].iter().take_while(|(s, ..)| *s == series) {
            self.rows[*at as usize].read(*column as usize, from, to, out);
        }
        read_late(&self.late, series, from, to, out);
    }

    pub(super) fn samples(&self) -> usize {
        self.rows.iter().map(Rows::samples).sum::<usize>() + self.late.len()
    }
}
