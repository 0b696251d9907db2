//! An open port: one task that moves bytes between it and two bounded queues, and nothing else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_serial::SerialStream;

use super::{FlowControl, Parity, Port};
use crate::actions::Rejected;
use crate::pollers::{PollError, Reason};

/// Chunks of input that may wait to be read, each of at most [`CHUNK_BYTES_MAX`]: 256 KiB, twenty
/// seconds of a port at 115,200 baud. At the bound the port is not read, and the kernel drops.
const CHUNKS_MAX: usize = 64;

/// Most bytes read at once: what the kernel's tty buffer holds.
const CHUNK_BYTES_MAX: usize = 4_096;

/// Writes that may wait for the port. More means that the device does not take them: refused.
const WRITES_MAX: usize = 16;

/// A write the device does not take within this time has failed: flow control, or a dead device.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes, as they came.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// Of the first chunk only: how long after opening it came.
    pub(super) first_after: Option<Duration>,
}

/// A write, and where its outcome is awaited.
type Write = (Vec<u8>, oneshot::Sender<io::Result<()>>);

/// The way to write to an open port; it is gone when the port is.
#[derive(Debug)]
pub struct Link {
    writes: mpsc::Sender<Write>,
}

impl Link {
    /// Writes all of it; what is written together arrives together.
    ///
    /// # Errors
    /// The port is closing, is not taking writes, or has too many before this one.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), Rejected> {
        let (done, outcome) = oneshot::channel();
        self.writes.try_send((bytes, done)).map_err(|error| {
            Rejected::temporary(match error {
                mpsc::error::TrySendError::Full(_) => "the serial port has too many writes waiting",
                mpsc::error::TrySendError::Closed(_) => "the serial port is closed",
            })
        })?;
        match outcome.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Rejected::temporary(format!("serial write: {error}"))),
            Err(_) => Err(Rejected::temporary("the serial port was closed before the write was done")),
        }
    }
}

/// An open port.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) chunks: mpsc::Receiver<Chunk>,
    link: Arc<Link>,
    /// The one task; ends with what went wrong.
    task: JoinSet<io::Error>,
}

impl Open {
    /// Opens the device.
    pub(super) fn new(port: &Port) -> Result<Self, PollError> {
        let stream = open(port).map_err(|error| open_error(&port.device, &error))?;
        let (reader, writer) = tokio::io::split(stream);
        let (chunks_in, chunks) = mpsc::channel(CHUNKS_MAX);
        let (writes, writes_out) = mpsc::channel(WRITES_MAX);
        let mut task = JoinSet::new();
        task.spawn(async move {
            tokio::select! {
                error = read(reader, chunks_in) => error,
                error = write(writer, writes_out) => error,
            }
        });
        Ok(Self { chunks, link: Arc::new(Link { writes }), task })
    }

    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Why there are no more chunks.
    pub(super) async fn failure(&mut self, device: &str) -> PollError {
        match self.task.join_next().await {
            Some(Ok(error)) => PollError::new(Reason::Unreachable, format!("{device}: {error}")),
            _ => PollError::new(Reason::Bug, format!("{device}: the task of the port panicked")),
        }
    }
}

async fn read(mut port: ReadHalf<SerialStream>, chunks: mpsc::Sender<Chunk>) -> io::Error {
    let opened = Instant::now();
    let mut is_first = true;
    let mut buffer = vec![0; CHUNK_BYTES_MAX];
    loop {
        match port.read(&mut buffer).await {
            // What a hung-up tty returns for ever: the device has been unplugged.
            Ok(0) => return io::Error::new(io::ErrorKind::NotConnected, "the device is gone"),
            Ok(n) => {
                let first_after = is_first.then(|| opened.elapsed());
                is_first = false;
                let chunk = Chunk { bytes: buffer[..n].to_vec(), first_after };
                if chunks.send(chunk).await.is_err() {
                    return io::Error::other("nobody reads the port any more");
                }
            }
            Err(error) => return error,
        }
    }
}

async fn write(mut port: WriteHalf<SerialStream>, mut writes: mpsc::Receiver<Write>) -> io::Error {
    while let Some((bytes, done)) = writes.recv().await {
        let outcome = match timeout(WRITE_TIMEOUT, port.write_all(&bytes)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the device takes nothing")),
        };
        // Who asked may have given up waiting.
        drop(done.send(outcome));
    }
    std::future::pending().await
}

fn open(port: &Port) -> tokio_serial::Result<SerialStream> {
    let mut builder = tokio_serial::new(&port.device, port.baud)
        .data_bits(match port.data_bits {
            5 => tokio_serial::DataBits::Five,
            6 => tokio_serial::DataBits::Six,
            7 => tokio_serial::DataBits::Seven,
            _ => tokio_serial::DataBits::Eight,
        })
        .parity(match port.parity {
            Parity::None => tokio_serial::Parity::None,
            Parity::Odd => tokio_serial::Parity::Odd,
            Parity::Even => tokio_serial::Parity::Even,
        })
        .stop_bits(match port.stop_bits {
            1 => tokio_serial::StopBits::One,
            _ => tokio_serial::StopBits::Two,
        })
        .flow_control(match port.flow_control {
            FlowControl::None => tokio_serial::FlowControl::None,
            FlowControl::Software => tokio_serial::FlowControl::Software,
            FlowControl::Hardware => tokio_serial::FlowControl::Hardware,
        });
    if let Some(dtr) = port.dtr_on_open {
        builder = builder.dtr_on_open(dtr);
    }
    SerialStream::open(&builder)
}

fn open_error(device: &str, error: &tokio_serial::Error) -> PollError {
    use tokio_serial::ErrorKind as Kind;
    let reason = match error.kind {
        // The crate calls a lock somebody else holds "no device".
        Kind::NoDevice if error.description.contains("lock") => Reason::Refused,
        Kind::Io(io::ErrorKind::PermissionDenied) => Reason::Auth,
        Kind::Io(io::ErrorKind::ResourceBusy) => Reason::Refused,
        _ => Reason::Unreachable,
    };
    PollError::new(reason, format!("opening {device}: {error}"))
}
