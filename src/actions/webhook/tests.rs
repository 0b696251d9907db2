use hyper::StatusCode;

use super::*;
use crate::actions::testing::notice;
use crate::actions::{ActionConfig, KindConfig};
use crate::config::{Config as Whole, Loader};
use crate::rules::State;

const SECRET: &str = "https://user:pw@hooks.example.org/services/T0/B0/hunter2?token=hunter2";

fn read(table: &str) -> Result<Whole, String> {
    let env = |name: &str| (name == "HOOK").then(|| SECRET.to_owned());
    let text = format!("[action.ops]\n{table}\n");
    Loader { env: &env }.load_text("c.toml".as_ref(), &text).map_err(|e| e.to_string())
}

fn webhook(table: &str) -> Webhook {
    let config = read(table).unwrap();
    let ActionConfig { kind: KindConfig::Webhook(config), timeout, .. } = &config.actions[0].value
    else {
        panic!("a webhook")
    };
    let clock = Arc::new(crate::sample::Clock::system());
    config.action(*timeout, &Arc::new(Shared::new(clock)))
}

#[test]
fn by_default_the_notice_is_sent_as_json() {
    let webhook = webhook(r#"webhook = { url = "http://127.0.0.1/x" }"#);
    let request = webhook.request(&notice("x", State::Firing)).unwrap();
    assert_eq!(request.method, Method::POST);
    assert_eq!(request.headers[CONTENT_TYPE], "application/json");
    let body: Json = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["state"], "firing");
    assert_eq!(body["severity"], "critical");
    assert_eq!(body["labels"]["target"], "gateway");
    assert_eq!(body["value"], 31.5);
}

#[test]
fn body_and_headers_are_templates_and_labels_cannot_break_out() {
    let webhook = webhook(
        r#"webhook = { url = { env = "HOOK" }, method = "PUT", content_type = "text/plain",
             body = '{"text": {{ summary | tojson }}}',
             headers = { X-Target = "{{ labels.target }}", Authorization = { env = "HOOK" } } }"#,
    );
    let mut notice = notice("x", State::Firing);
    notice.summary = "say \"hi\"\n".into();
    notice.labels = Arc::new([("target".into(), "gw\r\nX-Evil: 1".into())].into());
    let request = webhook.request(&notice).unwrap();
    assert_eq!(request.body, r#"{"text": "say \"hi\"\n"}"#);
    assert_eq!(request.headers["x-target"], "gw  X-Evil: 1");
    assert_eq!(request.headers[CONTENT_TYPE], "text/plain");
    assert!(!request.headers.contains_key("x-evil"));
    let shown = format!("{webhook:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("pw"), "{shown}");
}

#[test]
fn mistakes_show_without_the_secret() {
    for (table, message) in [
        (r#"webhook = { url = "ftp://x/hunter2" }"#, "begins with http:// or https://"),
        (r#"webhook = { url = { env = "NOPE" } }"#, "the environment variable NOPE is not set"),
        (r#"webhook = { url = "http://x/", headers = { Host = "a" } }"#, "`host` is set by"),
        (r#"webhook = { url = "http://x/", headers = { "a b" = "a" } }"#, "not the name of a"),
        (r#"webhook = { url = "http://x/", method = "get" }"#, "`get` is not one of POST"),
        (r#"webhook = { url = "http://x/", method = "GET", body = "x" }"#, "a GET has none"),
        (r#"webhook = { url = "http://x/", body = "{{ labels.x" }"#, "not a template"),
        (r#"webhook = { method = "POST" }"#, "[action.ops.webhook] lacks the key `url`"),
        (r#"webhook = { url = "http://x/", client_cert = "c.pem" }"#, "go together"),
        ("timeout = \"1s\"", "lacks the key that says what it does"),
        ("log = {}\ndesktop = {}", "are two actions"),
        ("log = {}\nconcurrency = 0", "must be from 1 to 256"),
        ("log = { level = 1 }", "unknown key `level`"),
    ] {
        let error = read(table).expect_err(table);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn common_keys_stand_beside_the_kind() {
    let config = read("log = {}\ntimeout = \"3s\"\nretries = 1\nrecoveries = false").unwrap();
    let action = &config.actions[0].value;
    assert_eq!((action.timeout, action.retries), (Duration::from_secs(3), 1));
    assert!(!action.recoveries);
    let config = read(r#"exec = { command = ["/bin/true"], timeout = "20s" }"#).unwrap();
    let action = &config.actions[0].value;
    assert_eq!((action.timeout, action.recoveries), (Duration::from_secs(20), false));
    let both = read("timeout = \"1s\"\nexec = { command = [\"/bin/true\"], timeout = \"20s\" }");
    assert!(both.unwrap_err().contains("the timeout is also given in `exec`"));
}

#[test]
fn answers_are_sorted_by_what_helps() {
    let answer = |status: u16| Response {
        status: StatusCode::from_u16(status).unwrap(),
        headers: [(hyper::header::RETRY_AFTER, "7".parse().unwrap())].into_iter().collect(),
        body: Bytes::from_static(b"slow\ndown"),
    };
    assert_eq!(judged("h", &answer(204)), Ok("h answered 204".into()));
    for status in [408, 429, 500, 503] {
        let Err(Rejected::Temporary { message, retry_after }) = judged("h", &answer(status)) else {
            panic!("{status} is temporary")
        };
        assert!(message.ends_with(": slow down"), "{message}");
        assert_eq!(retry_after, Some(Duration::from_secs(7)));
    }
    for status in [301, 400, 404, 410] {
        assert!(matches!(judged("h", &answer(status)), Err(Rejected::Permanent(_))), "{status}");
    }
}
