use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Answers every request of every connection with the same bytes; ends when dropped.
struct Server {
    port: u16,
    tasks: JoinSet<Vec<String>>,
}

/// One connection's requests until it ends.
async fn serve(
    mut io: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    answer: &[u8],
) -> Vec<String> {
    let mut requests = Vec::new();
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            if io.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return requests;
            }
        };
        requests.push(String::from_utf8(buffer.drain(..head).collect()).unwrap());
        if io.write_all(answer).await.is_err() {
            return requests;
        }
        if answer.is_empty() {
            return requests;
        }
    }
}

impl Server {
    async fn answering(answer: &str, connections: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = answer.as_bytes().to_vec();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut requests = Vec::new();
            for _ in 0..connections {
                let (stream, _) = listener.accept().await.unwrap();
                requests.extend(serve(stream, &answer).await);
            }
            requests
        });
        Self { port, tasks }
    }

    fn get(&self, path: &str) -> Request {
        Request::new(Method::GET, format!("http://127.0.0.1:{}{path}", self.port).parse().unwrap())
    }
}

fn client(timeout_ms: u64) -> HttpClient {
    let timeout = Duration::from_millis(timeout_ms);
    HttpClient::new(Options { timeout, body_bytes_max: 8, ..Options::default() })
}

#[tokio::test]
async fn requests_share_a_connection_and_carry_the_basics() {
    let mut server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes", 1).await;
    let client = client(5_000);
    let mut request = server.get("/a/b?q=1#fragment");
    request.url.set_username("us%40er").unwrap();
    request.url.set_password(Some("p+&%3A")).unwrap();
    for _ in 0..2 {
        let response = client.send(request.clone()).await.unwrap();
        assert_eq!((response.status.as_u16(), &*response.body), (200, &b"yes"[..]));
    }
    drop(client);
    let requests = server.tasks.join_next().await.unwrap().unwrap();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].starts_with("GET /a/b?q=1 HTTP/1.1\r\n"), "{}", requests[0]);
    let head = requests[0].to_lowercase();
    assert!(head.contains(concat!("user-agent: watchpost/", env!("CARGO_PKG_VERSION"))));
    let expected = data_encoding::BASE64.encode(b"us@er:p+&:");
    assert!(requests[0].contains(&format!("Basic {expected}\r\n")), "{}", requests[0]);
}

#[tokio::test]
async fn a_body_is_read_up_to_its_bound() {
    let server =
        Server::answering("HTTP/1.1 500 No\r\nContent-Length: 20\r\n\r\n0123456789\n123456789", 1)
            .await;
    let response = client(5_000).send(server.get("/")).await.unwrap();
    assert_eq!(response.words(), "01234567");
    assert!(response.is_temporary());
}

#[tokio::test]
async fn a_hanging_server_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let url = format!("http://secret:word@{address}/write?token=hidden#x").parse().unwrap();
    let error = client(50).send(Request::new(Method::POST, url)).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Timeout);
    assert_eq!(
        error.to_string(),
        format!("POST http://{address}/write: no complete answer within 50ms")
    );
}

#[tokio::test]
async fn a_body_that_never_ends_times_out() {
    let server = Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab", 1).await;
    let error = client(50).send(server.get("/")).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Timeout);
}

#[tokio::test]
async fn failures_are_sorted() {
    let closing = Server::answering("", 1).await;
    let noise = Server::answering("SSH-2.0-OpenSSH_9.2p1\r\n", 1).await;
    let client = client(5_000);
    let kind = async |request| client.send(request).await.unwrap_err().kind;
    assert_eq!(kind(closing.get("/")).await, HttpErrorKind::Closed);
    assert_eq!(kind(noise.get("/")).await, HttpErrorKind::Malformed);
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let at = |url: &str| Request::new(Method::GET, url.parse().unwrap());
    assert_eq!(kind(at(&format!("http://{free}/"))).await, HttpErrorKind::Refused);
    assert_eq!(kind(at("http://no.such.host.invalid/")).await, HttpErrorKind::Resolve);
    assert_eq!(kind(at("ftp://127.0.0.1/")).await, HttpErrorKind::Invalid);
}

#[tokio::test]
async fn a_stream_hands_out_pieces_as_they_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let client = client(5_000);
    let (stream, accepted) = tokio::join!(client.open(Request::new(Method::GET, url)), async {
        let (mut io, _) = listener.accept().await.unwrap();
        // An answer before there is a question is noise to the client.
        assert!(io.read(&mut [0; 1_024]).await.unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        io.write_all(head).await.unwrap();
        io
    });
    let (mut stream, mut io): (Stream, TcpStream) = (stream.unwrap(), accepted);
    for word in ["one", "two"] {
        io.write_all(format!("3\r\n{word}\r\n").as_bytes()).await.unwrap();
        assert_eq!(stream.chunk().await.unwrap().unwrap(), word);
    }
    io.write_all(b"0\r\n\r\n").await.unwrap();
    assert_eq!(stream.chunk().await.unwrap(), None);
}

/// A TLS server with a certificate of its own making, as PEM.
async fn tls_server(connections: usize) -> (Server, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut requests = Vec::new();
        for _ in 0..connections {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(stream) = acceptor.accept(stream).await {
                requests.extend(serve(stream, b"HTTP/1.1 204 OK\r\n\r\n").await);
            }
        }
        requests
    });
    (Server { port, tasks }, made.cert.pem())
}

#[tokio::test]
async fn an_own_authority_is_trusted_and_a_stranger_is_not() {
    let (server, pem) = tls_server(3).await;
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let url: Url = format!("https://localhost:{}/", server.port).parse().unwrap();
    let ask = async |tls| {
        let client = HttpClient::new(Options { tls, ..Options::default() });
        client.send(Request::new(Method::GET, url.clone())).await.map(|r| r.status.as_u16())
    };
    assert_eq!(ask(Tls { ca: Some(ca), ..Tls::default() }).await, Ok(204));
    assert_eq!(ask(Tls { tls_verify: false, ..Tls::default() }).await, Ok(204));
    let error = ask(Tls::default()).await.unwrap_err();
    assert!(matches!(error.kind, HttpErrorKind::Tls | HttpErrorKind::Setup), "{error}");
}

#[tokio::test]
async fn a_missing_authority_is_named() {
    let ca = std::path::PathBuf::from("/no/such/ca.pem");
    let client = HttpClient::new(Options {
        tls: Tls { ca: Some(ca), ..Tls::default() },
        ..Options::default()
    });
    let request = Request::new(Method::GET, "https://127.0.0.1:1/".parse().unwrap());
    let error = client.send(request).await.unwrap_err();
    assert_eq!(error.kind, HttpErrorKind::Setup);
    assert!(error.to_string().contains("authorities from /no/such/ca.pem"), "{error}");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
    };
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let cases: [(&[(&str, &str)], _); 7] = [
        (&[("retry-after", "120")], Some(120)),
        (&[("retry-after", "0")], Some(0)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"), date], Some(30)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:49:00 GMT"), date], Some(0)),
        (&[("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT")], None),
        (&[("retry-after", "soon"), date], None),
        (&[], None),
    ];
    for (pairs, expected) in cases {
        assert_eq!(retry_after(&headers(pairs)), expected.map(Duration::from_secs), "{pairs:?}");
    }
}

#[test]
fn the_words_of_a_server_fit_on_one_line() {
    assert_eq!(shown(" a\r\nb\u{1b}[31mc\n"), "a  b [31mc");
    assert_eq!(shown(&"é".repeat(1_000)).chars().count(), SHOWN_CHARS_MAX + 1);
}

#[test]
fn secrets_are_not_printed() {
    let header = basic("user", "password").unwrap();
    assert_eq!(format!("{header:?}"), "Sensitive");
    assert_eq!(basic("us:er", "password"), None);
}
