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
    let files = |of: &str| {
        json!({ "type": "array", "items": { "type": "string" }, "description":
                format!("Files of {of} to read as well: globs, relative to this file.") })
    };
    let of = |mut table: Json, what: &str| {
        table["description"] = what.into();
        table
    };
    let mut properties = json!({
        "site": { "type": "string", "description": "Where this is, as a tag of every series." },
        "state_dir": { "type": "string", "description": "Where state is kept." },
        "rules": files("rules"), "include": files("any tables"),
        "defaults": of(Defaults::schema(), "What targets have that do not say otherwise."),
        "api": of(Api::schema(), "The HTTP listener: health, metrics, the API and the page."),
        "store": of(Store::schema(), "The embedded store."),
        "action": of(named(ActionConfig::schema()), "What answers alerts, by name."),
        "rule": of(named(RuleConfig::schema()), "What turns samples into alerts, by name."),
    });
    for kind in KindConfig::NAMES {
        let mut keys = Common::keys();
        keys.extend(KindConfig::keys(kind));
        let what = format!("Targets of the kind `{kind}`, by name.");
        properties[kind] = of(named(table_schema(&keys)), &what);
    }
    for kind in SinkConfig::NAMES {
        let what = format!("Where samples go: sinks of the kind `{kind}`, by name.");
        properties[kind] = of(named(SinkConfig::schema(kind)), &what);
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
