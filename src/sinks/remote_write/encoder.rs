//! Batches to series of a write request, fast: the labels of a series are encoded once and kept.

use std::fmt::Write;
use std::sync::Arc;

use prost::encoding::{WireType, encode_key, encode_varint};

use crate::sample::{Batch, Catalogue, Series};
use crate::sinks::http::{Limit, Lines};
use crate::wire::remote_write::{Label, time_series};

/// Most bytes of labels kept; 100,000 series of 150 bytes fit. With more than that all are
/// forgotten and begun anew, which costs time and no more memory.
const LABELS_BYTES_MAX: usize = 16 << 20;

/// Of `prometheus.WriteRequest`, `prometheus.TimeSeries` and `prometheus.Sample`.
const TIMESERIES: u32 = 1;
const LABELS: u32 = 1;
const SAMPLES: u32 = 2;
const VALUE: u32 = 1;
const TIMESTAMP: u32 = 2;

/// Encodes batches of one catalogue.
#[derive(Debug)]
pub(super) struct Encoder {
    catalogue: Arc<Catalogue>,
    /// The fields `labels` of `TimeSeries`, of all series one after the other.
    labels: Vec<u8>,
    /// By series.
    known: Vec<Known>,
    /// Counts requests from 1.
    request: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Its labels: start and length; a length of 0 is not known.
    labels: (u32, u32),
    /// Milliseconds of the last sample, …
    millis: i64,
    /// … and the request it was in; 0 before the first.
    request: u32,
    /// Where in that its value is.
    value: u32,
}

impl Encoder {
    pub(super) fn new(catalogue: Arc<Catalogue>) -> Self {
        Self { catalogue, labels: Vec::new(), known: Vec::new(), request: 1 }
    }

    /// Another request begins.
    pub(super) fn begin(&mut self) {
        self.request = self.request.wrapping_add(1).max(1);
    }

    /// Appends the series of a batch from sample `from` on, one for each sample, until the limit is
    /// met; returns with which sample to go on, or the number of samples when all are done.
    pub(super) fn encode(
        &mut self,
        batch: &Batch,
        from: usize,
        limit: Limit,
        lines: &mut Lines,
    ) -> usize {
        let millis = batch.time.as_nanos().div_euclid(1_000_000);
        for (at, sample) in batch.samples.iter().enumerate().skip(from) {
            if lines.are_full(limit) {
                return at;
            }
            let index = sample.series.index();
            if self.known.get(index).is_none_or(|known| known.labels.1 == 0) {
                self.learn(index, &self.catalogue.series(sample.series));
            }
            let known = &mut self.known[index];
            let bits = sample.value.to_bits().to_le_bytes();
            if known.request > 0 && known.millis == millis {
                if known.request == self.request {
                    let value = known.value as usize;
                    lines.text[value..value + bits.len()].copy_from_slice(&bits);
                }
                continue;
            }
            let (start, length) = (known.labels.0 as usize, known.labels.1 as usize);
            let labels = &self.labels[start..start + length];
            let value = put_series(&mut lines.text, labels, millis, bits);
            (known.millis, known.request, known.value) = (millis, self.request, value);
            lines.end_line(1);
        }
        batch.samples.len()
    }

    #[cold]
    fn learn(&mut self, index: usize, series: &Series) {
        if self.labels.len() >= LABELS_BYTES_MAX {
            self.labels.clear();
            self.known.iter_mut().for_each(|known| known.labels = (0, 0));
        }
        if self.known.len() <= index {
            self.known.resize(index + 1, Known::default());
        }
        let narrow = |n: usize| u32::try_from(n).expect("labels are bounded far below 4 GiB");
        let start = self.labels.len();
        for label in labels(series) {
            prost::encoding::message::encode(LABELS, &label, &mut self.labels);
        }
        self.known[index].labels = (narrow(start), narrow(self.labels.len() - start));
    }
}

/// Appends the field `timeseries` with one sample; returns where its value is.
fn put_series(out: &mut Vec<u8>, labels: &[u8], millis: i64, value: [u8; 8]) -> u32 {
    /// A key, a length and what there is besides the time.
    const AROUND: usize = 9;
    let time = millis.cast_unsigned();
    let sample = AROUND + 1 + prost::encoding::encoded_len_varint(time);
    encode_key(TIMESERIES, WireType::LengthDelimited, out);
    encode_varint((labels.len() + 2 + sample) as u64, out);
    out.extend_from_slice(labels);
    encode_key(SAMPLES, WireType::LengthDelimited, out);
    encode_varint(sample as u64, out);
    encode_key(VALUE, WireType::SixtyFourBit, out);
    let at = u32::try_from(out.len()).expect("a request is bounded far below 4 GiB");
    out.extend_from_slice(&value);
    encode_key(TIMESTAMP, WireType::Varint, out);
    encode_varint(time, out);
    at
}

/// A series' labels, sorted by name, no name twice.
fn labels(series: &Series) -> Vec<Label> {
    let name = Label { name: "__name__".into(), value: valid(&series.name(), true) };
    let tags = series.row.tags.iter();
    let tags =
        tags.map(|(name, value)| Label { name: valid(name, false), value: value.to_string() });
    let mut labels: Vec<_> = std::iter::once(name).chain(tags).collect();
    labels.sort_by(|a, b| a.name.cmp(&b.name));
    labels.dedup_by(|b, a| a.name == b.name);
    labels
}

/// A name as Prometheus allows it: `[a-zA-Z_][a-zA-Z0-9_]*`, of metrics with `:` too.
fn valid(name: &str, is_metric: bool) -> String {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && is_metric);
    let mut valid: String = name.chars().map(|c| if fine(c) { c } else { '_' }).collect();
    if valid.starts_with(|c: char| c.is_ascii_digit()) || valid.is_empty() {
        valid.insert(0, '_');
    }
    valid
}

/// Series of a request as Prometheus' text format writes them, with times in milliseconds.
pub(super) fn shown(request: &[u8]) -> String {
    let mut text = String::new();
    for series in time_series(request).flatten() {
        for (i, label) in series.labels.iter().enumerate() {
            let (open, name, value) = (if i == 0 { '{' } else { ',' }, &label.name, &label.value);
            write!(text, "{open}{name}={value:?}").expect("writing into memory cannot fail");
        }
        for sample in &series.samples {
            let (value, time) = (sample.value, sample.timestamp);
            writeln!(text, "}} {value} {time}").expect("writing into memory cannot fail");
        }
    }
    text
}
