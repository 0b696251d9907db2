//! `snmp = { target = "core-switch", oid = "…", type = "integer", value = "2" }`: sets a value of
//! an agent and reads it back.
//!
//! The agent and its credentials are those of an `[snmp.NAME]` target, or the action's own: then
//! the keys are the target's, `host`, `version`, `community` and so on. It is done only if the
//! agent has the value afterwards.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Kind, Notice, Rejected};
use crate::config::Located;
use crate::config::read::{FromTable, FromToml, Key, Table};
use crate::pollers::Shared;
use crate::pollers::snmp::{self, Access, SetError, Setting, ValueType};
use crate::template::Template;
use crate::wire::oid::Oid;

/// Sets a value of an SNMP agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    agent: Agent,
    oid: Oid,
    value_type: ValueType,
    value: Template,
}

#[derive(Debug, Clone, PartialEq)]
enum Agent {
    Target(Located<String>),
    Own(Arc<Access>),
}

impl FromTable for Config {
    fn from_table(table: &mut Table<'_, '_, '_>) -> Option<Self> {
        let target = table.get::<Option<Located<String>>>("target");
        let agent = match target {
            Some(Some(_)) if table.has("host") => {
                table.error("host", "the agent is either a `target` or a `host`, not both");
                None
            }
            Some(Some(target)) => Some(Agent::Target(target)),
            _ => Access::from_table(table).map(|access| Agent::Own(Arc::new(access))),
        };
        let oid = table.get::<Oid>("oid");
        let value_type = table.get::<ValueType>("type");
        let value = table.get::<Template>("value");
        let read = Self { agent: agent?, oid: oid?, value_type: value_type?, value: value? };
        // What is no template can be judged now.
        if !["{{", "{%", "{#"].iter().any(|sign| read.value.source().contains(sign))
            && let Err(message) = Setting::parse(read.value_type, read.value.source())
        {
            table.error("value", message);
        }
        Some(read)
    }

    fn keys() -> Vec<Key> {
        let key = |name, description: &str, required, schema| Key {
            name,
            description: description.to_owned(),
            required,
            schema,
        };
        let mut keys = vec![
            key("target", "The `[snmp.NAME]` whose agent it is.", false, String::schema()),
            key("oid", "The value's OID, with its index or `.0`.", true, Oid::schema()),
            key("type", "The value's type.", true, ValueType::schema()),
            key("value", "The value, a template.", true, Template::schema()),
        ];
        keys.extend(Access::keys().into_iter().map(|key| Key { required: false, ..key }));
        keys
    }
}

impl Kind for Config {
    type Action = Set;

    const TELLS_PEOPLE: bool = false;

    fn target_name(&self) -> Option<(&'static str, Located<String>)> {
        match &self.agent {
            Agent::Target(name) => Some(("snmp", name.clone())),
            Agent::Own(_) => None,
        }
    }

    fn action(&self, _: Duration, shared: &Arc<Shared>) -> Set {
        Set { config: self.clone(), shared: shared.clone() }
    }
}

/// Sets a value and reads it back.
#[derive(Debug)]
pub struct Set {
    config: Config,
    shared: Arc<Shared>,
}

impl Action for Set {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let Config { agent, oid, value_type, value } = &self.config;
        let text = value
            .render(notice)
            .map_err(|error| Rejected::Permanent(format!("cannot render the value: {error}")))?;
        let setting = Setting::parse(*value_type, &text).map_err(Rejected::Permanent)?;
        let access = match agent {
            Agent::Own(access) => access.clone(),
            Agent::Target(name) => {
                self.shared.snmp_links.get(&name.value).ok_or_else(|| {
                    Rejected::temporary(format!("target snmp.{} is not running", name.value))
                })?
            }
        };
        snmp::set(&access, oid, &setting, &self.shared).await.map_err(rejected)?;
        Ok(format!("set {oid} of {} to `{text}`", access.shown()))
    }
}

/// An agent that is away or busy may come back, and one with another value may take ours yet; what
/// may not be written stays so.
fn rejected(error: SetError) -> Rejected {
    let message = error.error.context;
    if error.is_final { Rejected::Permanent(message) } else { Rejected::temporary(message) }
}
