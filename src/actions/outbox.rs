//! Notices that are not delivered yet, kept over a crash or a restart in `state_dir/outbox.json`.
//!
//! The file says what waits and what is under way, as it stood a moment ago: one task writes it anew
//! when that has changed, and nobody waits for it. What was under way when the daemon ended is tried
//! again. People are told late rather than never; what acts on the world does not act on what is
//! older than [`ACT_AGE_MAX`].

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, info, warn};

use super::Notice;
use super::board::ActionBoard;
use super::queue::NOTICES_WAITING_MAX;
use crate::config::read_bounded;

/// A valve must not be closed an hour late.
pub(super) const ACT_AGE_MAX: Duration = Duration::from_secs(60);

/// The most that is read: the queues of sixteen actions, all full.
const FILE_BYTES_MAX: u64 = 16 * NOTICES_WAITING_MAX as u64 * 1_024;

/// Between a write that failed and the next: a full disk does not empty at once.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// A notice that waits for an action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub(super) action: Arc<str>,
    /// See [`Pending`](super::queue::Pending).
    pub(super) implied: bool,
    pub(super) notice: Arc<Notice>,
}

/// The file.
#[derive(Debug, Clone)]
pub(super) struct Outbox {
    path: PathBuf,
}

impl Outbox {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("outbox.json") }
    }

    /// What was not delivered before. A file that cannot be read is told and left out.
    pub(super) fn read(&self) -> Vec<Kept> {
        let path = self.path.display();
        let bytes = match read_bounded(&self.path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                error!(%path, %error, "cannot read the notices that wait from before");
                return Vec::new();
            }
        };
        serde_json::from_slice(&bytes).unwrap_or_else(|error| {
            error!(%path, %error, "the notices that wait from before are not understood");
            Vec::new()
        })
    }

    /// Replaces the file whole, and has it on disk.
    pub(super) fn write(&self, kept: &[Kept]) -> io::Result<()> {
        let new = self.path.with_extension("json.new");
        let mut file = std::fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_data()?;
        std::fs::rename(&new, &self.path)
    }

    /// Writes what the actions have whenever that has changed; for ever.
    pub(super) async fn keep(self, board: ActionBoard, changed: Arc<Notify>) {
        let mut failing = false;
        let mut before = Vec::new();
        loop {
            changed.notified().await;
            let kept = board.undone();
            // Most are delivered before they are seen here.
            if kept == before {
                continue;
            }
            let outbox = self.clone();
            let written = tokio::task::spawn_blocking(move || {
                let result = outbox.write(&kept);
                (kept, result)
            });
            let Ok((kept, result)) = written.await else { return };
            match result {
                Ok(()) => {
                    before = kept;
                    if std::mem::replace(&mut failing, false) {
                        info!("notices that wait are kept again");
                    }
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        let path = self.path.display();
                        warn!(%path, %error, "cannot keep the notices that wait; tried again");
                    }
                    sleep(RETRY_INTERVAL).await;
                    changed.notify_one();
                }
            }
        }
    }
}
