//! From files to a [`Config`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::diagnostic::{Diagnostics, Place};
use super::read::{Context, FromTable, FromToml, Node, Table};
use super::{Api, Common, Config, Defaults, Named, Store, Target};
use crate::actions::ActionConfig;
use crate::pollers::KindConfig;
use crate::rules::RuleConfig;
use crate::sinks::SinkConfig;

/// What runs where there is no configuration file.
pub const BUILT_IN: &str = include_str!("built_in.toml");

/// Reads configurations. Everything it takes from the world besides the files is a field.
pub struct Loader<'a> {
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// How deep files may include files.
const INCLUDE_DEPTH_MAX: usize = 8;

impl Loader<'_> {
    /// Reads a configuration file and all it names.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load(&self, path: &Path) -> Result<Config, Diagnostics> {
        let mut draft = Draft::new(self.env);
        match std::fs::read_to_string(path) {
            Ok(text) => draft.file(path, text, FileKind::Config, &mut Vec::new()),
            Err(error) => draft
                .diagnostics
                .error_without_place(format!("cannot read {}: {error}", path.display())),
        }
        draft.finish()
    }

    /// Reads a configuration given as text; relative paths are relative to `path`'s folder.
    ///
    /// # Errors
    /// Every mistake of every file.
    pub fn load_text(&self, path: &Path, text: &str) -> Result<Config, Diagnostics> {
        let mut draft = Draft::new(self.env);
        draft.file(path, text.to_owned(), FileKind::Config, &mut Vec::new());
        draft.finish()
    }

    /// Reads a file of rules alone, for rule tests.
    ///
    /// # Errors
    /// Every mistake of the file. Actions need not exist.
    pub fn load_rules(&self, path: &Path) -> Result<Vec<Arc<Named<RuleConfig>>>, Diagnostics> {
        let mut draft = Draft::new(self.env);
        match std::fs::read_to_string(path) {
            Ok(text) => draft.file(path, text, FileKind::Rules, &mut Vec::new()),
            Err(error) => draft
                .diagnostics
                .error_without_place(format!("cannot read {}: {error}", path.display())),
        }
        if draft.diagnostics.is_empty() {
            Ok(draft
                .rules
                .into_iter()
                .map(|(name, (_, value))| Arc::new(Named { name: name.into(), value }))
                .collect())
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

/// Names of one sort of table, each with its place, so that a second one can be refused.
type Tables<T> = BTreeMap<String, (Place, T)>;

/// A configuration half read.
struct Draft<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    diagnostics: Diagnostics,
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
            diagnostics: Diagnostics::default(),
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

    /// Reads one file, and then those it names. `trail` is the files being read above this one.
    fn file(&mut self, path: &Path, text: String, kind: FileKind, trail: &mut Vec<PathBuf>) {
        let file = self.diagnostics.add_source(path.to_owned(), text.clone());
        let (root, errors) = DeTable::parse_recoverable(&text);
        for error in &errors {
            let span = error.span().unwrap_or(0..0);
            self.diagnostics.error(&Place { file, span }, error.message().replace('\n', "; "));
        }
        let node = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        let mut diagnostics = std::mem::take(&mut self.diagnostics);
        let mut cx = Context { diagnostics: &mut diagnostics, file, folder, env: self.env };
        let names = Table::new(&node, "", &mut cx).map(|mut table| {
            let names = match kind {
                FileKind::Config => self.config_tables(&mut table),
                FileKind::Rules => Vec::new(),
            };
            self.rule_tables(&mut table);
            table.finish();
            names
        });
        self.diagnostics = diagnostics;
        trail.push(path.canonicalize().unwrap_or_else(|_| path.to_owned()));
        for (pattern, kind) in names.unwrap_or_default() {
            self.files(path, &pattern, kind, trail);
        }
        trail.pop();
    }

    /// Reads the files a glob names.
    fn files(
        &mut self,
        from: &Path,
        pattern: &super::Located<String>,
        kind: FileKind,
        trail: &mut Vec<PathBuf>,
    ) {
        let full = from.parent().unwrap_or(Path::new("")).join(&pattern.value);
        let is_glob = pattern.value.contains(['*', '?', '[']);
        let found = match glob::glob(&full.to_string_lossy()) {
            Ok(paths) => paths.filter_map(Result::ok).filter(|p| !p.is_dir()).collect::<Vec<_>>(),
            Err(error) => {
                return self
                    .diagnostics
                    .error(&pattern.place, format!("not a glob: {}", error.msg));
            }
        };
        if found.is_empty() && !is_glob {
            self.diagnostics.error(&pattern.place, format!("there is no file {}", full.display()));
        }
        for path in found {
            let shown = path.display();
            // Rule tests lie beside the rules they test.
            if kind == FileKind::Rules && path.to_string_lossy().ends_with(".test.toml") {
                continue;
            }
            let canonical = path.canonicalize().unwrap_or_else(|_| path.clone());
            if trail.contains(&canonical) {
                self.diagnostics.error(&pattern.place, format!("{shown} includes itself"));
            } else if trail.len() >= INCLUDE_DEPTH_MAX {
                let message = format!("files include files more than {INCLUDE_DEPTH_MAX} deep");
                self.diagnostics.error(&pattern.place, message);
            } else {
                match std::fs::read_to_string(&path) {
                    Ok(text) => self.file(&path, text, kind, trail),
                    Err(error) => {
                        let message = format!("cannot read {shown}: {error}");
                        self.diagnostics.error(&pattern.place, message);
                    }
                }
            }
        }
    }

    /// Reads everything but rules; returns the globs of further files.
    fn config_tables(
        &mut self,
        table: &mut Table<'_, '_, '_>,
    ) -> Vec<(super::Located<String>, FileKind)> {
        self.single(table, "site", |draft, site| draft.site = Some(site));
        self.single(table, "state_dir", |draft, dir| draft.state_dir = Some(dir));
        self.single(table, "defaults", |draft, defaults| draft.defaults = Some(defaults));
        self.single(table, "api", |draft, api| draft.api = Some(api));
        self.single(table, "store", |draft, store| draft.store = Some(store));
        for kind in KindConfig::NAMES {
            for (name, node) in named(table, kind) {
                let shown = format!("{kind}.{}", name.get_ref());
                if !add(&self.targets, &shown, name.span(), table.cx) {
                    continue;
                }
                let Some(mut target) = Table::new(node, shown.clone(), table.cx) else { continue };
                let common = Common::from_table(&mut target);
                let read = KindConfig::read(kind, &mut target);
                target.finish();
                if let (Some(common), Some(read)) = (common, read) {
                    let place = table.cx.place(name.span());
                    self.targets.insert(shown, (place, (common, read)));
                }
            }
        }
        for kind in SinkConfig::NAMES {
            for (name, node) in named(table, kind) {
                let shown = format!("{kind}.{}", name.get_ref());
                if !add(&self.sinks, &shown, name.span(), table.cx) {
                    continue;
                }
                let place = table.cx.place(name.span());
                if let Some(sink) = SinkConfig::read(kind, node, &shown, table.cx) {
                    self.sinks.insert(shown, (place, sink));
                }
            }
        }
        for (name, node) in named(table, "action") {
            if !add(&self.actions, name.get_ref(), name.span(), table.cx) {
                continue;
            }
            let place = table.cx.place(name.span());
            let shown = format!("action.{}", name.get_ref());
            if let Some(action) = ActionConfig::read(node, &shown, table.cx) {
                self.actions.insert(name.get_ref().to_string(), (place, action));
            }
        }
        let mut globs = Vec::new();
        for (key, kind) in [("include", FileKind::Config), ("rules", FileKind::Rules)] {
            let read = table.get::<Vec<super::Located<String>>>(key).unwrap_or_default();
            globs.extend(read.into_iter().map(|glob| (glob, kind)));
        }
        globs
    }

    fn rule_tables(&mut self, table: &mut Table<'_, '_, '_>) {
        for (name, node) in named(table, "rule") {
            if !add(&self.rules, name.get_ref(), name.span(), table.cx) {
                continue;
            }
            let place = table.cx.place(name.span());
            let shown = format!("rule.{}", name.get_ref());
            if let Some(rule) = RuleConfig::read(node, &shown, table.cx) {
                self.rules.insert(name.get_ref().to_string(), (place, rule));
            }
        }
    }

    /// Reads a key that may stand only once in all files.
    fn single<T: FromToml>(
        &mut self,
        table: &mut Table<'_, '_, '_>,
        key: &'static str,
        set: impl FnOnce(&mut Self, T),
    ) {
        let Some(node) = table.node(key) else { return };
        let place = table.cx.place(node.span());
        if let Some(first) = self.singles.insert(key, place.clone()) {
            let at = shown_place(table.cx.diagnostics, &first);
            table.cx.error(place.span, format!("`{key}` is already set at {at}"));
        } else if let Some(value) = T::from_toml(node, table.cx) {
            set(self, value);
        }
    }

    /// Puts it together and checks what one table says of another.
    fn finish(mut self) -> Result<Config, Diagnostics> {
        let defaults = self.defaults.take();
        let default_interval = defaults.as_ref().map_or(DEFAULT_INTERVAL, |d| d.interval);
        let default_timeout = defaults.and_then(|d| d.timeout);
        let mut targets = Vec::new();
        for (id, (place, (common, kind))) in std::mem::take(&mut self.targets) {
            let name = id.split_once('.').map_or(id.as_str(), |(_, name)| name);
            let interval = common.interval.as_ref().map_or(default_interval, |i| i.value);
            let timeout = match &common.timeout {
                Some(timeout) => {
                    if timeout.value >= interval {
                        let shown = super::show_duration(interval);
                        self.diagnostics
                            .error(&timeout.place, format!("must be below the interval, {shown}"));
                    }
                    timeout.value
                }
                None => default_timeout
                    .unwrap_or_else(|| kind.default_timeout())
                    .min(interval.mul_f64(0.9)),
            };
            let mut tags = vec![
                ("target".to_owned(), name.to_owned()),
                ("kind".to_owned(), kind.name().to_owned()),
            ];
            tags.extend(self.site.clone().map(|site| ("site".to_owned(), site)));
            tags.extend(common.tags);
            if let Err(message) = kind.check(interval, timeout) {
                self.diagnostics.error(&place, message);
            }
            if interval < INTERVAL_MIN {
                let place = common.interval.map_or(place, |i| i.place);
                self.diagnostics.error(&place, "must be at least 100ms");
            }
            let target = Target { name: name.into(), interval, timeout, tags, kind };
            targets.push(Arc::new(target));
        }
        self.check_references(&targets);
        if !self.diagnostics.is_empty() {
            return Err(self.diagnostics);
        }
        let state_dir = self.state_dir.or_else(|| (self.env)("STATE_DIRECTORY").map(PathBuf::from));
        Ok(Config {
            site: self.site,
            state_dir: state_dir.unwrap_or_else(|| PathBuf::from("watchpost-data")),
            api: self.api.unwrap_or_default(),
            store: self.store.unwrap_or_default(),
            targets,
            sinks: self.sinks.into_iter().map(into_named).collect(),
            actions: self.actions.into_iter().map(into_named).collect(),
            rules: self.rules.into_iter().map(into_named).map(Arc::new).collect(),
        })
    }

    /// Names that other tables must have: actions of rules, brokers and ports of actions.
    fn check_references(&mut self, targets: &[Arc<Target>]) {
        let actions: Vec<&str> = self.actions.keys().map(String::as_str).collect();
        for (_, rule) in self.rules.values() {
            for action in rule.action_names() {
                if !actions.contains(&action.value.as_str()) {
                    dangling(
                        &mut self.diagnostics,
                        "action",
                        &action.value,
                        &action.place,
                        &actions,
                    );
                }
            }
        }
        for (_, action) in self.actions.values() {
            let Some((kind, name)) = action.target_name() else { continue };
            let known: Vec<&str> =
                targets.iter().filter(|t| t.kind.name() == kind).map(|t| &*t.name).collect();
            if !known.contains(&name.value.as_str()) {
                dangling(&mut self.diagnostics, kind, &name.value, &name.place, &known);
            }
        }
    }
}

const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Polling faster than this is load, not monitoring.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn into_named<T>((name, (_, value)): (String, (Place, T))) -> Named<T> {
    Named { name: name.into(), value }
}

fn dangling(diagnostics: &mut Diagnostics, what: &str, name: &str, place: &Place, known: &[&str]) {
    let guess = super::diagnostic::nearest(name, known.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let message = format!("there is no [{what}.{name}]{guess}");
    if known.is_empty() {
        diagnostics.error(place, message);
    } else {
        diagnostics.error_with_help(place, message, format!("there are: {}", known.join(", ")));
    }
}

fn shown_place(diagnostics: &Diagnostics, place: &Place) -> String {
    let (line, _) = diagnostics.line_column(place);
    format!("{}:{line}", diagnostics.path(place.file).display())
}

/// Refuses a second table of one name, whichever file it is in.
fn add<T>(
    tables: &Tables<T>,
    name: &str,
    span: std::ops::Range<usize>,
    cx: &mut Context<'_>,
) -> bool {
    let Some((first, _)) = tables.get(name) else { return true };
    let at = shown_place(cx.diagnostics, first);
    cx.error(span, format!("`{name}` is already defined at {at}"));
    false
}

/// The tables `[key.NAME]`, in the order they are written.
fn named<'a, 'i>(
    table: &mut Table<'a, 'i, '_>,
    key: &'static str,
) -> Vec<(&'a Spanned<DeString<'i>>, &'a Node<'i>)> {
    let Some(node) = table.node(key) else { return Vec::new() };
    let Some(entries) = node.get_ref().as_table() else {
        table.error(key, format!("expected tables of the form [{key}.NAME]"));
        return Vec::new();
    };
    let mut named = Vec::new();
    for (name, node) in entries {
        if node.get_ref().is_table() {
            let fine = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            if !name.get_ref().is_empty() && name.get_ref().chars().all(fine) {
                named.push((name, node));
            } else {
                table.cx.error(name.span(), "a name is made of letters, digits, `-`, `_` and `.`");
            }
        } else {
            let message = format!("expected a table [{key}.{}]", name.get_ref());
            table.cx.error_with_help(node.span(), message, format!("name it: [{key}.NAME]"));
        }
    }
    named.sort_by_key(|(name, _)| name.span().start);
    named
}
