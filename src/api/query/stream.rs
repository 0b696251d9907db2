//! An answer written by a thread while it is sent: in pieces, so that a large one is never whole
//! in memory as text, and no faster than its reader reads.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::response::Response;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What is sent at once.
const PIECE_BYTES: usize = 64 << 10;

/// Pieces written ahead of the reader.
const PIECES_AHEAD_MAX: usize = 4;

/// How long a reader may take for a piece before the answer is given up.
const STALL_MAX: Duration = Duration::from_secs(30);

/// An answer below this is not worth compressing.
const GZIP_BYTES_MIN: usize = 4 << 10;

/// The writer's end. Nothing is sent before the first piece is full, or all is written.
pub(super) struct Writer {
    begin: Option<Begin>,
    pieces: Option<mpsc::Sender<Bytes>>,
    piece: Vec<u8>,
    encoder: Option<GzEncoder<Vec<u8>>>,
}

struct Begin {
    response: oneshot::Sender<Response>,
    accepts_gzip: bool,
}

/// A writer, and where the response will come from, whose body it writes. `None` comes from there
/// where the writer broke off.
pub(super) fn writer(accepts_gzip: bool) -> (Writer, oneshot::Receiver<Response>) {
    let (response, wait) = oneshot::channel();
    let begin = Some(Begin { response, accepts_gzip });
    (Writer { begin, pieces: None, piece: Vec::new(), encoder: None }, wait)
}

fn json(body: Body, is_gzip: bool) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if is_gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads the answer")
}

impl Writer {
    /// Answers with this instead; nothing may have been written.
    pub(super) fn answer(mut self, response: Response) {
        if let Some(begin) = self.begin.take() {
            // Who asked may have gone.
            drop(begin.response.send(response));
        }
    }

    /// Ends the answer.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(begin) = self.begin.take() {
            let is_gzip = begin.accepts_gzip && self.piece.len() >= GZIP_BYTES_MIN;
            let mut piece = std::mem::take(&mut self.piece);
            if is_gzip {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
                encoder.write_all(&piece)?;
                piece = encoder.finish()?;
            }
            return begin.response.send(json(piece.into(), is_gzip)).map_err(|_| gone());
        }
        if let Some(mut encoder) = self.encoder.take() {
            encoder.write_all(&self.piece)?;
            self.piece = encoder.finish()?;
        }
        self.send()
    }

    /// Begins the response: its body is what is written from here on.
    fn begin(&mut self) -> io::Result<()> {
        let Some(begin) = self.begin.take() else { return Ok(()) };
        let (sender, receiver) = mpsc::channel(PIECES_AHEAD_MAX);
        let next = |mut receiver: mpsc::Receiver<Bytes>| async {
            let piece = receiver.recv().await?;
            Some((Ok::<_, io::Error>(piece), receiver))
        };
        let body = Body::from_stream(stream::unfold(receiver, next));
        self.pieces = Some(sender);
        if begin.accepts_gzip {
            self.encoder = Some(GzEncoder::new(Vec::new(), Compression::fast()));
        }
        begin.response.send(json(body, begin.accepts_gzip)).map_err(|_| gone())
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(pieces) = &self.pieces else { return Ok(()) };
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece =
            Bytes::from(std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES)));
        match pieces.try_send(piece) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
            Err(mpsc::error::TrySendError::Full(piece)) => {
                let sent = Handle::current().block_on(timeout(STALL_MAX, pieces.send(piece)));
                sent.ok().and_then(Result::ok).ok_or_else(gone)
            }
        }
    }
}

impl Write for Writer {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(text);
        if self.piece.len() >= PIECE_BYTES {
            self.begin()?;
            if let Some(encoder) = &mut self.encoder {
                encoder.write_all(&self.piece)?;
                self.piece.clear();
                if encoder.get_ref().len() < PIECE_BYTES {
                    return Ok(text.len());
                }
                std::mem::swap(encoder.get_mut(), &mut self.piece);
            }
            self.send()?;
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
