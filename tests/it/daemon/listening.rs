//! What a reload does to the listener: another token, another address, and one that is taken.

use std::net::{SocketAddr, TcpListener};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Daemon, Dial, write_for};
use crate::support::{LIMIT, free_port, until};

const RELOADED: &str = "reloaded the configuration";

impl Daemon {
    /// Has it read a configuration that listens there, and waits until it has logged this once
    /// more. Nothing is asked of it, for where and how to ask may change.
    async fn rehear(&self, listen: &str, config: &str, logs: &str) {
        let count = || self.log().matches(logs).count();
        let before = count();
        write_for(self.folder.path(), listen, config);
        self.signal(Signal::SIGHUP);
        until(&format!("it says `{logs}`"), || count() > before).await;
    }
}

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

/// The status of an answer on a connection that stays open.
async fn status(stream: &mut TcpStream, token: &str) -> u16 {
    let request = format!(
        "GET /api/v1/status/buildinfo HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let mut piece = [0; 4_096];
    // Both an answer and a refusal are one object.
    while !answer.ends_with('}') {
        let read = timeout(LIMIT, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(read > 0, "the connection ended: {answer}");
        answer.push_str(&String::from_utf8_lossy(&piece[..read]));
    }
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_changed_token_is_demanded_at_once_on_the_same_listener() {
    let daemon = Daemon::start("token = 'one'\n").await;
    let mut stream = TcpStream::connect(daemon.address).await.unwrap();
    assert_eq!(status(&mut stream, "one").await, 200);
    daemon.rehear("127.0.0.1:0", "token = 'two'\n", RELOADED).await;
    assert_eq!(status(&mut stream, "one").await, 401, "on the connection there was");
    assert_eq!(status(&mut stream, "two").await, 200);
    assert!(daemon.get("/metrics").await.contains("unauthorized"));
    let metrics = daemon.get_with("/metrics", Some("two")).await;
    assert!(metrics.contains("watchpost_config_reloads_total{result=\"ok\"} 1"), "{metrics}");
    daemon.rehear("127.0.0.1:0", "", RELOADED).await;
    assert_eq!(daemon.metric("watchpost_config_reloads_total{result=\"ok\"}").await, 2.0);
    daemon.stop().await;
}

#[tokio::test]
async fn a_changed_port_answers_and_the_old_one_refuses() {
    let mut daemon = Daemon::start("").await;
    let old = daemon.address;
    let mut events = daemon.events().await;
    let mut push = TcpStream::connect(old).await.unwrap();
    let head = "POST /write?db=d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\
                Expect: 100-continue\r\n\r\n";
    push.write_all(head.as_bytes()).await.unwrap();
    let mut piece = [0; 4_096];
    let read = push.read(&mut piece).await.unwrap();
    assert!(piece[..read].starts_with(b"HTTP/1.1 100 "), "a push is under way");

    // Its own address, said otherwise, is no other one.
    daemon.rehear(&old.to_string(), "", RELOADED).await;
    assert!(!daemon.log().contains("another address"));
    let new = local(free_port());
    daemon.rehear(&new.to_string(), "", "another address").await;
    push.write_all(b"probe v=7").await.unwrap();
    let read = timeout(LIMIT, push.read(&mut piece)).await.unwrap().unwrap();
    assert!(piece[..read].starts_with(b"HTTP/1.1 204 "), "the push is taken all the same");
    let mut rest = String::new();
    timeout(LIMIT, events.stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream is ended in order: {rest:?}");
    until("the old one refuses", || std::net::TcpStream::connect(old).is_err()).await;

    daemon.address = new;
    assert_eq!(daemon.data("query?query=probe_v").await["result"][0]["value"][1], "7");
    assert_eq!(daemon.metric("watchpost_config_reloads_total{result=\"ok\"}").await, 2.0);
    daemon.stop().await;
}

#[tokio::test]
async fn the_port_may_stay_when_it_is_opened_to_the_network_and_closed_again() {
    let mut daemon = Daemon::start("").await;
    let port = daemon.address.port();
    let everywhere: SocketAddr = ([0, 0, 0, 0], port).into();
    daemon.rehear(&everywhere.to_string(), "token = 't'\n", RELOADED).await;
    assert!(daemon.get("/metrics").await.contains("unauthorized"));
    // Another address of the loopback network, which the listener before did not have.
    daemon.address = ([127, 0, 0, 2], port).into();
    assert!(daemon.get_with("/metrics", Some("t")).await.contains("watchpost_build_info"));

    let mut waits = TcpStream::connect(daemon.address).await.unwrap();
    daemon.rehear(&local(port).to_string(), "", RELOADED).await;
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut answer = String::new();
    // Either way in order, or cut off: what it must not do is answer.
    drop(waits.write_all(request).await);
    drop(timeout(LIMIT, waits.read_to_string(&mut answer)).await.unwrap());
    assert!(!answer.contains("watchpost_build_info"), "let in without the old one's token");
    daemon.address = local(port);
    assert_eq!(daemon.metric("watchpost_config_reloads_total{result=\"ok\"}").await, 2.0);
    daemon.stop().await;
}

#[tokio::test]
async fn an_occupied_port_refuses_the_reload_and_the_old_one_goes_on() {
    let folder = TempDir::new().unwrap();
    let dial = Dial::new(folder.path(), "dial", "1");
    let mut daemon = Daemon::start("").await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let config = format!("token = 't'\n{}", dial.table("new"));
    let refused = format!("cannot listen on {taken} (`listen` in [api]): Address already in use");
    daemon.rehear(&taken.to_string(), &config, &refused).await;
    assert!(daemon.target("exec.new").await.is_none(), "no target, and no token is demanded");
    let name = "watchpost_config_reloads_total{result=\"refused\"}";
    daemon.until("it is counted", async || daemon.metric(name).await == 1.0).await;
    drop(other);
    daemon.rehear(&taken.to_string(), &config, RELOADED).await;
    daemon.address = taken;
    assert!(daemon.get_with("/metrics", Some("t")).await.contains("{result=\"ok\"} 1"));
    daemon.stop().await;
}
