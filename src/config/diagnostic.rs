//! Mistakes in configuration files, shown where they are, but never with a secret.

mod show;

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file that was read.
#[derive(Debug)]
pub struct Source {
    /// As shown to people: relative where it was given so.
    pub path: PathBuf,
    /// What is in it.
    pub text: String,
    /// How much of the text is the file's; what is behind was set on the command line.
    own: usize,
}

/// Which file; an index into [`Diagnostics`]' sources.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId(usize);

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// Bytes from the start of the file.
    pub span: Range<usize>,
}

/// What the place of what was set on the command line is called.
const SET: &str = "--set";

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
    warnings: Vec<Diagnostic>,
    /// Where secrets are written in place.
    hidden: Vec<Place>,
}

impl Diagnostics {
    /// Adds a file whose mistakes may follow.
    /// One that is known already, the same text from the same path, is the same file: a profile
    /// that many targets use has its mistakes shown once.
    pub fn add_source(&mut self, path: PathBuf, text: String) -> FileId {
        let own = text.len();
        self.add_changed_source(path, text, own)
    }

    /// As [`Self::add_source`], of a file whose own text is so long; what is behind the line's end
    /// after it was set on the command line.
    pub fn add_changed_source(&mut self, path: PathBuf, text: String, own: usize) -> FileId {
        if let Some(known) = self.sources.iter().position(|s| s.path == path && s.text == text) {
            return FileId(known);
        }
        self.sources.push(Source { path, text, own });
        FileId(self.sources.len() - 1)
    }

    /// A file's text.
    #[must_use]
    pub fn text(&self, file: FileId) -> &str {
        &self.sources[file.0].text
    }

    /// A file's path.
    #[must_use]
    pub fn path(&self, file: FileId) -> &Path {
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

    /// Notes something that works but is hardly meant.
    pub fn warn(&mut self, place: &Place, message: impl Into<String>) {
        let message = show::message(&message.into());
        self.warnings.push(Diagnostic { place: Some(place.clone()), message, help: None });
    }

    /// Notes something that works but is hardly meant, and is in no file.
    pub fn warn_without_place(&mut self, message: impl Into<String>) {
        let message = show::message(&message.into());
        self.warnings.push(Diagnostic { place: None, message, help: None });
    }

    /// From here on, what is at this place is never shown.
    pub fn hide(&mut self, place: Place) {
        self.hidden.push(place);
    }

    fn push(&mut self, place: Option<Place>, message: String, help: Option<String>) {
        let message = show::message(&message);
        let new = Diagnostic { place, message, help: help.map(|help| show::message(&help)) };
        // What is found twice is found twice in a row or nearly so.
        if !self.all.iter().rev().take(16).any(|known| *known == new) {
            self.all.push(new);
        }
    }

    /// The mistakes, in the order of the files.
    #[must_use]
    pub fn errors(&self) -> Vec<&Diagnostic> {
        in_order(&self.all)
    }

    /// What works but is hardly meant, in the order of the files.
    #[must_use]
    pub fn warnings(&self) -> Vec<&Diagnostic> {
        in_order(&self.warnings)
    }

    /// One of them as people see it: place, message, line and caret; ends with a line end.
    #[must_use]
    pub fn show(&self, one: &Diagnostic) -> String {
        let mut out = String::new();
        self.write_one(&mut out, one).expect("a string takes everything");
        out
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
        let Source { text, own, .. } = &self.sources[place.file.0];
        let is_behind = place.span.start > *own;
        let before = &text[if is_behind { own + 1 } else { 0 }..place.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    fn write_one(&self, out: &mut impl fmt::Write, one: &Diagnostic) -> fmt::Result {
        let Some(place) = &one.place else {
            writeln!(out, "{}", one.message)?;
            return one.help.iter().try_for_each(|help| writeln!(out, "  = {help}"));
        };
        let (line, column) = self.line_column(place);
        let Source { path, own, .. } = &self.sources[place.file.0];
        let path = if place.span.start > *own { Path::new(SET) } else { path }.display();
        writeln!(out, "{path}:{line}:{column}: {}", one.message)?;
        let text = self.text(place.file);
        let start = text[..place.span.start].rfind('\n').map_or(0, |at| at + 1);
        let shown = text[start..].lines().next().unwrap_or_default();
        let in_line =
            |span: &Range<usize>| span.start.saturating_sub(start)..span.end.saturating_sub(start);
        let hidden = self.hidden.iter().filter(|p| p.file == place.file).map(|p| in_line(&p.span));
        let shown = show::line(shown, &in_line(&place.span), &hidden.collect::<Vec<_>>());
        let gutter = " ".repeat(line.to_string().len());
        writeln!(out, " {line} | {}", shown.line)?;
        writeln!(out, " {gutter} | {}{}", shown.indent, "^".repeat(shown.carets))?;
        one.help.iter().try_for_each(|help| writeln!(out, " {gutter} = {help}"))
    }
}

fn in_order(some: &[Diagnostic]) -> Vec<&Diagnostic> {
    let mut sorted: Vec<_> = some.iter().collect();
    sorted.sort_by_key(|d| d.place.as_ref().map(|p| (p.file, p.span.start)));
    sorted
}

/// More mistakes than this are counted, not shown: a file that is no configuration at all has one
/// in every line.
const SHOWN_MAX: usize = 100;

/// All mistakes in the order of the files, each with its line and a caret under it.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in self.errors().into_iter().take(SHOWN_MAX) {
            self.write_one(f, one)?;
        }
        if self.all.len() > SHOWN_MAX {
            writeln!(f, "… and {} more", self.all.len() - SHOWN_MAX)?;
        }
        write!(f, "{} in the configuration", count(self.all.len(), "mistake"))
    }
}

/// A number of things, in words: `1 mistake`, `2 mistakes`.
#[must_use]
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

impl std::error::Error for Diagnostics {}

/// Longer words are not misspelt, and would take time and memory to compare.
const WORD_BYTES_MAX: usize = 64;

/// The known word nearest to a misspelt one, if any is near.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
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
