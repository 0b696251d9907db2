//! From all that was read to a [`Config`], once one table says nothing against another.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Draft, Tables};
use crate::config::diagnostic::nearest;
use crate::config::{Common, Config, Diagnostics, Named, Place, Target, show_duration};
use crate::pollers::KindConfig;

/// From the start of one poll to the start of the next, where nothing else is said.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);

/// Polling faster than this is load, not monitoring.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The share of the interval a poll may take at most where no timeout is written.
const TIMEOUT_SHARE_MAX: f64 = 0.9;

/// Each text once: of ten thousand targets, many have the same tags.
#[derive(Default)]
struct Words(HashSet<Arc<str>>);

impl Words {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.0.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.0.insert(new.clone());
        new
    }
}

impl Draft<'_> {
    /// Puts it together and checks what one table says of another. What comes with the
    /// configuration are warnings alone.
    pub(super) fn finish(mut self) -> Result<(Config, Diagnostics), Diagnostics> {
        let mut targets = Vec::new();
        let mut words = Words::default();
        let known: Vec<_> = self.targets.keys().cloned().collect();
        for (id, (place, read)) in std::mem::take(&mut self.targets) {
            let Some((common, kind)) = read else { continue };
            targets.push(Arc::new(self.target(&id, &place, common, kind, &mut words)));
        }
        if !self.incomplete {
            self.check_references(&known);
            self.find_parents(&known);
        }
        self.warn_of_parents(&targets);
        self.warn_of_oddities(known.is_empty());
        if !self.diagnostics.is_empty() {
            return Err(self.diagnostics);
        }
        let state_dir = self.state_dir.or_else(|| (self.env)("STATE_DIRECTORY").map(PathBuf::from));
        let file = |place: &Place| self.diagnostics.path(place.file).to_string_lossy().into();
        let rule_files =
            self.rules.iter().map(|(name, (place, _))| (name.as_str().into(), file(place)));
        let config = Config {
            rule_files: rule_files.collect(),
            site: self.site,
            state_dir: state_dir.unwrap_or_else(|| PathBuf::from("watchpost-data")),
            api: self.api.unwrap_or_default(),
            store: self.store.unwrap_or_default(),
            targets,
            sinks: all_named(self.sinks).collect(),
            actions: all_named(self.actions).collect(),
            rules: all_named(self.rules).map(Arc::new).collect(),
        };
        Ok((config, self.diagnostics))
    }

    /// A target with what it did not say taken from the defaults.
    fn target(
        &mut self,
        id: &str,
        place: &Place,
        common: Common,
        kind: KindConfig,
        words: &mut Words,
    ) -> Target {
        let name = id.split_once('.').map_or(id, |(_, name)| name);
        let defaults = self.defaults.as_ref();
        let default_interval = defaults.map_or(DEFAULT_INTERVAL, |d| d.interval);
        let default_timeout = defaults.and_then(|d| d.timeout);
        let interval = common.interval.as_ref().map_or(default_interval, |i| i.value);
        let timeout = match &common.timeout {
            Some(timeout) => {
                if timeout.value >= interval {
                    let message =
                        format!("must be below the interval, {}", show_duration(interval));
                    self.diagnostics.error(&timeout.place, message);
                }
                timeout.value
            }
            None => default_timeout
                .unwrap_or_else(|| kind.any().default_timeout())
                .min(interval.mul_f64(TIMEOUT_SHARE_MAX)),
        };
        if interval < INTERVAL_MIN {
            let place = common.interval.as_ref().map_or(place, |i| &i.place);
            self.diagnostics.error(place, "must be at least 100ms");
        } else if let Err(message) = kind.any().check(interval, timeout) {
            self.diagnostics.error(place, message);
        }
        let name = words.get(name);
        let mut tags =
            vec![(words.get("target"), name.clone()), (words.get("kind"), words.get(kind.name()))];
        tags.extend(self.site.as_ref().map(|site| (words.get("site"), words.get(site))));
        let own = common.tags.iter().filter(|(name, _)| !kind.any().sets_tag(name));
        tags.extend(own.map(|(name, value)| (words.get(name), words.get(value))));
        // In the order of series' tags, which are these then.
        tags.sort_by(|a, b| a.0.cmp(&b.0));
        Target { name, interval, timeout, tags: tags.into(), kind }
    }

    /// Names that other tables must have: actions of rules, brokers and ports of actions.
    fn check_references(&mut self, targets: &[String]) {
        let actions: Vec<&str> = self.actions.keys().map(String::as_str).collect();
        for action in
            self.rules.values().filter_map(|(_, rule)| rule.as_ref()).flat_map(|r| r.action_names())
        {
            if !actions.contains(&action.value.as_str()) {
                let (name, place) = (&action.value, &action.place);
                dangling(&mut self.diagnostics, "action", name, place, &actions);
            }
        }
        for action in self.actions.values().filter_map(|(_, action)| action.as_ref()) {
            let Some((kind, name)) = action.kind.any().target_name() else { continue };
            let of_kind =
                |id: &'_ String| id.starts_with(kind) && id[kind.len()..].starts_with('.');
            let known: Vec<&str> =
                targets.iter().filter(|id| of_kind(id)).map(|id| &id[kind.len() + 1..]).collect();
            if !known.contains(&name.value.as_str()) {
                dangling(&mut self.diagnostics, kind, &name.value, &name.place, &known);
            }
        }
    }

    /// What works but is hardly meant.
    fn warn_of_oddities(&mut self, no_targets: bool) {
        if self.incomplete {
            return;
        }
        // Where a part could not be read they may have been in it.
        if no_targets && self.diagnostics.is_empty() {
            self.diagnostics.warn_without_place("there are no targets: nothing is polled");
        }
        let rules: Vec<_> = self.rules.values().filter_map(|(_, rule)| rule.as_ref()).collect();
        let used: Vec<&str> =
            rules.iter().flat_map(|rule| rule.action_names()).map(|name| &*name.value).collect();
        for (name, (place, _)) in &self.actions {
            if !used.contains(&name.as_str()) {
                self.diagnostics.warn(place, format!("no rule uses the action `{name}`"));
            }
        }
        if let Some(place) = self.singles.get("api")
            && self.api.as_ref().is_some_and(|api| api.insecure && !api.listen.ip().is_loopback())
        {
            let message = "`insecure = true`: whoever reaches this host can read and change all";
            self.diagnostics.warn(place, message);
        }
    }
}

/// The tables that could be read, as components take them.
pub(super) fn all_named<T>(tables: Tables<T>) -> impl Iterator<Item = Named<T>> {
    tables
        .into_iter()
        .filter_map(|(name, (_, value))| Some(Named { name: name.into(), value: value? }))
}

fn dangling(diagnostics: &mut Diagnostics, what: &str, name: &str, place: &Place, known: &[&str]) {
    let guess = nearest(name, known.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
    let message = format!("there is no [{what}.{name}]{guess}");
    if known.is_empty() {
        diagnostics.error(place, message);
    } else {
        diagnostics.error_with_help(place, message, format!("there are: {}", known.join(", ")));
    }
}

/// `file:line`, for messages about two places.
pub(super) fn shown_place(diagnostics: &Diagnostics, place: &Place) -> String {
    let (line, _) = diagnostics.line_column(place);
    format!("{}:{line}", diagnostics.path(place.file).display())
}
