//! What the journal counts.

use crate::metrics::{Counter, Gauge, Metrics};

/// Counters and gauges of the journal itself.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) written_samples: Counter,
    pub(super) written_bytes: Counter,
    pub(super) syncs: Counter,
    pub(super) errors: Counter,
    pub(super) unkept_samples: Counter,
    pub(super) corrupt_frames: Counter,
    pub(super) torn_bytes: Counter,
    pub(super) writable: Gauge,
    pub(super) segments: Gauge,
    pub(super) disk_bytes: Gauge,
    pub(super) memory_bytes: Gauge,
}

impl Meters {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.counter(name, help, &[]);
        let gauge = |name, help| metrics.gauge(name, help, &[]);
        Self {
            written_samples: counter(
                "watchpost_journal_written_samples_total",
                "Samples written to the journal.",
            ),
            written_bytes: counter(
                "watchpost_journal_written_bytes_total",
                "Bytes written to the journal.",
            ),
            syncs: counter("watchpost_journal_syncs_total", "Times the journal was put on disk."),
            errors: counter(
                "watchpost_journal_errors_total",
                "Times the journal could not be written.",
            ),
            unkept_samples: counter(
                "watchpost_journal_unkept_samples_total",
                "Samples that could not be written for so long that memory ran out.",
            ),
            corrupt_frames: counter(
                "watchpost_journal_corrupt_frames_total",
                "Damaged places found while the journal was read.",
            ),
            torn_bytes: counter(
                "watchpost_journal_torn_bytes_total",
                "Bytes cut off the end of the journal when it was opened.",
            ),
            writable: gauge(
                "watchpost_journal_writable",
                "Whether samples get into the journal, 1 or 0.",
            ),
            segments: gauge("watchpost_journal_segments", "Files of the journal."),
            disk_bytes: gauge("watchpost_journal_bytes", "What the journal takes on disk."),
            memory_bytes: gauge(
                "watchpost_journal_memory_bytes",
                "Memory of samples not yet written, or not yet read by those who keep up.",
            ),
        }
    }
}
