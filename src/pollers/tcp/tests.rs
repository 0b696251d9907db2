use std::time::Duration;

use tokio::net::TcpListener;

use super::*;
use crate::pollers::KindConfig;
use crate::pollers::testing::{Probe, failure, mistakes, shared};

fn probe(keys: &str) -> Probe<Tcp> {
    probe_within("5s", keys)
}

fn probe_within(timeout: &str, keys: &str) -> Probe<Tcp> {
    let kind = |kind: &KindConfig| match kind {
        KindConfig::Tcp(config) => Some((**config).clone()),
        _ => None,
    };
    Probe::new(&format!("[tcp.t]\ntimeout = \"{timeout}\"\n{keys}"), &shared(), kind)
}

/// A listener, and the key that leads to it.
async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = format!("address = \"{}\"", listener.local_addr().unwrap());
    (listener, key)
}

#[tokio::test]
async fn a_port_that_accepts_is_timed() {
    let (_listener, address) = listener().await;
    let (result, read) = probe(&address).poll().await;
    assert_eq!(result, Ok(()));
    assert!((0.0..5.0).contains(&read["tcp_connect_seconds"]), "{read:?}");
}

#[tokio::test]
async fn a_closed_port_refuses() {
    let (listener, address) = listener().await;
    drop(listener);
    let (result, read) = probe(&address).poll().await;
    let (reason, context) = failure(result);
    assert_eq!(reason, Reason::Refused);
    assert!(context.starts_with("connect to 127.0.0.1:"), "{context}");
    assert!(read.is_empty());
}

#[tokio::test]
async fn the_answer_to_what_is_sent_must_match() {
    let (listener, address) = listener().await;
    let serve = async {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 6];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"PING\r\n");
            stream.write_all(b"+PO").await.unwrap();
            stream.write_all(b"NG\r\n").await.unwrap();
        }
    };
    let polls = async {
        let keys = format!("{address}\nsend = \"PING\\r\\n\"");
        let (good, _) = probe(&format!("{keys}\nexpect = '^\\+PONG'")).poll().await;
        let (bad, read) = probe(&format!("{keys}\nexpect = '^-ERR'")).poll().await;
        (good, failure(bad), read)
    };
    let ((), (good, (reason, context), read)) = tokio::join!(serve, polls);
    assert_eq!(good, Ok(()));
    assert_eq!(reason, Reason::Malformed);
    assert_eq!(context, "nothing in 7 bytes of answer matches ^-ERR");
    assert!(read.contains_key("tcp_connect_seconds"));
}

#[tokio::test]
async fn a_peer_that_talks_for_ever_is_read_no_further_than_the_bound() {
    let (listener, address) = listener().await;
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        while stream.write_all(&[b'x'; 4_096]).await.is_ok() {}
    };
    let mut probe = probe(&format!("{address}\nexpect = 'y'"));
    let ((), (result, _)) = tokio::join!(serve, probe.poll());
    let (reason, context) = failure(result);
    assert_eq!(reason, Reason::Malformed);
    assert!(context.contains("16384 bytes"), "{context}");
}

#[tokio::test]
async fn a_silent_peer_times_out_and_the_poller_lives_on() {
    let (listener, address) = listener().await;
    let mut probe = probe_within("100ms", &format!("{address}\nexpect = 'x'"));
    let (result, _) = probe.poll().await;
    assert_eq!(failure(result).0, Reason::Timeout);
    let serve = async {
        // The first is the connection that timed out.
        drop(listener.accept().await.unwrap());
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let ((), (result, _)) = tokio::join!(serve, probe.poll());
    assert_eq!(result, Ok(()));
}

#[tokio::test]
async fn a_name_that_is_none_is_unreachable() {
    let (result, _) = probe("address = \"nowhere.invalid:80\"").poll().await;
    let (reason, context) = failure(result);
    assert_eq!(reason, Reason::Unreachable);
    assert!(context.contains("nowhere.invalid"), "{context}");
}

#[tokio::test]
async fn another_address_is_tried_where_one_fails() {
    let (listener, _) = listener().await;
    let open = listener.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
    let stream = tokio::time::timeout(Duration::from_secs(5), connect(&[closed, open])).await;
    assert_eq!(stream.unwrap().unwrap().peer_addr().unwrap(), open);
}

#[test]
fn mistakes_are_told() {
    assert!(mistakes("[tcp.t]\naddress = \"host\"").contains("needs a port"));
    assert!(
        mistakes("[tcp.t]\naddress = \"host:1\"\nexpect = \"(\"")
            .contains("not a regular expression")
    );
}
