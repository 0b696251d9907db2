use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::pollers::KindConfig;
use crate::pollers::testing::{Probe, failure, mistakes, shared};

fn probe(url: &str, keys: &str) -> Probe<Http> {
    let kind = |kind: &KindConfig| match kind {
        KindConfig::Http(config) => Some((**config).clone()),
        _ => None,
    };
    let toml = format!("[http.t]\ntimeout = \"5s\"\nurl = \"{url}\"\n{keys}");
    Probe::new(&toml, &shared(), kind)
}

/// Answers one connection after another with these bytes; gives back the requests.
async fn serve(listener: &TcpListener, answers: &[&[u8]]) -> Vec<String> {
    let mut requests = Vec::new();
    for answer in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0, "a whole request");
        }
        requests.push(String::from_utf8(request).unwrap());
        // The probe may have read enough and be gone.
        drop(stream.write_all(answer).await);
        drop(stream.shutdown().await);
    }
    requests
}

async fn server() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a?b=c", listener.local_addr().unwrap());
    (listener, url)
}

/// One poll of a server that answers with these bytes.
async fn poll(keys: &str, answer: &[u8]) -> (Result<(), PollError>, BTreeMap<String, f64>) {
    let (listener, url) = server().await;
    let mut probe = probe(&url, keys);
    let answers = [answer];
    let (polled, _) = tokio::join!(probe.poll(), serve(&listener, &answers));
    polled
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nall fine";

#[tokio::test]
async fn an_answer_is_measured_in_phases() {
    let (result, read) = poll("", OK).await;
    assert_eq!(result, Ok(()));
    assert_eq!((read["http_status"], read["http_body_bytes"]), (200.0, 8.0));
    let phases: Vec<_> = read.keys().filter(|key| key.contains("phase_seconds")).collect();
    let name = |phase| format!("http_phase_seconds{{phase=\"{phase}\"}}");
    assert_eq!(phases, ["connect", "processing", "resolve", "transfer"].map(name).iter().collect::<Vec<_>>());
    assert!(!read.contains_key("tls_expiry_seconds"));
}

#[tokio::test]
async fn statuses_say_what_they_mean() {
    for (keys, status, expected) in [
        ("", "204 No Content", Ok(())),
        ("status = [418]", "418 I'm a teapot", Ok(())),
        ("status = [418]", "200 OK", Err(Reason::Refused)),
        ("", "500 Internal Server Error", Err(Reason::Refused)),
        ("", "401 Unauthorized", Err(Reason::Auth)),
        ("", "403 Forbidden", Err(Reason::Auth)),
        ("status = [403]", "403 Forbidden", Ok(())),
        ("follow_redirects = 0", "302 Found\r\nlocation: /x", Err(Reason::Refused)),
        ("status = [302]", "302 Found\r\nlocation: /x", Ok(())),
    ] {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
        let (result, read) = poll(keys, answer.as_bytes()).await;
        assert_eq!(result.map_err(|error| error.reason), expected, "{status}");
        assert!(read.contains_key("http_status"));
    }
}

#[tokio::test]
async fn bodies_are_matched_up_to_their_bound() {
    for (keys, told) in [
        ("body_matches = 'f.ne'", None),
        ("body_not_matches = 'error'", None),
        ("body_matches = 'error'", Some("nothing in the body matches error")),
        ("body_not_matches = 'fine'", Some("something in the body matches fine")),
        (
            "body_matches = 'fine'\nmax_body = 4",
            Some("nothing in the first 4 bytes of the body matches fine"),
        ),
        ("max_body = 4", None),
        ("body_matches = 'fine$'\nmax_body = 8", None),
    ] {
        let (result, read) = poll(keys, OK).await;
        let expected = told.map_or(Ok(()), |told| Err((Reason::Malformed, told.to_owned())));
        assert_eq!(result.map_err(|error| (error.reason, error.context)), expected, "{keys}");
        assert_eq!(read["http_body_bytes"], if keys.contains("= 4") { 4.0 } else { 8.0 });
    }
}

#[tokio::test]
async fn garbage_and_halves_are_malformed() {
    let long = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; 1_000_000], b"\r\n\r\n"].concat();
    let answers: [&[u8]; 8] = [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        &[0xff; 2_000],
        b"HTTP/1.1 200",
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        &long,
    ];
    for answer in answers {
        let (result, _) = poll("", answer).await;
        let start = String::from_utf8_lossy(&answer[..answer.len().min(60)]);
        assert_eq!(failure(result).0, Reason::Malformed, "{start}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_no_further_than_the_bound() {
    let (listener, url) = server().await;
    let endless = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    };
    let mut probe = probe(&url, "max_body = \"100KiB\"\nbody_matches = 'x'");
    let ((result, read), ()) = tokio::join!(probe.poll(), endless);
    assert_eq!(result, Ok(()));
    assert_eq!(read["http_body_bytes"], 102_400.0);
}

#[tokio::test]
async fn the_request_is_as_configured_and_credentials_do_not_leave_their_server() {
    let (listener, url) = server().await;
    let (other, elsewhere) = server().await;
    let keys = "method = \"POST\"\nbody = \"hello\"\nusername = \"me\"\npassword = \"secret\"\n\
                headers = { x-key = \"k\", user-agent = \"mine\" }";
    let mut probe = probe(&url, keys);
    let here = b"HTTP/1.1 307 T\r\nlocation: /next\r\ncontent-length: 0\r\n\r\n".as_slice();
    let away = format!("HTTP/1.1 302 F\r\nlocation: {elsewhere}\r\ncontent-length: 0\r\n\r\n");
    let answers = [here, away.as_bytes()];
    let (first, second, (result, read)) =
        tokio::join!(serve(&listener, &answers), serve(&other, &[OK]), probe.poll());
    assert_eq!(result, Ok(()));
    assert_eq!(read["http_status"], 200.0);
    assert!(first[0].starts_with("POST /a?b=c HTTP/1.1\r\n"), "{first:?}");
    assert!(first[1].starts_with("POST /next HTTP/1.1\r\n"), "{first:?}");
    let lines = ["authorization: Basic bWU6c2VjcmV0", "x-key: k", "user-agent: mine", "content-length: 5"];
    for line in lines {
        assert!(first.iter().all(|request| request.contains(line)), "{line} in {first:?}");
    }
    assert!(second[0].starts_with("GET /a?b=c HTTP/1.1\r\n"), "{second:?}");
    assert!(lines.iter().all(|line| !second[0].contains(line)), "{second:?}");
    assert!(!format!("{:?}", probe.poller).contains("secret"));
}

#[tokio::test]
async fn redirects_end_somewhere() {
    let around = b"HTTP/1.1 301 M\r\nlocation: /a\r\ncontent-length: 0\r\n\r\n".as_slice();
    let (listener, url) = server().await;
    let mut probe = probe(&url, "follow_redirects = 2");
    let answers = [around, around, around];
    let ((result, _), _) = tokio::join!(probe.poll(), serve(&listener, &answers));
    assert_eq!(failure(result), (Reason::Refused, "still redirected after 2 redirects".into()));
    let (result, _) = poll("", b"HTTP/1.1 301 M\r\nlocation: ftp://x/\r\n\r\n").await;
    assert_eq!(failure(result).0, Reason::Malformed);
}

#[tokio::test]
async fn a_server_that_hangs_up_or_is_silent_leaves_the_poller_fit_for_another_poll() {
    let (listener, url) = server().await;
    let mut probe = probe(&url, "");
    let (_stream, _) = {
        let accepted = async { listener.accept().await.unwrap() };
        tokio::select! {
            _ = probe.poll() => panic!("nobody has answered"),
            accepted = accepted => accepted,
        }
    };
    let ((result, _), _) = tokio::join!(probe.poll(), serve(&listener, &[OK]));
    assert_eq!(result, Ok(()));
    drop(listener);
    let (result, read) = probe.poll().await;
    assert_eq!(failure(result).0, Reason::Refused);
    assert!(read.contains_key("http_phase_seconds{phase=\"resolve\"}"));
}

#[test]
fn mistakes_are_told() {
    for (keys, told) in [
        ("url = \"ftp://x/\"", "`ftp` is neither http nor https"),
        ("url = \"nonsense\"", "not a URL"),
        ("url = \"http://me:secret@x/\"", "credentials belong into"),
        ("url = \"http://x\"\nmethod = \"G E T\"", "not a method"),
        ("url = \"http://x\"\nheaders = { \"a b\" = \"c\" }", "not the name of a header field"),
        ("url = \"http://x\"\nheaders = { a = \"b\\nc\" }", "the value of a has characters"),
        ("url = \"http://x\"\nstatus = [99]", "a status is from 100 to 599"),
        ("url = \"http://x\"\nusername = \"me\"", "both `username` and `password`"),
        ("url = \"http://x\"\ntoken = \"a\\nb\"", "the token has characters"),
        ("url = \"https://x\"\nclient_cert = \"c.pem\"", "`client_cert` and `client_key` go together"),
        ("url = \"https://x\"\nca = \"c.pem\"\ntls_verify = false", "`ca` has no use"),
        ("url = \"http://x\"\nmax_body = \"1GiB\"", "from 1 byte to 64MiB"),
        ("url = \"http://x\"\nfollow_redirects = 50", "at most 20"),
        ("url = \"http://x\"\nbody_matches = \"(\"", "not a regular expression"),
    ] {
        let mistakes = mistakes(&format!("[http.t]\n{keys}"));
        assert!(mistakes.contains(told), "{keys}: {mistakes}");
    }
}
