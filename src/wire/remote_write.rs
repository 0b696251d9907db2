//! Prometheus remote write 1.0 (prometheus.io/docs/specs/prw/remote_write_spec): a snappy block
//! around a protobuf message `prometheus.WriteRequest`.
//!
//! A request is read series by series, so that a message of many empty parts takes no more memory
//! than its largest series. Exemplars, histograms and metadata are passed over.

use std::iter::FusedIterator;

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

/// `prometheus.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct WriteRequest {
    /// The series.
    #[prost(message, repeated, tag = "1")]
    pub timeseries: Vec<TimeSeries>,
}

/// `prometheus.TimeSeries`.
#[derive(Clone, PartialEq, Message)]
pub struct TimeSeries {
    /// The labels, the name as `__name__` among them, sorted by name.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The samples, oldest first.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<Sample>,
}

/// `prometheus.Label`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Label {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Its value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// `prometheus.Sample`.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Sample {
    /// The value; the stale mark is a NaN of its own.
    #[prost(double, tag = "1")]
    pub value: f64,
    /// Milliseconds since the epoch.
    #[prost(int64, tag = "2")]
    pub timestamp: i64,
}

/// The largest series of a request: some fifty thousand samples. What is read of one takes at most
/// 24 times its bytes, if it is made of empty labels.
pub const SERIES_BYTES_MAX: usize = 1 << 20;

/// A request that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteRequestError {
    /// Not a snappy block.
    #[error("not a snappy block: {0}")]
    Snappy(#[from] snap::Error),
    /// A block that would grow beyond the bound.
    #[error("{0} bytes uncompressed, more than {1} are not taken")]
    Large(usize, usize),
    /// Not such a message.
    #[error("not a prometheus.WriteRequest: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A message cut off, or a series beyond [`SERIES_BYTES_MAX`].
    #[error("a time series of {0} bytes in a message with {1} bytes left")]
    Length(u64, usize),
}

/// Undoes the compression, up to `bytes_max`.
///
/// # Errors
/// Not a snappy block, or one that says it is larger.
pub fn uncompressed(body: &[u8], bytes_max: usize) -> Result<Vec<u8>, WriteRequestError> {
    let length = snap::raw::decompress_len(body)?;
    if length > bytes_max {
        return Err(WriteRequestError::Large(length, bytes_max));
    }
    Ok(snap::raw::Decoder::new().decompress_vec(body)?)
}

/// The series of an encoded `prometheus.WriteRequest`, one after the other; ends at the first error.
#[must_use]
pub fn time_series(message: &[u8]) -> AllSeries<'_> {
    AllSeries { rest: message }
}

/// See [`time_series`].
#[derive(Debug, Clone)]
pub struct AllSeries<'a> {
    rest: &'a [u8],
}

impl Iterator for AllSeries<'_> {
    type Item = Result<TimeSeries, WriteRequestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.read().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.rest = &[];
        }
        item
    }
}

impl FusedIterator for AllSeries<'_> {}

impl AllSeries<'_> {
    fn read(&mut self) -> Result<Option<TimeSeries>, WriteRequestError> {
        while !self.rest.is_empty() {
            let (tag, wire_type) = decode_key(&mut self.rest)?;
            if (tag, wire_type) != (1, WireType::LengthDelimited) {
                skip_field(wire_type, tag, &mut self.rest, DecodeContext::default())?;
                continue;
            }
            let length = decode_varint(&mut self.rest)?;
            let series = usize::try_from(length).ok().filter(|length| *length <= SERIES_BYTES_MAX);
            let Some((series, after)) = series.and_then(|at| self.rest.split_at_checked(at)) else {
                return Err(WriteRequestError::Length(length, self.rest.len()));
            };
            self.rest = after;
            return Ok(Some(TimeSeries::decode(series)?));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(labels: &[(String, String)], samples: &[(u64, i64)]) -> TimeSeries {
        let label =
            |(name, value): &(String, String)| Label { name: name.clone(), value: value.clone() };
        let sample = |(bits, timestamp): &(u64, i64)| Sample {
            value: f64::from_bits(*bits),
            timestamp: *timestamp,
        };
        TimeSeries {
            labels: labels.iter().map(label).collect(),
            samples: samples.iter().map(sample).collect(),
        }
    }

    #[test]
    fn what_is_no_request_is_an_error_and_the_end() {
        for (bytes, said) in [
            (&[0x0a, 0x05, 0x0a][..], "a time series of 5 bytes in a message with 1 bytes left"),
            (&[0x0a, 0xff, 0xff, 0xff, 0x7f], "a time series of 268435455 bytes"),
            (&[0x0a], "not a prometheus.WriteRequest"),
            (&[0x0a, 0x02, 0x0a, 0x05], "not a prometheus.WriteRequest"),
            (&[0x0f], "not a prometheus.WriteRequest"),
        ] {
            let mut all = time_series(bytes);
            let error = all.next().unwrap().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
            assert_eq!(all.next(), None);
        }
        assert_eq!(time_series(&[]).next(), None);
        // Metadata, and a field nobody knows.
        assert_eq!(time_series(&[0x1a, 0x01, 0x00, 0x20, 0x07]).next(), None);
    }

    #[test]
    fn a_block_is_not_grown_beyond_the_bound() {
        let block = snap::raw::Encoder::new().compress_vec(&[0; 1_000]).unwrap();
        assert_eq!(uncompressed(&block, 1_000).unwrap().len(), 1_000);
        assert_eq!(uncompressed(&block, 999), Err(WriteRequestError::Large(1_000, 999)));
        let claims = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(matches!(uncompressed(&claims, 1_000), Err(WriteRequestError::Large(..))));
        assert!(matches!(uncompressed(&[], 1_000), Err(WriteRequestError::Snappy(_))));
    }

    proptest! {
        #[test]
        fn a_request_reads_back_to_the_bit(
            all in proptest::collection::vec(
                (
                    proptest::collection::vec((".{0,6}", ".{0,6}"), 0..4),
                    proptest::collection::vec((any::<u64>(), any::<i64>()), 0..4),
                ),
                0..5,
            ),
        ) {
            let timeseries: Vec<_> = all.iter().map(|(l, s)| series(l, s)).collect();
            let message = WriteRequest { timeseries: timeseries.clone() }.encode_to_vec();
            let block = snap::raw::Encoder::new().compress_vec(&message).unwrap();
            let message = uncompressed(&block, 1 << 20).unwrap();
            let read: Result<Vec<_>, _> = time_series(&message).collect();
            let bits = |all: &[TimeSeries]| -> Vec<_> {
                let samples = all.iter().map(|one| one.samples.iter());
                samples.map(|s| s.map(|s| (s.value.to_bits(), s.timestamp)).collect::<Vec<_>>()).collect()
            };
            let read = read.unwrap();
            prop_assert_eq!(bits(&read), bits(&timeseries));
            let labels = |all: &[TimeSeries]| -> Vec<_> {
                all.iter().map(|one| one.labels.clone()).collect()
            };
            prop_assert_eq!(labels(&read), labels(&timeseries));
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(time_series(&bytes).count() <= bytes.len() + 1);
            drop(uncompressed(&bytes, 1 << 16));
        }
    }
}
