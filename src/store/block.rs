//! A block: some rows of one group of series, a shared column of times and a column a series.
//!
//! It begins with its head (the length of each column, the times) so that one column can be read
//! without the others. Head and columns each carry their CRC32C.

pub(super) mod column;

use std::ops::Range;

use super::bytes::{Corrupt, Reader, put_varint};
pub(super) use column::{ABSENT, Encoder, is_absent};

/// Rows a block should have: below a hundred pco loses its edge, above a thousand little is
/// gained, and a query decodes more than it needs.
pub(super) const BLOCK_ROWS: usize = 500;

/// Rows a block may have; a block that claims more is damaged.
pub(super) const BLOCK_ROWS_MAX: usize = 2 * BLOCK_ROWS;

/// Columns a block may have. It bounds what sealing and merging hold at once (8 MB), and a group
/// of series is split there.
pub(super) const COLUMNS_MAX: usize = 1_024;

const CRC_BYTES: usize = 4;

/// The head of a block, decoded.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Head {
    /// When each row was read, in milliseconds.
    pub(super) times: Vec<i64>,
    /// Where each column ends, counted from the end of the head.
    ends: Vec<u32>,
}

impl Head {
    /// Where a column is, counted from the end of the head; with its checksum.
    pub(super) fn column(&self, column: usize) -> Result<Range<usize>, Corrupt> {
        let end = *self.ends.get(column).ok_or(Corrupt("a column that is not there"))?;
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before]);
        Ok(start as usize..end as usize)
    }
}

/// Appends a block of these times; `column` fills in the values of the column asked for. Returns
/// the length of the head.
pub(super) fn encode(
    times: &[i64],
    columns: usize,
    encoder: &mut Encoder,
    mut column: impl FnMut(usize, &mut Vec<f64>),
    out: &mut Vec<u8>,
) -> usize {
    let mut values = Vec::with_capacity(times.len());
    let mut body = Vec::new();
    let mut lengths = Vec::with_capacity(columns * 2);
    for at in 0..columns {
        values.clear();
        column(at, &mut values);
        debug_assert_eq!(values.len(), times.len(), "a column has a value a row");
        let start = body.len();
        encoder.values(&values, &mut body);
        sign(&mut body, start);
        put_varint(&mut lengths, (body.len() - start) as u64);
    }
    let start = out.len();
    out.extend_from_slice(&lengths);
    column::encode_times(times, out);
    sign(out, start);
    let head = out.len() - start;
    out.extend_from_slice(&body);
    head
}

/// Reads the head of a block of so many rows and columns.
///
/// # Errors
/// A wrong checksum, or what [`encode`] does not write.
pub(super) fn decode_head(bytes: &[u8], rows: usize, columns: usize) -> Result<Head, Corrupt> {
    if rows > BLOCK_ROWS_MAX || columns > COLUMNS_MAX {
        return Err(Corrupt("a block is too large"));
    }
    let mut reader = Reader::new(checked(bytes)?);
    let mut head = Head { times: Vec::new(), ends: Vec::with_capacity(columns) };
    let mut end = 0u32;
    for _ in 0..columns {
        end = end.checked_add(reader.index()?).ok_or(Corrupt("a column is too long"))?;
        head.ends.push(end);
    }
    column::decode_times(reader.rest(), rows, &mut head.times)?;
    if !head.times.is_sorted_by(|a, b| a < b) {
        return Err(Corrupt("times go backwards"));
    }
    Ok(head)
}

/// Reads the values of one column, given its bytes.
///
/// # Errors
/// A wrong checksum, or what [`encode`] does not write.
pub(super) fn decode_column(bytes: &[u8], rows: usize, out: &mut Vec<f64>) -> Result<(), Corrupt> {
    column::decode_values(checked(bytes)?, rows, out)
}

/// Appends the checksum of what was appended from `start` on.
pub(super) fn sign(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// What is signed, without its checksum.
///
/// # Errors
/// A checksum that does not fit.
pub(super) fn checked(bytes: &[u8]) -> Result<&[u8], Corrupt> {
    let at = bytes.len().checked_sub(CRC_BYTES).ok_or(Corrupt("it ends too early"))?;
    let (body, crc) = bytes.split_at(at);
    if crc32c::crc32c(body).to_le_bytes() == *crc {
        Ok(body)
    } else {
        Err(Corrupt("wrong checksum"))
    }
}

/// Cuts rows into blocks of about [`BLOCK_ROWS`], all alike.
pub(super) fn cuts(rows: usize) -> impl Iterator<Item = Range<usize>> {
    let blocks = rows.div_ceil(BLOCK_ROWS);
    (0..blocks).map(move |n| rows * n / blocks..rows * (n + 1) / blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(rows: usize, columns: usize) -> (Vec<u8>, usize) {
        let times: Vec<i64> = (0..rows as i64).map(|n| 1_000 * n).collect();
        let mut bytes = Vec::new();
        let fill = |c: usize, out: &mut Vec<f64>| out.extend((0..rows).map(|r| (r * c) as f64));
        let head = encode(&times, columns, &mut Encoder::default(), fill, &mut bytes);
        (bytes, head)
    }

    #[test]
    fn a_column_is_read_without_the_others() {
        let (bytes, head_len) = block(300, 20);
        let head = decode_head(&bytes[..head_len], 300, 20).unwrap();
        assert_eq!(head.times[299], 299_000);
        let at = head.column(7).unwrap();
        let mut values = Vec::new();
        decode_column(&bytes[head_len..][at], 300, &mut values).unwrap();
        assert_eq!(values[10], 70.0);
        assert!(head.column(20).is_err());
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let (bytes, head_len) = block(10, 2);
        let read = |bytes: &[u8]| -> Result<Vec<f64>, Corrupt> {
            let head = decode_head(&bytes[..head_len], 10, 2)?;
            let (mut all, mut values) = (Vec::new(), Vec::new());
            for column in 0..2 {
                let range = head.column(column)?;
                let bytes = bytes[head_len..].get(range).ok_or(Corrupt("short"))?;
                decode_column(bytes, 10, &mut values)?;
                all.append(&mut values);
            }
            Ok(all)
        };
        assert!(read(&bytes).is_ok());
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn rows_are_cut_evenly() {
        assert_eq!(cuts(0).count(), 0);
        assert_eq!(cuts(500).map(|cut| cut.len()).collect::<Vec<_>>(), [500]);
        assert_eq!(cuts(720).collect::<Vec<_>>(), [0..360, 360..720]);
    }
}
