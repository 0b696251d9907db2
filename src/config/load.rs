//! From files to a [`Config`].
//!
//! Every file is read as far as it can be, so that all its mistakes are told at once; one whose
//! TOML is broken is not, since what follows a broken line means something else.

mod assemble;
mod depends;
mod tables;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::built_in;
use super::changes::Changes;
use super::diagnostic::{Diagnostics, FileId, Place};
use super::read::{Context, Table};
use super::types::read_bounded;
use super::{Api, Common, Config, Defaults, Located, Named, Store};
use crate::actions::ActionConfig;
use crate::pollers::KindConfig;
use crate::rules::RuleConfig;
use crate::sinks::SinkConfig;

/// Reads configurations. Everything it takes from the world besides the files is a field.
pub struct Loader<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// How deep files may include files.
const INCLUDE_DEPTH_MAX: usize = 8;

/// The largest file: a hundred thousand targets written out are some ten megabytes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// Syntax errors told of one file: after the first few, the parser guesses.
const SYNTAX_ERRORS_MAX: usize = 10;

impl Loader<'_> {
    /// Reads a configuration file and all it names.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(&self, path: &Path) -> Result<Config, Diagnostics> {
        self.load_with_warnings(path).map(|(config, _)| config)
    }

    /// As [`Loader::load`], and what works but is hardly meant.
    ///
    /// # Errors
    /// Every mistake of every file; warnings are there as well.
    pub fn load_with_warnings(&self, path: &Path) -> Result<(Config, Diagnostics), Diagnostics> {
        let mut draft = Draft::new(self.env);
        draft.first_file(path, FileKind::Config);
        draft.finish()
    }

    /// Reads a configuration file, or the built-in configuration, with other values in its rules.
    ///
    /// # Errors
    /// Every mistake of every file, and of the changes.
    pub fn load_changed(
        &self,
        path: Option<&Path>,
        changes: &Changes,
    ) -> Result<Config, Diagnostics> {
        let mut draft = Draft { changes: changes.clone(), ..Draft::new(self.env) };
        match path {
            Some(path) => draft.first_file(path, FileKind::Config),
            None => draft.built_in(),
        }
        draft.finish().map(|(config, _)| config)
    }

    /// The configuration of a host without a configuration file, as [`Loader::load_with_warnings`].
    ///
    /// # Errors
    /// What this host has around it made it a wrong one; which would be a defect.
    pub fn load_built_in(&self) -> Result<(Config, Diagnostics), Diagnostics> {
        let mut draft = Draft::new(self.env);
        draft.built_in();
        draft.finish()
    }

    /// Reads a configuration given as text; relative paths are relative to `path`'s folder.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load_text(&self, path: &Path, text: &str) -> Result<Config, Diagnostics> {
        let mut draft = Draft::new(self.env);
        draft.file(path, text.to_owned(), FileKind::Config, &mut Vec::new());
        draft.finish().map(|(config, _)| config)
    }

    /// Reads a file of rules alone, for rule tests.
    ///
    /// # Errors
    /// Every mistake of the file. Actions need not exist.
    pub fn load_rules(&self, path: &Path) -> Result<Vec<Arc<Named<RuleConfig>>>, Diagnostics> {
        self.load_rule_files(&[path.to_owned()], &Changes::default())
    }

    /// Reads files of rules alone, with other values in them.
    ///
    /// # Errors
    /// Every mistake of the files and the changes. Actions need not exist.
    pub fn load_rule_files(
        &self,
        paths: &[PathBuf],
        changes: &Changes,
    ) -> Result<Vec<Arc<Named<RuleConfig>>>, Diagnostics> {
        let mut draft = Draft { changes: changes.clone(), ..Draft::new(self.env) };
        for path in paths {
            draft.first_file(path, FileKind::Rules);
        }
        draft.guess_parents();
        if draft.diagnostics.is_empty() {
            Ok(assemble::all_named(draft.rules).map(Arc::new).collect())
        } else {
            Err(draft.diagnostics)
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Config,
    Rules,
}

/// Tables of one sort by name, each with its place, so that a second one can be refused. A table
/// that could not be read is there without value: it is not missing, whoever names it.
type Tables<T> = BTreeMap<String, (Place, Option<T>)>;

/// A configuration half read.
struct Draft<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    changes: Changes,
    diagnostics: Diagnostics,
    /// Whether a file or a part of one could not be read, so that nothing can be called missing.
    incomplete: bool,
    /// Files read, so that none is read twice.
    read: BTreeSet<PathBuf>,
    /// Keys of the top level that may stand only once, in whichever file.
    singles: BTreeMap<&'static str, Place>,
    site: Option<String>,
    state_dir: Option<PathBuf>,
    defaults: Option<Defaults>,
    api: Option<Api>,
    store: Option<Store>,
    targets: Tables<(Common, KindConfig)>,
    sinks: Tables<SinkConfig>,
    actions: Tables<ActionConfig>,
    rules: Tables<RuleConfig>,
}

impl<'a> Draft<'a> {
    fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            changes: Changes::default(),
            diagnostics: Diagnostics::default(),
            incomplete: false,
            read: BTreeSet::new(),
            singles: BTreeMap::new(),
            site: None,
            state_dir: None,
            defaults: None,
            api: None,
            store: None,
            targets: Tables::new(),
            sinks: Tables::new(),
            actions: Tables::new(),
            rules: Tables::new(),
        }
    }

    fn built_in(&mut self) {
        let path = Path::new(built_in::NAME);
        self.file(path, built_in::of_this_host(), FileKind::Config, &mut Vec::new());
    }

    /// Reads the file everything begins with.
    fn first_file(&mut self, path: &Path, kind: FileKind) {
        match read_text(path) {
            Ok(text) => self.file(path, text, kind, &mut Vec::new()),
            Err(message) => self.diagnostics.error_without_place(message),
        }
    }

    /// Reads one file, and then those it names. `trail` is the files being read above this one.
    fn file(&mut self, path: &Path, text: String, kind: FileKind, trail: &mut Vec<PathBuf>) {
        let behind = self.changes.behind(&text);
        let file = self.diagnostics.add_changed_source(path.to_owned(), behind, text.len());
        let (root, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            self.incomplete = true;
            return self.syntax_errors(file, &errors);
        }
        let (span, mut root) = (root.span(), root.into_inner());
        let places = self.changes.places(text.len());
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        self.changes.apply(&mut root, &places, file, &mut diagnostics);
        let node = Spanned::new(span, DeValue::Table(root));
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let mut cx = Context { diagnostics: &mut diagnostics, file, folder, env: self.env };
        let globs = Table::new(&node, "", &mut cx).map(|table| self.tables(table, kind));
        self.diagnostics = diagnostics;
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        self.read.insert(canonical.clone());
        trail.push(canonical);
        for (pattern, kind) in globs.unwrap_or_default() {
            self.files(path, &pattern, kind, trail);
        }
        trail.pop();
    }

    /// Tells the syntax errors of a file, one a line: where one line is broken, the parser finds
    /// several things wrong with it.
    fn syntax_errors(&mut self, file: FileId, errors: &[toml::de::Error]) {
        let mut errors: Vec<_> = errors.iter().collect();
        errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
        let mut lines = BTreeSet::new();
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            let place = Place { file, span };
            let (line, _) = self.diagnostics.line_column(&place);
            if lines.insert(line) && lines.len() <= SYNTAX_ERRORS_MAX {
                self.diagnostics.error(&place, error.message().replace('\n', "; "));
            }
        }
    }

    /// Reads the files a glob names.
    fn files(
        &mut self,
        from: &Path,
        pattern: &Located<String>,
        kind: FileKind,
        trail: &mut Vec<PathBuf>,
    ) {
        let full = from.parent().unwrap_or(Path::new("")).join(&pattern.value);
        let is_glob = pattern.value.contains(['*', '?', '[']);
        let found = match glob::glob(&full.to_string_lossy()) {
            Ok(paths) => paths.filter_map(Result::ok).filter(|p| !p.is_dir()).collect::<Vec<_>>(),
            Err(error) => {
                let message = format!("not a glob: {}", error.msg);
                return self.diagnostics.error(&pattern.place, message);
            }
        };
        if found.is_empty() {
            let message = format!("there is no file {}", full.display());
            if is_glob {
                self.diagnostics.warn(&pattern.place, message);
            } else {
                self.incomplete = true;
                self.diagnostics.error(&pattern.place, message);
            }
        }
        for path in found {
            // Rule tests lie beside the rules they test.
            if kind == FileKind::Rules && path.to_string_lossy().ends_with(".test.toml") {
                continue;
            }
            if let Err(message) = self.file_named(&path, kind, trail) {
                self.incomplete = true;
                self.diagnostics.error(&pattern.place, message);
            }
        }
    }

    /// Reads a file another one names.
    fn file_named(
        &mut self,
        path: &Path,
        kind: FileKind,
        trail: &mut Vec<PathBuf>,
    ) -> Result<(), String> {
        let canonical = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if trail.contains(&canonical) {
            return Err(format!("{} includes itself", path.display()));
        }
        if trail.len() >= INCLUDE_DEPTH_MAX {
            return Err(format!("files include files more than {INCLUDE_DEPTH_MAX} deep"));
        }
        // Two globs may name one file; it counts once.
        if self.read.contains(&canonical) {
            return Ok(());
        }
        if !path.is_file() {
            return Err(format!("{} is not a regular file", path.display()));
        }
        let text = read_text(path)?;
        self.file(path, text, kind, trail);
        Ok(())
    }
}

/// A file's text, or what is wrong with it.
fn read_text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = read_bounded(path, FILE_BYTES_MAX)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("{shown}:{line}: not UTF-8, which TOML must be")
    })?;
    // The mark some editors put first is no part of the text.
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}
