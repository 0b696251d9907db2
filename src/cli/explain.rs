//! `watchpost explain`: why an alert fires, or why it does not.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value as Json;

use super::{client, failed, print, printable};

/// What to explain, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The rule's name
    rule: String,
    /// Labels the alert has: LABEL=VALUE
    labels: Vec<String>,
    /// At this time: RFC 3339, or seconds since the epoch [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Print JSON, as `/api/watchpost/explain` gives it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: client::Daemon,
}

pub(super) fn run(config: Option<&Path>, args: &Args) -> ExitCode {
    let mut query = vec![("rule", args.rule.as_str())];
    query.extend(args.at.iter().map(|at| ("at", at.as_str())));
    query.extend(args.labels.iter().map(|label| ("label", label.as_str())));
    match args.daemon.get(config, "/api/watchpost/explain", &query) {
        Ok(answer) => {
            print(&if args.json { format!("{answer:#}\n") } else { text(&answer) });
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

/// The answer for people; its texts may come from devices.
fn text(answer: &Json) -> String {
    let word = |value: &Json| printable(value.as_str().unwrap_or_default());
    let list = |value: &Json| value.as_array().cloned().unwrap_or_default();
    let mut text = format!("{}  at {}\n", word(&answer["asks"]), word(&answer["at"]));
    if let Some(outcome) = answer["outcome"].as_str() {
        text += &format!("  {}\n", printable(outcome));
    }
    for alert in list(&answer["alerts"]) {
        text += &format!("\n{}\n  {}\n", labels(&alert["labels"]), word(&alert["outcome"]));
        if alert["seen"].is_object() {
            let seen = &alert["seen"];
            let value = seen["value"].as_f64().map_or("stale".to_owned(), |v| v.to_string());
            let age = seen["age_seconds"].as_f64().unwrap_or_default();
            text += &format!("  seen      {value}, {age:.1} s ago\n");
        }
        for one in list(&alert["conditions"]) {
            let is = |value: &Json| match value.as_bool() {
                Some(true) => "holds",
                Some(false) => "does not hold",
                None => "cannot be told",
            };
            text += &format!(
                "  {:8}  {} {}; {} {}\n",
                word(&one["severity"]),
                word(&one["when"]),
                is(&one["holds"]),
                word(&one["clear"]),
                is(&one["clears"]),
            );
        }
        for timer in list(&alert["timers"]) {
            text += &format!("  timer     {} at {}\n", word(&timer["what"]), word(&timer["at"]));
        }
    }
    let more = answer["more"].as_u64().unwrap_or_default();
    if more > 0 {
        text += &format!("\nand {more} more; name labels to see them\n");
    }
    let journal = list(&answer["journal"]);
    if !journal.is_empty() {
        text += "\nbefore\n";
    }
    for one in journal {
        let missed = if one["near_miss"] == true { " (near miss)" } else { "" };
        text += &format!(
            "  {} {:8} {}  {}{missed}\n",
            word(&one["at"]),
            word(&one["to"]),
            labels(&one["labels"]),
            word(&one["reason"]),
        );
    }
    text
}

fn labels(labels: &Json) -> String {
    let pairs = labels.as_object().into_iter().flatten();
    let pairs: Vec<_> = pairs.map(|(k, v)| format!("{k}={v}")).collect();
    printable(&format!("{{{}}}", pairs.join(",")))
}
