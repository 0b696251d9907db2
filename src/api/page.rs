//! The page: three files of `web/`, in the binary, and the headers every answer carries.
//!
//! The page has no secret and asks for what it shows like any other client, so that it is served
//! to everybody; its policy lets it load nothing from anywhere else and run no inline code.

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let file = |kind: &'static str, text: &'static str| {
        get(move || async move { ([(CONTENT_TYPE, kind)], text).into_response() })
    };
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("../../web/index.html")))
        .route(
            "/page.js",
            file("text/javascript; charset=utf-8", include_str!("../../web/page.js")),
        )
        .route("/page.css", file("text/css; charset=utf-8", include_str!("../../web/page.css")))
        .route("/icon.svg", file("image/svg+xml", include_str!("../../web/icon.svg")))
}

/// Adds the headers that keep a browser from making more of an answer than it is.
pub(super) async fn protect(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // State is stale once it is sent, and the page must fit the binary that answers it.
        (CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
