//! What payloads and lines mean: the keys serial ports and MQTT topics share, and the decoder made
//! of them. Decoding itself is in [`wire`](crate::wire).
//!
//! It refuses to guess: what is not a number as configured is counted, never written.

mod plan;
mod tag;

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

pub use plan::{Plan, Reject, Rejects, Taken};
pub use tag::TagText;

use crate::config::read::{Context, FromToml, Node, Table, string, wrong_type};
use crate::config::{Located, Regex};
use crate::wire::json::parse_pointer;
use crate::wire::nmea::Place;

crate::choice! {
    /// How a payload or a line is written.
    pub enum Format {
        Number = "number", Text = "text", Json = "json", Csv = "csv", KeyValue = "key_value",
        Regex = "regex", Nmea = "nmea", Influx = "influx",
    }
}

crate::config! {
    /// How payloads or lines become readings.
    pub struct Payload {
        /// How it is written: `number`, `text`, `json`, `csv`, `key_value`, `regex`, `nmea` or
        /// `influx`.
        pub format: Located<Format>,
        /// Where the fields are: `{ temperature_celsius = "/t" }`, or a table with `at`, `scale`,
        /// `offset` and `map`. What `at` is depends on the format: a JSON pointer, a CSV column (a
        /// number from 1, or a name of `columns`), a key, a named group of `pattern`, or a place in
        /// a sentence of NMEA 0183: `RMC.7` for a field as it is sent, `RMC.speed` for one of those
        /// with names, in base units, `XDR.NAME` for a transducer.
        pub fields: BTreeMap<String, Field>,
        /// The name of the one field of the formats `number` and `text`; default `value`.
        pub field: Option<String>,
        /// Words that stand for numbers, such as `{ ON = 1, OFF = 0 }`; for all fields that have
        /// no map of their own.
        pub map: BTreeMap<String, f64>,
        /// With the formats `number` and `text`: multiplies the value.
        pub scale: Option<f64>,
        /// With the formats `number` and `text`: is added after scaling.
        pub offset: Option<f64>,
        /// With `csv`: the character between columns; default `,`.
        pub separator: Option<String>,
        /// With `csv`: the names of the columns, in their order.
        pub columns: Vec<String>,
        /// With `regex`: the expression; it may match anywhere.
        pub pattern: Option<Regex>,
        /// With `nmea`: whether a sentence without a checksum is noise. One with a wrong checksum
        /// always is.
        pub checksum: bool = true,
        /// The measurement; the kind where it is not written. With `influx` the lines have theirs.
        pub measurement: Option<String>,
    }
    check(payload, table) { payload.check(table); }
}

/// Where a field is and what its values mean.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Where.
    pub at: Located<At>,
    /// Multiplies the value.
    pub scale: f64,
    /// Is added after scaling.
    pub offset: f64,
    /// Words that stand for numbers.
    pub map: BTreeMap<String, f64>,
}

/// A place in a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// A JSON pointer, a key, a column's name or a group's.
    Name(String),
    /// A column, from 1.
    Column(u32),
}

impl FromToml for At {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().is_integer() {
            return u32::from_toml(node, cx).map(Self::Column);
        }
        string(node, "a place in the payload", cx).map(|name| Self::Name(name.to_owned()))
    }
    fn schema() -> Json {
        json!({ "type": ["string", "integer"] })
    }
}

impl FromToml for Field {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        match node.get_ref() {
            value if value.is_str() || value.is_integer() => Some(Self {
                at: Located::from_toml(node, cx)?,
                scale: 1.0,
                offset: 0.0,
                map: BTreeMap::new(),
            }),
            value if value.is_table() => {
                let mut table = Table::new(node, "fields", cx)?;
                let at = table.get("at");
                let scale = table.get_or("scale", 1.0);
                let offset = table.get_or("offset", 0.0);
                let map = table.get("map");
                table.finish();
                Some(Self { at: at?, scale: scale?, offset: offset?, map: map? })
            }
            _ => {
                wrong_type(node, "where the field is, or a table with `at`", cx);
                None
            }
        }
    }
    fn schema() -> Json {
        let number = || json!({ "type": "number" });
        json!({ "anyOf": [At::schema(), {
            "type": "object",
            "properties": {
                "at": At::schema(), "scale": number(), "offset": number(),
                "map": { "type": "object", "additionalProperties": number() },
            },
            "required": ["at"],
            "additionalProperties": false,
        }] })
    }
}

impl Payload {
    /// What the keys say about each other.
    fn check(&self, table: &mut Table<'_, '_, '_>) {
        let format = self.format.value;
        let single = matches!(format, Format::Number | Format::Text);
        let word = format.as_str();
        let mut only_with = |key: &str, is_fine: bool, formats: &str| {
            if table.has(key) && !is_fine {
                table.error(key, format!("`{key}` goes with the format {formats}, not `{word}`"));
            }
        };
        for key in ["field", "scale", "offset"] {
            only_with(key, single, "`number` or `text`");
        }
        only_with("separator", format == Format::Csv, "`csv`");
        only_with("columns", format == Format::Csv, "`csv`");
        only_with("pattern", format == Format::Regex, "`regex`");
        only_with("checksum", format == Format::Nmea, "`nmea`");
        let keyed = !single && format != Format::Influx;
        only_with("fields", keyed, "`json`, `csv`, `key_value`, `regex` or `nmea`");
        only_with(
            "map",
            format != Format::Influx,
            "`number`, `text`, `json`, `csv`, `key_value`, `regex` or `nmea`",
        );
        only_with("measurement", format != Format::Influx, "that has none of its own");
        if keyed && self.fields.is_empty() {
            table.error(
                "format",
                format!("the format `{word}` needs `fields`: which are wanted, and where they are"),
            );
        }
        if format == Format::Text && self.map.is_empty() {
            table.error(
                "format",
                "the format `text` needs a `map` of words to numbers, such as { ON = 1, OFF = 0 }",
            );
        }
        if format == Format::Regex && self.pattern.is_none() {
            table.error("format", "the format `regex` needs a `pattern`");
        }
        if let Some(separator) = &self.separator
            && !matches!(separator.as_bytes(), [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\n'))
        {
            table.error(
                "separator",
                "must be one ASCII character, and neither a quote nor a line end",
            );
        }
        for name in self.fields.keys().chain(&self.field).chain(&self.measurement) {
            if name.is_empty() {
                table.error("fields", "a field or measurement needs a name");
            }
        }
        for field in self.fields.values().filter(|_| keyed) {
            if let Err(message) = self.check_place(&field.at.value) {
                table.cx.diagnostics.error(&field.at.place, message);
            }
        }
    }

    /// Whether a place is one the format has.
    fn check_place(&self, at: &At) -> Result<(), String> {
        match (self.format.value, at) {
            (Format::Json, At::Name(pointer)) => parse_pointer(pointer).map(drop),
            (Format::Json, At::Column(_)) => {
                Err("expected a JSON pointer such as \"/t\", found a number".into())
            }
            (Format::Csv, At::Column(0)) => Err("columns count from 1".into()),
            (Format::Csv, At::Name(name)) if !self.columns.contains(name) => {
                Err(if self.columns.is_empty() {
                    format!(
                        "`{name}` is a column's name, and there are no `columns`; name them, or give the column's number"
                    )
                } else {
                    crate::config::read::not_a_choice(
                        name,
                        &self.columns.iter().map(String::as_str).collect::<Vec<_>>(),
                    )
                })
            }
            (Format::Regex, At::Name(group)) => match &self.pattern {
                Some(pattern) if !pattern.0.capture_names().flatten().any(|name| name == group) => {
                    Err(format!("`pattern` has no group `{group}`; write it as (?<{group}>…)"))
                }
                _ => Ok(()),
            },
            (Format::Nmea, At::Name(place)) => place.parse::<Place>().map(drop),
            (Format::KeyValue | Format::Regex | Format::Nmea, At::Column(_)) => {
                Err("expected a name, found a number".into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
