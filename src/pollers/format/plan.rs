//! A format made ready to decode: names resolved, places compiled, values scaled and mapped.

use super::tag::set_text;
use super::{At, Field, Format, Payload, TagText};
use crate::sample::{Readings, RowRef};
use crate::wire::json::Pointers;
use crate::wire::value::Value;
use crate::wire::{csv, key_value, line_protocol, nmea};

crate::choice! {
    /// Why a payload or a line, or a part of it, was not taken; labels `…_rejected_total`.
    pub enum Reject {
        /// It is not UTF-8.
        Encoding = "encoding",
        /// It is not what the format says.
        Syntax = "syntax",
        /// A value is neither a number nor a word that stands for one.
        Number = "number",
        /// None of the fields is in it.
        Missing = "missing",
        /// A tag is not in it; its values are taken without.
        Tag = "tag",
        /// It is longer than allowed.
        TooLong = "too_long",
        /// Its beginning was missed.
        Half = "half",
        /// It came faster than it could be taken.
        Overflow = "overflow",
    }
}

/// Counts of what was rejected, by reason.
#[derive(Debug, Clone, Default)]
pub struct Rejects {
    counts: [u64; Reject::ALL.len()],
    written: [u64; Reject::ALL.len()],
}

impl Rejects {
    /// Counts `n` more.
    pub fn add(&mut self, reason: Reject, n: u64) {
        self.counts[reason as usize] += n;
    }

    /// Writes `rejected_total{reason}` for the reasons whose count has changed since the last time.
    pub fn write(&mut self, measurement: &str, tags: &[(&str, &str)], out: &mut Readings) {
        if self.counts == self.written {
            return;
        }
        for &reason in Reject::ALL {
            let count = self.counts[reason as usize];
            if count != self.written[reason as usize] {
                let mut all = vec![("reason", reason.as_str())];
                all.extend_from_slice(tags);
                out.push_tagged(measurement, "rejected_total", &all, count as f64);
            }
        }
        self.written = self.counts;
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A format ready to decode.
#[derive(Debug)]
pub struct Plan {
    /// What the readings are called.
    pub measurement: String,
    decoder: Decoder,
    fields: Vec<FieldPlan>,
    /// Of the payload at hand, by place: fields first, then the places of tags. Kept for its room.
    numbers: Vec<Option<f64>>,
    texts: Vec<String>,
    /// Its tags, made of those. Kept for its room.
    tags: Vec<String>,
}

/// A payload that was taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken {
    /// Where its readings are; of a format with rows of its own, the row that was given.
    pub row: RowRef,
    /// Whether a tag was left out, because the payload lacks what it is made of.
    pub lacks_tag: bool,
}

#[derive(Debug)]
struct FieldPlan {
    name: String,
    scale: f64,
    offset: f64,
    map: Vec<(String, f64)>,
}

#[derive(Debug)]
enum Decoder {
    /// `number` and `text`: all of it is one value.
    Whole,
    Json(Pointers),
    /// The column of each place, from 0.
    Csv {
        separator: u8,
        columns: Vec<usize>,
    },
    KeyValue {
        keys: Vec<String>,
    },
    Regex {
        pattern: regex::Regex,
        groups: Vec<String>,
    },
    /// One sentence of many kinds: what is not in it is not missing.
    Nmea {
        needs_checksum: bool,
        places: Vec<nmea::Place>,
    },
    Influx,
}

impl Plan {
    /// Of a checked configuration. `tags` are the tags its rows get, some of them perhaps out of
    /// the payload; [`Plan::write`] takes the same in the same order.
    #[must_use]
    pub fn new<'t>(
        payload: &Payload,
        kind: &str,
        tags: impl IntoIterator<Item = &'t TagText>,
    ) -> Self {
        let fields =
            payload.fields.iter().map(|(name, field)| FieldPlan::new(name, field, payload));
        let mut fields: Vec<_> = fields.collect();
        let of_tags: Vec<&At> = tags.into_iter().flat_map(TagText::places).collect();
        let places = payload.fields.values().map(|f| &f.at.value).chain(of_tags.iter().copied());
        let names = places.clone().map(|at| match at {
            At::Name(name) => name.clone(),
            At::Column(column) => column.to_string(),
        });
        let decoder = match payload.format.value {
            Format::Number | Format::Text => {
                fields = vec![FieldPlan::whole(payload)];
                Decoder::Whole
            }
            Format::Json => {
                let pointers: Vec<_> = names.collect();
                let compiled = Pointers::new(pointers.iter().map(String::as_str));
                Decoder::Json(compiled.expect("pointers are checked with the configuration"))
            }
            Format::Csv => Decoder::Csv {
                separator: payload.separator.as_ref().map_or(b',', |s| s.as_bytes()[0]),
                columns: places.map(|at| payload.column(at)).collect(),
            },
            Format::KeyValue => Decoder::KeyValue { keys: names.collect() },
            Format::Regex => Decoder::Regex {
                pattern: payload.pattern.clone().expect("checked with the configuration").0,
                groups: names.collect(),
            },
            Format::Nmea => Decoder::Nmea {
                needs_checksum: payload.checksum,
                places: names
                    .map(|place| place.parse().expect("checked with the configuration"))
                    .collect(),
            },
            Format::Influx => Decoder::Influx,
        };
        Self {
            measurement: payload.measurement.clone().unwrap_or_else(|| kind.to_owned()),
            decoder,
            numbers: vec![None; fields.len()],
            texts: vec![String::new(); of_tags.len()],
            tags: Vec::new(),
            fields,
        }
    }

    /// Whether its readings are all in one row, whatever the payload says: then the row can be
    /// looked up once.
    #[must_use]
    pub fn has_one_row(&self) -> bool {
        self.texts.is_empty() && !matches!(self.decoder, Decoder::Influx)
    }

    /// The row of its readings if it [has one](Plan::has_one_row); else the one of a payload that
    /// says nothing of its tags.
    pub fn row(&mut self, tags: &[(String, TagText)], out: &mut Readings) -> RowRef {
        self.texts.iter_mut().for_each(String::clear);
        self.fill_tags(tags);
        out.row(&self.measurement, &named(tags, &self.tags))
    }

    /// Decodes a payload and writes its readings: into `row` if it [has one](Plan::has_one_row),
    /// else into rows made of `tags`, with their levels put in, and what the payload says. Good
    /// values are written even where others are rejected.
    ///
    /// # Errors
    /// What was rejected first.
    pub fn write(
        &mut self,
        payload: &[u8],
        row: RowRef,
        tags: &[(String, TagText)],
        out: &mut Readings,
    ) -> Result<Taken, Reject> {
        let mut taken = Taken { row, lacks_tag: false };
        if matches!(self.decoder, Decoder::Influx) {
            self.fill_tags(tags);
            return write_influx(payload, &named(tags, &self.tags), out).map(|()| taken);
        }
        self.numbers.fill(None);
        self.texts.iter_mut().for_each(String::clear);
        let wrong = self.decode(payload)?;
        // What has no readings makes no row either, or ids made up for ever would cost memory.
        if !self.texts.is_empty() && self.numbers.iter().any(Option::is_some) {
            taken.lacks_tag = !self.fill_tags(tags);
            taken.row = out.row(&self.measurement, &named(tags, &self.tags));
        }
        let mut some = false;
        for (field, number) in self.fields.iter().zip(&self.numbers) {
            if let Some(number) = number {
                some = true;
                out.set(taken.row, &field.name, *number);
            }
        }
        match wrong {
            true => Err(Reject::Number),
            false if !some && !matches!(self.decoder, Decoder::Nmea { .. }) => Err(Reject::Missing),
            false => Ok(taken),
        }
    }

    /// Makes the tags out of what was found; false if one is left out.
    fn fill_tags(&mut self, tags: &[(String, TagText)]) -> bool {
        self.tags.resize_with(tags.len(), String::new);
        let mut found = self.texts.iter();
        let mut are_whole = true;
        for ((_, text), tag) in tags.iter().zip(&mut self.tags) {
            tag.clear();
            are_whole &= text.fill(&mut found, tag);
        }
        are_whole
    }

    /// Fills in what the payload has; true if some of it is no number.
    fn decode(&mut self, payload: &[u8]) -> Result<bool, Reject> {
        let mut wrong = false;
        let Self { fields, numbers, texts, decoder, .. } = self;
        let mut set = |slot: usize, value: Value<'_>| match fields.get(slot) {
            Some(field) => match field.number(value) {
                Some(number) => numbers[slot] = Some(number),
                None => wrong = true,
            },
            None => set_text(&mut texts[slot - fields.len()], value),
        };
        if let Decoder::Json(pointers) = decoder {
            pointers.read(payload, set).map_err(|_| Reject::Syntax)?;
            return Ok(wrong);
        }
        let text = std::str::from_utf8(payload).map_err(|_| Reject::Encoding)?.trim();
        match decoder {
            Decoder::Whole => set(0, Value::Text(text)),
            Decoder::Csv { separator, columns } => {
                let each = |at, column: &str| {
                    for (slot, _) in columns.iter().enumerate().filter(|(_, wanted)| **wanted == at)
                    {
                        if !column.trim().is_empty() {
                            set(slot, Value::Text(column.trim()));
                        }
                    }
                };
                csv::columns(text, *separator, each).map_err(|_| Reject::Syntax)?;
            }
            Decoder::KeyValue { keys } => {
                for (key, value) in key_value::pairs(text) {
                    for (slot, _) in keys.iter().enumerate().filter(|(_, wanted)| *wanted == key) {
                        set(slot, Value::Text(value));
                    }
                }
            }
            Decoder::Regex { pattern, groups } => {
                let captures = pattern.captures(text).ok_or(Reject::Syntax)?;
                for (slot, group) in groups.iter().enumerate() {
                    if let Some(found) = captures.name(group) {
                        set(slot, Value::Text(found.as_str()));
                    }
                }
            }
            Decoder::Nmea { needs_checksum, places } => {
                let sentence = nmea::Sentence::parse(text, *needs_checksum);
                let sentence = sentence.map_err(|_| Reject::Syntax)?;
                for (slot, place) in places.iter().enumerate() {
                    if let Some(value) = place.read(&sentence) {
                        set(slot, value);
                    }
                }
            }
            Decoder::Json(_) | Decoder::Influx => unreachable!("decoded elsewhere"),
        }
        Ok(wrong)
    }
}

fn named<'t>(tags: &'t [(String, TagText)], values: &'t [String]) -> Vec<(&'t str, &'t str)> {
    tags.iter().zip(values).map(|((name, _), value)| (name.as_str(), value.as_str())).collect()
}

/// Writes the points of line protocol, under their own measurements and tags. Their timestamps
/// are not used: the device's clock is not to be trusted, and rules judge by arrival.
fn write_influx(payload: &[u8], tags: &[(&str, &str)], out: &mut Readings) -> Result<(), Reject> {
    let text = std::str::from_utf8(payload).map_err(|_| Reject::Encoding)?;
    let mut outcome = Err(Reject::Missing);
    for line in line_protocol::lines(text) {
        let Ok(line) = line else {
            outcome = Err(Reject::Syntax);
            continue;
        };
        let own = line.tags.iter().map(|(name, value)| (&**name, &**value));
        let all: Vec<_> = own.chain(tags.iter().copied()).collect();
        let row = out.row(&line.measurement, &all);
        for (field, value) in &line.fields {
            if let Some(number) = value.number() {
                out.set(row, field, number);
                outcome = if outcome == Err(Reject::Missing) { Ok(()) } else { outcome };
            }
        }
    }
    outcome
}

impl FieldPlan {
    fn new(name: &str, field: &Field, payload: &Payload) -> Self {
        let map = if field.map.is_empty() { &payload.map } else { &field.map };
        Self {
            name: name.to_owned(),
            scale: field.scale,
            offset: field.offset,
            map: map.iter().map(|(word, number)| (word.clone(), *number)).collect(),
        }
    }

    fn whole(payload: &Payload) -> Self {
        Self {
            name: payload.field.clone().unwrap_or_else(|| "value".to_owned()),
            scale: payload.scale.unwrap_or(1.0),
            offset: payload.offset.unwrap_or(0.0),
            map: payload.map.iter().map(|(word, number)| (word.clone(), *number)).collect(),
        }
    }

    /// What a value means: a word of the map as it stands, a number scaled.
    fn number(&self, value: Value<'_>) -> Option<f64> {
        if let Value::Text(text) = value
            && let Some((_, number)) = self.map.iter().find(|(word, _)| word == text.trim())
        {
            return Some(*number);
        }
        value.number().map(|number| number * self.scale + self.offset)
    }
}

impl Payload {
    /// A column counted from 0.
    fn column(&self, at: &At) -> usize {
        match at {
            At::Column(column) => *column as usize - 1,
            At::Name(name) => {
                let at = self.columns.iter().position(|column| column == name);
                at.expect("names are checked with the configuration")
            }
        }
    }
}
