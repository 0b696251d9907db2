//! One column as bytes: pco where it pays, and what pco cannot be shown beside it.
//!
//! A single odd bit pattern among numbers costs pco most of what it saves, so stale marks and
//! absent values are kept as runs of states, and only the values between them are compressed.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};

use crate::sample::{STALE, is_stale};
use crate::store::bytes::{Corrupt, Reader, put_varint};

/// Stands in a column for a series its row does not have. Never stored by this bit pattern, and
/// never given to anyone.
pub(in crate::store) const ABSENT: f64 = f64::from_bits(ABSENT_BITS);

const ABSENT_BITS: u64 = 0x7ff0_0000_0000_0003;

/// Whether a value is the [mark of absence](ABSENT).
#[inline]
pub(in crate::store) fn is_absent(value: f64) -> bool {
    value.to_bits() == ABSENT_BITS
}

/// Higher levels gain no size on measured series and cost three times the time.
const PCO_LEVEL: usize = 4;

// How the values of a column are written.
const SAME: u8 = 0;
const PCO: u8 = 1;
const PLAIN: u8 = 2;
const NONE: u8 = 3;
/// Added to the above: runs of states come first.
const RUNS: u8 = 0x10;

/// What stands at a place of a column, as runs have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    Value = 0,
    Absent = 1,
    Stale = 2,
}

fn mark(value: f64) -> Mark {
    if is_absent(value) {
        Mark::Absent
    } else if is_stale(value) {
        Mark::Stale
    } else {
        Mark::Value
    }
}

/// Encodes columns, keeping its buffers from one to the next.
#[derive(Debug, Default)]
pub(in crate::store) struct Encoder {
    present: Vec<f64>,
    runs: Vec<(Mark, usize)>,
}

impl Encoder {
    /// Appends a column of values.
    pub(in crate::store) fn values(&mut self, column: &[f64], out: &mut Vec<u8>) {
        self.runs.clear();
        self.present.clear();
        for value in column {
            let mark = mark(*value);
            match self.runs.last_mut() {
                Some((same, len)) if *same == mark => *len += 1,
                _ => self.runs.push((mark, 1)),
            }
            if mark == Mark::Value {
                self.present.push(*value);
            }
        }
        let kind = out.len();
        out.push(0);
        if self.present.len() < column.len() {
            out[kind] = RUNS;
            put_varint(out, self.runs.len() as u64);
            self.runs.iter().for_each(|(mark, len)| {
                put_varint(out, (*len as u64) << 2 | *mark as u64);
            });
        }
        out[kind] |= match &*self.present {
            [] => NONE,
            [first, rest @ ..] if rest.iter().all(|v| v.to_bits() == first.to_bits()) => {
                out.extend_from_slice(&first.to_le_bytes());
                SAME
            }
            present => numbers(present, |v| v.to_le_bytes(), out),
        };
    }
}

/// Appends a column of times.
pub(in crate::store) fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let kind = out.len();
    out.push(0);
    out[kind] = numbers(times, |t| t.to_le_bytes(), out);
}

fn numbers<T: Number>(numbers: &[T], bytes: fn(T) -> [u8; 8], out: &mut Vec<u8>) -> u8 {
    let start = out.len();
    if compress(numbers, out).is_ok() && out.len() - start < numbers.len() * 8 {
        return PCO;
    }
    out.truncate(start);
    numbers.iter().for_each(|n| out.extend_from_slice(&bytes(*n)));
    PLAIN
}

fn compress<T: Number>(numbers: &[T], out: &mut Vec<u8>) -> pco::errors::PcoResult<()> {
    let config = ChunkConfig::default().with_compression_level(PCO_LEVEL);
    let file = FileCompressor::default();
    let mut chunk = file.chunk_compressor(numbers, &config)?;
    file.write_header(&mut *out)?;
    chunk.write_meta(&mut *out)?;
    chunk.write_page(0, &mut *out)?;
    Ok(())
}

/// Decodes a column of `rows` values over what `out` holds.
///
/// # Errors
/// Bytes no [`Encoder`] writes.
pub(in crate::store) fn decode_values(
    bytes: &[u8],
    rows: usize,
    out: &mut Vec<f64>,
) -> Result<(), Corrupt> {
    let mut reader = Reader::new(bytes);
    let [kind] = reader.array()?;
    let runs = if kind & RUNS == 0 { Vec::new() } else { decode_runs(&mut reader, rows)? };
    let present = if runs.is_empty() {
        rows
    } else {
        runs.iter().filter(|(mark, _)| *mark == Mark::Value).map(|(_, len)| len).sum()
    };
    out.clear();
    match kind & !RUNS {
        NONE if present == 0 => {}
        SAME => out.resize(present, f64::from_le_bytes(reader.array()?)),
        PCO => {
            out.resize(present, 0.0);
            decompress(reader.rest(), out)?;
        }
        PLAIN => plain(reader, present, f64::from_le_bytes, out)?,
        _ => return Err(Corrupt("a column of an unknown kind")),
    }
    spread(&runs, rows, out);
    Ok(())
}

fn decode_runs(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<(Mark, usize)>, Corrupt> {
    let count = reader.count()?;
    let mut runs = Vec::with_capacity(count);
    let mut total = 0usize;
    for _ in 0..count {
        let run = reader.varint()?;
        let mark = match run & 3 {
            0 => Mark::Value,
            1 => Mark::Absent,
            2 => Mark::Stale,
            _ => return Err(Corrupt("a state that is none")),
        };
        let len = usize::try_from(run >> 2).map_err(|_| Corrupt("a run is too long"))?;
        total = total.checked_add(len).ok_or(Corrupt("a run is too long"))?;
        runs.push((mark, len));
    }
    if total == rows && count > 0 { Ok(runs) } else { Err(Corrupt("runs do not fill the rows")) }
}

/// Moves the values to their places, from the back, and puts the marks between them.
fn spread(runs: &[(Mark, usize)], rows: usize, values: &mut Vec<f64>) {
    if runs.is_empty() {
        return;
    }
    let mut from = values.len();
    values.resize(rows, ABSENT);
    let mut to = rows;
    for (mark, len) in runs.iter().rev() {
        match mark {
            Mark::Value => values.copy_within(from - len..from, to - len),
            Mark::Absent => values[to - len..to].fill(ABSENT),
            Mark::Stale => values[to - len..to].fill(STALE),
        }
        if *mark == Mark::Value {
            from -= len;
        }
        to -= len;
    }
}

/// Decodes a column of `rows` times over what `out` holds.
///
/// # Errors
/// Bytes [`encode_times`] does not write.
pub(in crate::store) fn decode_times(
    bytes: &[u8],
    rows: usize,
    out: &mut Vec<i64>,
) -> Result<(), Corrupt> {
    let mut reader = Reader::new(bytes);
    out.clear();
    match reader.array()? {
        [PCO] => {
            out.resize(rows, 0);
            decompress(reader.rest(), out)
        }
        [PLAIN] => plain(reader, rows, i64::from_le_bytes, out),
        _ => Err(Corrupt("a column of an unknown kind")),
    }
}

fn plain<T>(
    mut reader: Reader<'_>,
    rows: usize,
    number: fn([u8; 8]) -> T,
    out: &mut Vec<T>,
) -> Result<(), Corrupt> {
    for _ in 0..rows {
        out.push(number(reader.array()?));
    }
    Ok(())
}

fn decompress<T: Number>(bytes: &[u8], out: &mut [T]) -> Result<(), Corrupt> {
    let wrong = |_| Corrupt("a column does not decompress");
    if out.is_empty() {
        return Ok(());
    }
    let (file, rest) = FileDecompressor::new(bytes).map_err(wrong)?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).map_err(wrong)?;
    let mut page = chunk.page_decompressor(rest, out.len()).map_err(wrong)?;
    let progress = page.read(out).map_err(wrong)?;
    if progress.n_processed == out.len() { Ok(()) } else { Err(Corrupt("a column is too short")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            6 => (0..1000i32).prop_map(|n| f64::from(n) / 10.0),
            2 => any::<f64>(),
            1 => Just(STALE),
            1 => Just(ABSENT),
            1 => Just(f64::INFINITY),
        ]
    }

    #[test]
    fn a_constant_takes_nine_bytes() {
        let mut bytes = Vec::new();
        Encoder::default().values(&[1.0; 500], &mut bytes);
        assert_eq!(bytes.len(), 9);
    }

    #[test]
    fn a_mark_among_numbers_costs_few_bytes() {
        let mut column: Vec<f64> = (0..500).map(|n| f64::from(n % 37) / 10.0).collect();
        let mut bytes = Vec::new();
        Encoder::default().values(&column, &mut bytes);
        let without = bytes.len();
        column[250] = STALE;
        bytes.clear();
        Encoder::default().values(&column, &mut bytes);
        assert!(bytes.len() < without + 24, "{} after {without}", bytes.len());
    }

    proptest! {
        #[test]
        fn values_come_back_bit_by_bit(column in vec(value(), 1..600)) {
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            Encoder::default().values(&column, &mut bytes);
            decode_values(&bytes, column.len(), &mut back).unwrap();
            prop_assert_eq!(bits(&back), bits(&column));
        }

        #[test]
        fn times_come_back(times in vec(any::<i64>(), 1..600)) {
            let (mut bytes, mut back) = (Vec::new(), Vec::new());
            encode_times(&times, &mut bytes);
            decode_times(&bytes, times.len(), &mut back).unwrap();
            prop_assert_eq!(back, times);
        }

        #[test]
        fn a_column_with_other_bytes_is_refused_or_read_but_never_panics(
            column in vec(value(), 1..600),
            changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let times: Vec<i64> = (0..column.len() as i64).map(|n| n * 10_000 + n % 7).collect();
            let (mut values, mut bytes) = (Vec::new(), [Vec::new(), Vec::new()]);
            Encoder::default().values(&column, &mut bytes[0]);
            encode_times(&times, &mut bytes[1]);
            let mut found = Vec::new();
            for bytes in &mut bytes {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                for bytes in [&bytes[..], &bytes[..cut.index(bytes.len())]] {
                    let _refused = decode_values(bytes, column.len(), &mut values);
                    let _refused = decode_times(bytes, column.len(), &mut found);
                    prop_assert!(values.len() <= column.len() && found.len() <= column.len());
                }
            }
        }

        #[test]
        fn noise_is_refused_or_read_but_never_panics(bytes in vec(any::<u8>(), 0..300), rows in 0..600usize) {
            let (mut values, mut times) = (Vec::new(), Vec::new());
            let _refused = decode_values(&bytes, rows, &mut values);
            let _refused = decode_times(&bytes, rows, &mut times);
            prop_assert!(values.len() <= rows && times.len() <= rows);
        }
    }
}
