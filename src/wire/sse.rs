//! Server-sent events, as they come off the wire in pieces (WHATWG HTML, 9.2.6, "Interpreting an
//! event stream").
//!
//! Bounded: of an event larger than [`EVENT_BYTES_MAX`] nothing is kept but the fact. Refuses to
//! reconnect or to keep time; it only says what the server asked for.

use std::time::Duration;

/// Largest event that is kept. watchpost's own have a few kilobytes.
pub const EVENT_BYTES_MAX: usize = 256 << 10;

/// Longest id that is kept: one has to fit into the header of the next request.
pub const ID_BYTES_MAX: usize = 256;

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its type; `message` where the server gives none.
    pub kind: String,
    /// Its data lines, put together with line feeds.
    pub data: String,
    /// The last id the server gave, of this event or one before; empty where it gave none.
    pub id: String,
}

/// What a stream has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// How long to wait before connecting again.
    Retry(Duration),
    /// An event that was too large and is lost.
    TooLarge,
}

/// Takes a stream apart, piece by piece, wherever it is cut.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    kind: Vec<u8>,
    data: Vec<u8>,
    id: String,
    /// The last byte was a carriage return: a line feed after it ends no second line.
    after_cr: bool,
    /// Whether a byte order mark may still come: only the first line has one.
    begun: bool,
    too_large: bool,
}

impl Parser {
    /// At the beginning of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece; what it completes is added to `out`.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<Item>) {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\r' | b'\n' => self.line_ends(out),
                _ if self.line.len() + self.data.len() < EVENT_BYTES_MAX => self.line.push(byte),
                _ => self.too_large = true,
            }
        }
    }

    fn line_ends(&mut self, out: &mut Vec<Item>) {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            self.event_ends(out);
        } else if !self.too_large {
            self.field(&line, out);
        }
        line.clear();
        self.line = line;
    }

    fn field(&mut self, line: &[u8], out: &mut Vec<Item>) {
        let (name, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => self.kind = value.to_vec(),
            b"data" => {
                self.data.extend_from_slice(value);
                self.data.push(b'\n');
            }
            b"retry" => {
                let millis = std::str::from_utf8(value).ok().filter(|text| {
                    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
                });
                if let Some(millis) = millis.and_then(|text| text.parse().ok()) {
                    out.push(Item::Retry(Duration::from_millis(millis)));
                }
            }
            b"id" if value.len() <= ID_BYTES_MAX && !value.contains(&0) => {
                self.id = String::from_utf8_lossy(value).into_owned();
            }
            // A comment, an id that cannot be asked for again, or a field of the future.
            _ => {}
        }
    }

    fn event_ends(&mut self, out: &mut Vec<Item>) {
        let kind = std::mem::take(&mut self.kind);
        let mut data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.too_large) {
            out.push(Item::TooLarge);
        } else if data.pop().is_some() {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let kind = if kind.is_empty() { "message".to_owned() } else { text(&kind) };
            out.push(Item::Event(Event { kind, data: text(&data), id: self.id.clone() }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Vec<Item> {
        let mut out = Vec::new();
        Parser::new().push(text.as_bytes(), &mut out);
        out
    }

    fn event(kind: &str, data: &str) -> Item {
        Item::Event(Event { kind: kind.into(), data: data.into(), id: String::new() })
    }

    #[test]
    fn events_are_read_as_the_standard_has_them() {
        for (text, items) in [
            ("data: a\n\n", vec![event("message", "a")]),
            ("data:a\ndata: b\n\n", vec![event("message", "a\nb")]),
            ("event: alert\r\ndata: {}\r\n\r\n", vec![event("alert", "{}")]),
            ("data\n\ndata\ndata\n\n", vec![event("message", ""), event("message", "\n")]),
            (": comment\n\nevent: x\n\n", vec![]),
            ("retry: 2000\n\n", vec![Item::Retry(Duration::from_secs(2))]),
            ("retry: 2s\nretry: +1\nid: 7\n\n", vec![]),
            ("\u{feff}data: a\rdata: b\r\r", vec![event("message", "a\nb")]),
            ("event: a\ndata: 1\n\ndata: 2\n\n", vec![event("a", "1"), event("message", "2")]),
            ("data: unfinished\n", vec![]),
        ] {
            assert_eq!(parsed(text), items, "{text:?}");
        }
    }

    #[test]
    fn an_id_holds_until_there_is_another() {
        let text = format!(
            "id: 1\ndata\n\ndata\n\nid\ndata\n\nid:{}\ndata\n\nid: 2\n\ndata\n\n",
            "x".repeat(257)
        );
        let id = |item: &Item| match item {
            Item::Event(event) => event.id.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(parsed(&text).iter().map(id).collect::<Vec<_>>(), ["1", "1", "", "", "2"]);
    }

    #[test]
    fn an_event_that_is_too_large_is_lost_alone() {
        let long = "x".repeat(EVENT_BYTES_MAX);
        let text = format!("data: {long}\n\ndata: a\n\n");
        assert_eq!(parsed(&text), [Item::TooLarge, event("message", "a")]);
        let lines = "data: xxxxxxxx\n".repeat(EVENT_BYTES_MAX / 8);
        assert_eq!(parsed(&format!("{lines}\n")), [Item::TooLarge]);
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_the_stream_is_cut(
            kinds in prop::collection::vec("[a-z]{1,8}", 1..5),
            data in "[ -~é]{0,40}(\n[ -~é]{0,40}){0,3}",
            cut in 1usize..20,
        ) {
            let mut text = String::new();
            for kind in &kinds {
                text += &format!("event: {kind}\n: ping\n");
                for line in data.split('\n') {
                    text += &format!("data: {line}\n");
                }
                text += "\n";
            }
            let mut out = Vec::new();
            let mut parser = Parser::new();
            for piece in text.as_bytes().chunks(cut) {
                parser.push(piece, &mut out);
            }
            let expected: Vec<_> = kinds.iter().map(|kind| event(kind, &data)).collect();
            prop_assert_eq!(out, expected);
        }

        #[test]
        fn any_bytes_are_taken_and_little_is_kept(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..50),
        ) {
            let mut parser = Parser::new();
            let mut out = Vec::new();
            for piece in &pieces {
                parser.push(piece, &mut out);
                prop_assert!(parser.line.len() + parser.data.len() <= EVENT_BYTES_MAX + 1);
            }
        }
    }
}
