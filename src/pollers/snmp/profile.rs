//! What to read of an agent: single values and tables, by OID, as configuration and profiles
//! write it. A profile is a file of the same shape, shipped or anybody's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config;
use crate::config::read::{Context, FromToml, Node, parsed, string, wrong_type};
use crate::config::{Diagnostics, Place, diagnostic};
use crate::wire::oid::Oid;

config! {
    /// Values to read.
    pub struct Profile {
        /// Single values: a field's name, and the OID of its value.
        pub get: BTreeMap<String, Scalar>,
        /// Tables: a series for each field of each row.
        pub table: Vec<Table>,
    }
}

/// A single value.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalar {
    /// The value's OID, its `.0` included.
    pub oid: Oid,
    /// The reading is the value times this.
    pub scale: f64,
    /// The measurement; `snmp` where none is written.
    pub measurement: Option<String>,
}

config! {
    /// A table, read column by column; a row is what shares an index.
    pub struct Table {
        /// The measurement.
        pub measurement: String,
        /// Tags that tell rows apart: a column's OID, several of which the first that has a value
        /// counts, or `index`, the end of the row's OIDs.
        pub tags: BTreeMap<String, Tag>,
        /// Fields: a column's OID, or `{ oid, scale, instead_of }`.
        pub fields: BTreeMap<String, Field>,
    }
    check(rows, table) {
        if rows.measurement.is_empty() {
            table.error("measurement", "the measurement needs a name");
        }
        if rows.fields.is_empty() {
            table.error("fields", "a table needs at least one field");
        }
        if rows.tags.is_empty() {
            table.error("tags", "without a tag all rows are one; `index = \"index\"` always is there");
        }
        for (name, field) in &rows.fields {
            let Some(other) = &field.instead_of else { continue };
            if rows.fields.get(other).is_none_or(|other| other.instead_of.is_some()) {
                let message = format!(
                    "`{name}` stands in for `{other}`, which is no field of this table read by itself"
                );
                table.error("fields", message);
            }
        }
    }
}

/// What a row is told by.
#[derive(Debug, Clone, PartialEq)]
pub enum Tag {
    /// The end of the row's OIDs.
    Index,
    /// The first of these columns that has a value in the row.
    Columns(Vec<Oid>),
}

/// A column of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// The column's OID, without the index.
    pub oid: Oid,
    /// The reading is the value times this.
    pub scale: f64,
    /// Read only where the agent has no value at all in the column of this field.
    pub instead_of: Option<String>,
}

impl FromToml for Oid {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "an OID", cx, |text| {
            text.parse().map_err(|error| format!("`{text}` is not an OID: {error}"))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": r"^\.?[0-9]+(\.[0-9]+)+$" })
    }
}

config! {
    struct LongScalar {
        /// The value's OID, its `.0` included.
        oid: Oid,
        /// The reading is the value times this.
        scale: f64 = 1.0,
        /// The measurement.
        measurement: Option<String>,
    }
}

impl FromToml for Scalar {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().is_table() {
            let LongScalar { oid, scale, measurement } = LongScalar::from_toml(node, cx)?;
            return Some(Self { oid, scale, measurement });
        }
        Oid::from_toml(node, cx).map(|oid| Self { oid, scale: 1.0, measurement: None })
    }
    fn schema() -> Json {
        json!({ "anyOf": [Oid::schema(), LongScalar::schema()] })
    }
}

config! {
    struct LongField {
        /// The column's OID, without the index.
        oid: Oid,
        /// The reading is the value times this.
        scale: f64 = 1.0,
        /// Read only where the agent has no value at all in the column of this field.
        instead_of: Option<String>,
    }
}

impl FromToml for Field {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().is_table() {
            let LongField { oid, scale, instead_of } = LongField::from_toml(node, cx)?;
            return Some(Self { oid, scale, instead_of });
        }
        Oid::from_toml(node, cx).map(|oid| Self { oid, scale: 1.0, instead_of: None })
    }
    fn schema() -> Json {
        json!({ "anyOf": [Oid::schema(), LongField::schema()] })
    }
}

impl FromToml for Tag {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().as_str() == Some("index") {
            return Some(Self::Index);
        }
        if node.get_ref().is_array() {
            let columns = Vec::<Oid>::from_toml(node, cx)?;
            if columns.is_empty() {
                cx.error(node.span(), "a tag needs a column");
            }
            return Some(Self::Columns(columns));
        }
        if !node.get_ref().is_str() {
            wrong_type(node, "a column's OID, a list of them, or \"index\"", cx);
            return None;
        }
        Oid::from_toml(node, cx).map(|oid| Self::Columns(vec![oid]))
    }
    fn schema() -> Json {
        json!({ "anyOf": [{ "const": "index" }, Oid::schema(), Vec::<Oid>::schema()] })
    }
}

/// A profile, and what it was asked for by.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    /// A shipped profile's name, or a path.
    pub name: String,
    /// What to read.
    pub profile: Arc<Profile>,
}

/// The profiles in the program: name and text.
const SHIPPED: [(&str, &str); 2] = [
    ("system", include_str!("profiles/system.toml")),
    ("interfaces", include_str!("profiles/interfaces.toml")),
];

/// Read once, so that a thousand targets share them.
static SHIPPED_PROFILES: LazyLock<Vec<Arc<Profile>>> = LazyLock::new(|| {
    let read = |(name, text): &(&str, &str)| {
        let mut diagnostics = Diagnostics::default();
        let profile = read_text(Path::new(name), text, &mut diagnostics, &|_| None);
        Arc::new(profile.expect("what is shipped is tested"))
    };
    SHIPPED.iter().map(read).collect()
});

/// A name is a shipped profile; with a slash, or ending in `.toml`, it is a file.
impl FromToml for Named {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let name = string(node, "a profile's name or path", cx)?.to_owned();
        if name.contains('/') || name.ends_with(".toml") {
            let profile = shared(read_file(&name, node, cx)?);
            return Some(Self { name, profile });
        }
        let Some(at) = SHIPPED.iter().position(|(shipped, _)| *shipped == name) else {
            let names = SHIPPED.map(|(name, _)| name);
            let guess = diagnostic::nearest(&name, names)
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            cx.error_with_help(
                node.span(),
                format!("there is no profile `{name}`{guess}"),
                format!(
                    "there are: {}; one of your own is a file: \"./{name}.toml\"",
                    names.join(", ")
                ),
            );
            return None;
        };
        Some(Self { profile: SHIPPED_PROFILES[at].clone(), name })
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// Profiles from files that somebody has: each is in memory once, however many targets read it.
static READ: Mutex<Vec<Weak<Profile>>> = Mutex::new(Vec::new());

fn shared(profile: Profile) -> Arc<Profile> {
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    read.retain(|known| known.strong_count() > 0);
    if let Some(known) = read.iter().filter_map(Weak::upgrade).find(|known| **known == profile) {
        return known;
    }
    let new = Arc::new(profile);
    read.push(Arc::downgrade(&new));
    new
}

fn read_file(name: &str, node: &Node<'_>, cx: &mut Context<'_>) -> Option<Profile> {
    let path = cx.resolve(name.as_ref());
    match std::fs::read_to_string(&path) {
        Ok(text) => read_text(&path, &text, cx.diagnostics, cx.env),
        Err(error) => {
            let message = format!("cannot read the profile {}: {error}", path.display());
            cx.error(node.span(), message);
            None
        }
    }
}

/// Reads a profile; its mistakes are shown in its own text.
fn read_text(
    path: &Path,
    text: &str,
    diagnostics: &mut Diagnostics,
    env: &dyn Fn(&str) -> Option<String>,
) -> Option<Profile> {
    let file = diagnostics.add_source(path.to_owned(), text.to_owned());
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        diagnostics.error(&Place { file, span }, error.message().replace('\n', "; "));
    }
    let node = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
    let folder = path.parent().map_or_else(Default::default, Path::to_owned);
    let read = Profile::from_toml(&node, &mut Context { diagnostics, file, folder, env });
    read.filter(|_| errors.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_many_targets_read_is_in_memory_once() {
        let read = |text: &str| {
            let mut diagnostics = Diagnostics::default();
            shared(read_text(Path::new("p.toml"), text, &mut diagnostics, &|_| None).unwrap())
        };
        let text = "get = { a = { oid = '1.3.6.1.2.1.1.3.0' } }";
        let (first, same, other) = (read(text), read(text), read(&text.replace("a =", "b =")));
        assert!(Arc::ptr_eq(&first, &same) && !Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn shipped_profiles_are_read_once_and_have_something_to_read() {
        for profile in SHIPPED_PROFILES.iter() {
            assert!(!profile.get.is_empty() || !profile.table.is_empty());
        }
    }
}
