//! Probes of the network against servers that behave and servers that do not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use watchpost::pollers::{KindConfig, PollError, Reason, Shared};
use watchpost::sample::Clock;

use crate::support::{Driven, config, shared};

/// When the certificates made here run out: 2050-01-01.
const EXPIRES: f64 = 2_524_608_000.0;

fn http(keys: &str) -> Driven<watchpost::pollers::http::Http> {
    let target = config(&format!("[http.t]\ntimeout = \"5s\"\n{keys}")).targets[0].clone();
    let KindConfig::Http(kind) = &target.kind else { panic!("an http target") };
    Driven::new(&**kind, &target, &shared())
}

fn icmp(keys: &str, shared: &Arc<Shared>) -> Driven<watchpost::pollers::icmp::Icmp> {
    let target = config(&format!("[icmp.t]\n{keys}")).targets[0].clone();
    let KindConfig::Icmp(kind) = &target.kind else { panic!("an icmp target") };
    Driven::new(&**kind, &target, shared)
}

/// The value of a series among those written.
fn value(written: &[String], series: &str) -> Option<f64> {
    let mut values = written.iter().filter_map(|line| line.strip_prefix(series));
    values.next().and_then(|rest| rest.trim_start_matches("{}").trim().parse().ok())
}

fn reason(result: &Result<(), PollError>) -> Option<Reason> {
    result.as_ref().err().map(|error| error.reason)
}

/// An authority of one's own in a folder of its own: `ca.pem`, and what it signs.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// Signs `name.pem` with `name.key` until a year's beginning.
    fn sign(&self, name: &str, year: i32) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), signed.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.folder.path().join(file)
    }

    fn key(&self, key: &str, file: &str) -> String {
        format!("{key} = \"{}\"\n", self.path(file).display())
    }

    /// A server of `localhost`; it asks for a client certificate where `clients` says so.
    async fn server(&self, year: i32, clients: bool) -> Https {
        self.sign("localhost", year);
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.pem")).unwrap()).unwrap();
            let provider = Arc::new(ring::default_provider());
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_file(self.path("localhost.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(self.path("localhost.key")).unwrap();
        let config = builder.with_single_cert(chain, key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Https { listener, acceptor: TlsAcceptor::from(Arc::new(config)) }
    }
}

struct Https {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Https {
    fn url(&self) -> String {
        let port = self.listener.local_addr().unwrap().port();
        format!("url = \"https://localhost:{port}/\"\nfamily = \"ipv4\"\n")
    }

    /// Answers one connection, as far as the client lets it.
    async fn serve(&self) {
        let (stream, _) = self.listener.accept().await.unwrap();
        let Ok(mut stream) = self.acceptor.accept(stream).await else { return };
        let mut request = [0; 1_024];
        if stream.read(&mut request).await.is_ok_and(|length| length > 0) {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
            drop(stream.write_all(answer).await);
            drop(stream.shutdown().await);
        }
    }
}

#[tokio::test]
async fn https_is_timed_and_its_certificate_counted_down() {
    let authority = Authority::new();
    let server = authority.server(2050, false).await;
    let mut probe = http(&(server.url() + &authority.key("ca", "ca.pem")));
    let ((result, written), ()) = tokio::join!(probe.poll(), server.serve());
    assert_eq!(result, Ok(()));
    for phase in ["resolve", "connect", "tls", "processing", "transfer"] {
        let series = format!("http_phase_seconds{{phase=\"{phase}\"}}");
        assert!(value(&written, &series).is_some_and(|v| v >= 0.0), "{phase}: {written:?}");
    }
    let left = value(&written, "tls_expiry_seconds").unwrap();
    let expected = EXPIRES - Clock::system().now().as_secs_f64();
    assert!((left - expected).abs() < 60.0, "{left} {expected}");
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_fails_the_poll_and_still_counts_down() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = authority.server(2050, false).await;
    for (keys, expected) in [
        (stranger.key("ca", "ca.pem"), Some(Reason::Auth)),
        (String::new(), Some(Reason::Auth)),
        ("tls_verify = false".to_owned(), None),
        (authority.key("ca", "nothing.pem"), Some(Reason::Auth)),
    ] {
        let mut probe = http(&(server.url() + &keys));
        let ((result, written), ()) = tokio::join!(probe.poll(), server.serve());
        assert_eq!(reason(&result), expected, "{result:?}");
        let known = value(&written, "tls_expiry_seconds").is_some();
        // Without root certificates of the system's there is nobody to shake hands with.
        assert!(known || keys.is_empty() || keys.contains("nothing"), "{written:?}");
    }
}

#[tokio::test]
async fn an_expired_certificate_has_less_than_nothing_left() {
    let authority = Authority::new();
    let server = authority.server(2020, false).await;
    let mut probe = http(&(server.url() + &authority.key("ca", "ca.pem")));
    let ((result, written), ()) = tokio::join!(probe.poll(), server.serve());
    let error = result.unwrap_err();
    assert_eq!(error.reason, Reason::Auth);
    assert!(error.context.contains("expired"), "{}", error.context);
    assert!(value(&written, "tls_expiry_seconds").unwrap() < -86_400.0);
}

#[tokio::test]
async fn a_server_that_wants_to_know_its_clients_gets_a_certificate() {
    let authority = Authority::new();
    let server = authority.server(2050, true).await;
    authority.sign("me", 2050);
    let keys = server.url() + &authority.key("ca", "ca.pem");
    let mut known = http(
        &(keys.clone()
            + &authority.key("client_cert", "me.pem")
            + &authority.key("client_key", "me.key")),
    );
    let ((result, _), ()) = tokio::join!(known.poll(), server.serve());
    assert_eq!(result, Ok(()));
    let mut unknown = http(&keys);
    let ((result, _), ()) = tokio::join!(unknown.poll(), server.serve());
    assert_eq!(reason(&result), Some(Reason::Auth), "{result:?}");
}

#[tokio::test]
async fn what_does_not_speak_tls_is_malformed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let keys =
        format!("url = \"https://localhost:{port}/\"\nfamily = \"ipv4\"\ntls_verify = false");
    for garbage in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], &[0xff; 300], b"\x16\x03\x03\x00"] {
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            drop(stream.write_all(garbage).await);
            drop(stream.shutdown().await);
            // Closed only once the client has hung up: what it sent unread would reset it.
            drop(stream.read_to_end(&mut Vec::new()).await);
        };
        let mut probe = http(&keys);
        let ((result, _), ()) = tokio::join!(probe.poll(), serve);
        assert_eq!(reason(&result), Some(Reason::Malformed), "{result:?}");
    }
}

#[tokio::test]
async fn a_server_slower_than_the_deadline_leaves_the_poller_fit_for_another_poll() {
    let authority = Authority::new();
    let server = authority.server(2050, false).await;
    let mut probe = http(&(server.url() + &authority.key("ca", "ca.pem")));
    assert!(probe.poll_within(Duration::from_millis(100)).await.is_none());
    // The connection of the poll that was given up is still in the listener's queue.
    drop(server.listener.accept().await.unwrap());
    let ((result, written), ()) = tokio::join!(probe.poll(), server.serve());
    assert_eq!(result, Ok(()));
    assert_eq!(value(&written, "http_status"), Some(200.0));
}

/// Runs one test of this file again in a network namespace of its own, without these capabilities.
/// Whether this process is the one in it.
fn is_in_namespace(test: &str, without: Option<&str>) -> bool {
    const MARK: &str = "WATCHPOST_TEST_NAMESPACE";
    if std::env::var_os(MARK).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(up.unwrap().success());
        return true;
    }
    let mut command = Command::new("unshare");
    command.arg("--net");
    if let Some(capability) = without {
        let drop = format!("-{capability}");
        command.args(["setpriv", "--bounding-set", &drop, "--inh-caps", &drop]);
    }
    command.arg(std::env::current_exe().unwrap());
    command.args(["--exact", &format!("net::{test}"), "--nocapture"]).env(MARK, "1");
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            let refused = told.contains("unshare failed") || told.contains("setpriv:");
            assert!(refused, "{}{told}", String::from_utf8_lossy(&output.stdout));
            eprintln!("skipped: no network namespace: {told}");
        }
        Err(error) => eprintln!("skipped: no network namespace: {error}"),
    }
    false
}

/// What the host in the namespace says to an echo request.
#[derive(Clone, Copy)]
enum Say {
    Nothing,
    /// This many times the same reply.
    Reply(usize),
    /// The reply to the request before.
    ReplyToLast,
    Unreachable,
}

/// Two packets a poll.
const SAYS: [Say; 12] = [
    Say::Unreachable,
    Say::Unreachable,
    Say::Reply(3),
    Say::Reply(1),
    Say::Reply(1),
    Say::Unreachable,
    Say::Nothing,
    Say::Nothing,
    Say::ReplyToLast,
    Say::Nothing,
    Say::Reply(1),
    Say::Reply(1),
];

/// Stands in for the kernel's echo replies.
struct Responder {
    here: IpAddr,
    socket: UdpSocket,
}

impl Responder {
    fn new(here: IpAddr) -> Self {
        let (domain, protocol, ignore) = match here {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, "ipv4/icmp_echo_ignore_all"),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, "ipv6/icmp/echo_ignore_all"),
        };
        std::fs::write(Path::new("/proc/sys/net").join(ignore), "1").unwrap();
        let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { here, socket: UdpSocket::from_std(socket.into()).unwrap() }
    }

    async fn respond(&self, says: &[Say]) {
        let mut last = Vec::new();
        for say in says {
            let request = self.request().await;
            let mut reply = request.clone();
            reply[0] = if self.here.is_ipv4() { 0 } else { 129 };
            let (message, times) = match say {
                Say::Nothing => (Vec::new(), 0),
                Say::Reply(times) => (reply.clone(), *times),
                Say::ReplyToLast => (last, 1),
                Say::Unreachable => (self.unreachable(&request), 1),
            };
            for _ in 0..times {
                let message = with_checksum(message.clone());
                self.socket.send_to(&message, (self.here, 0)).await.unwrap();
            }
            last = reply;
        }
    }

    /// The next echo request, without its IP header, which a raw socket shows in IPv4 alone.
    async fn request(&self) -> Vec<u8> {
        let (head, kind) = if self.here.is_ipv4() { (20, 8) } else { (0, 128) };
        let mut packet = [0; 2_048];
        loop {
            let length = self.socket.recv(&mut packet).await.unwrap();
            if packet[head] == kind {
                return packet[head..length].to_vec();
            }
        }
    }

    /// RFC 792 and RFC 4443 §3.1: host, or address, unreachable; then the packet it is about.
    fn unreachable(&self, request: &[u8]) -> Vec<u8> {
        let quoted = &request[..8];
        match self.here {
            IpAddr::V4(here) => {
                let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0];
                let addresses = [here.octets(), here.octets()].concat();
                [&[3, 1, 0, 0, 0, 0, 0, 0], &head[..], &addresses, quoted].concat()
            }
            IpAddr::V6(here) => {
                let head = [0x60, 0, 0, 0, 0, 8, 58, 64];
                let addresses = [here.octets(), here.octets()].concat();
                [&[1, 3, 0, 0, 0, 0, 0, 0], &head[..], &addresses, quoted].concat()
            }
        }
    }
}

/// RFC 1071. In ICMPv6 the kernel makes it.
fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    message[2..4].fill(0);
    let words = message
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    message
}

/// Asks as [`SAYS`] answers, with packets a tenth of a second apart.
async fn ask(here: IpAddr) {
    let keys = format!("host = \"{here}\"\ncount = 2\ntimeout = \"900ms\"");
    let mut probe = icmp(&keys, &shared());
    let started = tokio::time::Instant::now();
    let (result, written) = probe.poll().await;
    assert_eq!(reason(&result), Some(Reason::Unreachable), "{result:?}");
    assert!(started.elapsed() < Duration::from_millis(800), "it is known at once");
    assert_eq!(value(&written, "icmp_loss_ratio"), Some(1.0));
    assert_eq!(value(&written, "icmp_rtt_seconds"), None);
    for (received, duplicates) in [(2.0, 2.0), (1.0, 0.0)] {
        let (result, written) = probe.poll().await;
        assert_eq!(result, Ok(()));
        assert_eq!(value(&written, "icmp_received"), Some(received));
        assert_eq!(value(&written, "icmp_duplicates"), Some(duplicates));
        assert_eq!(value(&written, "icmp_ttl"), Some(64.0));
    }
    // The second of these gets a reply to the first one's packet, which is late, and none of its own.
    for _ in 0..2 {
        let (result, written) = probe.poll().await;
        assert_eq!(reason(&result), Some(Reason::Timeout), "{result:?}");
        assert_eq!(value(&written, "icmp_received"), Some(0.0));
        assert_eq!(value(&written, "icmp_duplicates"), Some(0.0));
    }
    let (result, written) = probe.poll().await;
    assert_eq!(result, Ok(()));
    assert_eq!(value(&written, "icmp_duplicates"), Some(0.0));
}

const HERE: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

#[tokio::test]
async fn duplicate_and_late_replies_and_unreachable_messages_are_what_they_are() {
    if !is_in_namespace(
        "duplicate_and_late_replies_and_unreachable_messages_are_what_they_are",
        None,
    ) {
        return;
    }
    for here in HERE {
        let responder = Responder::new(here);
        tokio::join!(responder.respond(&SAYS), ask(here));
    }
}

#[tokio::test]
async fn an_unprivileged_socket_hears_all_that_a_raw_one_does() {
    const NAME: &str = "an_unprivileged_socket_hears_all_that_a_raw_one_does";
    const ASKS: &str = "WATCHPOST_TEST_ASKS";
    if let Ok(here) = std::env::var(ASKS) {
        return ask(here.parse().unwrap()).await;
    }
    if !is_in_namespace(NAME, None) {
        return;
    }
    std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
    for here in HERE {
        let responder = Responder::new(here);
        // The one who answers needs the right that the one who asks must not have.
        let mut command = tokio::process::Command::new("setpriv");
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-net_raw"]);
        command.arg(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("net::{NAME}"), "--nocapture"]);
        let asked = command.env(ASKS, here.to_string()).kill_on_drop(true).output();
        let answering = async {
            responder.respond(&SAYS).await;
            std::future::pending::<()>().await;
        };
        let asked = tokio::select! {
            asked = asked => asked.unwrap(),
            () = answering => unreachable!("it never ends"),
        };
        let told = String::from_utf8_lossy(&asked.stderr);
        assert!(asked.status.success(), "{}{told}", String::from_utf8_lossy(&asked.stdout));
    }
}

#[tokio::test]
async fn without_the_right_to_a_raw_socket_an_unprivileged_one_does_or_it_says_what_to_do() {
    let name = "without_the_right_to_a_raw_socket_an_unprivileged_one_does_or_it_says_what_to_do";
    if !is_in_namespace(name, Some("net_raw")) {
        return;
    }
    let shared = shared();
    let mut probe = icmp("host = \"127.0.0.1\"\ntimeout = \"2s\"\ncount = 2", &shared);
    let range = Path::new("/proc/sys/net/ipv4/ping_group_range");
    std::fs::write(range, "1 0").unwrap();
    let error = probe.poll().await.0.unwrap_err();
    assert_eq!(error.reason, Reason::Auth);
    for word in ["AmbientCapabilities=CAP_NET_RAW", "setcap", "net.ipv4.ping_group_range"] {
        assert!(error.context.contains(word), "{}", error.context);
    }
    std::fs::write(range, "0 2147483647").unwrap();
    let (result, written) = probe.poll().await;
    assert_eq!(result, Ok(()));
    assert_eq!(value(&written, "icmp_received"), Some(2.0));
    assert_eq!(value(&written, "icmp_ttl"), Some(64.0));
}
