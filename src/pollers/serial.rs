//! `[serial.NAME]`: a device that prints lines on a serial port.
//!
//! The poller is the port's only owner: `serial` actions write through it. It refuses to spin on an
//! unplugged device, to take half a line for a value, and to flush (tcdrain blocks the thread).

mod link;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub use link::Link;

use crate::config::read::{FromTable, FromToml, Key, Table};
use crate::config::{ByteSize, Located, Target};
use crate::pollers::format::{Payload, Plan, Reject, Rejects, TagText};
use crate::pollers::{Cadence, Kind, PollError, Poller, Reason, Shared};
use crate::sample::Readings;
use crate::wire::lines::{Lines, Piece};

/// So many wrong lines in a row, with no good one between, are a failed poll: the speed is wrong,
/// or the device is not what it is taken for.
const WRONG_LINES_MAX: u32 = 8;

/// A line that begins this long after opening, when nothing came before, is a whole one: within a
/// line bytes follow each other at once.
const PAUSE: Duration = Duration::from_millis(200);

crate::choice! {
    /// The check bit after each byte.
    pub enum Parity { None = "none", Odd = "odd", Even = "even" }
}

crate::choice! {
    /// How either side says wait.
    pub enum FlowControl { None = "none", Software = "software", Hardware = "hardware" }
}

crate::config! {
    /// The port of a serial device.
    pub struct Port {
        /// The device, best by its lasting name below `/dev/serial/by-id/`.
        pub device: String,
        /// Bits a second.
        pub baud: u32 = 9_600,
        /// Bits a byte: 5 to 8.
        pub data_bits: u8 = 8,
        /// The check bit: `none`, `odd` or `even`.
        pub parity: Parity = Parity::None,
        /// Stop bits: 1 or 2.
        pub stop_bits: u8 = 1,
        /// `none`, `software` (XON/XOFF) or `hardware` (RTS/CTS).
        pub flow_control: FlowControl = FlowControl::None,
        /// The state of the DTR line once open; many Arduinos restart when it is raised. Left to
        /// the system where it is not written.
        pub dtr_on_open: Option<bool>,
        /// Silence longer than this is a failed poll; not judged where it is not written.
        pub quiet: Option<Duration>,
        /// Bytes a line may have; longer ones are skipped and counted.
        pub max_line: ByteSize = ByteSize(4_096),
        /// The character that ends a line.
        pub delimiter: String = "\n".to_owned(),
    }
    check(port, table) {
        if port.device.is_empty() {
            table.error("device", "a device needs a path, such as /dev/ttyUSB0");
        }
        if port.baud == 0 {
            table.error("baud", "must be at least 1");
        }
        if !(5..=8).contains(&port.data_bits) {
            table.error("data_bits", "must be 5, 6, 7 or 8");
        }
        if !(1..=2).contains(&port.stop_bits) {
            table.error("stop_bits", "must be 1 or 2");
        }
        if !(1..=1 << 20).contains(&port.max_line.0) {
            table.error("max_line", "must be from 1 byte to 1MiB");
        }
        if !matches!(port.delimiter.as_bytes(), [byte] if byte.is_ascii()) {
            table.error("delimiter", "must be one ASCII character");
        }
    }
}

/// `[serial.NAME]`: the port, and what its lines mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The port.
    pub port: Port,
    /// What a line means.
    pub payload: Payload,
    /// Those of the target's tags that are in each line, such as `{ probe = "{/id}" }`, and so not
    /// the same for all its series.
    pub tags: BTreeMap<String, Located<TagText>>,
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let port = Port::from_table(table);
        let payload = Payload::from_table(table);
        let tags = line_tags(table);
        let config = Self { port: port?, payload: payload?, tags };
        for tag in config.tags.values() {
            let checked = match tag.value.last_level() {
                Some(level) => Err(format!("a line has no level {{{level}}}; columns are {{#1}}, {{#2}} and so on")),
                None => config.payload.check_tag(&tag.value),
            };
            if let Err(message) = checked {
                table.cx.diagnostics.error(&tag.place, message);
            }
        }
        Some(config)
    }
    fn keys() -> Vec<Key> {
        let mut keys = Port::keys();
        keys.extend(Payload::keys());
        keys
    }
}

/// The target's `tags` that have a `{` in them. The others, and what all have in common, are read
/// with the keys every target has.
fn line_tags(table: &mut Table<'_, '_, '_>) -> BTreeMap<String, Located<TagText>> {
    let entries = table.entries().get("tags").and_then(|node| node.get_ref().as_table());
    let made = entries
        .into_iter()
        .flatten()
        .filter(|(_, node)| node.get_ref().as_str().is_some_and(|text| text.contains('{')));
    made.filter_map(|(name, node)| {
        Some((name.get_ref().to_string(), Located::from_toml(node, table.cx)?))
    })
    .collect()
}

impl Kind for Config {
    type Poller = SerialPoller;

    fn sets_tag(&self, name: &str) -> bool {
        self.tags.contains_key(name)
    }

    fn cadence(&self) -> Cadence {
        Cadence::OnArrival { quiet: self.port.quiet }
    }

    fn poller(&self, target: &Target, shared: &Arc<Shared>) -> SerialPoller {
        SerialPoller {
            name: target.name.clone(),
            port: self.port.clone(),
            shared: shared.clone(),
            open: None,
            reader: Reader {
                plan: Plan::new(&self.payload, "serial", self.tags.values().map(|tag| &tag.value)),
                tags: self.tags.iter().map(|(name, tag)| (name.clone(), tag.value.clone())).collect(),
                rejects: Rejects::default(),
                good: 0,
                wrong_in_a_row: 0,
            },
        }
    }
}

/// Reads lines.
#[derive(Debug)]
pub struct SerialPoller {
    name: Arc<str>,
    port: Port,
    shared: Arc<Shared>,
    open: Option<(link::Open, Lines)>,
    reader: Reader,
}

impl Poller for SerialPoller {
    async fn poll(&mut self, out: &mut Readings) -> Result<(), PollError> {
        if self.open.is_none() {
            let open = link::Open::new(&self.port)?;
            self.shared.serial_links.insert(&self.name, open.link());
            let lines = Lines::new(self.port.delimiter.as_bytes()[0], self.port.max_line.0 as usize);
            self.open = Some((open, lines));
            // The device is there, whether or not it has anything to say.
            return Ok(());
        }
        let outcome = self.read(out).await;
        self.reader.rejects.write("serial", &[], out);
        outcome
    }
}

impl SerialPoller {
    /// Waits for lines, and takes all there are, until a good one is among them.
    async fn read(&mut self, out: &mut Readings) -> Result<(), PollError> {
        let (open, lines) = self.open.as_mut().expect("opened by the poll before");
        self.reader.good = 0;
        while self.reader.good == 0 {
            let Some(chunk) = open.chunks.recv().await else {
                let error = open.failure(&self.port.device).await;
                self.open = None;
                return Err(error);
            };
            if chunk.first_after.is_some_and(|pause| pause >= PAUSE) {
                lines.at_start();
            }
            lines.feed(&chunk.bytes, |piece| self.reader.take(piece, out));
            while let Ok(chunk) = open.chunks.try_recv() {
                lines.feed(&chunk.bytes, |piece| self.reader.take(piece, out));
            }
            if self.reader.wrong_in_a_row >= WRONG_LINES_MAX {
                let lines = self.reader.wrong_in_a_row;
                self.reader.wrong_in_a_row = 0;
                return Err(PollError::new(
                    Reason::Malformed,
                    format!("{}: {lines} lines in a row made no sense; are `baud` and `format` right?", self.port.device),
                ));
            }
        }
        Ok(())
    }
}

/// Makes readings of lines, and keeps count of what it could not.
#[derive(Debug)]
struct Reader {
    plan: Plan,
    tags: Vec<(String, TagText)>,
    rejects: Rejects,
    good: u32,
    wrong_in_a_row: u32,
}

impl Reader {
    fn take(&mut self, piece: Piece<'_>, out: &mut Readings) {
        let outcome = match piece {
            Piece::Line(line) if line.trim_ascii().is_empty() => return,
            Piece::Line(line) => {
                let row = out.row(&self.plan.measurement, &[]);
                let outcome = self.plan.write(line, row, &self.tags, out);
                out.cut();
                outcome
            }
            Piece::Half => Err(Reject::Half),
            Piece::TooLong => Err(Reject::TooLong),
        };
        match outcome {
            Ok(taken) => {
                self.rejects.add(Reject::Tag, u64::from(taken.lacks_tag));
                self.good += 1;
                self.wrong_in_a_row = 0;
            }
            Err(reason) => {
                self.rejects.add(reason, 1);
                self.wrong_in_a_row += u32::from(reason != Reject::Half);
            }
        }
    }
}
