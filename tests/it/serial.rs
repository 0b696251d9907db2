//! Serial ports, made of pairs of pseudo terminals by socat.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use watchpost::actions::{Action, Kind as _, KindConfig as ActionKind, Rejected};
use watchpost::config::Target;
use watchpost::pollers::serial::{Config, SerialPoller};
use watchpost::pollers::{Cadence, Kind, KindConfig, Reason, Shared};

use crate::support::{Driven, Server, config, mistakes, notice, shared, text, until};

/// Two ends of a line: `port` for watchpost, `far` for the device.
pub(crate) struct Wire {
    folder: TempDir,
    socat: Server,
}

impl Wire {
    pub(crate) async fn lay() -> Option<Self> {
        let folder = TempDir::new().expect("a temporary folder");
        let socat = Self::socat(&folder)?;
        let wire = Self { folder, socat };
        wire.until_there().await;
        Some(wire)
    }

    fn socat(folder: &TempDir) -> Option<Server> {
        let end = |name| format!("pty,raw,echo=0,link={}", text(&folder.path().join(name)));
        Server::start(Command::new("socat").args([end("port"), end("far")]))
    }

    async fn until_there(&self) {
        until("socat has made both ends", || self.port().exists() && self.far_path().exists())
            .await;
    }

    pub(crate) fn cut(&mut self) {
        self.socat.kill();
        for path in [self.port(), self.far_path()] {
            // socat removes its links only when it ends in peace.
            drop(std::fs::remove_file(path));
        }
    }

    pub(crate) async fn mend(&mut self) {
        self.socat = Self::socat(&self.folder).expect("socat started before");
        self.until_there().await;
    }

    pub(crate) fn port(&self) -> PathBuf {
        self.folder.path().join("port")
    }

    fn far_path(&self) -> PathBuf {
        self.folder.path().join("far")
    }

    /// The device's end; it does not become anybody's controlling terminal, nor ever block.
    pub(crate) fn far(&self) -> File {
        let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
        let opened =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(self.far_path());
        opened.expect("the device's end")
    }

    /// The configuration of the port with more keys.
    fn table(&self, keys: &str) -> String {
        format!("[serial.probe]\ndevice = '{}'\n{keys}", text(&self.port()))
    }

    fn driven(&self, keys: &str, shared: &Arc<Shared>) -> Driven<SerialPoller> {
        let (target, kind) = target(&self.table(keys));
        Driven::new(&kind, &target, shared)
    }
}

fn target(text: &str) -> (Arc<Target>, Config) {
    let target = config(text).targets[0].clone();
    let KindConfig::Serial(kind) = target.kind.clone() else { panic!("a serial target") };
    (target, (*kind).clone())
}

const NUMBER: &str = "format = 'number'";

#[tokio::test]
async fn lines_of_every_format_become_readings() {
    for (keys, line, reading) in [
        (NUMBER, "21.5", "serial_value{} 21.5"),
        ("format = 'json'\nfields = { t = '/t' }", "{\"t\":\"21.5\"}", "serial_t{} 21.5"),
        ("format = 'csv'\nfields = { t = 2 }", "x,21.5", "serial_t{} 21.5"),
        ("format = 'key_value'\nfields = { t = 't' }", "h: 40, t: 21.5 C", "serial_t{} 21.5"),
        (
            "format = 'regex'\npattern = 'T(?<t>[0-9.]+)'\nfields = { t = 't' }",
            "T21.5C",
            "serial_t{} 21.5",
        ),
        (
            "format = 'nmea'\nfields = { depth_metres = 'DBT.depth' }",
            "$SDDBT,36.41,f,11.10,M,5.99,F*32",
            "serial_depth_metres{} 11.1",
        ),
        ("format = 'text'\nmap = { OPEN = 1 }\nfield = 'door'", "OPEN", "serial_door{} 1"),
        ("format = 'influx'", "climate,room=hall t=21.5", "climate_t{room=\"hall\"} 21.5"),
        ("format = 'number'\nmeasurement = 'oven'\ndelimiter = ';'", ";21.5;", "oven_value{} 21.5"),
    ] {
        let Some(wire) = Wire::lay().await else { return };
        let mut driven = wire.driven(keys, &shared());
        let (opened, nothing) = driven.poll().await;
        assert_eq!((opened, nothing), (Ok(()), vec![]));
        write!(wire.far(), "\n{line}\r\n").unwrap();
        let is_it = |words: &[String]| words.iter().any(|word| word == reading);
        driven.readings_until(is_it).await;
    }
}

#[tokio::test]
async fn probes_that_share_a_line_are_told_apart_by_what_they_say() {
    for (keys, line) in [
        (
            "format = 'json'\nfields = { t = '/t' }\ntags = { id = '{/id}', rack = 'a1' }",
            "{\"t\":5,\"id\":\"ev1x\"}",
        ),
        ("format = 'csv'\nfields = { t = 2 }\ntags = { id = '{#1}', rack = 'a1' }", "ev1x,5"),
    ] {
        let Some(wire) = Wire::lay().await else { return };
        let table = wire.table(keys);
        let own = config(&table).targets[0].tags.clone();
        let names: Vec<_> = own.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["kind", "rack", "target"], "what lines say is no tag of the target");
        let mut driven = wire.driven(keys, &shared());
        driven.poll().await.0.unwrap();
        write!(wire.far(), "\n{line}\n{}\n", line.replace("ev1x", "ev2x")).unwrap();
        let is_value = |word: &String| word.starts_with("serial_t{");
        let all = |words: &[String]| words.iter().filter(|word| is_value(word)).count() == 2;
        let mut words = driven.readings_until(all).await;
        words.retain(is_value);
        assert_eq!(words, ["serial_t{id=\"ev1x\"} 5", "serial_t{id=\"ev2x\"} 5"]);
    }
}

#[tokio::test]
async fn noise_and_half_and_overlong_lines_are_counted_and_skipped() {
    let Some(wire) = Wire::lay().await else { return };
    let mut driven = wire.driven("format = 'number'\nmax_line = '64B'", &shared());
    driven.poll().await.0.unwrap();
    let mut far = wire.far();
    far.write_all(b"5\n\xff\xfe\n\nhello\n").unwrap();
    far.write_all(&b"9".repeat(1_000)).unwrap();
    far.write_all(b"\n21.5\n").unwrap();
    let words = driven.readings_until(|words| words.len() >= 5).await;
    assert_eq!(
        words,
        [
            "serial_value{} 21.5",
            "serial_rejected_total{reason=\"encoding\"} 1",
            "serial_rejected_total{reason=\"number\"} 1",
            "serial_rejected_total{reason=\"too_long\"} 1",
            "serial_rejected_total{reason=\"half\"} 1",
        ]
    );
}

#[tokio::test]
async fn a_line_after_a_pause_is_a_whole_one() {
    let Some(wire) = Wire::lay().await else { return };
    let mut driven = wire.driven(NUMBER, &shared());
    driven.poll().await.0.unwrap();
    assert!(driven.poll_within(Duration::from_millis(300)).await.is_none());
    wire.far().write_all(b"21.5\n").unwrap();
    assert_eq!(driven.readings().await, ["serial_value{} 21.5"]);
}

#[tokio::test]
async fn nothing_but_noise_is_a_failed_poll() {
    let Some(wire) = Wire::lay().await else { return };
    let mut driven = wire.driven(NUMBER, &shared());
    driven.poll().await.0.unwrap();
    wire.far().write_all(&b"\xf0noise\n".repeat(20)).unwrap();
    assert_eq!(driven.until_down().await.reason, Reason::Malformed);
}

#[tokio::test]
async fn an_unplugged_device_is_unreachable_until_it_is_back() {
    let Some(mut wire) = Wire::lay().await else { return };
    let mut driven = wire.driven(NUMBER, &shared());
    driven.poll().await.0.unwrap();
    wire.far().write_all(b"\n1\n").unwrap();
    driven.readings().await;
    wire.cut();
    let error = driven.until_down().await;
    assert_eq!(error.reason, Reason::Unreachable, "{error}");
    let (again, _) = driven.poll().await;
    assert_eq!(again.unwrap_err().reason, Reason::Unreachable);
    wire.mend().await;
    driven.until_up().await;
    wire.far().write_all(b"\n2\n").unwrap();
    let words = driven.readings_until(|words| words.iter().any(|w| w == "serial_value{} 2")).await;
    assert!(words.iter().all(|word| word != "serial_value{} 1"), "{words:?}");
}

#[tokio::test]
async fn a_device_absent_at_start_is_unreachable() {
    let shared = shared();
    let (target, kind) = target("[serial.none]\ndevice = '/dev/no-such-device'\nformat = 'number'");
    let (outcome, _) = Driven::new(&kind, &target, &shared).poll().await;
    let error = outcome.unwrap_err();
    assert_eq!(error.reason, Reason::Unreachable);
    assert!(error.context.starts_with("opening /dev/no-such-device: "), "{error}");
    assert!(shared.serial_links.get("none").is_none());
}

#[tokio::test]
async fn a_port_has_one_owner() {
    let Some(wire) = Wire::lay().await else { return };
    let mut first = wire.driven(NUMBER, &shared());
    first.poll().await.0.unwrap();
    let mut second = wire.driven(NUMBER, &shared());
    let (outcome, _) = second.poll().await;
    assert_eq!(outcome.unwrap_err().reason, Reason::Refused);
}

#[tokio::test]
async fn silence_is_the_supervisors_to_judge() {
    let (_, kind) = target("[serial.x]\ndevice = '/dev/x'\nformat = 'number'\nquiet = '30s'");
    let quiet = Some(Duration::from_secs(30));
    assert_eq!(kind.cadence(), Cadence::OnArrival { quiet });
}

#[tokio::test]
async fn what_is_written_through_the_owner_reaches_the_device() {
    let Some(mut wire) = Wire::lay().await else { return };
    let shared = shared();
    let mut driven = wire.driven(NUMBER, &shared);
    assert!(shared.serial_links.get("probe").is_none());
    driven.poll().await.0.unwrap();
    let link = shared.serial_links.get("probe").expect("an open port");
    link.write(b"VALVE 0\n".to_vec()).await.unwrap();
    let mut far = wire.far();
    let mut got = Vec::new();
    until("the device has the command", || {
        let mut bytes = [0; 64];
        let read = far.read(&mut bytes).unwrap_or(0);
        got.extend_from_slice(&bytes[..read]);
        got == b"VALVE 0\n"
    })
    .await;
    wire.cut();
    driven.until_down().await;
    assert!(link.write(b"x".to_vec()).await.is_err());
    drop(link);
    assert!(shared.serial_links.get("probe").is_none());
}

#[tokio::test]
async fn an_action_writes_and_a_label_begins_no_command() {
    let Some(wire) = Wire::lay().await else { return };
    let shared = shared();
    let action =
        "[action.valve]\nserial = { port = 'probe', write = \"VALVE {{ labels.target }}\\n\" }\n";
    let text = format!("{action}{}", wire.table(NUMBER));
    let (target, kind) = target(&text);
    let mut driven = Driven::new(&kind, &target, &shared);
    let ActionKind::Serial(kind) = config(&text).actions[0].value.kind.clone() else {
        panic!("a serial action")
    };
    let action = kind.action(Duration::from_secs(5), &shared);
    let early = action.fire(&notice("0")).await;
    assert!(matches!(early, Err(Rejected::Temporary { .. })), "{early:?}");
    driven.poll().await.0.unwrap();
    assert_eq!(action.fire(&notice("0")).await, Ok("wrote 8 bytes".to_owned()));
    let hostile = action.fire(&notice("0\nVALVE 1")).await;
    assert!(matches!(hostile, Err(Rejected::Permanent(_))), "{hostile:?}");
    let mut far = wire.far();
    let mut got = Vec::new();
    until("the device has the command", || {
        let mut bytes = [0; 64];
        let read = far.read(&mut bytes).unwrap_or(0);
        got.extend_from_slice(&bytes[..read]);
        got == b"VALVE 0\n"
    })
    .await;
}

#[test]
fn mistakes_in_the_table_are_told() {
    for (keys, mistake) in [
        ("device = ''", "a device needs a path, such as /dev/ttyUSB0"),
        ("device = '/dev/x'\nbaud = 0", "must be at least 1"),
        ("device = '/dev/x'\ndata_bits = 9", "must be 5, 6, 7 or 8"),
        ("device = '/dev/x'\nstop_bits = 3", "must be 1 or 2"),
        (
            "device = '/dev/x'\nparity = 'od'",
            "`od` is not one of none, odd, even; did you mean `odd`?",
        ),
        ("device = '/dev/x'\nmax_line = '2MiB'", "must be from 1 byte to 1MiB"),
        ("device = '/dev/x'\ndelimiter = 'ab'", "must be one ASCII character"),
        (
            "device = '/dev/x'\nbuad = 9600",
            "unknown key `buad` in [serial.x]; did you mean `baud`?",
        ),
    ] {
        let shown = mistakes(&format!("[serial.x]\nformat = 'number'\n{keys}\n"));
        assert!(shown.contains(&format!(": {mistake}\n")), "{keys}: {shown}");
        assert!(shown.ends_with("1 mistake in the configuration"), "{keys}: {shown}");
    }
}
