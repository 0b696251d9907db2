//! From TOML to types: every mistake of a file is collected, with its place, in one pass.
//!
//! A component declares its table with [`config!`](crate::config!); that one declaration is the
//! struct, its reader, the list of known keys in error messages and its part of the JSON Schema.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostics, FileId, Place, nearest};

/// What reading needs to know besides the TOML, and where mistakes go.
pub struct Context<'a> {
    /// Where mistakes are noted.
    pub diagnostics: &'a mut Diagnostics,
    /// The file being read.
    pub file: FileId,
    /// The folder relative paths are relative to: the file's own.
    pub folder: PathBuf,
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Context<'_> {
    /// A place in the file being read.
    #[must_use]
    pub fn place(&self, span: Range<usize>) -> Place {
        Place { file: self.file, span }
    }

    /// Notes a mistake.
    pub fn error(&mut self, span: Range<usize>, message: impl Into<String>) {
        let place = self.place(span);
        self.diagnostics.error(&place, message);
    }

    /// Notes a mistake and what to do about it.
    pub fn error_with_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let place = self.place(span);
        self.diagnostics.error_with_help(&place, message, help);
    }

    /// A path as written in the file, made relative to the file's folder.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// A value with its place, as the TOML parser gives it.
pub type Node<'i> = Spanned<DeValue<'i>>;

/// A type that can be read from a TOML value.
pub trait FromToml: Sized {
    /// Reads it; notes what is wrong and returns `None` where that is not possible.
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self>;

    /// What stands for a key that is not there; `None` means that the key is required.
    fn absent() -> Option<Self> {
        None
    }

    /// The JSON Schema of what may be written.
    fn schema() -> Json;
}

/// A type whose keys can be read from a table; several may share one table.
pub trait FromTable: Sized {
    /// Reads the keys that are its own, marking them as known.
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self>;

    /// Its keys, for the JSON Schema.
    fn keys() -> Vec<Key>;
}

/// A key of a table, for the JSON Schema.
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What it is for.
    pub description: String,
    /// Whether it must be there.
    pub required: bool,
    /// What may be written.
    pub schema: Json,
}

/// The JSON Schema of a table with these keys and no others.
#[must_use]
pub fn table_schema(keys: &[Key]) -> Json {
    let properties: serde_json::Map<_, _> = keys
        .iter()
        .map(|key| {
            let mut schema = key.schema.clone();
            if let Some(object) = schema.as_object_mut() {
                object.insert("description".into(), key.description.clone().into());
            }
            (key.name.to_owned(), schema)
        })
        .collect();
    let required: Vec<_> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({
        "type": "object", "properties": properties, "additionalProperties": false
    });
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

/// A table being read: it remembers which keys are known, so that what is left is a mistake.
pub struct Table<'a, 'i, 'c> {
    entries: &'a DeTable<'i>,
    span: Range<usize>,
    name: String,
    known: Vec<&'static str>,
    /// Where mistakes go.
    pub cx: &'a mut Context<'c>,
}

impl<'a, 'i, 'c> Table<'a, 'i, 'c> {
    /// Begins reading a table; `name` is how messages call it, as in `[icmp.gateway]`.
    pub fn new(
        node: &'a Node<'i>,
        name: impl Into<String>,
        cx: &'a mut Context<'c>,
    ) -> Option<Self> {
        let Some(entries) = node.get_ref().as_table() else {
            wrong_type(node, "a table", cx);
            return None;
        };
        Some(Self { entries, span: node.span(), name: name.into(), known: Vec::new(), cx })
    }

    /// Reads a key; a missing one is [`FromToml::absent`] or a mistake.
    // Not inlined, here and below: hundreds of keys are read, each once.
    #[inline(never)]
    pub fn get<T: FromToml>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        match self.entries.get(key) {
            Some(node) => T::from_toml(node, self.cx),
            None => T::absent().or_else(|| {
                self.lacks(key);
                None
            }),
        }
    }

    #[cold]
    fn lacks(&mut self, key: &str) {
        let message = format!("{} lacks the key `{key}`", self.shown());
        self.cx.error(self.span.clone(), message);
    }

    /// Reads a key that has a default.
    #[inline(never)]
    pub fn get_or<T: FromToml>(&mut self, key: &'static str, default: T) -> Option<T> {
        self.known.push(key);
        match self.entries.get(key) {
            Some(node) => T::from_toml(node, self.cx),
            None => Some(default),
        }
    }

    /// The value of a key as it stands, marking the key as known.
    pub fn node(&mut self, key: &'static str) -> Option<&'a Node<'i>> {
        self.known.push(key);
        self.entries.get(key)
    }

    /// Whether a key is written.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// All that is written, key by key.
    #[must_use]
    pub fn entries(&self) -> &'a DeTable<'i> {
        self.entries
    }

    /// How messages call the table.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the table is.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    fn shown(&self) -> String {
        if self.name.is_empty() { "the table".into() } else { format!("[{}]", self.name) }
    }

    /// Notes a mistake in the value of a key, or in the table where the key is not written.
    pub fn error(&mut self, key: &str, message: impl Into<String>) {
        let span = self.entries.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.cx.error(span, message);
    }

    /// Ends the table: every key nobody asked for is a mistake.
    pub fn finish(self) {
        let Self { entries, name, known, cx, .. } = self;
        for key in entries.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let word = key.get_ref();
            let place = if name.is_empty() { String::new() } else { format!(" in [{name}]") };
            let guess = nearest(word, known.iter().copied())
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            let mut listed = known.clone();
            listed.sort_unstable();
            listed.dedup();
            cx.error_with_help(
                key.span(),
                format!("unknown key `{word}`{place}{guess}"),
                format!("known keys: {}", listed.join(", ")),
            );
        }
    }
}

/// Notes that a value is not of the type it should be.
pub fn wrong_type(node: &Node<'_>, expected: &str, cx: &mut Context<'_>) {
    let found = node.get_ref().type_str();
    let article = if found.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    cx.error(node.span(), format!("expected {expected}, found {article} {found}"));
}

/// A string value, or a mistake.
pub fn string<'a>(node: &'a Node<'_>, expected: &str, cx: &mut Context<'_>) -> Option<&'a str> {
    let text = node.get_ref().as_str();
    if text.is_none() {
        wrong_type(node, expected, cx);
    }
    text
}

/// Reads a string by a parser whose error says what is wrong with it.
pub fn parsed<T>(
    node: &Node<'_>,
    expected: &str,
    cx: &mut Context<'_>,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = string(node, expected, cx)?;
    parse(text).map_err(|message| cx.error(node.span(), message)).ok()
}

/// A value that remembers its place, for mistakes that show only once everything is read.
#[derive(Debug, Clone)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it is written.
    pub place: Place,
}

/// Two values are the same wherever they stand, so that moving a line changes nothing.
impl<T: PartialEq> PartialEq for Located<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: FromToml> FromToml for Located<T> {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let place = cx.place(node.span());
        T::from_toml(node, cx).map(|value| Self { value, place })
    }
    fn schema() -> Json {
        T::schema()
    }
}

impl<T: FromToml> FromToml for Option<T> {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        T::from_toml(node, cx).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn schema() -> Json {
        T::schema()
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let Some(items) = node.get_ref().as_array() else {
            wrong_type(node, "a list", cx);
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| T::from_toml(item, cx)).collect();
        read.into_iter().collect()
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
    fn schema() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }
}

impl<T: FromToml> FromToml for BTreeMap<String, T> {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let Some(entries) = node.get_ref().as_table() else {
            wrong_type(node, "a table", cx);
            return None;
        };
        let read: Vec<_> = entries
            .iter()
            .map(|(key, value)| {
                T::from_toml(value, cx).map(|value| (key.get_ref().to_string(), value))
            })
            .collect();
        read.into_iter().collect()
    }
    fn absent() -> Option<Self> {
        Some(Self::new())
    }
    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }
}

/// Declares a table of the configuration: a struct whose doc comments are the documentation of
/// its keys, with `= default` where a key has one.
///
/// ```ignore
/// config! {
///     /// A port that should accept connections.
///     pub struct Config {
///         /// `host:port`.
///         pub address: HostPort,
///         /// Bytes to send once connected.
///         pub send: Option<String>,
///         /// How many times to try.
///         pub tries: u32 = 1,
///     }
///     check(config, table) {
///         if config.tries == 0 { table.error("tries", "must be at least 1"); }
///     }
/// }
/// ```
/// Types: whatever implements [`FromToml`]; `Option`, `Vec` and maps may be left out.
#[macro_export]
macro_rules! config {
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field_vis:vis $field:ident : $type:ty $(= $default:expr)? ),* $(,)?
        }
        $( check($this:ident, $table:ident) $check:block )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        $vis struct $name {
            $( $(#[doc = $field_doc])* $field_vis $field: $type, )*
        }

        impl $crate::config::read::FromTable for $name {
            #[allow(unused_variables, reason = "a table may have no keys at all")]
            fn from_table(table: &mut $crate::config::read::Table<'_, '_, '_>) -> Option<Self> {
                $( let $field: Option<$type> = $crate::config!(@get table $field $type $(, $default)?); )*
                let read = Self { $( $field: $field?, )* };
                $( { let ($this, $table) = (&read, &mut *table); $check } )?
                Some(read)
            }

            fn keys() -> Vec<$crate::config::read::Key> {
                $crate::config::read::keys(&[$(
                    $crate::config::read::WrittenKey {
                        name: $crate::config::read::key(stringify!($field)),
                        description: concat!($($field_doc, "\n"),*),
                        has_default: $crate::config!(@has_default $($default)?),
                        value: $crate::config::read::value::<$type>,
                    }
                ),*])
            }
        }

        impl $crate::config::read::FromToml for $name {
            fn from_toml(
                node: &$crate::config::read::Node<'_>,
                cx: &mut $crate::config::read::Context<'_>,
            ) -> Option<Self> {
                let mut table = $crate::config::read::Table::new(node, "", cx)?;
                let read = <Self as $crate::config::read::FromTable>::from_table(&mut table);
                table.finish();
                read
            }
            fn schema() -> serde_json::Value {
                $crate::config::read::table_schema(&<Self as $crate::config::read::FromTable>::keys())
            }
        }
    };
    (@get $table:ident $field:ident $type:ty) => {
        $table.get::<$type>($crate::config::read::key(stringify!($field)))
    };
    (@get $table:ident $field:ident $type:ty, $default:expr) => {
        $table.get_or::<$type>($crate::config::read::key(stringify!($field)), $default)
    };
    (@has_default) => { false };
    (@has_default $default:expr) => { true };
}

/// What `config!` knows of a key while the program is built.
#[derive(Clone, Copy)]
pub struct WrittenKey {
    /// As it is written.
    pub name: &'static str,
    /// Its documentation.
    pub description: &'static str,
    /// Whether it may be left out for that.
    pub has_default: bool,
    /// Whether it must be there otherwise, and the schema of its value.
    pub value: fn() -> (bool, Json),
}

/// See [`WrittenKey::value`].
#[must_use]
pub fn value<T: FromToml>() -> (bool, Json) {
    (T::absent().is_none(), T::schema())
}

/// The keys of a table.
#[must_use]
pub fn keys(written: &[WrittenKey]) -> Vec<Key> {
    let key = |written: &WrittenKey| {
        let (needed, schema) = (written.value)();
        Key {
            name: written.name,
            description: written.description.trim().to_owned(),
            required: needed && !written.has_default,
            schema,
        }
    };
    written.iter().map(key).collect()
}

/// The key a field is written as: `r#for` is `for`.
#[must_use]
pub const fn key(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// Declares a value that is one of a few words.
///
/// ```ignore
/// choice! {
///     /// How bad it is.
///     pub enum Severity { Info = "info", Warning = "warning", Critical = "critical" }
/// }
/// ```
#[macro_export]
macro_rules! choice {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident { $( $(#[$variant_meta:meta])* $variant:ident = $word:literal ),* $(,)? }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $name { $( $(#[$variant_meta])* #[doc = concat!("`", $word, "`.")] $variant, )* }

        impl $name {
            /// All there are, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The words there are.
            pub const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word it is written as.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )* }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $( $word => Ok(Self::$variant), )*
                    other => Err($crate::config::read::not_a_choice(other, Self::WORDS)),
                }
            }
        }

        impl $crate::config::read::FromToml for $name {
            fn from_toml(
                node: &$crate::config::read::Node<'_>,
                cx: &mut $crate::config::read::Context<'_>,
            ) -> Option<Self> {
                let expected = format!("one of {}", Self::WORDS.join(", "));
                $crate::config::read::parsed(node, &expected, cx, str::parse)
            }
            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": Self::WORDS })
            }
        }
    };
}

/// The message for a word that is none of those there are.
#[must_use]
pub fn not_a_choice(word: &str, words: &[&str]) -> String {
    let guess = nearest(word, words.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    format!("`{word}` is not one of {}{guess}", words.join(", "))
}
