//! `serial = { port = "greenhouse", write = "VALVE 0\n" }`: writes through the owner of the port of
//! `[serial.greenhouse]`.
//!
//! Done is what the system has taken; whether the device understood it shows in what it says next.
//! While the port is not open the try has failed, and the dispatcher tries again.

use std::sync::Arc;
use std::time::Duration;

use super::{Action, Kind, Notice, Rejected};
use crate::config::Located;
use crate::pollers::Shared;
use crate::template::Template;

crate::config! {
    /// Writes to a serial port.
    pub struct Config {
        /// The port: the name of its `[serial.NAME]`.
        pub port: Located<String>,
        /// What, with the line end the device wants; a template.
        pub write: Template,
    }
    check(config, table) {
        if config.write.source().is_empty() {
            table.error("write", "there is nothing to write");
        }
    }
}

impl Kind for Config {
    type Action = Write;

    const TELLS_PEOPLE: bool = false;

    fn target_name(&self) -> Option<(&'static str, Located<String>)> {
        Some(("serial", self.port.clone()))
    }

    fn action(&self, _: Duration, shared: &Arc<Shared>) -> Write {
        Write { config: self.clone(), shared: shared.clone() }
    }
}

/// Writes to a port.
#[derive(Debug)]
pub struct Write {
    config: Config,
    shared: Arc<Shared>,
}

impl Action for Write {
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let template = &self.config.write;
        let text = template
            .render(notice)
            .map_err(|why| Rejected::Permanent(format!("cannot render what to write: {why}")))?;
        // A label comes from outside, and must not begin a command of its own.
        if controls(&text) > controls(template.source()) {
            return Err(Rejected::Permanent("a label has control characters in it".to_owned()));
        }
        let port = &self.config.port.value;
        let link = self.shared.serial_links.get(port).ok_or_else(|| {
            Rejected::temporary(format!("the serial port `{port}` is not open"))
        })?;
        let bytes = text.len();
        link.write(text.into_bytes()).await?;
        Ok(format!("wrote {bytes} bytes"))
    }
}

fn controls(text: &str) -> usize {
    text.chars().filter(|c| c.is_control()).count()
}
