//! The `snmp` poller and setting against net-snmp's snmpd, and against agents that lie.

pub(crate) mod fake;
mod snmpd;
mod version_1;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use watchpost::config::{Loader, Target};
use watchpost::pollers::{Kind, KindConfig, PollError, Poller, Reason, Shared, snmp};
use watchpost::sample::{Catalogue, Clock, Readings, TargetTags, Written, is_stale};

use fake::{Fake, Values, counter, integer, refuse, respond, string, values_asked};
use snmpd::Relay;
pub(crate) use snmpd::Snmpd;

/// A target, as the supervisor would have it.
struct Polled {
    config: snmp::Config,
    shared: Arc<Shared>,
    poller: snmp::Snmp,
    readings: Readings,
    catalogue: Arc<Catalogue>,
}

impl Polled {
    fn new(table: &str) -> Self {
        Self::in_folder(Path::new("."), table)
    }

    fn in_folder(folder: &Path, table: &str) -> Self {
        let target = read(folder, table);
        let KindConfig::Snmp(config) = target.kind.clone() else { panic!("not snmp") };
        let clock = Arc::new(Clock::system());
        let shared = Arc::new(Shared::new(clock.clone()));
        let catalogue = Arc::new(Catalogue::default());
        let tags = TargetTags { target: target.name.clone(), tags: Arc::default() };
        let readings = Readings::new(catalogue.clone(), clock, tags);
        Self {
            poller: config.poller(&target, &shared),
            config: (*config).clone(),
            shared,
            readings,
            catalogue,
        }
    }

    /// Polls once: what was read, without what went stale, and how it ended.
    async fn poll(&mut self) -> (BTreeMap<String, f64>, Result<(), PollError>) {
        let end = self.poller.poll(&mut self.readings).await;
        let read = self
            .readings
            .finish(Written::Everything)
            .into_iter()
            .flat_map(|batch| batch.samples)
            .filter(|sample| !is_stale(sample.value))
            .map(|sample| (self.catalogue.series(sample.series).to_string(), sample.value))
            .collect();
        (read, end)
    }

    async fn good(&mut self) -> BTreeMap<String, f64> {
        let (read, end) = self.poll().await;
        assert_eq!(end, Ok(()));
        read
    }

    async fn failure(&mut self) -> Reason {
        let (read, end) = self.poll().await;
        assert!(read.is_empty(), "{read:?}");
        end.expect_err("the poll should have failed").reason
    }
}

fn read(folder: &Path, table: &str) -> Arc<Target> {
    let text = format!("[snmp.agent]\n{table}");
    let config = Loader { env: &|_| None }.load_text(&folder.join("config.toml"), &text);
    config.unwrap_or_else(|mistakes| panic!("{mistakes}")).targets[0].clone()
}

const UPTIME: &str = "system_sysUpTime{}";

#[tokio::test]
async fn values_are_read_in_versions_1_and_2c() {
    let Some(agent) = Snmpd::start("rocommunity public\nsysservices 72\n").await else { return };
    for version in ["1", "2c"] {
        let mut target = Polled::new(&format!(
            "host = \"{}\"\nversion = \"{version}\"\ncommunity = \"public\"\nprofiles = [\"system\"]\n\
             get = {{ services = {{ oid = \"1.3.6.1.2.1.1.7.0\", scale = 0.5 }}, nothing = \"1.3.6.1.4.1.55555.1.0\" }}",
            agent.address(),
        ));
        let read = target.good().await;
        assert!(read[UPTIME] >= 0.0, "{read:?}");
        assert_eq!((read["snmp_services{}"], read["snmp_missing{}"]), (36.0, 1.0), "{read:?}");
    }
}

#[tokio::test]
async fn interfaces_have_64_bit_counters_and_names() {
    let Some(agent) = Snmpd::start("rocommunity public\n").await else { return };
    let mut target = Polled::new(&format!(
        "host = \"{}\"\ncommunity = \"public\"\nprofiles = [\"interfaces\"]",
        agent.address(),
    ));
    let read = target.good().await;
    let lo = r#"interface_ifHCInOctets{ifDescr="lo",ifIndex="1",ifName="lo"}"#;
    assert!(read.contains_key(lo), "{read:?}");
    assert!(!read.keys().any(|name| name.starts_with("interface_ifInOctets")));
    assert_eq!(read["snmp_missing{}"], 0.0);
    assert_eq!(target.good().await.len(), read.len());
}

#[tokio::test]
async fn an_agent_without_64_bit_counters_has_its_32_bit_ones_read() {
    let conf = "view old included .1\nview old excluded .1.3.6.1.2.1.31\n\
                rocommunity public default -V old\n";
    let Some(agent) = Snmpd::start(conf).await else { return };
    for version in ["1", "2c"] {
        let mut target = Polled::new(&format!(
            "host = \"{}\"\nversion = \"{version}\"\ncommunity = \"public\"\nprofiles = [\"interfaces\"]",
            agent.address(),
        ));
        let read = target.good().await;
        let lo = r#"interface_ifInOctets{ifDescr="lo",ifIndex="1",ifName="lo"}"#;
        assert!(read.contains_key(lo), "{read:?}");
        assert!(!read.keys().any(|name| name.contains("HC")));
    }
}

#[tokio::test]
async fn a_profile_of_ones_own_is_a_file_beside_the_configuration() {
    let Some(agent) = Snmpd::start("rocommunity public\n").await else { return };
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("load.toml"),
        "[[table]]\nmeasurement = \"load\"\ntags = { name = \"1.3.6.1.4.1.2021.10.1.2\" }\n\
         fields = { one = \"1.3.6.1.4.1.2021.10.1.3\", hundredths = { oid = \"1.3.6.1.4.1.2021.10.1.5\", scale = 0.01 } }\n",
    )
    .unwrap();
    let table = format!(
        "host = \"{}\"\ncommunity = \"public\"\nprofiles = [\"load.toml\"]",
        agent.address()
    );
    let read = Polled::in_folder(folder.path(), &table).good().await;
    let written = read[r#"load_one{name="Load-1"}"#];
    let hundredths = read[r#"load_hundredths{name="Load-1"}"#];
    assert!((written - hundredths).abs() < 0.02, "{read:?}");
}

const AUTHS: [(&str, &str); 6] = [
    ("md5", "MD5"),
    ("sha1", "SHA"),
    ("sha224", "SHA-224"),
    ("sha256", "SHA-256"),
    ("sha384", "SHA-384"),
    ("sha512", "SHA-512"),
];

const PRIVACIES: [(&str, &str); 5] =
    [("none", ""), ("des", "DES"), ("aes128", "AES"), ("aes192", "AES-192"), ("aes256", "AES-256")];

#[tokio::test]
async fn version_3_works_with_every_digest_and_cipher() {
    let mut conf = String::from("createUser open\nrouser open noauth\n");
    for (auth, theirs) in AUTHS {
        for (privacy, cipher) in PRIVACIES {
            let (secret, level) =
                if cipher.is_empty() { ("", "auth") } else { ("privacy-secret", "priv") };
            conf += &format!("createUser {auth}{privacy} {theirs} auth-secret {cipher} {secret}\n");
            conf += &format!("rouser {auth}{privacy} {level}\n");
        }
    }
    let Some(agent) = Snmpd::start(&conf).await else { return };
    let common =
        format!("host = \"{}\"\nversion = \"3\"\nprofiles = [\"system\"]\n", agent.address());
    assert!(Polled::new(&format!("{common}user = \"open\"")).good().await.contains_key(UPTIME));
    for (auth, _) in AUTHS {
        for (privacy, cipher) in PRIVACIES {
            let mut table = format!(
                "{common}user = \"{auth}{privacy}\"\nauth = \"{auth}\"\nauth_password = \"auth-secret\"\n"
            );
            if !cipher.is_empty() {
                table +=
                    &format!("privacy = \"{privacy}\"\nprivacy_password = \"privacy-secret\"\n");
            }
            let mut target = Polled::new(&table);
            // The second poll uses the keys of the first.
            for _ in 0..2 {
                let (read, end) = target.poll().await;
                assert_eq!(end, Ok(()), "{auth} {privacy}");
                assert!(read.contains_key(UPTIME), "{auth} {privacy}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_credentials_are_told_apart_where_the_agent_tells() {
    let conf = "rocommunity public\ncreateUser user SHA auth-secret AES privacy-secret\nrouser user priv\n";
    let Some(agent) = Snmpd::start(conf).await else { return };
    let common = format!(
        "host = \"{}\"\nprofiles = [\"system\"]\nrequest_timeout = \"200ms\"\nretries = 1\n",
        agent.address()
    );
    let mut target = Polled::new(&format!("{common}community = \"private\""));
    assert_eq!(target.failure().await, Reason::Timeout);
    let version_3 = |user: &str, password: &str| {
        format!(
            "{common}version = \"3\"\nuser = \"{user}\"\nauth = \"sha1\"\nauth_password = \"{password}\"\n\
             privacy = \"aes128\"\nprivacy_password = \"privacy-secret\""
        )
    };
    for (user, password) in [("user", "wrong-secret"), ("nobody", "auth-secret")] {
        let mut target = Polled::new(&version_3(user, password));
        assert_eq!(target.failure().await, Reason::Auth, "{user} {password}");
        assert_eq!(target.failure().await, Reason::Auth, "{user} {password}");
    }
    Polled::new(&version_3("user", "auth-secret")).good().await;
}

#[tokio::test]
async fn an_agent_may_be_absent_die_and_come_back() {
    let conf = "rocommunity public\ncreateUser user SHA auth-secret\nrouser user auth\n";
    let Some(mut agent) = Snmpd::start(conf).await else { return };
    agent.stop();
    let host = format!("host = \"{}\"\nprofiles = [\"system\"]\n", agent.address());
    let mut old = Polled::new(&format!("{host}community = \"public\""));
    let mut new = Polled::new(&format!(
        "{host}version = \"3\"\nuser = \"user\"\nauth = \"sha1\"\nauth_password = \"auth-secret\""
    ));
    for round in 0..2 {
        for target in [&mut old, &mut new] {
            assert_eq!(target.failure().await, Reason::Refused, "round {round}");
        }
        agent.start_again().await;
        for target in [&mut old, &mut new] {
            assert!(target.good().await.contains_key(UPTIME), "round {round}");
        }
        agent.stop();
        // With its state goes its engine: the next one is another.
        agent.forget();
    }
}

#[tokio::test]
async fn a_setting_is_read_back() {
    let Some(agent) = Snmpd::start("rwcommunity public\nsysLocation fixed\n").await else { return };
    let target = Polled::new(&format!(
        "host = \"{}\"\ncommunity = \"public\"\nprofiles = [\"system\"]",
        agent.address()
    ));
    let contact = "1.3.6.1.2.1.1.4.0".parse().unwrap();
    let location = "1.3.6.1.2.1.1.6.0".parse().unwrap();
    let text = snmp::Setting::parse(snmp::ValueType::String, "Ann").unwrap();
    let (access, shared) = (&target.config.access, &target.shared);
    assert_eq!(snmp::set(access, &contact, &text, shared).await, Ok(()));
    let refused = snmp::set(access, &location, &text, shared).await.unwrap_err();
    assert_eq!(refused.error.reason, Reason::Refused);
    assert!(refused.is_final && refused.to_string().ends_with("notWritable"), "{refused}");
    let number = snmp::Setting::parse(snmp::ValueType::Integer, "5").unwrap();
    let refused = snmp::set(access, &contact, &number, shared).await.unwrap_err();
    assert!(refused.is_final && refused.to_string().ends_with("wrongType"), "{refused}");
    drop(agent);
    let away = snmp::set(access, &contact, &text, shared).await.unwrap_err();
    assert!(!away.is_final, "{away}");
}

#[tokio::test]
async fn version_3_keeps_up_with_the_agents_time_however_long_between_polls() {
    let conf = "createUser user SHA auth-secret AES privacy-secret\nrouser user priv\n";
    let Some(agent) = Snmpd::start_on_own_clock(conf).await else { return };
    let relay = Relay::before(&agent).await;
    let mut target = Polled::new(&format!(
        "host = \"{}\"\nprofiles = [\"system\"]\nversion = \"3\"\nuser = \"user\"\nauth = \"sha1\"\n\
         auth_password = \"auth-secret\"\nprivacy = \"aes128\"\nprivacy_password = \"privacy-secret\"",
        relay.address
    ));
    let first = target.good().await[UPTIME];
    let with_discovery = relay.requests();
    target.good().await;
    let usual = relay.requests();
    assert!(usual < with_discovery, "{usual} {with_discovery}");
    // A clock that stands still only between polls: no socket waits meanwhile.
    let pass = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
    };
    agent.advance(1_000);
    pass(1_000).await;
    let later = target.good().await[UPTIME];
    assert!(later - first >= 1_000.0, "the agent's clock is not ours: {first} {later}");
    assert_eq!(relay.requests(), usual, "the time was known");
    // Where the agent's clock has run away from ours, it is asked for once more.
    agent.advance(2_000);
    target.good().await;
    assert!(relay.requests() > usual);
    target.good().await;
    assert_eq!(relay.requests(), usual, "the time is known again");
}

#[tokio::test]
async fn keys_are_made_longer_as_cisco_does_where_that_is_asked_for() {
    let conf = "createUser reeder192 SHA auth-secret AES-192-C privacy-secret\nrouser reeder192 priv\n\
                createUser reeder256 MD5 auth-secret AES-256-C privacy-secret\nrouser reeder256 priv\n";
    let Some(agent) = Snmpd::start(conf).await else { return };
    for (user, auth, privacy) in [("reeder192", "sha1", "aes192"), ("reeder256", "md5", "aes256")] {
        let table = format!(
            "host = \"{}\"\nprofiles = [\"system\"]\nversion = \"3\"\nuser = \"{user}\"\nauth = \"{auth}\"\n\
             auth_password = \"auth-secret\"\nprivacy = \"{privacy}\"\n\
             privacy_password = \"privacy-secret\"\nrequest_timeout = \"300ms\"\nretries = 1\n",
            agent.address()
        );
        let read = Polled::new(&format!("{table}key_extension = \"reeder\"")).good().await;
        assert!(read.contains_key(UPTIME), "{user}");
        // The other way makes another key: what is encrypted by it nobody understands.
        Polled::new(&table).failure().await;
    }
}

const NAME: &str = "1.3.6.1.2.1.31.1.1.1.1";
const OCTETS: &str = "1.3.6.1.2.1.31.1.1.1.6";

/// A target that reads one table and one value of a fake agent.
fn table_of(agent: &Fake) -> Polled {
    Polled::new(&format!(
        "host = \"{}\"\ncommunity = \"public\"\nrequest_timeout = \"100ms\"\nretries = 2\n\
         get = {{ one = \"1.3.6.1.4.1.1.1.0\", two = \"1.3.6.1.4.1.1.2.0\", three = \"1.3.6.1.4.1.1.3.0\" }}\n\
         [[snmp.agent.table]]\nmeasurement = \"if\"\ntags = {{ name = \"{NAME}\" }}\n\
         fields = {{ octets = \"{OCTETS}\" }}",
        agent.address
    ))
}

fn honest(names: &[&str]) -> Values {
    let scalar = |n: u8| format!("1.3.6.1.4.1.1.{n}.0");
    let values = (1..=3).fold(Values::default(), |v, n| v.with(&scalar(n), integer(n)));
    names.iter().enumerate().fold(values, |values, (i, name)| {
        let n = u8::try_from(i).unwrap() + 1;
        values
            .with(&format!("{NAME}.{n}"), string(name))
            .with(&format!("{OCTETS}.{n}"), counter(n * 10))
    })
}

const NOW: Duration = Duration::ZERO;

#[tokio::test]
async fn rows_follow_their_names_when_an_agent_numbers_them_anew() {
    let mut polls = 0;
    let agent = Fake::start(NOW, move |request| {
        polls += u32::from(is_get(request));
        honest(if polls < 2 { &["a", "b"] } else { &["new", "a", "b"] }).answer(request)
    })
    .await;
    let mut target = table_of(&agent);
    let read = target.good().await;
    assert_eq!((read[r#"if_octets{name="a"}"#], read[r#"if_octets{name="b"}"#]), (10.0, 20.0));
    let read = target.good().await;
    assert_eq!((read[r#"if_octets{name="a"}"#], read[r#"if_octets{name="b"}"#]), (20.0, 30.0));
    assert_eq!(read["snmp_missing{}"], 0.0);
}

fn is_get(request: &[u8]) -> bool {
    snmp2::Pdu::from_bytes(request).unwrap().message_type == snmp2::MessageType::GetRequest
}

#[tokio::test]
async fn a_value_that_cannot_be_decoded_is_missing_and_hides_no_other() {
    let strange = |values: Values| {
        values.with("1.3.6.1.4.1.1.2.0", (0x47, vec![1])).with("1.3.6.1.4.1.1.1.0", integer(1))
    };
    let agent = Fake::start(NOW, move |request| {
        let table = honest(&["a", "b"]);
        if is_get(request) {
            strange(Values::default()).with("1.3.6.1.4.1.1.3.0", integer(3)).answer(request)
        } else {
            table.with(&format!("{OCTETS}.3"), (0x47, vec![1])).answer(request)
        }
    })
    .await;
    let read = table_of(&agent).good().await;
    assert_eq!((read["snmp_one{}"], read["snmp_three{}"]), (1.0, 3.0));
    assert_eq!(read[r#"if_octets{name="b"}"#], 20.0);
    assert_eq!(read["snmp_missing{}"], 1.0, "{read:?}");
}

#[tokio::test]
async fn garbage_and_truncated_answers_are_malformed() {
    let agent = Fake::start(NOW, |_| b"garbage".to_vec()).await;
    assert_eq!(table_of(&agent).failure().await, Reason::Malformed);
    let agent = Fake::start(NOW, |request| {
        let mut answer = honest(&["a"]).answer(request);
        answer.truncate(answer.len() / 2);
        answer
    })
    .await;
    assert_eq!(table_of(&agent).failure().await, Reason::Malformed);
    let about_another = |request: &[u8]| {
        let name = "1.3.6.1.4.1.9.9.0".parse::<watchpost::wire::oid::Oid>().unwrap();
        respond(request, &[(name.as_bytes().to_vec(), integer(1))])
    };
    let agent = Fake::start(NOW, about_another).await;
    assert_eq!(table_of(&agent).failure().await, Reason::Malformed);
}

#[tokio::test]
async fn an_agent_whose_walk_never_ends_is_malformed() {
    let agent = Fake::start(NOW, |request| {
        if is_get(request) {
            return honest(&[]).answer(request);
        }
        let name = format!("{NAME}.1").parse::<watchpost::wire::oid::Oid>().unwrap();
        respond(request, &[(name.as_bytes().to_vec(), string("again"))])
    })
    .await;
    let (_, end) = table_of(&agent).poll().await;
    let error = end.unwrap_err();
    assert_eq!(error.reason, Reason::Malformed);
    assert!(error.context.contains("circles"), "{error}");
}

#[tokio::test]
async fn an_agent_that_is_always_late_times_out_and_its_answers_are_never_taken() {
    let late = Duration::from_millis(150);
    let agent = Fake::start(late, |request| honest(&["a"]).answer(request)).await;
    let mut target = table_of(&agent);
    for _ in 0..3 {
        assert_eq!(target.failure().await, Reason::Timeout);
    }
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let mut requests = 0;
    let agent = Fake::start(NOW, move |request| {
        requests += 1;
        // Every second answer is another's, as good as lost.
        if requests % 2 == 1 { Vec::new() } else { honest(&["a"]).answer(request) }
    })
    .await;
    let read = table_of(&agent).good().await;
    assert_eq!(read[r#"if_octets{name="a"}"#], 10.0);
}

#[tokio::test]
async fn an_agent_whose_answers_would_be_too_big_is_asked_for_less() {
    const TOO_BIG: u8 = 1;
    for most in [1, 2, 5] {
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = refused.clone();
        let agent = Fake::start(NOW, move |request| {
            if values_asked(request) > most {
                counted.fetch_add(1, Ordering::Relaxed);
                return refuse(TOO_BIG, request);
            }
            honest(&["a", "b", "c", "d", "e", "f", "g"]).answer(request)
        })
        .await;
        let mut target = table_of(&agent);
        let read = target.good().await;
        assert_eq!((read["snmp_one{}"], read["snmp_three{}"]), (1.0, 1.0 + 2.0), "{most}");
        assert_eq!(read[r#"if_octets{name="g"}"#], 70.0, "{most}");
        assert_eq!(read["snmp_missing{}"], 0.0, "{most}");
        let at_first = refused.swap(0, Ordering::Relaxed);
        assert!(at_first > 0, "{most}");
        target.good().await;
        assert_eq!(refused.load(Ordering::Relaxed), 0, "{most}: what it bears is remembered");
    }
    let agent = Fake::start(NOW, |request| refuse(TOO_BIG, request)).await;
    let (_, end) = table_of(&agent).poll().await;
    assert_eq!(end.unwrap_err().reason, Reason::Refused, "even one value is too big for it");
}

#[test]
fn mistakes_are_told_with_what_to_do_about_them() {
    let of = |table: &str| crate::support::mistakes(&format!("[snmp.a]\nhost = \"h\"\n{table}"));
    for (table, message) in [
        ("profiles = [\"system\"]", "version 2c needs the key `community`"),
        ("version = \"2\"\ncommunity = \"c\"", "`2` is not one of 1, 2c, 3"),
        ("community = \"c\"", "[snmp.a] reads nothing: give it `profiles`, `get` or `table`"),
        ("community = \"c\"\nprofiles = [\"interface\"]", "did you mean `interfaces`?"),
        ("community = \"c\"\nprofiles = [\"./nowhere.toml\"]", "cannot read the profile"),
        ("community = \"c\"\nget = { x = \"1.3.x\" }", "`1.3.x` is not an OID"),
        ("community = \"c\"\nuser = \"u\"", "`user` is for version 3; this is version 2c"),
        ("version = \"3\"", "version 3 needs the key `user`"),
        ("version = \"3\"\nuser = \"u\"\nauth = \"sha1\"", "needs the key `auth_password`"),
        (
            "version = \"3\"\nuser = \"u\"\nauth = \"sha1\"\nauth_password = \"short\"",
            "must have at least 8 characters",
        ),
        (
            "version = \"3\"\nuser = \"u\"\nprivacy = \"des\"\nprivacy_password = \"long enough\"",
            "encryption needs authentication",
        ),
        ("community = \"c\"\nmax_repetitions = 0", "must be from 1 to 1000"),
    ] {
        let mistakes = of(table);
        assert!(mistakes.contains(message), "{table}: {mistakes}");
    }
}
