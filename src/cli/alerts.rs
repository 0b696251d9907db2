//! `watchpost alerts`: what a running daemon has to say.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;

use super::{client, failed, print, printable};

/// Which daemon, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    daemon: client::Daemon,
    /// Print JSON, as `/api/v1/alerts` gives it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> ExitCode {
    match args.daemon.get(config, "/api/v1/alerts", &[]) {
        Ok(answer) => {
            print(&if args.json { format!("{answer}\n") } else { table(&answer) });
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

/// The alerts as a table; its texts may come from devices.
fn table(answer: &Json) -> String {
    let alerts = answer["data"]["alerts"].as_array().map_or(&[][..], Vec::as_slice);
    if alerts.is_empty() {
        return "no alerts\n".to_owned();
    }
    let text = |value: &Json| printable(value.as_str().unwrap_or_default());
    let line = |alert: &Json| {
        format!(
            "{:8} {:8} {}  {}  since {}\n",
            text(&alert["state"]),
            text(&alert["labels"]["severity"]),
            text(&alert["labels"]["alertname"]),
            text(&alert["annotations"]["summary"]),
            text(&alert["activeAt"]),
        )
    };
    alerts.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_outside_stays_in_its_line_and_steers_no_terminal() {
        let alert = serde_json::json!({
            "labels": { "alertname": "hot", "severity": "critical" },
            "annotations": { "summary": "it is\nhot \u{1b}[2J" },
            "state": "firing",
            "activeAt": "now",
        });
        let shown = table(&serde_json::json!({ "data": { "alerts": [alert] } }));
        assert_eq!(shown, "firing   critical hot  it is hot  [2J  since now\n");
    }
}
