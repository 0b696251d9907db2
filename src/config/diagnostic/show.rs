//! The line a mistake is in, with a caret under it: what is too long is cut, what could steer a
//! terminal is replaced, and what may be a secret is never shown.

use std::ops::Range;

use super::nearest;

/// A line made fit to be shown, and where in it something is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The line.
    pub(super) line: String,
    /// What stands under it before the carets.
    pub(super) indent: String,
    /// How many carets.
    pub(super) carets: usize,
}

/// Characters of a line that are shown.
const LINE_CHARS_MAX: usize = 160;

/// Characters shown before the place in question where a line is cut.
const LEAD_CHARS: usize = 40;

/// What stands for a secret.
const STARS: &str = "***";

/// Shows a line. `span` is the place in question and `hidden` what is known to be secret, both in
/// bytes from the line's start.
pub(super) fn line(line: &str, span: &Range<usize>, hidden: &[Range<usize>]) -> Shown {
    let mut masked = secrets(line);
    masked.extend_from_slice(hidden);
    let is_masked = |at: usize| masked.iter().any(|range| range.contains(&at));
    let mut shown = Vec::new();
    let (mut start, mut end) = (None, 0);
    let mut in_mask = false;
    for (at, c) in line.char_indices() {
        if at >= span.start && start.is_none() {
            start = Some(if in_mask && is_masked(at) {
                shown.len() - STARS.len()
            } else {
                shown.len()
            });
        }
        match (is_masked(at), in_mask) {
            (true, false) => shown.extend(STARS.chars()),
            (true, true) => {}
            (false, _) if c != '\t' && (c.is_control() || is_invisible(c)) => {
                shown.push('\u{fffd}')
            }
            (false, _) => shown.push(c),
        }
        in_mask = is_masked(at);
        if at < span.end {
            end = shown.len();
        }
    }
    let start = start.unwrap_or(shown.len());
    // What ends the line or is empty has one caret, just behind the last character if need be.
    let end = end.max(start + 1);
    cut(&shown, start, end)
}

fn cut(shown: &[char], start: usize, end: usize) -> Shown {
    let from = if shown.len() > LINE_CHARS_MAX { start.saturating_sub(LEAD_CHARS) } else { 0 };
    let to = shown.len().min(from + LINE_CHARS_MAX);
    let mut line: String = shown[from..to].iter().collect();
    let before = &shown[from..start.min(to)];
    let mut indent: String = before.iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
    if from > 0 {
        line.insert(0, '…');
        indent.insert(0, ' ');
    }
    if to < shown.len() {
        line.push('…');
    }
    Shown { line, indent, carets: end.min(to.max(start + 1)) - start }
}

/// Characters that reorder or hide the text around them (Unicode TR 36, section 3.1).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A message without anything that could steer a terminal, and without the passwords of URLs.
pub(super) fn message(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let masked = userinfo(text);
    for (at, c) in text.char_indices() {
        if let Some(range) = masked.iter().find(|range| range.contains(&at)) {
            if range.start == at {
                kept += STARS;
            }
        } else if c.is_control() || is_invisible(c) {
            kept.push('\u{fffd}');
        } else {
            kept.push(c);
        }
        if kept.len() >= MESSAGE_BYTES_MAX {
            kept.push('…');
            break;
        }
    }
    kept
}

/// A value of a megabyte quoted in a message would drown the message.
const MESSAGE_BYTES_MAX: usize = 1_000;

/// Parts of keys whose values are secrets. A line is shown before anybody knows what its keys
/// mean, and even where the key is misspelt.
const SECRET_KEYS: [&str; 9] = [
    "token",
    "passw",
    "pwd",
    "secret",
    "community",
    "credential",
    "authorization",
    "api_key",
    "apikey",
];

/// Whole keys near to which a misspelt one is taken for a secret's.
const SECRET_WORDS: [&str; 8] = [
    "token",
    "password",
    "passphrase",
    "secret",
    "community",
    "auth_password",
    "priv_password",
    "credentials",
];

fn sounds_secret(key: &str) -> bool {
    let key = key.to_lowercase().replace('-', "_");
    SECRET_KEYS.iter().any(|part| key.contains(part)) || nearest(&key, SECRET_WORDS).is_some()
}

/// What in a line may be a secret: values of keys that sound like it, passwords in URLs.
fn secrets(line: &str) -> Vec<Range<usize>> {
    let mut found = userinfo(line);
    for (equals, _) in line.match_indices('=') {
        let before = line[..equals].trim_end().trim_end_matches(['"', '\'']);
        let key_char = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let key_start = before
            .char_indices()
            .rev()
            .find(|(_, c)| !key_char(*c))
            .map_or(0, |(at, c)| at + c.len_utf8());
        let key = &before[key_start..];
        let after = &line[equals + 1..];
        let value = equals + 1 + (after.len() - after.trim_start().len());
        // A table says where the secret is; keys within it are looked at on their own.
        // `{ credential = "name" }` names one, too.
        if key.is_empty()
            || key == "credential"
            || !sounds_secret(key)
            || line[value..].starts_with('{')
        {
            continue;
        }
        found.push(value..value + value_length(&line[value..]));
    }
    found
}

/// The length of the value that begins here: a string up to its end, anything else to the line's.
fn value_length(text: &str) -> usize {
    let Some(quote) = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|q| text.starts_with(q)) else {
        return text.len();
    };
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(quote.len()) {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote.starts_with('"') {
            escaped = true;
        } else if text[at..].starts_with(quote) {
            return at + quote.len();
        }
    }
    text.len()
}

/// `user:password` of URLs.
fn userinfo(text: &str) -> Vec<Range<usize>> {
    let authority = |(scheme, _): (usize, &str)| {
        let start = scheme + 3;
        let rest = &text[start..];
        let end = rest.find(['/', '?', '#', '"', '\'', '`', ' ']).unwrap_or(rest.len());
        rest[..end].rfind('@').map(|at| start..start + at)
    };
    text.match_indices("://").filter_map(authority).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str, span: Range<usize>) -> (String, String) {
        let shown = line(text, &span, &[]);
        (shown.line, format!("{}{}", shown.indent, "^".repeat(shown.carets)))
    }

    #[test]
    fn values_of_keys_that_sound_secret_are_not_shown() {
        for text in [
            "token = \"hunter2\"",
            "tokn = 'hunter2'",
            "pasword=\"hun\\\"ter2\" # hm",
            "community = hunter2",
            "x = { api_token = \"hunter2\", y = 1 }",
            "\"auth-password\" = \"\"\"hunter2",
            "url = \"mqtt://me:hunter2@broker:1883\"",
            "secrets = [\"hunter2\", \"b\"]",
        ] {
            let (line, _) = shown(text, 0..text.len());
            assert!(!line.contains("ter2"), "{line}");
            assert!(line.contains("***"), "{line}");
        }
        let (line, _) = shown("token = { env = \"NAME\" } # fine", 0..5);
        assert_eq!(line, "token = { env = \"NAME\" } # fine");
    }

    #[test]
    fn carets_stand_under_a_masked_value() {
        let expected = ("token = ***, x = 1".to_owned(), "        ^^^".to_owned());
        assert_eq!(shown("token = \"hunter2\", x = 1", 8..17), expected);
        let (_, carets) = shown("token = \"hunter2\", x = 1", 19..20);
        assert_eq!(carets, "             ^");
    }

    #[test]
    fn a_known_secret_is_hidden_wherever_it_is() {
        let shown = line("send = 'abc' # x", &(0..4), std::slice::from_ref(&(7..12)));
        assert_eq!(shown.line, "send = *** # x");
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{}x = bad{}", " ".repeat(5_000), "y".repeat(5_000));
        let (line, carets) = shown(&text, 5_004..5_007);
        assert_eq!(line.chars().count(), LINE_CHARS_MAX + 2);
        let at = carets.find('^').unwrap();
        assert_eq!(line.chars().skip(at).take(3).collect::<String>(), "bad");
    }

    #[test]
    fn terminals_cannot_be_steered() {
        assert_eq!(shown("a\u{1b}[2J", 0..1).0, "a\u{fffd}[2J");
        assert_eq!(message("a\u{1b}b\u{202e}c"), "a\u{fffd}b\u{fffd}c");
        assert_eq!(message("`http://u:p@h/x` is wrong"), "`http://***@h/x` is wrong");
    }

    proptest! {
        #[test]
        fn any_line_can_be_shown(text in "[^\n]{0,300}", start in 0usize..400, length in 0usize..50) {
            let shown = line(&text, &(start..start + length), &[]);
            prop_assert!(shown.carets >= 1);
            prop_assert!(shown.line.chars().count() <= LINE_CHARS_MAX + 2);
            message(&text);
        }
    }
}
