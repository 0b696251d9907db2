//! Which rules are judged, with what is set in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::DEFAULT_CONFIG;
use super::{Args, Failure};
use crate::backtest::sweep::{Combination, changes};
use crate::backtest::{Contender, Rule};
use crate::config::{Changes, Loader};
use crate::rules::depends::Parent;

/// The rules of each combination.
pub(super) fn contenders(
    config: Option<&Path>,
    args: &Args,
    combinations: &[Combination],
) -> Result<Vec<Contender>, Failure> {
    let files = files(&args.rules)?;
    let read = |changes: &Changes| read(config, &files, args, changes);
    // As they are written first: only then is it known what may be set, and whose mistake it is.
    let written = read(&Changes::default())?;
    let chosen = chosen(&written, &args.only)?;
    let names: Vec<&str> = chosen.iter().map(|name| &**name).collect();
    let contender = |combination: &Combination| {
        let rules = match &combination[..] {
            [] => written.clone(),
            _ => read(&changes(combination, &names))?,
        };
        Ok(Contender { rules: with_parents(&rules, &chosen), reported: chosen.clone() })
    };
    combinations.iter().map(contender).collect()
}

fn read(
    config: Option<&Path>,
    files: &[PathBuf],
    args: &Args,
    changes: &Changes,
) -> Result<Vec<Rule>, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let loader = Loader { env: &env };
    if !args.rules.is_empty() {
        return Ok(loader.load_rule_files(files, changes)?);
    }
    let default = Some(Path::new(DEFAULT_CONFIG)).filter(|path| path.exists());
    Ok(loader.load_changed(config.or(default), changes)?.rules)
}

/// The files that are meant: of folders all that are no tests.
fn files(named: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for name in named {
        let path = Path::new(name);
        let pattern = if path.is_dir() {
            glob::Pattern::escape(name.trim_end_matches('/')) + "/*.toml"
        } else if path.exists() || !name.contains(['*', '?', '[']) {
            files.push(path.to_owned());
            continue;
        } else {
            name.clone()
        };
        let found = glob::glob(&pattern)
            .map_err(|error| Failure::Usage(format!("`{name}` is not a glob: {}", error.msg)))?;
        let is_rules = |path: &PathBuf| !path.to_string_lossy().ends_with(".test.toml");
        let before = files.len();
        files.extend(found.filter_map(Result::ok).filter(is_rules));
        if files.len() == before {
            return Err(Failure::Failed(format!("there are no files of rules in {name}")));
        }
    }
    let mut seen = std::collections::HashSet::new();
    files.retain(|path| seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())));
    Ok(files)
}

/// The names of the rules that are meant; all where nothing is said.
fn chosen(rules: &[Rule], only: &[String]) -> Result<Vec<Arc<str>>, Failure> {
    let mut chosen: Vec<Arc<str>> = Vec::new();
    for pattern in only {
        let glob = glob::Pattern::new(pattern)
            .map_err(|error| Failure::Usage(format!("`{pattern}` is not a glob: {}", error.msg)))?;
        let found = rules.iter().map(|rule| &rule.name).filter(|name| glob.matches(name));
        let before = chosen.len();
        let is_new: Vec<_> = found.filter(|name| !chosen.contains(name)).cloned().collect();
        chosen.extend(is_new);
        if chosen.len() == before && !chosen.iter().any(|name| glob.matches(name)) {
            let near = crate::config::diagnostic::nearest(pattern, rules.iter().map(|r| &*r.name))
                .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(Failure::Usage(format!("there is no rule `{pattern}`{near}")));
        }
    }
    if only.is_empty() {
        chosen = rules.iter().map(|rule| rule.name.clone()).collect();
    }
    if chosen.is_empty() {
        return Err(Failure::Usage("there are no rules to judge by".to_owned()));
    }
    Ok(chosen)
}

/// The rules of these names, and those they depend on, which decide whether people are told.
fn with_parents(rules: &[Rule], chosen: &[Arc<str>]) -> Vec<Rule> {
    let mut wanted: Vec<&str> = chosen.iter().map(|name| &**name).collect();
    let mut at = 0;
    while let Some(name) = wanted.get(at).copied() {
        at += 1;
        let rule = rules.iter().find(|rule| *rule.name == *name);
        let on = rule.iter().filter_map(|rule| rule.value.depends_on.as_ref());
        for parent in on.flat_map(|on| &on.parents) {
            if let Parent::Rule(parent) = &parent.value
                && !wanted.contains(&parent.as_str())
            {
                wanted.push(parent);
            }
        }
    }
    rules.iter().filter(|rule| wanted.contains(&&*rule.name)).cloned().collect()
}
