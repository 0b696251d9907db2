use tokio::net::TcpListener;

use super::*;
use crate::pollers::KindConfig;
use crate::pollers::testing::{Probe, failure, mistakes, shared};

fn probe(server: &str, keys: &str) -> Probe<Dns> {
    let kind = |kind: &KindConfig| match kind {
        KindConfig::Dns(config) => Some((**config).clone()),
        _ => None,
    };
    let toml = format!("[dns.t]\ntimeout = \"5s\"\nserver = \"{server}\"\n{keys}");
    Probe::new(&toml, &shared(), kind)
}

/// The answer to a question as it came: flags, and 192.0.2.1 once if there are to be records.
fn answer(question: &[u8], flags: u16, records: u16) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&(0x8000 | flags).to_be_bytes());
    answer[6..8].copy_from_slice(&records.to_be_bytes());
    if records > 0 {
        answer.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
    }
    answer
}

/// A server for one question, which answers with these datagrams.
async fn serve(socket: &UdpSocket, answers: impl Fn(&[u8]) -> Vec<Vec<u8>>) {
    let mut question = [0; 512];
    let (length, from) = socket.recv_from(&mut question).await.unwrap();
    for answer in answers(&question[..length]) {
        socket.send_to(&answer, from).await.unwrap();
    }
}

async fn server() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    (socket, address)
}

#[tokio::test]
async fn an_answer_is_counted_and_timed_and_must_be_as_expected() {
    let (socket, address) = server().await;
    let right = "name = \"example.org\"\nexpect = [\"192.0.2.1\"]\nexpect_matches = '^192\\.'";
    let wrong = "name = \"example.org\"\nexpect = [\"192.0.2.7\"]";
    let good = |question: &[u8]| vec![answer(question, 0, 1)];
    let mut first = probe(&address, right);
    let ((result, read), ()) = tokio::join!(first.poll(), serve(&socket, good));
    assert_eq!(result, Ok(()));
    assert_eq!((read["dns_rcode"], read["dns_answers"]), (0.0, 1.0));
    assert!(read["dns_query_seconds"] >= 0.0);
    let mut second = probe(&address, wrong);
    let ((result, read), ()) = tokio::join!(second.poll(), serve(&socket, good));
    let told = "none of 1 records of example.org. has `192.0.2.7`".to_owned();
    assert_eq!(failure(result), (Reason::Malformed, told));
    assert_eq!(read["dns_answers"], 1.0);
}

#[tokio::test]
async fn a_response_code_may_be_wanted_and_is_refused_if_not() {
    let (socket, address) = server().await;
    let none = |question: &[u8]| vec![answer(question, 3, 0)];
    let mut plain = probe(&address, "name = \"example.org\"");
    let ((result, read), ()) = tokio::join!(plain.poll(), serve(&socket, none));
    assert_eq!(failure(result), (Reason::Refused, "NXDOMAIN for example.org.".into()));
    assert_eq!(read["dns_rcode"], 3.0);
    let mut wanting = probe(&address, "name = \"example.org\"\nrcode = \"NXDOMAIN\"");
    let ((result, _), ()) = tokio::join!(wanting.poll(), serve(&socket, none));
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn what_answers_another_question_is_passed_over() {
    let (socket, address) = server().await;
    let noise = |question: &[u8]| {
        let right = answer(question, 0, 1);
        let mut other_id = right.clone();
        other_id[0] ^= 0xff;
        let mut other_name = right.clone();
        other_name[13] = b'x';
        vec![b"\xff".to_vec(), other_id, other_name, question.to_vec(), right]
    };
    let mut probe = probe(&address, "name = \"example.org\"");
    let ((result, read), ()) = tokio::join!(probe.poll(), serve(&socket, noise));
    assert_eq!(result, Ok(()));
    assert_eq!(read["dns_answers"], 1.0);
}

#[tokio::test]
async fn garbage_under_the_right_id_is_malformed() {
    let (socket, address) = server().await;
    let garbage = |question: &[u8]| vec![answer(question, 0, 9)];
    let mut probe = probe(&address, "name = \"example.org\"");
    let ((result, _), ()) = tokio::join!(probe.poll(), serve(&socket, garbage));
    assert_eq!(failure(result).0, Reason::Malformed);
}

#[tokio::test]
async fn a_cut_answer_is_asked_for_again_by_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let Ok(socket) = UdpSocket::bind(address).await else {
        return eprintln!("skipped: UDP port {} is in use", address.port());
    };
    let over_tcp = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut question = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut question).await.unwrap();
        let answer = answer(&question, 0, 1);
        stream.write_u16(answer.len() as u16).await.unwrap();
        stream.write_all(&answer).await.unwrap();
    };
    let cut = |question: &[u8]| vec![answer(question, 0x0200, 0)];
    let mut probe = probe(&address.to_string(), "name = \"example.org\"");
    let ((result, read), (), ()) = tokio::join!(probe.poll(), serve(&socket, cut), over_tcp);
    assert_eq!(result, Ok(()));
    assert_eq!(read["dns_answers"], 1.0);
}

#[tokio::test]
async fn a_closed_port_refuses_by_both_transports() {
    let (socket, address) = server().await;
    drop(socket);
    for transport in ["udp", "tcp"] {
        let keys = format!("name = \"example.org\"\ntransport = \"{transport}\"");
        let (result, read) = probe(&address, &keys).poll().await;
        assert_eq!(failure(result).0, Reason::Refused, "{transport}");
        assert!(read.is_empty());
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_in_the_middle_is_malformed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let length = usize::from(stream.read_u16().await.unwrap());
        stream.read_exact(&mut vec![0; length]).await.unwrap();
        stream.write_all(&[0, 50, 1, 2, 3]).await.unwrap();
    };
    let mut probe = probe(&address, "name = \"example.org\"\ntransport = \"tcp\"");
    let ((result, _), ()) = tokio::join!(probe.poll(), serve);
    assert_eq!(failure(result).0, Reason::Malformed);
}

#[test]
fn the_systems_server_is_the_first_of_resolv_conf() {
    let text = "# nameserver 192.0.2.9\nsearch example.org\n nameserver 192.0.2.1\nnameserver ::1\n";
    assert_eq!(first_server(text), Some("192.0.2.1"));
    assert_eq!(first_server("nameserver\noptions edns0"), None);
}

#[test]
fn mistakes_are_told() {
    for (keys, told) in [
        ("name = \"a..b\"", "`a..b`: labels of a name are 1 to 63"),
        ("name = \"a\"\ntype = \"AAA\"", "did you mean `A"),
        ("name = \"a\"\nrcode = \"NOERR\"", "did you mean `NOERROR`?"),
        ("name = \"a\"\ntransport = \"tls\"", "not one of udp, tcp"),
    ] {
        let mistakes = mistakes(&format!("[dns.t]\n{keys}"));
        assert!(mistakes.contains(told), "{keys}: {mistakes}");
    }
    assert_eq!(mistakes("[dns.t]\nname = \"192.0.2.1\"\ntype = \"PTR\""), "");
}
