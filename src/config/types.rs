//! The types of values in the configuration, each parsed once and past doubting afterwards.

use std::fmt;
use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::read::{Context, FromToml, Node, Table, parsed, string, wrong_type};

impl FromToml for bool {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let value = node.get_ref().as_bool();
        if value.is_none() {
            wrong_type(node, "true or false", cx);
        }
        value
    }
    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl FromToml for $type {
            fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
                let Some(integer) = node.get_ref().as_integer() else {
                    wrong_type(node, "a whole number", cx);
                    return None;
                };
                let value = <$type>::from_str_radix(integer.as_str(), integer.radix());
                if value.is_err() {
                    let range = format!("must be from {} to {}", <$type>::MIN, <$type>::MAX);
                    cx.error(node.span(), range);
                }
                value.ok()
            }
            fn schema() -> Json {
                json!({ "type": "integer", "minimum": <$type>::MIN, "maximum": <$type>::MAX })
            }
        }
    )*};
}
integers!(u8, u16, u32, u64, i64);

/// A finite number; whole numbers are fine, `nan` and `inf` are not.
impl FromToml for f64 {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let value = match node.get_ref() {
            DeValue::Integer(i) => {
                i64::from_str_radix(i.as_str(), i.radix()).ok().map(|i| i as Self)
            }
            DeValue::Float(f) => f.as_str().parse::<Self>().ok(),
            _ => {
                wrong_type(node, "a number", cx);
                return None;
            }
        };
        let finite = value.filter(|v| v.is_finite());
        if finite.is_none() {
            cx.error(node.span(), "must be a finite number");
        }
        finite
    }
    fn schema() -> Json {
        json!({ "type": "number" })
    }
}

impl FromToml for String {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        string(node, "a string", cx).map(str::to_owned)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A path; a relative one is relative to the file it is written in.
impl FromToml for PathBuf {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let path = string(node, "a path", cx)?;
        Some(cx.resolve(path.as_ref()))
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl FromToml for IpAddr {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "an IP address", cx, |text| {
            text.parse().map_err(|_| format!("`{text}` is not an IP address"))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl FromToml for SocketAddr {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "an address with a port", cx, |text| {
            text.parse().map_err(|_| {
                format!("`{text}` is not an address with a port, like 127.0.0.1:9465 or [::1]:9465")
            })
        })
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// `"500ms"`, `"1s"`, `"5m"`, `"1h30m"`, `"30d"`; longer than nothing.
impl FromToml for Duration {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a duration such as \"10s\"", cx, |text| {
            let duration = parse_duration(text)?;
            if duration.is_zero() {
                Err("must be longer than nothing".into())
            } else {
                Ok(duration)
            }
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^([0-9]+(ms|us|s|m|h|d|w))+$" })
    }
}

/// Durations longer than this are mistakes, and would overflow arithmetic on timestamps.
const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Parses a duration: whole numbers with units `us`, `ms`, `s`, `m`, `h`, `d` or `w`, put together.
///
/// # Errors
/// A message that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{text}` is not a duration; write it as \"500ms\", \"10s\", \"5m\", \"1h30m\" or \"30d\""
        )
    };
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |n| n + digits);
        let micros: u64 = match &rest[digits..unit_end] {
            "us" | "µs" => 1,
            "ms" => 1_000,
            "s" => 1_000_000,
            "m" => 60_000_000,
            "h" => 3_600_000_000,
            "d" => 86_400_000_000,
            "w" => 604_800_000_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(micros).map(Duration::from_micros).ok_or_else(wrong)?;
        total = total
            .checked_add(part)
            .filter(|t| *t <= DURATION_MAX)
            .ok_or_else(|| format!("`{text}` is longer than 100 years"))?;
        rest = &rest[unit_end..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// A duration as people write it: `1h30m`, `500ms`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut micros = duration.as_micros();
    let mut shown = String::new();
    for (unit, size) in [
        ("d", 86_400_000_000),
        ("h", 3_600_000_000),
        ("m", 60_000_000),
        ("s", 1_000_000),
        ("ms", 1_000),
        ("us", 1),
    ] {
        if micros >= size {
            shown += &format!("{}{unit}", micros / size);
            micros %= size;
        }
    }
    if shown.is_empty() { "0s".into() } else { shown }
}

/// A number of bytes, written `"64MiB"`, `"10kB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl FromToml for ByteSize {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        if node.get_ref().is_integer() {
            return u64::from_toml(node, cx).map(Self);
        }
        parsed(node, "a size such as \"64MiB\"", cx, parse_size)
    }
    fn schema() -> Json {
        json!({ "type": ["string", "integer"] })
    }
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    let wrong = || format!("`{text}` is not a size; write it as \"512KiB\", \"64MiB\" or \"2GiB\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let unit: u64 = match &text[digits..] {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(unit).map(ByteSize).ok_or_else(wrong)
}

/// A host with an optional port: `gw`, `10.0.0.1:161`, `[fe80::1%eth0]:161`, `2001:db8::1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// The port, if one is written.
    pub port: Option<u16>,
}

impl std::str::FromStr for HostPort {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a host, or host:port");
        let port = |text: &str| text.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(wrong);
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            let given = after.strip_prefix(':').map(port).transpose()?;
            if given.is_none() && !after.is_empty() {
                return Err(wrong());
            }
            (host, given)
        } else if text.matches(':').count() > 1 {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, given)) => (host, Some(port(given)?)),
                None => (text, None),
            }
        };
        let fine = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
        if host.is_empty() || host.len() > 253 || !host.chars().all(fine) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl FromToml for HostPort {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a host", cx, str::parse)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// A URL, checked to be one.
impl FromToml for url::Url {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a URL", cx, |text| {
            Self::parse(text).map_err(|error| format!("`{text}` is not a URL: {}", no_url(error)))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "format": "uri" })
    }
}

/// Why a text is no URL, in words that say what to do about it where most get it wrong.
pub(crate) fn no_url(error: url::ParseError) -> String {
    match error {
        url::ParseError::RelativeUrlWithoutBase => "it lacks a scheme such as https://".to_owned(),
        other => other.to_string(),
    }
}

/// A regular expression, compiled.
#[derive(Debug, Clone)]
pub struct Regex(pub regex::Regex);

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl FromToml for Regex {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a regular expression", cx, |text| {
            regex::Regex::new(text).map(Self).map_err(|error| {
                let message = error.to_string();
                let last = message.lines().last().unwrap_or_default();
                format!("not a regular expression: {}", last.trim_start_matches("error: "))
            })
        })
    }
    fn schema() -> Json {
        json!({ "type": "string", "format": "regex" })
    }
}

/// A glob over names: `*`, `?`, `[a-c]`, `{a,b}`; compiled.
#[derive(Debug, Clone)]
pub struct Glob(pub globset::GlobMatcher);

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.0.glob() == other.0.glob()
    }
}

impl FromToml for Glob {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a name or a glob", cx, |text| {
            globset::Glob::new(text)
                .map(|glob| Self(glob.compile_matcher()))
                .map_err(|error| format!("not a glob: {}", error.kind()))
        })
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

/// Something that must not be seen: written in place, or better, where to find it.
///
/// It shows itself to nobody: `Debug` and `Display` print stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself, for the one who must send it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// A secret made in the program, not read.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl FromToml for Secret {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let table = node.get_ref().as_table();
        let by_reference = table.is_some_and(|table| {
            table.keys().all(|key| ["env", "file", "credential"].contains(&key.get_ref().as_ref()))
        });
        if !by_reference {
            let place = cx.place(node.span());
            cx.diagnostics.hide(place);
        }
        if let Some(text) = node.get_ref().as_str() {
            return Some(Self(text.to_owned()));
        }
        if table.is_none() {
            wrong_type(
                node,
                "a string, { env = \"NAME\" }, { file = \"path\" } or { credential = \"name\" }",
                cx,
            );
            return None;
        }
        let mut table = Table::new(node, "", cx)?;
        let env = table.get::<Option<String>>("env")?;
        let file = table.get::<Option<PathBuf>>("file")?;
        let credential = table.get::<Option<String>>("credential")?;
        table.finish();
        let found = match (env, file, credential) {
            (Some(name), None, None) => (cx.env)(&name)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| format!("the environment variable {name} is not set")),
            (None, Some(path), None) => read_secret(&path),
            (None, None, Some(name)) if name.is_empty() || name.contains('/') => {
                Err("a credential's name is the ID of LoadCredential=, without a path".into())
            }
            (None, None, Some(name)) => match (cx.env)("CREDENTIALS_DIRECTORY") {
                Some(folder) => read_secret(&PathBuf::from(folder).join(&name)),
                None => Err(format!(
                    "credential {name} needs systemd: $CREDENTIALS_DIRECTORY is not set (LoadCredential= in the unit)"
                )),
            },
            _ => Err("a secret is exactly one of env, file and credential".into()),
        };
        found.map(Self).map_err(|message| cx.error(node.span(), message)).ok()
    }
    fn schema() -> Json {
        let one = |key: &str| {
            json!({ "type": "object", "properties": { key: { "type": "string" } },
                    "required": [key], "additionalProperties": false })
        };
        json!({ "anyOf": [{ "type": "string" }, one("env"), one("file"), one("credential")] })
    }
}

/// The most a secret's file may hold: it is a password, not a database.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A secret from a file, without the line end that editors add.
fn read_secret(path: &std::path::Path) -> Result<String, String> {
    let shown = path.display();
    let text = read_bounded(path, SECRET_BYTES_MAX)
        .map_err(|error| format!("cannot read the secret file {shown}: {error}"))?;
    let secret = String::from_utf8(text)
        .map_err(|_| format!("the secret file {shown} is not UTF-8"))?
        .trim_end_matches(['\n', '\r'])
        .to_owned();
    if secret.is_empty() { Err(format!("the secret file {shown} is empty")) } else { Ok(secret) }
}

/// Reads a file of at most this many bytes: /dev/zero must not end in a full memory.
pub(crate) fn read_bounded(path: &std::path::Path, bytes_max: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it is larger than {bytes_max} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "1 s", "99999999999999d", "101000w"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hosts_may_be_names_and_addresses_of_both_kinds() {
        let host = |text: &str| text.parse::<HostPort>().map(|h| (h.host, h.port));
        assert_eq!(host("gw"), Ok(("gw".into(), None)));
        assert_eq!(host("10.0.0.1:161"), Ok(("10.0.0.1".into(), Some(161))));
        assert_eq!(host("2001:db8::1"), Ok(("2001:db8::1".into(), None)));
        assert_eq!(host("[::1]:161"), Ok(("::1".into(), Some(161))));
        for wrong in ["", "a b", "gw:0", "gw:99999", "[::1", "[::1]x", "http://x"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret:?} {secret}"), "*** ***");
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(micros in 1u64..=3_000_000_000_000_000) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Ok(duration));
        }
    }
}
