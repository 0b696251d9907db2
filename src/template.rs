//! Texts with values in them: `{{ labels.target }} does not answer`.
//!
//! A template is compiled when the configuration is read, and names it does not know are mistakes
//! there. Rendering is bounded in steps and in bytes, and never does I/O. What cannot be rendered
//! is an error for the caller to show: a text with a hole in it would be believed.

use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::config::diagnostic::nearest;
use crate::config::read::{Context, FromToml, Node, not_a_choice, parsed};
use crate::config::show_duration;

/// What a template may speak of: the fields of [`Notice`](crate::actions::Notice).
pub const VARIABLES: &[&str] = &[
    "rule",
    "state",
    "severity",
    "labels",
    "value",
    "reason",
    "summary",
    "description",
    "flapping",
    "affected",
    "since",
    "at",
    "fingerprint",
];

/// Most bytes a template renders to. Larger messages are refused by what they are sent to.
const RENDERED_BYTES_MAX: usize = 64 * 1024;

/// Most steps a rendering takes: enough for any message, reached in milliseconds by a loop gone
/// wrong.
const STEPS_MAX: u64 = 100_000;

/// The one name a template has in its environment; error messages never show it.
const NAME: &str = "template";

/// A template, compiled.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    /// Filters are shared by all; each environment adds one template.
    environment: Arc<Environment<'static>>,
}

impl Template {
    /// Compiles a template that may use the names in [`VARIABLES`].
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn new(source: &str) -> Result<Self, String> {
        static SHARED: LazyLock<Environment<'static>> = LazyLock::new(environment);
        let mut environment = SHARED.clone();
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| format!("not a template: {}", message(&error)))?;
        let template = Self { source: source.into(), environment: Arc::new(environment) };
        for name in template.variables() {
            if !VARIABLES.contains(&name.as_str()) && !template.is_global(&name) {
                return Err(template.unknown(&name));
            }
        }
        template.try_out()?;
        Ok(template)
    }

    /// Renders without values: only so does it show that a filter, a test or a function is unknown.
    fn try_out(&self) -> Result<(), String> {
        use minijinja::ErrorKind::{UnknownFilter, UnknownFunction, UnknownTest};
        let mut lenient = (*self.environment).clone();
        lenient.set_undefined_behavior(UndefinedBehavior::Chainable);
        let tried = lenient.get_template(NAME).and_then(|template| template.render(()));
        match tried {
            Err(error) if matches!(error.kind(), UnknownFilter | UnknownTest | UnknownFunction) => {
                Err(format!("not a template: {}", message(&error)))
            }
            _ => Ok(()),
        }
    }

    /// The text with the values in it.
    ///
    /// # Errors
    /// A value that is not there, a filter that does not fit, too many steps or bytes.
    pub fn render(&self, values: &impl Serialize) -> Result<String, String> {
        let template = self.environment.get_template(NAME).map_err(|error| message(&error))?;
        let mut out = Bounded(Vec::new());
        template.render_captured_to(Serde(values), &mut out).map_err(|error| message(&error))?;
        String::from_utf8(out.0).map_err(|_| "is not UTF-8".to_owned())
    }

    /// As it is written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The names it uses and does not define itself.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let Ok(template) = self.environment.get_template(NAME) else { return Vec::new() };
        let mut names: Vec<_> = template.undeclared_variables(false).into_iter().collect();
        names.sort_unstable();
        names
    }

    fn is_global(&self, name: &str) -> bool {
        self.environment.globals().any(|(global, _)| global == name)
    }

    fn unknown(&self, name: &str) -> String {
        // `{{ target }}` is what everybody writes first.
        if nearest(name, VARIABLES.iter().copied()).is_none() {
            let known = VARIABLES.join(", ");
            return format!(
                "the template knows no `{name}`, only {known}; a label is `labels.{name}`"
            );
        }
        format!("the template's {}", not_a_choice(name, VARIABLES))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(STEPS_MAX));
    environment.set_recursion_limit(50);
    // What a serial device is told ends with a line end, and must keep it.
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.expect("the usual delimiters"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_formatter(|out, state, value| {
        if value.is_none() {
            return out.write_str("no data").map_err(minijinja::Error::from);
        }
        // Readings are floats; whole ones read better without `.0`.
        match f64::try_from(value.clone()) {
            Ok(number) if value.is_number() => {
                out.write_str(&number.to_string()).map_err(minijinja::Error::from)
            }
            _ => minijinja::escape_formatter(out, state, value),
        }
    });
    environment.add_filter("round", round);
    environment.add_filter("percent", percent);
    environment.add_filter("bytes", bytes);
    environment.add_filter("duration", duration);
    environment
}

/// `{{ value | round(1) }}`; a value that is not there stays so.
fn round(value: Option<f64>, digits: Option<i32>) -> Option<f64> {
    let scale = 10f64.powi(digits.unwrap_or(0).clamp(0, 15));
    value.map(|value| (value * scale).round() / scale)
}

/// `{{ value | percent }}`: 0.5 is 50 %.
fn percent(value: Option<f64>) -> Option<String> {
    value.map(|value| format!("{}\u{a0}%", (value * 1_000.0).round() / 10.0))
}

/// `{{ value | bytes }}`: 1536 is 1.5 KiB.
fn bytes(value: Option<f64>) -> Option<String> {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    value.map(|mut value| {
        let mut unit = 0;
        while value.abs() >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        format!("{}\u{a0}{}", (value * 10.0).round() / 10.0, UNITS[unit])
    })
}

/// `{{ value | duration }}`: 5400 seconds are 1h30m, 1.84 are 1.8s, 0.03 are 30ms.
fn duration(value: Option<f64>) -> Option<String> {
    value.map(|value| {
        let sign = if value < 0.0 { "-" } else { "" };
        let size = value.abs();
        let shown = if size < 1.0 {
            format!("{}ms", (size * 1e4).round() / 10.0)
        } else if size < 60.0 {
            format!("{}s", (size * 10.0).round() / 10.0)
        } else {
            Duration::try_from_secs_f64(size.round())
                .map_or_else(|_| format!("{size}s"), show_duration)
        };
        format!("{sign}{shown}")
    })
}

/// The error without the template's internal name.
fn message(error: &minijinja::Error) -> String {
    let what = error
        .detail()
        .map_or_else(|| error.kind().to_string(), |detail| format!("{}: {detail}", error.kind()));
    match error.line() {
        Some(line) if line > 1 => format!("{what} (line {line} of the template)"),
        _ => what,
    }
}

/// Takes so many bytes and no more.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other("the text is too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

impl FromToml for Template {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "a text", cx, Self::new)
    }
    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, value: Json) -> Result<String, String> {
        Template::new(source)?.render(&json!({ "value": value, "labels": { "target": "gw" } }))
    }

    #[test]
    fn values_are_put_in() {
        for (source, value, text) in [
            ("{{ labels.target }} does not answer", json!(0), "gw does not answer"),
            ("{{ value | round(1) }}", json!(31.449), "31.4"),
            ("{{ value | round }}", json!(31.449), "31"),
            ("{{ value | round(1) }}", Json::Null, "no data"),
            ("{{ value }}", Json::Null, "no data"),
            ("{{ value | percent }}", json!(0.503), "50.3\u{a0}%"),
            ("{{ value | bytes }}", json!(1536), "1.5\u{a0}KiB"),
            ("{{ value | duration }}", json!(5400.4), "1h30m"),
            ("{{ value | duration }}", json!(-0.25), "-250ms"),
            ("{% if value > 1 %}<high>{% endif %}", json!(2), "<high>"),
        ] {
            assert_eq!(rendered(source, value).as_deref(), Ok(text), "{source}");
        }
    }

    #[test]
    fn mistakes_show_when_the_template_is_compiled() {
        for (source, part) in [
            ("{{ labels.target", "not a template: syntax error"),
            ("{{ valeu }}", "did you mean `value`?"),
            ("{{ target }}", "a label is `labels.target`"),
            ("{{ value | nope }}", "unknown filter"),
        ] {
            let message = Template::new(source).expect_err(source);
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn rendering_is_bounded_and_strict() {
        let missing = rendered("{{ labels.nope }}", json!(1)).unwrap_err();
        assert!(missing.contains("undefined"), "{missing}");
        let long = "{% for i in range(9000) %}{{ labels.target }}xxxxxxxxxx{% endfor %}";
        assert!(rendered(long, json!(1)).is_err());
        let endless =
            "{% for i in range(9000) %}{% for j in range(9000) %}{% endfor %}{% endfor %}";
        assert!(rendered(endless, json!(1)).is_err());
    }
}
