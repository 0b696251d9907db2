//! Mistakes in configuration files, shown where they are.

use std::fmt::{self, Write as _};
use std::ops::Range;
use std::path::PathBuf;

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// As shown to people: relative where it was given so.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
}

/// Which file; an index into [`Diagnostics`]' sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(usize);

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Bytes from the start of the file.
    pub span: Range<usize>,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where, if it is in a file at all.
    pub place: Option<Place>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Collects every mistake there is, so that they can be mended in one go.
#[derive(Debug, Default)]
pub struct Diagnostics {
    sources: Vec<Source>,
    all: Vec<Diagnostic>,
}

impl Diagnostics {
    /// Adds a file whose mistakes may follow.
    /// One that is known already, the same text from the same path, is the same file: a profile
    /// that many targets use has its mistakes shown once.
    pub fn add_source(&mut self, path: PathBuf, text: String) -> FileId {
        if let Some(known) = self.sources.iter().position(|s| s.path == path && s.text == text) {
            return FileId(known);
        }
        self.sources.push(Source { path, text });
        FileId(self.sources.len() - 1)
    }

    /// A file's text.
    #[must_use]
    pub fn text(&self, file: FileId) -> &str {
        &self.sources[file.0].text
    }

    /// A file's path.
    #[must_use]
    pub fn path(&self, file: FileId) -> &std::path::Path {
        &self.sources[file.0].path
    }

    /// Notes a mistake at a place.
    pub fn error(&mut self, place: &Place, message: impl Into<String>) {
        self.push(Some(place.clone()), message.into(), None);
    }

    /// Notes a mistake at a place, and what to do about it.
    pub fn error_with_help(
        &mut self,
        place: &Place,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(Some(place.clone()), message.into(), Some(help.into()));
    }

    /// Notes a mistake that is in no file.
    pub fn error_without_place(&mut self, message: impl Into<String>) {
        self.push(None, message.into(), None);
    }

    fn push(&mut self, place: Option<Place>, message: String, help: Option<String>) {
        let new = Diagnostic { place, message, help };
        if !self.all.contains(&new) {
            self.all.push(new);
        }
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// How many mistakes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Line and column of a place, both from 1; the column counts characters.
    #[must_use]
    pub fn line_column(&self, place: &Place) -> (usize, usize) {
        let before = &self.text(place.file)[..place.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn write_one(&self, out: &mut impl fmt::Write, one: &Diagnostic) -> fmt::Result {
        let Some(place) = &one.place else {
            writeln!(out, "{}", one.message)?;
            return one.help.iter().try_for_each(|help| writeln!(out, "  = {help}"));
        };
        let (line, column) = self.line_column(place);
        let path = self.sources[place.file.0].path.display();
        writeln!(out, "{path}:{line}:{column}: {}", one.message)?;
        let text = self.text(place.file);
        let shown = text.lines().nth(line - 1).unwrap_or_default();
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        // A long line, a secret pasted into the wrong place, or a tab must not spoil the picture.
        let shown: String = shown.chars().take(LINE_CHARS_MAX).collect();
        let underlined = text[place.span.clone()].lines().next().unwrap_or_default();
        let room = (shown.chars().count() + 1).saturating_sub(column - 1).max(1);
        let width = underlined.chars().count().clamp(1, room);
        let indent: String =
            shown.chars().take(column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(out, " {number} | {shown}")?;
        writeln!(out, " {gutter} | {indent}{}", "^".repeat(width))?;
        one.help.iter().try_for_each(|help| writeln!(out, " {gutter} = {help}"))
    }
}

/// More of a line than this is not shown.
const LINE_CHARS_MAX: usize = 160;

/// All mistakes in the order of the files, each with its line and a caret under it.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted: Vec<_> = self.all.iter().collect();
        sorted.sort_by_key(|d| d.place.as_ref().map(|p| (p.file, p.span.start)));
        let mut out = String::new();
        for one in sorted {
            self.write_one(&mut out, one)?;
        }
        write!(out, "{} in the configuration", count(self.all.len(), "mistake"))?;
        f.write_str(&out)
    }
}

fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl std::error::Error for Diagnostics {}

/// The known word nearest to a misspelt one, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(word.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_its_line_and_a_caret() {
        let mut diagnostics = Diagnostics::default();
        let file = diagnostics.add_source("a.toml".into(), "x = 1\n\tkéy = 22\n".into());
        diagnostics.error_with_help(&Place { file, span: 14..16 }, "too large", "at most 9");
        assert_eq!(
            diagnostics.to_string(),
            "a.toml:2:8: too large\n 2 | \tkéy = 22\n   | \t      ^^\n   = at most 9\n\
             1 mistake in the configuration"
        );
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        assert_eq!(nearest("intervall", ["interval", "timeout"]), Some("interval"));
        assert_eq!(nearest("colour", ["interval", "timeout"]), None);
    }
}
