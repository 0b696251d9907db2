//! The tables of one file, each read by the component it belongs to.

use toml::Spanned;
use toml::de::DeString;

use super::assemble::shown_place;
use super::{Draft, FileKind, Tables};
use crate::actions::ActionConfig;
use crate::config::read::{Context, FromTable, FromToml, Node, Table};
use crate::config::{Common, Located};
use crate::pollers::KindConfig;
use crate::rules::RuleConfig;
use crate::sinks::SinkConfig;

impl Draft<'_> {
    /// Reads all tables of a file; returns the globs of further files.
    pub(super) fn tables(
        &mut self,
        mut table: Table<'_, '_, '_>,
        kind: FileKind,
    ) -> Vec<(Located<String>, FileKind)> {
        self.rule_tables(&mut table);
        if kind == FileKind::Rules {
            return rules_alone(table);
        }
        self.single(&mut table, "site", |draft, site| draft.site = Some(site));
        self.single(&mut table, "state_dir", |draft, dir| draft.state_dir = Some(dir));
        self.single(&mut table, "defaults", |draft, defaults| draft.defaults = Some(defaults));
        self.single(&mut table, "api", |draft, api| draft.api = Some(api));
        self.single(&mut table, "store", |draft, store| draft.store = Some(store));
        self.target_tables(&mut table);
        self.sink_tables(&mut table);
        self.action_tables(&mut table);
        let mut globs = Vec::new();
        for (key, kind) in [("include", FileKind::Config), ("rules", FileKind::Rules)] {
            let read = table.get::<Vec<Located<String>>>(key);
            self.incomplete |= read.is_none();
            globs.extend(read.unwrap_or_default().into_iter().map(|glob| (glob, kind)));
        }
        table.finish();
        globs
    }

    fn target_tables(&mut self, table: &mut Table<'_, '_, '_>) {
        for kind in KindConfig::NAMES {
            for (name, node) in named(table, kind) {
                let shown = format!("{kind}.{}", name.get_ref());
                let Some(place) = add(&self.targets, &shown, name, table.cx) else { continue };
                let read = Table::new(node, shown.clone(), table.cx).and_then(|mut target| {
                    let common = Common::from_table(&mut target);
                    let read = KindConfig::read(kind, &mut target);
                    target.finish();
                    common.zip(read)
                });
                self.targets.insert(shown, (place, read));
            }
        }
    }

    fn sink_tables(&mut self, table: &mut Table<'_, '_, '_>) {
        for kind in SinkConfig::NAMES {
            for (name, node) in named(table, kind) {
                let shown = format!("{kind}.{}", name.get_ref());
                let Some(place) = add(&self.sinks, &shown, name, table.cx) else { continue };
                let read = SinkConfig::read(kind, node, &shown, table.cx);
                self.sinks.insert(shown, (place, read));
            }
        }
    }

    fn action_tables(&mut self, table: &mut Table<'_, '_, '_>) {
        for (name, node) in named(table, "action") {
            let Some(place) = add(&self.actions, name.get_ref(), name, table.cx) else { continue };
            let shown = format!("action.{}", name.get_ref());
            let read = ActionConfig::read(node, &shown, table.cx);
            self.actions.insert(name.get_ref().to_string(), (place, read));
        }
    }

    fn rule_tables(&mut self, table: &mut Table<'_, '_, '_>) {
        for (name, node) in named(table, "rule") {
            let Some(place) = add(&self.rules, name.get_ref(), name, table.cx) else { continue };
            let read = RuleConfig::read(node, name.get_ref(), table.cx);
            self.rules.insert(name.get_ref().to_string(), (place, read));
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
}

/// Ends a file that is named under `rules`: whatever else it has belongs elsewhere.
fn rules_alone(table: Table<'_, '_, '_>) -> Vec<(Located<String>, FileKind)> {
    for key in table.entries().keys().filter(|key| key.get_ref() != "rule") {
        let message = format!("unknown key `{}` in a file of rules", key.get_ref());
        let help =
            "a file named under `rules` has tables [rule.NAME] alone; others go under `include`";
        table.cx.error_with_help(key.span(), message, help);
    }
    Vec::new()
}

/// The place of a new table; one whose name is taken, in whichever file, is refused.
fn add<T>(
    tables: &Tables<T>,
    shown: &str,
    name: &Spanned<DeString<'_>>,
    cx: &mut Context<'_>,
) -> Option<crate::config::Place> {
    let Some((first, _)) = tables.get(shown) else { return Some(cx.place(name.span())) };
    let at = shown_place(cx.diagnostics, first);
    cx.error(name.span(), format!("`{shown}` is already defined at {at}"));
    None
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
            table.cx.error_with_help(
                node.span(),
                message,
                format!("write its keys under a table with a name: [{key}.NAME]"),
            );
        }
    }
    named.sort_by_key(|(name, _)| name.span().start);
    named
}
