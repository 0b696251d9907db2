//! `watchpost explain`: why an alert fires, or why it does not.

mod text;

use std::path::Path;
use std::process::ExitCode;

use super::{client, failed, print, wants_color};

/// What to explain, and how to print.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: watchpost explain gateway-down target=gateway")]
pub(super) struct Args {
    /// The rule's name, as in [rule.NAME]
    rule: String,
    /// Labels that tell the alert from others of its rule
    #[arg(value_name = "LABEL=VALUE")]
    labels: Vec<String>,
    /// Why it was so at this time: RFC 3339, or seconds since the epoch [default: now]
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
            let shown = if args.json {
                format!("{answer:#}\n")
            } else {
                text::text(&answer, text::Paint::new(wants_color()))
            };
            print(&shown);
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}
