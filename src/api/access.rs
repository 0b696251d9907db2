//! Who may ask: the bearer token where one is configured, and no other site's page where none is.
//!
//! Without a token the API listens on a loopback address, where any page a browser shows can reach
//! it: by a name that resolves to 127.0.0.1 (DNS rebinding) to read, by a form to write. Both
//! give themselves away by the headers `Host` and `Origin`, which a page cannot forge.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::extract::{Extension, Request};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tokio_util::sync::CancellationToken;

use super::prometheus::error;
use crate::config::Secret;

/// Whom a listener lets in. Each listener has its own, so that one that ends does not let in whom
/// only the next one should.
#[derive(Debug)]
pub struct Access(RwLock<Terms>);

/// The rule by which requests are let in, until another takes its place.
#[derive(Debug)]
struct Terms {
    token: Option<Secret>,
    /// The listener is on a loopback address.
    local: bool,
    over: CancellationToken,
}

/// What a request was let in by, as an extension of it: cancelled when that is over. Answers end by
/// themselves; what goes on for as long as its client listens must end then.
#[derive(Debug, Clone)]
pub(super) struct Admission(pub(super) CancellationToken);

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NoToken,
    ForeignHost,
    ForeignOrigin,
}

impl Access {
    /// Of a listener at this address.
    #[must_use]
    pub fn new(address: SocketAddr, token: Option<Secret>) -> Self {
        Self(RwLock::new(Terms::new(token, address.ip().is_loopback())))
    }

    /// Demands this token from the next request on. If it is another, streams end, so that their
    /// clients come back and show it.
    pub fn demand(&self, token: Option<Secret>) {
        let mut terms = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if terms.token != token {
            terms.over.cancel();
            *terms = Terms::new(token, terms.local);
        }
    }

    /// Ends streams, for their listener ends.
    pub(super) fn end(&self) {
        self.terms().over.cancel();
    }

    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<Admission, Refusal> {
        let terms = self.terms();
        terms.judge(uri, headers).map(|()| Admission(terms.over.clone()))
    }

    fn terms(&self) -> RwLockReadGuard<'_, Terms> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Terms {
    fn new(token: Option<Secret>, local: bool) -> Self {
        Self { token, local, over: CancellationToken::new() }
    }

    fn judge(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(token) = &self.token {
            let shown = headers.get(AUTHORIZATION);
            let shown = shown.and_then(|value| credential(value.as_bytes()));
            let given = shown.or_else(|| password(uri));
            let same = given.is_some_and(|given| token.reveal().as_bytes().ct_eq(&given).into());
            return if same { Ok(()) } else { Err(Refusal::NoToken) };
        }
        let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
        if self.local && host.is_some_and(|host| !names_this_machine(host)) {
            return Err(Refusal::ForeignHost);
        }
        let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
        // `Origin: null` and every scheme that has no host end up foreign, as they should.
        let own = origin.is_none_or(|origin| origin.split_once("://").map(|(_, at)| at) == host);
        if own { Ok(()) } else { Err(Refusal::ForeignOrigin) }
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750), of `Token …` as InfluxDB 2 has it, or the
/// password of `Basic …` (RFC 7617) for clients that know nothing else; the user does not matter.
/// Nobody is ever asked for a password, so no browser sends one by itself.
fn credential(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim_ascii();
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" | "token" => Some(rest.into()),
        "basic" => {
            let pair = data_encoding::BASE64.decode(rest.as_bytes()).ok()?;
            let colon = pair.iter().position(|byte| *byte == b':')?;
            Some(pair[colon + 1..].to_vec())
        }
        _ => None,
    }
}

/// The password in the query of InfluxDB 1's `/write`; nowhere else may a query hold a secret.
fn password(uri: &Uri) -> Option<Vec<u8>> {
    let query = uri.query().filter(|_| uri.path() == "/write")?;
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.find(|(name, _)| name == "p").map(|(_, value)| value.into_owned().into())
}

/// An address or `localhost`, with or without a port: names no other machine can be called by.
fn names_this_machine(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Lets a request through, or says why not.
pub(super) async fn check(
    Extension(access): Extension<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let refusal = match access.admit(request.uri(), request.headers()) {
        Ok(admission) => {
            request.extensions_mut().insert(admission);
            return next.run(request).await;
        }
        Err(refusal) => refusal,
    };
    match refusal {
        Refusal::NoToken => (
            [(WWW_AUTHENTICATE, "Bearer")],
            error(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "send the configured token as `Authorization: Bearer …`",
            ),
        )
            .into_response(),
        Refusal::ForeignHost => error(
            StatusCode::MISDIRECTED_REQUEST,
            "forbidden",
            "without a token only requests for `localhost` or an address are answered; \
             set `token` in [api] to use another name",
        ),
        Refusal::ForeignOrigin => error(
            StatusCode::FORBIDDEN,
            "forbidden",
            "without a token pages of other sites are not answered",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static PAGE: LazyLock<Uri> = LazyLock::new(|| Uri::from_static("/"));

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn with_a_token_only_the_token_counts() {
        let terms = Terms::new(Some(Secret::new("s3cret")), true);
        let judge = |list: &[(&'static str, &str)]| terms.judge(&PAGE, &headers(list));
        assert_eq!(judge(&[("authorization", "Bearer s3cret"), ("host", "nas.example")]), Ok(()));
        for right in ["bearer  s3cret", "Token s3cret", "Basic dTpzM2NyZXQ=", "basic OnMzY3JldA=="]
        {
            assert_eq!(judge(&[("authorization", right)]), Ok(()), "{right}");
        }
        for wrong in [
            "Bearer s3cre",
            "Bearer s3cret2",
            "Basic s3cret",
            "Basic czNjcmV0",
            "Basic czNjcmV0Og==",
            "s3cret",
            "Bearer",
            "Bearer ",
            "Digest s3cret",
            "",
        ] {
            assert_eq!(judge(&[("authorization", wrong)]), Err(Refusal::NoToken), "{wrong}");
        }
        assert_eq!(judge(&[]), Err(Refusal::NoToken));
        let by_query = |uri: &'static str| terms.judge(&Uri::from_static(uri), &headers(&[]));
        assert_eq!(by_query("/write?db=d&u=me&p=s3cret"), Ok(()));
        assert_eq!(by_query("/write?db=d&u=me&p=s3"), Err(Refusal::NoToken));
        assert_eq!(by_query("/metrics?p=s3cret"), Err(Refusal::NoToken));
    }

    #[test]
    fn without_a_token_a_local_listener_answers_no_rebound_name() {
        let terms = Terms::new(None, true);
        for own in ["localhost", "LOCALHOST.:9465", "a.localhost", "127.0.0.1:9465", "[::1]:9465"] {
            assert_eq!(terms.judge(&PAGE, &headers(&[("host", own)])), Ok(()), "{own}");
        }
        for foreign in ["evil.example", "evil.example:9465", "localhost.evil.example", "", "a b"] {
            let judged = terms.judge(&PAGE, &headers(&[("host", foreign)]));
            assert_eq!(judged, Err(Refusal::ForeignHost), "{foreign}");
        }
        assert_eq!(terms.judge(&PAGE, &headers(&[])), Ok(()), "no browser sends no host");
        assert_eq!(Terms::new(None, false).judge(&PAGE, &headers(&[("host", "nas.lan")])), Ok(()));
    }

    #[test]
    fn without_a_token_no_other_site_may_write() {
        let judge = |origin: &str| {
            let headers = headers(&[("host", "127.0.0.1:9465"), ("origin", origin)]);
            Terms::new(None, true).judge(&PAGE, &headers)
        };
        assert_eq!(judge("http://127.0.0.1:9465"), Ok(()));
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:80", ""] {
            assert_eq!(judge(foreign), Err(Refusal::ForeignOrigin), "{foreign}");
        }
    }
}
