use std::net::Ipv4Addr;

use super::*;
use crate::pollers::KindConfig;
use crate::pollers::testing::{Probe, failure, mistakes, shared};

fn probe(shared: &Arc<Shared>, keys: &str) -> Probe<Icmp> {
    let kind = |kind: &KindConfig| match kind {
        KindConfig::Icmp(config) => Some((**config).clone()),
        _ => None,
    };
    let toml = if keys.contains("timeout") {
        format!("[icmp.t]\n{keys}")
    } else {
        format!("[icmp.t]\ntimeout = \"5s\"\n{keys}")
    };
    Probe::new(&toml, shared, kind)
}

/// Whether this system allows an ICMP socket at all; a test that needs one says why it can not run.
fn allowed(shared: &Arc<Shared>) -> bool {
    let key = SocketKey { ipv6: false, source: None, interface: None, dscp: None, ttl: None };
    let opened = shared.echo.get(&key);
    if let Err(error) = &opened {
        eprintln!("skipped: {error}");
    }
    opened.is_ok()
}

#[tokio::test]
async fn this_host_answers_over_both_families() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    for host in ["127.0.0.1", "::1"] {
        let mut probe = probe(&shared, &format!("host = \"{host}\""));
        let (result, read) = probe.poll().await;
        assert_eq!(result, Ok(()), "{host}");
        assert!((0.0..5.0).contains(&read["icmp_rtt_seconds"]));
        assert_eq!(read["icmp_rtt_min_seconds"].to_bits(), read["icmp_rtt_max_seconds"].to_bits());
        let names = ["icmp_loss_ratio", "icmp_sent", "icmp_received", "icmp_duplicates"];
        assert_eq!(names.map(|name| read[name]), [0.0, 1.0, 1.0, 0.0]);
        assert!(!read.contains_key("icmp_jitter_seconds"));
        assert_eq!(read["icmp_ttl"], 64.0);
    }
}

#[tokio::test]
async fn several_packets_have_jitter_and_any_size() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    for size in [0, 1, 1_472, 9_000, SIZE_MAX_BYTES] {
        let keys = "host = \"127.0.0.1\"\ncount = 5\npacket_interval = \"1ms\"";
        let mut probe = probe(&shared, &format!("{keys}\nsize = {size}"));
        let (result, read) = probe.poll().await;
        assert_eq!(result, Ok(()), "{size}");
        assert_eq!(read["icmp_received"], 5.0);
        assert!(read["icmp_jitter_seconds"] >= 0.0);
        assert!(read["icmp_rtt_min_seconds"] <= read["icmp_rtt_seconds"]);
    }
}

#[tokio::test]
async fn many_targets_of_one_address_share_a_socket_and_all_have_their_answers() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    let mut probes: Vec<_> =
        (0..50).map(|_| probe(&shared, "host = \"127.0.0.1\"\ncount = 3")).collect();
    let polls = probes.iter_mut().map(Probe::poll);
    for (result, read) in futures_util::future::join_all(polls).await {
        assert_eq!(result, Ok(()));
        assert_eq!(read["icmp_received"], 3.0);
    }
    let sockets: Vec<_> = probes.iter().map(|p| p.poller.socket.clone().unwrap()).collect();
    assert!(sockets.iter().all(|socket| Arc::ptr_eq(socket, &sockets[0])));
}

#[tokio::test]
async fn marking_and_hop_limit_are_accepted_over_both_families() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    for host in ["127.0.0.1", "::1"] {
        let keys = format!("host = \"{host}\"\ndscp = 46\nttl = 3\nsource = \"{host}\"");
        let (result, _) = probe(&shared, &keys).poll().await;
        assert_eq!(result, Ok(()), "{host}");
    }
}

#[tokio::test]
async fn what_is_not_here_is_unreachable() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    for (keys, context) in [
        ("host = \"127.0.0.1\"\ninterface = \"none7\"", "on interface none7"),
        ("host = \"127.0.0.1\"\nsource = \"198.51.100.7\"", "from 198.51.100.7"),
        ("host = \"nowhere.invalid\"", "nowhere.invalid"),
        ("host = \"127.0.0.1\"\nfamily = \"ipv6\"", ""),
    ] {
        if context.is_empty() {
            assert!(mistakes(&format!("[icmp.t]\n{keys}")).contains("not an ipv6 address"));
            continue;
        }
        let (reason, told) = failure(probe(&shared, keys).poll().await.0);
        assert_eq!(reason, Reason::Unreachable, "{keys}");
        assert!(told.contains(context), "{told}");
    }
}

#[tokio::test]
async fn a_poll_that_was_dropped_leaves_the_next_one_its_answers() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    let mut probe = probe(&shared, "host = \"127.0.0.1\"\ncount = 3");
    for _ in 0..3 {
        tokio::select! {
            biased;
            _ = probe.poll() => panic!("three packets take a fifth of a second"),
            () = tokio::task::yield_now() => {}
        }
    }
    let (result, read) = probe.poll().await;
    assert_eq!(result, Ok(()));
    assert_eq!(read["icmp_received"], 3.0);
}

#[tokio::test]
async fn a_retired_socket_is_replaced() {
    let shared = shared();
    if !allowed(&shared) {
        return;
    }
    let mut probe = probe(&shared, "host = \"127.0.0.1\"");
    assert_eq!(probe.poll().await.0, Ok(()));
    let first = probe.poller.socket.clone().unwrap();
    first.retire();
    assert_eq!(probe.poll().await.0, Ok(()));
    assert!(!Arc::ptr_eq(&first, probe.poller.socket.as_ref().unwrap()));
}

#[tokio::test(start_paused = true)]
async fn readings_tell_loss_and_no_round_trip_of_what_was_lost() {
    let shared = shared();
    let mut readings = crate::sample::Readings::new(
        Arc::default(),
        shared.clock.clone(),
        crate::sample::TargetTags { target: "t".into(), tags: Arc::default() },
    );
    let here = Ipv4Addr::LOCALHOST.into();
    let reply = Echo::Reply { round_trip: Duration::from_millis(5), ttl: Some(64) };
    let told = Echo::Unreachable { from: here, kind: 3, code: 1 };
    for (echoes, expected, samples) in [
        (vec![Echo::Lost], Err(Reason::Timeout), 4),
        (vec![told, Echo::Lost], Err(Reason::Unreachable), 4),
        (vec![reply], Ok(()), 8),
        (vec![reply, told, reply], Ok(()), 9),
    ] {
        let result = report(&echoes, 1, here, &mut readings);
        assert_eq!(result.map_err(|error| error.reason), expected, "{echoes:?}");
        let batches = readings.finish(crate::sample::Written::News);
        assert_eq!(batches.iter().map(|b| b.samples.len()).sum::<usize>(), samples, "{echoes:?}");
    }
}

#[test]
fn mistakes_are_told() {
    for (keys, told) in [
        ("host = \"h:1\"", "an echo request has no port"),
        ("host = \"h\"\ncount = 0", "must be from 1 to 100"),
        ("host = \"h\"\ncount = 101", "must be from 1 to 100"),
        ("host = \"h\"\nsize = 65508", "must be at most 65507"),
        ("host = \"h\"\ndscp = 64", "must be from 0 to 63"),
        ("host = \"h\"\nttl = 0", "must be at least 1"),
        ("host = \"h\"\ninterface = \"an-overlong-name\"", "1 to 15 bytes"),
        ("host = \"h\"\nfamily = \"ip4\"", "did you mean `ipv4`?"),
        ("host = \"::1\"\nsource = \"127.0.0.1\"", "not the same family"),
        (
            "host = \"h\"\ncount = 5\npacket_interval = \"500ms\"",
            "5 packets every 500ms take 2s to send, which must be below the timeout, 2s",
        ),
    ] {
        let mistakes = mistakes(&format!("[icmp.t]\n{keys}"));
        assert!(mistakes.contains(told), "{keys}: {mistakes}");
    }
    assert_eq!(mistakes("[icmp.t]\nhost = \"h\"\ncount = 100"), "");
}
