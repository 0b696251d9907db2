//! Where lines are posted to, and how: the three generations of InfluxDB's interface.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use url::Url;

use super::verdict;
use super::{Api, Settings};
use crate::http_client::{Request, Response, basic, secret};
use crate::sinks::http::Verdict;

/// The address and the headers of every write.
#[derive(Debug)]
pub(super) struct Endpoint {
    api: Api,
    url: Url,
    headers: HeaderMap,
    gzip: bool,
}

impl Endpoint {
    pub(super) fn new(settings: &Settings) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if let Some(authorization) = settings.authorization() {
            headers.insert(AUTHORIZATION, authorization);
        }
        if settings.gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Self { api: settings.api, url: write_url(settings), headers, gzip: settings.gzip }
    }

    /// A request that writes these lines.
    pub(super) fn request(&self, lines: Bytes) -> Request {
        let body = if self.gzip { compressed(&lines) } else { lines };
        Request { method: Method::POST, url: self.url.clone(), headers: self.headers.clone(), body }
    }

    /// What an answer to a write of so many lines means.
    pub(super) fn judge(&self, response: &Response, lines: usize) -> Verdict {
        verdict::judge(self.api, &self.url, response, lines)
    }
}

impl Settings {
    /// What requests show of who asks.
    pub(crate) fn authorization(&self) -> Option<HeaderValue> {
        let token = |scheme: &str| secret(&format!("{scheme} {}", self.token.as_ref()?.reveal()));
        match self.api {
            Api::V1 => basic(self.username.as_ref()?, self.password.as_ref()?.reveal()),
            Api::V2 => token("Token"),
            Api::V3 => token("Bearer"),
        }
    }
}

/// The URL as configured, its path and query kept, with what the interface asks for.
fn write_url(settings: &Settings) -> Url {
    let mut url = settings.url.clone();
    let (path, pairs): (&[&str], _) = match settings.api {
        Api::V1 => {
            (&["write"], vec![("db", &settings.database), ("rp", &settings.retention_policy)])
        }
        Api::V2 => {
            (&["api", "v2", "write"], vec![("org", &settings.org), ("bucket", &settings.bucket)])
        }
        Api::V3 => (&["api", "v3", "write_lp"], vec![("db", &settings.database)]),
    };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().extend(path);
    }
    let mut query = url.query_pairs_mut();
    for (key, value) in pairs {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    match settings.api {
        Api::V1 | Api::V2 => query.append_pair("precision", "ns"),
        Api::V3 => query.append_pair("precision", "nanosecond"),
    };
    drop(query);
    url
}

fn compressed(lines: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::fast());
    encoder
        .write_all(lines)
        .and_then(|()| encoder.finish())
        .expect("writing into memory cannot fail")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::influxdb::tests::settings;

    #[test]
    fn the_address_keeps_path_and_query_and_escapes_names() {
        let cases = [
            (
                "url='http://h:1/p/q/'\norg='a b'\nbucket='c&d'\ntoken='t'",
                "http://h:1/p/q/api/v2/write?org=a+b&bucket=c%26d&precision=ns",
                Some("Token t"),
            ),
            (
                "url='http://h?x=1'\napi='v1'\ndatabase='d'\nusername='u'\npassword='p'",
                "http://h/write?x=1&db=d&precision=ns",
                Some("Basic dTpw"),
            ),
            (
                "url='https://h/p'\napi='v1'\ndatabase='d'\nretention_policy='week'",
                "https://h/p/write?db=d&rp=week&precision=ns",
                None,
            ),
            (
                "url='http://h'\napi='v3'\ndatabase='d'\ntoken='t'",
                "http://h/api/v3/write_lp?db=d&precision=nanosecond",
                Some("Bearer t"),
            ),
        ];
        for (toml, url, authorization) in cases {
            let request = Endpoint::new(&settings(toml)).request(Bytes::new());
            assert_eq!(request.url.as_str(), url);
            let sent = request.headers.get(AUTHORIZATION).map(|v| v.to_str().unwrap());
            assert_eq!(sent, authorization);
        }
    }

    #[test]
    fn gzip_is_gzip() {
        let toml = "url='http://h'\norg='o'\nbucket='b'\ngzip=true";
        let request = Endpoint::new(&settings(toml)).request(Bytes::from_static(b"m f=1 1\n"));
        let mut plain = String::new();
        let mut decoder = flate2::read::GzDecoder::new(&*request.body);
        std::io::Read::read_to_string(&mut decoder, &mut plain).unwrap();
        assert_eq!(plain, "m f=1 1\n");
        assert_eq!(request.headers[CONTENT_ENCODING], "gzip");
    }
}
