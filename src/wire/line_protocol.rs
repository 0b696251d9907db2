//! InfluxDB's line protocol, read: `measurement,tag=value field=1.5,other=2i 1700000000000000000`.
//!
//! Follows the InfluxDB v2 line protocol reference: escapes, quoted strings that may span lines,
//! comments. A line that is wrong is told and passed over; the others are read.

pub mod encode;

use std::borrow::Cow;

/// One point.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// The measurement.
    pub measurement: Cow<'a, str>,
    /// Tags in their order.
    pub tags: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Fields in their order; at least one.
    pub fields: Vec<(Cow<'a, str>, Field<'a>)>,
    /// The timestamp as written; its unit is a matter of agreement, nanoseconds where there is none.
    pub timestamp: Option<i64>,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Field<'a> {
    /// `1.5`; finite.
    Float(f64),
    /// `2i`.
    Integer(i64),
    /// `3u`.
    Unsigned(u64),
    /// `t`, `true`, `F`, `False` and their like.
    Boolean(bool),
    /// `"text"`.
    Text(Cow<'a, str>),
}

impl Field<'_> {
    /// The value as a number; booleans are 1 and 0, text is none.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Float(value) => Some(*value),
            Self::Integer(value) => Some(*value as f64),
            Self::Unsigned(value) => Some(*value as f64),
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            Self::Text(_) => None,
        }
    }
}

/// A line that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: {message}")]
pub struct LineError {
    /// Which line, counted from 1.
    pub number: usize,
    /// What is wrong with it.
    pub message: &'static str,
}

/// The points of a text, one after the other.
#[must_use]
pub fn lines(text: &str) -> Lines<'_> {
    Lines { rest: text, number: 0 }
}

/// See [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    rest: &'a str,
    number: usize,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            self.number += 1;
            let line = self.rest.trim_start_matches([' ', '\t', '\r']);
            if line.is_empty() || line.starts_with(['\n', '#']) {
                self.rest = line.split_once('\n').map_or("", |(_, after)| after);
                continue;
            }
            let number = self.number;
            let mut cursor = Cursor { rest: line };
            return Some(match cursor.line() {
                Ok(point) => {
                    let read = &line[..line.len() - cursor.rest.len()];
                    self.number += read.trim_end_matches('\n').matches('\n').count();
                    self.rest = cursor.rest;
                    Ok(point)
                }
                Err(message) => {
                    self.rest = line.split_once('\n').map_or("", |(_, after)| after);
                    Err(LineError { number, message })
                }
            });
        }
    }
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> Result<Line<'a>, &'static str> {
        let measurement = self.word(ends_measurement);
        if measurement.is_empty() {
            return Err("there is no measurement");
        }
        let mut tags = Vec::new();
        while self.take(',') {
            let key = self.word(ends_word);
            if key.is_empty() || !self.take('=') {
                return Err("a tag lacks its name or its value");
            }
            let value = self.word(ends_word);
            if value.is_empty() {
                return Err("a tag lacks its value");
            }
            tags.push((key, value));
        }
        if !self.spaces() {
            return Err("there are no fields");
        }
        let mut fields = Vec::new();
        loop {
            let key = self.word(ends_word);
            if key.is_empty() || !self.take('=') {
                return Err("a field lacks its name or its value");
            }
            fields.push((key, self.field()?));
            if !self.take(',') {
                break;
            }
        }
        let timestamp = self.timestamp()?;
        Ok(Line { measurement, tags, fields, timestamp })
    }

    /// What comes before the first of the `ends` (or the end of the line) that is not escaped.
    /// A backslash escapes commas, equals signs and spaces, and otherwise is itself.
    fn word(&mut self, ends: impl Fn(u8) -> bool) -> Cow<'a, str> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        let mut escaped = false;
        while let Some(byte) = bytes.get(at) {
            let next = bytes.get(at + 1);
            if *byte == b'\\' && matches!(next, Some(b',' | b'=' | b' ')) {
                escaped = true;
                at += 2;
            } else if ends(*byte) || matches!(byte, b'\n' | b'\r') {
                break;
            } else {
                at += 1;
            }
        }
        let (word, after) = self.rest.split_at(at);
        self.rest = after;
        if escaped { unescape(word, &[',', '=', ' ']).into() } else { word.into() }
    }

    fn field(&mut self) -> Result<Field<'a>, &'static str> {
        if self.take('"') {
            return self.text();
        }
        let end = self.rest.find([',', ' ', '\n', '\r', '\t']).unwrap_or(self.rest.len());
        let (value, after) = self.rest.split_at(end);
        self.rest = after;
        let wrong = "a field's value is neither number, true, false nor quoted text";
        match value.as_bytes() {
            [] => Err("a field lacks its value"),
            b"t" | b"T" | b"true" | b"True" | b"TRUE" => Ok(Field::Boolean(true)),
            b"f" | b"F" | b"false" | b"False" | b"FALSE" => Ok(Field::Boolean(false)),
            [digits @ .., b'i'] => parse(digits).map(Field::Integer).ok_or(wrong),
            [digits @ .., b'u'] => parse(digits).map(Field::Unsigned).ok_or(wrong),
            digits => {
                let float = parse(digits).filter(|value: &f64| value.is_finite());
                float.map(Field::Float).ok_or(wrong)
            }
        }
    }

    /// A quoted text, its opening quote taken; a backslash escapes quotes and itself.
    fn text(&mut self) -> Result<Field<'a>, &'static str> {
        let bytes = self.rest.as_bytes();
        let mut at = 0;
        let mut escaped = false;
        loop {
            match bytes.get(at) {
                None => return Err("a quoted text is not closed"),
                Some(b'"') => break,
                Some(b'\\') if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => {
                    escaped = true;
                    at += 2;
                }
                Some(_) => at += 1,
            }
        }
        let (text, after) = self.rest.split_at(at);
        self.rest = &after[1..];
        Ok(Field::Text(if escaped { unescape(text, &['"', '\\']).into() } else { text.into() }))
    }

    fn timestamp(&mut self) -> Result<Option<i64>, &'static str> {
        self.spaces();
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (written, after) = self.rest.split_at(end);
        self.rest = after.strip_prefix('\n').unwrap_or(after);
        match written.trim_end_matches([' ', '\t', '\r']) {
            "" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| "the timestamp is not a whole number"),
        }
    }

    fn take(&mut self, c: char) -> bool {
        let after = self.rest.strip_prefix(c);
        self.rest = after.unwrap_or(self.rest);
        after.is_some()
    }

    fn spaces(&mut self) -> bool {
        let after = self.rest.trim_start_matches(' ');
        let some = after.len() < self.rest.len();
        self.rest = after;
        some
    }
}

/// Measurements may have equals signs in them.
fn ends_measurement(byte: u8) -> bool {
    matches!(byte, b',' | b' ')
}

/// Names and values of tags, and names of fields, may not.
fn ends_word(byte: u8) -> bool {
    byte == b'=' || ends_measurement(byte)
}

fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn unescape(text: &str, escapable: &[char]) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\'
            && let Some(escaped) = chars.next_if(|next| escapable.contains(next))
        {
            plain.push(escaped);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests;
