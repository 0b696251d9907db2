//! The JSON Schema of the configuration, made of the same declarations that read it.

use serde_json::{Value as Json, json};

use super::read::{FromTable, FromToml, table_schema};
use super::{Api, Common, Defaults, Store};
use crate::actions::ActionConfig;
use crate::pollers::KindConfig;
use crate::rules::RuleConfig;
use crate::sinks::SinkConfig;

/// The schema (draft 2020-12) of a configuration file.
#[must_use]
pub fn schema() -> Json {
    let strings = json!({ "type": "array", "items": { "type": "string" } });
    let mut properties = json!({
        "site": { "type": "string", "description": "Where this is, as a tag of every series." },
        "state_dir": { "type": "string", "description": "Where state is kept." },
        "rules": strings, "include": strings,
        "defaults": Defaults::schema(), "api": Api::schema(), "store": Store::schema(),
        "action": named(ActionConfig::schema()),
        "rule": named(RuleConfig::schema()),
    });
    for kind in KindConfig::NAMES {
        let mut keys = Common::keys();
        keys.extend(KindConfig::keys(kind));
        properties[kind] = named(table_schema(&keys));
    }
    for kind in SinkConfig::NAMES {
        properties[kind] = named(SinkConfig::schema(kind));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "watchpost configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

fn named(table: Json) -> Json {
    json!({ "type": "object", "additionalProperties": table })
}
