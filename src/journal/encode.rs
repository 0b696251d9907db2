//! Batches to frames: what a segment has not yet heard of is defined first.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::format::{
    BATCHES, DEFINITIONS, FRAME_BYTES_FULL, HEADER_BYTES, Header, ROW, SERIES, STRING, put_frame,
    put_number, put_signed, seed,
};
use crate::sample::{Batch, Catalogue, Sample, SeriesId, grow_tight};

/// A frame of definitions this long is full: what one of them damages is bounded.
const DEFINITIONS_BYTES_FULL: usize = 64 << 10;

/// A batch of more samples than this goes into several frames, under the same target and time.
/// Polls have at most 100,000; only what is pushed to us may have more.
const BATCH_SAMPLES_MAX: usize = 100_000;

/// About what a batch takes besides its values, so that many small ones fill a frame too.
const BATCH_HEAD_BYTES: usize = 16;

/// Encodes for one segment after the other.
#[derive(Debug)]
pub(super) struct Encoder {
    catalogue: Arc<Catalogue>,
    /// The sequence number of the segment's first sample.
    first: u64,
    seed: u32,
    /// Every string once a segment. The texts are the catalogue's own.
    strings: FxHashMap<Arc<str>, u64>,
    /// By the catalogue's row: the segment's id plus one, or 0 for none.
    rows: Vec<u32>,
    rows_len: u32,
    /// By series, likewise.
    series: Vec<u32>,
    series_len: u32,
    /// Definitions not yet in a frame.
    defined: Vec<u8>,
}

impl Encoder {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self {
            catalogue,
            first: 0,
            seed: 0,
            strings: FxHashMap::default(),
            rows: Vec::new(),
            rows_len: 0,
            series: Vec::new(),
            series_len: 0,
            defined: Vec::new(),
        }
    }

    /// Begins a segment: its header, and nothing is defined.
    pub(super) fn begin(&mut self, header: Header) -> [u8; HEADER_BYTES] {
        self.first = header.first;
        self.seed = seed(header.first);
        self.strings.clear();
        self.rows.clear();
        self.series.clear();
        (self.rows_len, self.series_len) = (0, 0);
        self.defined.clear();
        header.encode()
    }

    /// Appends the frames of batches, the first sample of which has the sequence number `first`.
    pub(super) fn encode(&mut self, mut first: u64, batches: &[Batch], out: &mut Vec<u8>) {
        for batch in batches {
            self.define(batch, out);
        }
        self.end_definitions(out);
        let pieces = batches.iter().flat_map(|batch| {
            batch.samples.chunks(BATCH_SAMPLES_MAX).map(move |samples| (batch, samples))
        });
        let mut pieces = pieces.peekable();
        while pieces.peek().is_some() {
            // As many as fit; how many is known beforehand, since the frame begins with it.
            let mut whole = Vec::new();
            let (mut samples, mut bytes) = (0, 0);
            while let Some((_, piece)) = pieces.peek()
                && (whole.is_empty() || bytes < FRAME_BYTES_FULL)
            {
                samples += piece.len() as u64;
                bytes += BATCH_HEAD_BYTES + piece.len() * size_of::<f64>();
                whole.extend(pieces.next());
            }
            self.frame(first, samples, &whole, out);
            first += samples;
        }
    }

    fn frame(&self, first: u64, samples: u64, whole: &[(&Batch, &[Sample])], out: &mut Vec<u8>) {
        let Some((earliest, _)) = whole.first() else { return };
        put_frame(self.seed, out, |out| {
            out.push(BATCHES);
            put_number(out, first - self.first);
            put_number(out, samples);
            let mut time = earliest.time.as_nanos();
            out.extend_from_slice(&time.to_le_bytes());
            for (batch, samples) in whole {
                put_number(out, self.strings[&batch.target]);
                put_signed(out, batch.time.as_nanos().wrapping_sub(time));
                time = batch.time.as_nanos();
                self.samples(samples, out);
            }
        });
    }

    /// The series as runs of consecutive ids, which a poll is that writes what it wrote before, and
    /// then the values.
    fn samples(&self, samples: &[Sample], out: &mut Vec<u8>) {
        put_number(out, samples.len() as u64);
        let mut expected: u32 = 0;
        let mut rest = samples;
        while let Some(sample) = rest.first() {
            let start = self.series[sample.series.index()];
            let run = rest.iter().zip(start..);
            let run = run.take_while(|(s, id)| self.series[s.series.index()] == *id).count();
            put_signed(out, i64::from(start - 1) - i64::from(expected));
            put_number(out, run as u64);
            expected = start - 1 + u32::try_from(run).expect("a batch's samples are bounded");
            rest = &rest[run..];
        }
        out.extend(samples.iter().flat_map(|sample| sample.value.to_le_bytes()));
    }

    /// Defines what of a batch is not yet defined.
    fn define(&mut self, batch: &Batch, out: &mut Vec<u8>) {
        if !self.strings.contains_key(&batch.target) {
            self.string(&batch.target);
        }
        for sample in &batch.samples {
            if self.series.get(sample.series.index()).is_none_or(|known| *known == 0) {
                self.series(sample.series);
                if self.defined.len() >= DEFINITIONS_BYTES_FULL {
                    self.end_definitions(out);
                }
            }
        }
    }

    #[cold]
    fn series(&mut self, id: SeriesId) {
        let series = self.catalogue.series(id);
        let (row, _) = self.catalogue.hold().place(id);
        let row = match self.rows.get(row as usize) {
            Some(known) if *known > 0 => *known,
            _ => self.row(row, &series.row),
        };
        let field = self.string(&series.field);
        self.begin_definitions();
        self.defined.push(SERIES);
        put_number(&mut self.defined, u64::from(row - 1));
        put_number(&mut self.defined, field);
        self.series_len += 1;
        set(&mut self.series, id.index(), self.series_len);
    }

    fn row(&mut self, id: u32, row: &crate::sample::Row) -> u32 {
        let measurement = self.string(&row.measurement);
        let tags: Vec<_> =
            row.tags.iter().map(|(name, value)| (self.string(name), self.string(value))).collect();
        self.begin_definitions();
        self.defined.push(ROW);
        put_number(&mut self.defined, measurement);
        put_number(&mut self.defined, tags.len() as u64);
        for (name, value) in tags {
            put_number(&mut self.defined, name);
            put_number(&mut self.defined, value);
        }
        self.rows_len += 1;
        set(&mut self.rows, id as usize, self.rows_len);
        self.rows_len
    }

    fn string(&mut self, text: &Arc<str>) -> u64 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        self.begin_definitions();
        let id = self.strings.len() as u64;
        self.defined.push(STRING);
        put_number(&mut self.defined, text.len() as u64);
        self.defined.extend_from_slice(text.as_bytes());
        self.strings.insert(text.clone(), id);
        id
    }

    fn begin_definitions(&mut self) {
        if self.defined.is_empty() {
            self.defined.push(DEFINITIONS);
            put_number(&mut self.defined, self.strings.len() as u64);
            put_number(&mut self.defined, u64::from(self.rows_len));
            put_number(&mut self.defined, u64::from(self.series_len));
        }
    }

    fn end_definitions(&mut self, out: &mut Vec<u8>) {
        if !self.defined.is_empty() {
            put_frame(self.seed, out, |out| out.extend_from_slice(&self.defined));
            self.defined.clear();
        }
    }
}

/// Puts a value at a place of a list that grows as needed.
fn set(list: &mut Vec<u32>, at: usize, value: u32) {
    grow_tight(list, at + 1, 0);
    list[at] = value;
}
