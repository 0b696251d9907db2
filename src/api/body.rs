//! The bodies of requests, within bounds: read, and uncompressed.

use std::io::Read;

use axum::body::Body;
use axum::http::header::CONTENT_ENCODING;
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::wire::remote_write;

/// A body that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// More than the bound, as sent or uncompressed.
    #[error("the body is larger than {0} bytes")]
    Large(usize),
    /// The connection broke.
    #[error("the body did not arrive whole")]
    Broken,
    /// Not compressed as it says.
    #[error("the body is not {0}")]
    Compression(String),
    /// Compressed in a way that is not known.
    #[error("a body compressed by {0:?} is not understood; send gzip, or nothing")]
    Unknown(String),
}

impl BodyError {
    /// What it is answered with.
    pub(super) const fn status(&self) -> StatusCode {
        match self {
            Self::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Broken | Self::Compression(_) => StatusCode::BAD_REQUEST,
            Self::Unknown(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
    }
}

/// Reads a body of at most `bytes_max` bytes, as sent and uncompressed. Uncompressing takes tens
/// of milliseconds, so it is done on a thread of its own.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    bytes_max: usize,
) -> Result<Bytes, BodyError> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], |value| value.as_bytes());
    let encoding = String::from_utf8_lossy(encoding).trim().to_ascii_lowercase();
    let undo: fn(&[u8], usize) -> Result<Vec<u8>, BodyError> = match encoding.as_str() {
        "" | "identity" => return collect(body, bytes_max).await,
        "gzip" => gunzipped,
        "snappy" => unsnapped,
        _ => return Err(BodyError::Unknown(encoding)),
    };
    let sent = collect(body, bytes_max).await?;
    let done = tokio::task::spawn_blocking(move || undo(&sent, bytes_max)).await;
    done.map_err(|_| BodyError::Broken)?.map(Bytes::from)
}

async fn collect(body: Body, bytes_max: usize) -> Result<Bytes, BodyError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::Large(bytes_max)),
        Err(_) => Err(BodyError::Broken),
    }
}

fn gunzipped(sent: &[u8], bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(sent).take(bytes_max as u64 + 1).read_to_end(&mut plain);
    match read {
        Ok(length) if length > bytes_max => Err(BodyError::Large(bytes_max)),
        Ok(_) => Ok(plain),
        Err(error) => Err(BodyError::Compression(format!("gzip: {error}"))),
    }
}

fn unsnapped(sent: &[u8], bytes_max: usize) -> Result<Vec<u8>, BodyError> {
    remote_write::uncompressed(sent, bytes_max).map_err(|error| match error {
        remote_write::WriteRequestError::Large(..) => BodyError::Large(bytes_max),
        error => BodyError::Compression(error.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    async fn read_as(encoding: &'static str, sent: Vec<u8>) -> Result<Bytes, BodyError> {
        let headers = [(CONTENT_ENCODING, encoding.parse().unwrap())].into_iter().collect();
        read(&headers, Body::from(sent), 1_000).await
    }

    #[tokio::test]
    async fn bodies_are_uncompressed_within_the_bound() {
        assert_eq!(read_as("", b"plain".to_vec()).await.unwrap(), "plain");
        assert_eq!(read_as("gzip", gzip(b"packed")).await.unwrap(), "packed");
        let two = [gzip(b"a"), gzip(b"b")].concat();
        assert_eq!(read_as("GZIP", two).await.unwrap(), "ab");
        assert_eq!(read_as("gzip", gzip(&[7; 1_000])).await.unwrap().len(), 1_000);
        for (encoding, sent, status) in [
            ("", vec![0; 1_001], 413),
            ("gzip", gzip(&[0; 1_000_000]), 413),
            ("gzip", b"no".to_vec(), 400),
            ("snappy", b"".to_vec(), 400),
            ("snappy", vec![0xff, 0xff, 0xff, 0x7f], 413),
            ("zstd", b"x".to_vec(), 415),
        ] {
            let error = read_as(encoding, sent).await.unwrap_err();
            assert_eq!(error.status().as_u16(), status, "{encoding} {error}");
        }
    }
}
