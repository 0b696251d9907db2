//! `depends_on` and `settle`: whose fault an alert may be.

use std::fmt;

use serde_json::{Value as Json, json};
use toml::de::DeValue;

use crate::config::Located;
use crate::config::read::{Context, FromToml, Node, Table, wrong_type};

/// What a rule's alerts depend on.
#[derive(Debug, Clone, PartialEq)]
pub struct DependsOn {
    /// Whether all of them must be down to hold an alert back, or else one of them.
    pub any: bool,
    /// At least one.
    pub parents: Vec<Located<Parent>>,
}

/// What an alert depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parent {
    /// A rule: down while one of its alerts fires.
    Rule(String),
    /// A target: down while its `target_up` is 0.
    Target {
        /// Its kind; `None`: of any kind, which only a file of rules by itself leaves open.
        kind: Option<String>,
        /// The last part of its table's name.
        name: String,
    },
}

/// As it is written: `icmp.gateway`.
impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(name) | Self::Target { kind: None, name } => f.write_str(name),
            Self::Target { kind: Some(kind), name } => write!(f, "{kind}.{name}"),
        }
    }
}

impl FromToml for Parent {
    /// What a plain name means is told by [`Parent::resolve`], once all names are known.
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        const EXPECTED: &str = "a target or a rule, such as \"icmp.gateway\"";
        crate::config::read::parsed(node, EXPECTED, cx, |text| {
            if text.is_empty() {
                return Err("is empty: name a target or a rule".to_owned());
            }
            Ok(match text.split_once('.') {
                Some(("rule", name)) => Self::Rule(name.to_owned()),
                Some((kind, name)) => {
                    Self::Target { kind: Some(kind.to_owned()), name: name.to_owned() }
                }
                None => Self::Target { kind: None, name: text.to_owned() },
            })
        })
    }

    fn schema() -> Json {
        json!({ "type": "string" })
    }
}

impl Parent {
    /// Finds what is meant among the rules and the targets (by their ids) there are.
    ///
    /// # Errors
    /// What is wrong with it, and what could be meant.
    pub(crate) fn resolve(&self, rules: &[&str], targets: &[String]) -> Result<Self, String> {
        let id = self.to_string();
        let Self::Target { kind: None, name } = self else {
            let known = match self {
                Self::Rule(name) => rules.contains(&name.as_str()),
                Self::Target { .. } => targets.contains(&id),
            };
            let dangling = match self {
                Self::Rule(name) => format!("there is no [rule.{name}]"),
                Self::Target { .. } => format!("there is no target [{id}]"),
            };
            return if known { Ok(self.clone()) } else { Err(dangling) };
        };
        let of_name = |id: &&String| id.split_once('.').is_some_and(|(_, last)| last == name);
        let found: Vec<&String> = targets.iter().filter(of_name).collect();
        match (rules.contains(&name.as_str()), &found[..]) {
            (true, []) => Ok(Self::Rule(name.clone())),
            (false, [id]) => {
                let kind = id.split_once('.').map(|(kind, _)| kind.to_owned());
                Ok(Self::Target { kind, name: name.clone() })
            }
            (false, []) => Err(format!("there is no target and no rule `{name}`")),
            (is_rule, several) => {
                let mut meant: Vec<String> = several.iter().map(|id| (*id).clone()).collect();
                meant.extend(is_rule.then(|| format!("rule.{name}")));
                let meant: Vec<String> = meant.iter().map(|id| format!("`{id}`")).collect();
                Err(format!("`{name}` may mean {}: write which", meant.join(" or ")))
            }
        }
    }
}

impl FromToml for DependsOn {
    fn from_toml(node: &Node<'_>, cx: &mut Context<'_>) -> Option<Self> {
        let (any, list) = match node.get_ref() {
            DeValue::Array(_) => (false, Vec::<Located<Parent>>::from_toml(node, cx)?),
            DeValue::Table(_) => {
                let mut table = Table::new(node, "depends_on", cx)?;
                let list = table.node("any").cloned();
                if list.is_none() {
                    table
                        .error("any", "lacks the key `any`: depends_on = { any = [\"a\", \"b\"] }");
                }
                table.finish();
                (true, Vec::<Located<Parent>>::from_toml(&list?, cx)?)
            }
            _ => {
                wrong_type(node, "a list of targets and rules, or { any = [...] }", cx);
                return None;
            }
        };
        if list.is_empty() {
            cx.error(node.span(), "names nothing to depend on");
            return None;
        }
        Some(Self { any, parents: list })
    }

    fn schema() -> Json {
        let list = <Vec<Located<Parent>> as FromToml>::schema();
        let any = json!({
            "type": "object", "additionalProperties": false, "required": ["any"],
            "properties": { "any": {
                "type": "array", "items": Parent::schema(),
                "description": "Targets and rules of which all must be down.",
            } },
        });
        json!({ "anyOf": [list, any] })
    }
}
