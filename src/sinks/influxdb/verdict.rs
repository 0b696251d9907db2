//! What a server's answer to a write means for the lines in it.
//!
//! Only answers that speak of the lines themselves may cost a line; everything else means that
//! the server or the configuration must change first, and the samples wait for that.

use serde::Deserialize;
use url::Url;

use super::Api;
use crate::http_client::{Response, shown};
use crate::sinks::http::{self, Verdict};

pub(super) fn judge(api: Api, url: &Url, response: &Response, lines: usize) -> Verdict {
    match response.status.as_u16() {
        400 | 422 => refused(api, response, response.words(), lines),
        404 => http::misconfigured(
            url,
            response,
            match api {
                Api::V1 => "no such database, or the server is not one for api = \"v1\"",
                Api::V2 => {
                    "no such organisation or bucket, or the server is not one for api = \"v2\""
                }
                Api::V3 => "no such database, or the server is not one for api = \"v3\"",
            },
        ),
        _ => http::judge(url, response),
    }
}

/// A refusal because of what is in the request.
fn refused(api: Api, response: &Response, words: String, lines: usize) -> Verdict {
    if api == Api::V3
        && let Some(these) = told_lines(&response.body, lines)
    {
        return Verdict::These(these);
    }
    // InfluxDB 1 and 2 write the good lines of a partial write and say how many were dropped.
    let dropped = words
        .contains("partial write")
        .then(|| words.rsplit_once("dropped=").and_then(|(_, n)| leading_number(n)))
        .flatten();
    match dropped {
        Some(all) if all >= lines => Verdict::AllLines(words),
        _ => Verdict::Lines(words),
    }
}

fn leading_number(text: &str) -> Option<usize> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// InfluxDB 3 says which lines it left out when it took the others.
#[derive(Deserialize)]
struct Partial {
    error: String,
    data: Vec<PartialLine>,
}

#[derive(Deserialize)]
struct PartialLine {
    /// Counted from 1.
    line_number: usize,
    error_message: String,
}

fn told_lines(body: &[u8], lines: usize) -> Option<Vec<(usize, String)>> {
    let partial: Partial = serde_json::from_slice(body).ok()?;
    if !partial.error.contains("partial write") || partial.data.is_empty() {
        return None;
    }
    let mut these: Vec<_> = partial
        .data
        .into_iter()
        .map(|line| Some((line.line_number.checked_sub(1)?, shown(&line.error_message))))
        .collect::<Option<_>>()?;
    these.sort_by_key(|(line, _)| *line);
    these.dedup_by_key(|(line, _)| *line);
    these.last().is_some_and(|(last, _)| *last < lines).then_some(these)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sinks::Rejected;

    fn judged(api: Api, status: u16, header: Option<(&'static str, &str)>, body: &str) -> Verdict {
        let headers = header.into_iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap()));
        let response = Response {
            status: status.try_into().unwrap(),
            headers: headers.collect(),
            body: body.to_owned().into(),
        };
        judge(api, &"http://u:p@h/write?token=t".parse().unwrap(), &response, 3)
    }

    #[test]
    fn success_has_two_codes() {
        assert_eq!(judged(Api::V2, 204, None, ""), Verdict::Written);
        assert_eq!(judged(Api::V2, 200, None, "{}"), Verdict::Written);
    }

    #[test]
    fn what_may_pass_is_kept_for_as_long_as_the_server_asks() {
        let Verdict::Later(Rejected::Temporary { message, retry_after }) =
            judged(Api::V2, 429, Some(("retry-after", "7")), "slow\ndown")
        else {
            panic!("not kept")
        };
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
        assert_eq!(
            message,
            "POST http://h/write: the server asks for another try (429 Too Many Requests): slow down"
        );
        for status in [301, 401, 403, 404, 405, 408, 500, 502, 503, 504] {
            assert!(matches!(judged(Api::V1, status, None, "x"), Verdict::Later(_)), "{status}");
        }
    }

    #[test]
    fn only_words_about_lines_cost_lines() {
        let v1 = r#"{"error":"partial write: field type conflict dropped=1"}"#;
        let all = r#"{"error":"partial write: points beyond retention policy dropped=3"}"#;
        assert!(matches!(judged(Api::V1, 400, None, v1), Verdict::Lines(_)));
        assert!(matches!(judged(Api::V1, 400, None, all), Verdict::AllLines(_)));
        assert!(matches!(judged(Api::V2, 422, None, "no"), Verdict::Lines(_)));
        assert!(matches!(judged(Api::V2, 413, None, "no"), Verdict::TooLarge(_)));
    }

    #[test]
    fn version_3_names_the_lines() {
        let body = r#"{"error":"partial write of line protocol occurred","data":[
            {"original_line":"a","line_number":3,"error_message":"no"},
            {"original_line":"b","line_number":1,"error_message":"nor\nthis"}]}"#;
        let these = vec![(0, "nor this".to_owned()), (2, "no".to_owned())];
        assert_eq!(judged(Api::V3, 400, None, body), Verdict::These(these));
        let beyond = body.replace("\"line_number\":3", "\"line_number\":4");
        assert!(matches!(judged(Api::V3, 400, None, &beyond), Verdict::Lines(_)));
        assert!(matches!(judged(Api::V3, 400, None, "{"), Verdict::Lines(_)));
    }
}
