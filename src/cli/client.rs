//! How commands talk to a running daemon: which one, with which token, and what came of it.
//!
//! It asks for JSON and gives it back as it is; what an error answer says becomes the error.

use std::path::{Path, PathBuf};

use hyper::Method;
use hyper::header::AUTHORIZATION;
use serde_json::Value as Json;
use url::Url;

use super::{load, runtime};
use crate::config::{Secret, no_url};
use crate::http_client::{HttpClient, HttpErrorKind, Options, Request, secret};
use crate::tls::Tls;

/// Variable with the daemon's address.
const URL_VARIABLE: &str = "WATCHPOST_URL";

/// Variable with the daemon's token; an argument would show it to everybody on the machine.
const TOKEN_VARIABLE: &str = "WATCHPOST_TOKEN";

/// Where the daemon listens if nobody says otherwise.
const URL_DEFAULT: &str = "http://127.0.0.1:9465";

/// A hundred thousand alerts, or as many points of a query; more than that nobody reads.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which daemon.
#[derive(Debug, clap::Args)]
pub(super) struct Daemon {
    /// The daemon's address [default: $WATCHPOST_URL, else what the configuration says, else
    /// http://127.0.0.1:9465]
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// The file with the daemon's token [default: the token in $WATCHPOST_TOKEN, else the
    /// configuration's where that gives the address, too]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A PEM file of authorities to trust instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// What it takes to ask a daemon.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// The daemon's address.
    pub(super) url: Url,
    /// What it wants to be shown.
    pub(super) token: Option<Secret>,
    /// Whom a connection by TLS trusts.
    pub(super) tls: Tls,
}

impl Daemon {
    /// From the arguments, the environment and the configuration, in this order. Asking must work
    /// for users who may not read the configuration, so one that cannot be read is none.
    pub(super) fn access(&self, config: Option<&Path>) -> Result<Access, String> {
        let (url, configured) = match (&self.url, std::env::var(URL_VARIABLE)) {
            (Some(url), _) => (url.clone(), None),
            (None, Ok(text)) => (parse(&text, "$WATCHPOST_URL")?, None),
            (None, Err(_)) => match load(config) {
                Ok(config) => {
                    let url = format!("http://{}", config.api.listen);
                    (parse(&url, "the address in [api]")?, config.api.token)
                }
                Err(_) => (parse(URL_DEFAULT, "the default address")?, None),
            },
        };
        let token = match &self.token_file {
            Some(file) => Some(
                std::fs::read_to_string(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?,
            ),
            None => std::env::var(TOKEN_VARIABLE).ok(),
        };
        let token = token.map(|token| Secret::new(token.trim_end())).or(configured);
        Ok(Access { url, token, tls: Tls { ca: self.ca.clone(), ..Tls::default() } })
    }

    /// Asks for a path such as `/api/v1/alerts`, and waits for the answer.
    pub(super) fn get(
        &self,
        config: Option<&Path>,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Json, String> {
        self.ask(config, path, query).map_err(|error| match error {
            AskError::NotRunning(message) | AskError::Failed(message) => message,
        })
    }

    /// As [`Daemon::get`], for whom a daemon that does not run is not the end.
    pub(super) fn ask(
        &self,
        config: Option<&Path>,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<Json, AskError> {
        let access = self.access(config).map_err(AskError::Failed)?;
        // Another machine's store cannot be read from here.
        let is_own = self.url.is_none() && std::env::var_os(URL_VARIABLE).is_none();
        let runtime = runtime()
            .map_err(|error| AskError::Failed(format!("cannot start the runtime: {error}")))?;
        runtime.block_on(access.get(path, query)).map_err(|error| match error {
            AskError::NotRunning(message) if !is_own => AskError::Failed(message),
            error => error,
        })
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum AskError {
    /// On this machine nobody listens where the daemon should.
    NotRunning(String),
    /// Anything else.
    Failed(String),
}

impl From<String> for AskError {
    fn from(message: String) -> Self {
        Self::Failed(message)
    }
}

impl Access {
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Json, AskError> {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if !query.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(query);
        }
        let mut request = Request::new(Method::GET, url);
        if let Some(token) = &self.token {
            let value = secret(&format!("Bearer {}", token.reveal()))
                .ok_or_else(|| "the token cannot be written in a header".to_owned())?;
            request.headers.insert(AUTHORIZATION, value);
        }
        let client = HttpClient::new(Options {
            tls: self.tls.clone(),
            body_bytes_max: ANSWER_BYTES_MAX,
            ..Options::default()
        });
        let answer = client.send(request).await.map_err(|error| match error.kind {
            HttpErrorKind::Refused => AskError::NotRunning(format!(
                "{error}: no daemon listens there; start one with `watchpost run`, or name another \
                 with --url"
            )),
            _ => AskError::Failed(error.to_string()),
        })?;
        let json = serde_json::from_slice::<Json>(&answer.body);
        if !answer.status.is_success() {
            let said = json.ok().and_then(|json| json["error"].as_str().map(str::to_owned));
            let words = said.unwrap_or_else(|| answer.words());
            return Err(format!("the daemon answers {}: {words}", answer.status).into());
        }
        Ok(json.map_err(|error| format!("the daemon's answer: {error}"))?)
    }
}

fn parse(text: &str, what: &str) -> Result<Url, String> {
    text.parse().map_err(|error| format!("{what} is not a URL: {}", no_url(error)))
}
