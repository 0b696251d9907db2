//! Frames to batches of this process' series; the other half of [`encode`](super::encode).
//!
//! Memory is taken for what is there, never for what is claimed: a number of samples is believed
//! if the payload has as many values, and ids nobody has defined take no room.

use std::sync::Arc;

use super::format::{BATCHES, DEFINITIONS, Input, ROW, SERIES, STRING};
use crate::sample::{Batch, Catalogue, Sample, SeriesId, Timestamp};

/// Tags of one row: more than this no target has.
const ROW_TAGS_MAX: usize = 4_096;

/// What a frame of batches says.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decoded {
    /// The sequence number of its first sample.
    pub(super) first: u64,
    /// That of the sample after its last.
    pub(super) end: u64,
    /// The batches, without the samples of series that are not known.
    pub(super) batches: Vec<Batch>,
    /// How many of those there were: their definition is damaged.
    pub(super) unknown: u64,
}

/// What a payload was.
#[derive(Debug)]
pub(super) enum Payload {
    /// Definitions, taken note of.
    Definitions,
    /// Batches the reader is past.
    Passed,
    /// Batches.
    Batches(Decoded),
}

/// Knows what a segment has defined so far.
#[derive(Debug)]
pub(super) struct Decoder {
    catalogue: Arc<Catalogue>,
    first: u64,
    strings: Sparse<Arc<str>>,
    /// By the segment's row: the catalogue's.
    rows: Sparse<Option<u32>>,
    series: Sparse<Option<SeriesId>>,
}

impl Decoder {
    /// For a segment that begins with this sample.
    pub(super) fn new(catalogue: Arc<Catalogue>, first: u64) -> Self {
        Self {
            catalogue,
            first,
            strings: Sparse::default(),
            rows: Sparse::default(),
            series: Sparse::default(),
        }
    }

    /// Reads a payload. Batches that end at or before `from` are passed over; of one that holds
    /// `from`, what is before is left out. `None` for a payload that no writer writes.
    pub(super) fn payload(&mut self, bytes: &[u8], from: u64) -> Option<Payload> {
        let mut input = Input(bytes);
        match input.byte()? {
            DEFINITIONS => self.definitions(input).map(|()| Payload::Definitions),
            BATCHES => {
                let first = self.first.checked_add(input.number()?)?;
                let samples = input.number()?;
                let end = first.checked_add(samples)?;
                if samples == 0 || samples > (bytes.len() / size_of::<f64>()) as u64 {
                    return None;
                }
                if end <= from {
                    return Some(Payload::Passed);
                }
                let mut decoded = self.batches(input, first, end)?;
                leave_out(&mut decoded.batches, from.saturating_sub(first));
                decoded.first = first.max(from);
                Some(Payload::Batches(decoded))
            }
            _ => None,
        }
    }

    /// Where the batches of a payload begin and end, without reading them; `None` for definitions.
    pub(super) fn span(first: u64, bytes: &[u8]) -> Option<(u64, u64)> {
        let mut input = Input(bytes);
        if input.byte()? != BATCHES {
            return None;
        }
        let first = first.checked_add(input.number()?)?;
        Some((first, first.checked_add(input.number()?)?))
    }

    fn definitions(&mut self, mut input: Input<'_>) -> Option<()> {
        self.strings.begin(input.index()?)?;
        self.rows.begin(input.index()?)?;
        self.series.begin(input.index()?)?;
        while !input.is_empty() {
            match input.byte()? {
                STRING => {
                    let length = input.index()?;
                    let text = std::str::from_utf8(input.take(length)?).ok()?;
                    self.strings.push(text.into());
                }
                ROW => {
                    let row = self.row(&mut input)?;
                    self.rows.push(row);
                }
                SERIES => {
                    let (row, field) = (input.index()?, input.index()?);
                    let row = self.rows.get(row).copied().flatten();
                    let known = row.zip(self.strings.get(field)).map(|(row, field)| {
                        self.catalogue.series_of(row, self.catalogue.field(field))
                    });
                    self.series.push(known);
                }
                _ => return None,
            }
        }
        Some(())
    }

    /// A row's id in the catalogue, if all its strings are known.
    fn row(&self, input: &mut Input<'_>) -> Option<Option<u32>> {
        let measurement = input.index()?;
        let len = input.index().filter(|len| *len <= ROW_TAGS_MAX)?;
        let mut tags = Vec::with_capacity(len);
        for _ in 0..len {
            let (name, value) = (input.index()?, input.index()?);
            if let (Some(name), Some(value)) = (self.strings.get(name), self.strings.get(value)) {
                tags.push((&**name, &**value));
            }
        }
        let measurement = self.strings.get(measurement).filter(|_| tags.len() == len);
        Some(measurement.map(|measurement| self.catalogue.row(measurement, &tags).0))
    }

    fn batches(&self, mut input: Input<'_>, first: u64, end: u64) -> Option<Decoded> {
        let mut time = input.u64()?.cast_signed();
        let mut decoded = Decoded { first, end, batches: Vec::new(), unknown: 0 };
        let mut left = end - first;
        while !input.is_empty() {
            let target = input.index()?;
            time = time.wrapping_add(input.signed()?);
            let len_max = input.0.len() / size_of::<f64>();
            let len = input.index().filter(|len| (1..=len_max).contains(len))?;
            left = left.checked_sub(len as u64)?;
            let mut samples = Vec::with_capacity(len);
            self.samples(&mut input, len, &mut samples)?;
            decoded.unknown += (len - samples.len()) as u64;
            let target = self.strings.get(target).map_or_else(|| "unknown".into(), Arc::clone);
            decoded.batches.push(Batch { target, time: Timestamp::from_nanos(time), samples });
        }
        (left == 0).then_some(decoded)
    }

    fn samples(&self, input: &mut Input<'_>, len: usize, out: &mut Vec<Sample>) -> Option<()> {
        let mut runs = *input;
        let (mut id, mut seen) = (0_u64, 0);
        while seen < len {
            id = id.checked_add_signed(input.signed()?)?;
            let run = input.index().filter(|run| (1..=len - seen).contains(run))?;
            id = id.checked_add(run as u64)?;
            seen += run;
        }
        let (mut values, _) = input.take(len * size_of::<f64>())?.as_chunks::<8>();
        let mut id = 0_u64;
        while !values.is_empty() {
            id = id.checked_add_signed(runs.signed()?)?;
            let run = runs.index()?;
            let (here, rest) = values.split_at_checked(run)?;
            let known = self.series.from(usize::try_from(id).ok()?);
            out.extend(known.iter().zip(here).filter_map(|(series, value)| {
                Some(Sample { series: (*series)?, value: f64::from_le_bytes(*value) })
            }));
            id += run as u64;
            values = rest;
        }
        Some(())
    }
}

/// Leaves the first `count` samples out.
fn leave_out(batches: &mut Vec<Batch>, count: u64) {
    let mut left = usize::try_from(count).unwrap_or(usize::MAX);
    batches.retain_mut(|batch| {
        let here = left.min(batch.samples.len());
        batch.samples.drain(..here);
        left -= here;
        !batch.samples.is_empty()
    });
}

/// A list by ids that come in order, with holes where definitions were damaged. A hole takes no
/// memory, however large it is said to be.
#[derive(Debug)]
struct Sparse<T>(Vec<(usize, Vec<T>)>);

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self(vec![(0, Vec::new())])
    }
}

impl<T> Sparse<T> {
    /// The next to come have the ids from `at` on; `None` if those are taken.
    fn begin(&mut self, at: usize) -> Option<()> {
        let (start, items) = self.0.last_mut()?;
        let end = start.checked_add(items.len())?;
        if end < at && items.is_empty() {
            *start = at;
        } else if end < at {
            self.0.push((at, Vec::new()));
        }
        (end <= at).then_some(())
    }

    fn push(&mut self, item: T) {
        if let Some((_, items)) = self.0.last_mut() {
            items.push(item);
        }
    }

    fn get(&self, at: usize) -> Option<&T> {
        self.from(at).first()
    }

    /// All from an id on, up to the next hole.
    fn from(&self, at: usize) -> &[T] {
        let part = self.0.partition_point(|(start, _)| *start <= at);
        let part = part.checked_sub(1).and_then(|part| self.0.get(part));
        part.and_then(|(start, items)| items.get(at - start..)).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
