//! How far a backtest has come, on the terminal it was typed in.

use std::collections::HashMap;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use tokio::time::Instant;

use crate::backtest::{self, Watch};
use crate::config::Config;
use crate::rules::Listener;
use crate::sample::Timestamp;

/// How often the line is written.
const INTERVAL: Duration = Duration::from_millis(100);

/// Characters of the bar.
const WIDTH: usize = 24;

/// Writes one line over and over, on a terminal alone.
pub(super) struct Progress {
    actions: HashMap<String, Listener>,
    from: Option<Timestamp>,
    to: Timestamp,
    started: Instant,
    written: Option<Instant>,
    is_shown: bool,
}

impl Progress {
    pub(super) fn new(config: Option<&Config>, from: Option<Timestamp>, to: Timestamp) -> Self {
        let actions = config.iter().flat_map(|config| &config.actions);
        Self {
            actions: actions.map(|one| (one.name.to_string(), (&one.value).into())).collect(),
            from,
            to,
            started: Instant::now(),
            written: None,
            is_shown: stderr().is_terminal(),
        }
    }

    /// It ends earlier.
    pub(super) fn ends(&mut self, end: Option<Timestamp>) {
        self.to = end.unwrap_or(self.to);
    }

    /// Leaves the terminal as it was.
    pub(super) fn clear(&mut self) {
        if self.written.take().is_some() {
            write("\r\x1b[K");
        }
    }
}

/// A terminal that has gone shows no progress, and that is all.
fn write(text: &str) {
    let mut terminal = stderr().lock();
    terminal.write_all(text.as_bytes()).and_then(|()| terminal.flush()).ok();
}

impl Watch for Progress {
    fn like(&self, action: &str) -> Listener {
        self.actions.get(action).copied().unwrap_or(Listener::that(false))
    }

    fn progress(&mut self, progress: &backtest::Progress) {
        let now = Instant::now();
        let is_due = self.written.is_none_or(|written| now - written >= INTERVAL);
        let Some((first, last)) = progress.span.filter(|_| self.is_shown && is_due) else { return };
        self.written = Some(now);
        let from = self.from.unwrap_or(first);
        let whole = self.to.since(from).as_secs_f64();
        let share = (last.since(from).as_secs_f64() / whole.max(1e-9)).min(1.0);
        let speed = progress.samples as f64 / (now - self.started).as_secs_f64().max(1e-9) / 1e6;
        let full = (share * WIDTH as f64) as usize;
        let (bar, rest) = ("█".repeat(full), "░".repeat(WIDTH - full));
        let date = last.to_string();
        let date = date.get(..16).unwrap_or(&date).replace('T', " ");
        let percent = share * 100.0;
        write(&format!("\r\x1b[K{percent:3.0} % {bar}{rest} {date}  {speed:.1} M samples/s"));
    }
}
