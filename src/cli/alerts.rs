//! `watchpost alerts`: what a running daemon has to say.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde_json::Value as Json;
use url::Url;

use super::{failed, load, print, printable, runtime};
use crate::config::Secret;
use crate::http_client::{HttpClient, Options, Request, secret};

/// Which daemon, and how to print.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The daemon's address [default: what the configuration says]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The file with the daemon's token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Print JSON, as `/api/v1/alerts` gives it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: Option<&Path>, args: &Args) -> ExitCode {
    let answer = runtime()
        .map_err(|error| format!("cannot start the runtime: {error}"))
        .and_then(|runtime| runtime.block_on(fetch(path, args)));
    match answer {
        Ok(answer) => {
            print(&if args.json { format!("{answer}\n") } else { table(&answer) });
            ExitCode::SUCCESS
        }
        Err(message) => failed(&message),
    }
}

async fn fetch(path: Option<&Path>, args: &Args) -> Result<Json, String> {
    // Asking must work for users who may not read the daemon's configuration.
    let config = load(path).ok();
    let mut base = match (&args.url, &config) {
        (Some(url), _) => url.clone(),
        (None, Some(config)) => Url::parse(&format!("http://{}", config.api.listen))
            .map_err(|error| format!("the address in [api]: {error}"))?,
        (None, None) => return Err("the configuration cannot be read; give --url".into()),
    };
    let token = match &args.token_file {
        Some(file) => Some(Secret::new(
            std::fs::read_to_string(file)
                .map_err(|error| format!("cannot read {}: {error}", file.display()))?
                .trim_end(),
        )),
        None => config.and_then(|config| config.api.token),
    };
    base.set_path("/api/v1/alerts");
    let mut request = Request::new(Method::GET, base);
    if let Some(value) = token.and_then(|token| secret(&format!("Bearer {}", token.reveal()))) {
        request.headers.insert(AUTHORIZATION, value);
    }
    let client =
        HttpClient::new(Options { body_bytes_max: ANSWER_BYTES_MAX, ..Options::default() });
    let answer = client.send(request).await.map_err(|error| error.to_string())?;
    if !answer.status.is_success() {
        return Err(format!("the daemon answers {}: {}", answer.status, answer.words()));
    }
    serde_json::from_slice(&answer.body).map_err(|error| format!("the daemon's answer: {error}"))
}

/// A hundred thousand alerts; more than that nobody reads.
const ANSWER_BYTES_MAX: usize = 64 << 20;

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
