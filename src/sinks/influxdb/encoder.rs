//! Batches to line protocol, fast: what begins the lines of a row is written once and kept.
//!
//! Samples of one row that follow each other make one line. Stale marks and whatever else is not
//! finite have no line: InfluxDB has no word for them.

use std::sync::Arc;

use crate::sample::{Batch, Catalogue};
use crate::sinks::http::{Limit, Lines};
use crate::wire::line_protocol::encode;

/// Most bytes of line beginnings kept; 100,000 rows of 150 bytes fit. With more rows than that
/// all are forgotten and begun anew, which costs time and no more memory.
const HEADS_BYTES_MAX: usize = 16 << 20;

/// Most bytes of field names kept, likewise.
const FIELDS_BYTES_MAX: usize = 1 << 20;

/// Encodes batches of one catalogue.
#[derive(Debug)]
pub struct Encoder {
    catalogue: Arc<Catalogue>,
    heads: Texts,
    fields: Texts,
}

impl Encoder {
    /// Knows no row yet.
    #[must_use]
    pub fn new(catalogue: Arc<Catalogue>) -> Self {
        Self {
            catalogue,
            heads: Texts::bounded(HEADS_BYTES_MAX),
            fields: Texts::bounded(FIELDS_BYTES_MAX),
        }
    }

    /// Appends the lines of a batch from sample `from` on, until the limit is met; returns with
    /// which sample to go on, or the number of samples when all are done.
    pub fn encode(&mut self, batch: &Batch, from: usize, limit: Limit, lines: &mut Lines) -> usize {
        let held = self.catalogue.hold();
        let Self { heads, fields, .. } = self;
        let samples = &batch.samples;
        let mut at = from;
        let mut line: Option<u32> = None;
        let mut points = 0;
        while let Some(sample) = samples.get(at) {
            if !sample.value.is_finite() {
                at += 1;
                continue;
            }
            let (row, field) = held.place(sample.series);
            if line == Some(row) {
                lines.text.push(b',');
            } else {
                if line.take().is_some() {
                    encode::push_end(&mut lines.text, batch.time.as_nanos());
                    lines.end_line(std::mem::take(&mut points));
                }
                if lines.are_full(limit) {
                    return at;
                }
                line = Some(row);
                heads.push(row, &mut lines.text, |out| {
                    let row = held.row(row);
                    let tags = row.tags.iter().map(|(k, v)| (&**k, &**v));
                    encode::push_head(out, &row.measurement, tags);
                    out.push(b' ');
                });
            }
            fields.push(field, &mut lines.text, |out| encode::push_field(out, held.field(field)));
            encode::push_value(&mut lines.text, sample.value);
            points += 1;
            at += 1;
        }
        if line.is_some() {
            encode::push_end(&mut lines.text, batch.time.as_nanos());
            lines.end_line(points);
        }
        at
    }
}

/// Texts by dense ids, in one piece of memory.
#[derive(Debug)]
struct Texts {
    all: Vec<u8>,
    /// By id: start and length in `all`; a length of 0 is not known.
    places: Vec<(u32, u32)>,
    bytes_max: usize,
}

impl Texts {
    fn bounded(bytes_max: usize) -> Self {
        Self { all: Vec::new(), places: Vec::new(), bytes_max }
    }

    /// Appends the text of an id, which `make` writes if it is not known; it is never empty.
    #[inline]
    fn push(&mut self, id: u32, out: &mut Vec<u8>, make: impl FnOnce(&mut Vec<u8>)) {
        let (start, length) = match self.places.get(id as usize) {
            Some(place) if place.1 > 0 => *place,
            _ => self.make(id, make),
        };
        out.extend_from_slice(&self.all[start as usize..(start + length) as usize]);
    }

    #[cold]
    fn make(&mut self, id: u32, make: impl FnOnce(&mut Vec<u8>)) -> (u32, u32) {
        if self.all.len() >= self.bytes_max {
            self.all.clear();
            self.places.clear();
        }
        let narrow = |n: usize| u32::try_from(n).expect("the texts are bounded far below 4 GiB");
        let start = self.all.len();
        make(&mut self.all);
        let place = (narrow(start), narrow(self.all.len() - start));
        if self.places.len() <= id as usize {
            self.places.resize(id as usize + 1, (0, 0));
        }
        self.places[id as usize] = place;
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{STALE, Sample, Timestamp};

    const NO_LIMIT: Limit = Limit { points: usize::MAX, bytes: usize::MAX };

    fn fixture() -> (Encoder, Vec<Sample>) {
        let catalogue = Arc::new(Catalogue::default());
        let one = |field, tags: &[(&str, &str)], value| {
            let series = catalogue.intern("m", field, tags);
            Sample { series, value }
        };
        let samples = vec![
            one("a", &[("t", "1")], 1.0),
            one("b", &[("t", "1")], 2.5),
            one("a", &[("t", "2")], STALE),
            one("b", &[("t", "2")], 3.0),
            one("c", &[("t", "3")], f64::NAN),
            one("d", &[("t", "3")], f64::INFINITY),
            one("a", &[("t", "1")], 4.0),
        ];
        (Encoder::new(catalogue), samples)
    }

    fn batch(samples: Vec<Sample>) -> Batch {
        Batch { target: "gw".into(), time: Timestamp::from_nanos(7), samples }
    }

    #[test]
    fn a_row_makes_one_line_and_what_is_not_finite_none() {
        let (mut encoder, samples) = fixture();
        let batch = batch(samples);
        for _ in 0..2 {
            let mut lines = Lines::default();
            assert_eq!(encoder.encode(&batch, 0, NO_LIMIT, &mut lines), 7);
            assert_eq!(
                std::str::from_utf8(&lines.text).unwrap(),
                "m,t=1 a=1,b=2.5 7\nm,t=2 b=3 7\nm,t=1 a=4 7\n"
            );
            assert_eq!(lines.len(), 3);
            assert_eq!(lines.points(&(0..3)), 4);
            assert_eq!(lines.points(&(1..2)), 1);
            assert_eq!(&lines.text[lines.bytes(&(1..2))], b"m,t=2 b=3 7\n");
        }
    }

    #[test]
    fn a_batch_of_nothing_but_stale_marks_makes_no_line() {
        let (mut encoder, samples) = fixture();
        let mut lines = Lines::default();
        encoder.encode(&batch(samples[4..6].to_vec()), 0, NO_LIMIT, &mut lines);
        assert!(lines.is_empty() && lines.text.is_empty());
    }

    #[test]
    fn encoding_goes_on_where_the_limit_ended_it() {
        let (mut encoder, samples) = fixture();
        let batch = batch(samples);
        let mut all = Vec::new();
        let mut at = 0;
        let mut rounds = 0;
        while at < batch.samples.len() {
            let mut lines = Lines::default();
            at = encoder.encode(&batch, at, Limit { points: 1, bytes: 1_000 }, &mut lines);
            all.extend_from_slice(&lines.text);
            rounds += 1;
        }
        let mut once = Lines::default();
        encoder.encode(&batch, 0, NO_LIMIT, &mut once);
        assert_eq!(all, once.text);
        assert_eq!(rounds, 3);
    }

    #[test]
    fn heads_are_bounded_and_forgotten_ones_are_made_again() {
        let mut texts = Texts::bounded(10);
        let mut out = Vec::new();
        for id in [0_u32, 1, 2, 3, 0, 3] {
            texts.push(id, &mut out, |made| made.extend_from_slice(format!("<{id}ab>").as_bytes()));
            assert!(texts.all.len() < 10 + 5);
        }
        assert_eq!(out, b"<0ab><1ab><2ab><3ab><0ab><3ab>");
    }
}
