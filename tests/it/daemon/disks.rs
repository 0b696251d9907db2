//! Disks that hang and disks that fail, under a daemon that goes on judging: an ext4 of its own in
//! a file, frozen (every write waits, as on a disk that does not answer) or shut down (every access
//! is an I/O error). That takes root and loop devices; who has none is told.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use super::crash::{Pusher, all_is_kept};
use super::{Daemon, Dial, stderr};

const DISK_BYTES: u64 = 64 << 20;

/// From a reading to its alert, whatever the disk does: a poll and a moment.
const ALERT_MAX: Duration = Duration::from_secs(3);

/// A disk of its own; unmounted at the end.
struct Disk {
    mounted: TempDir,
    images: TempDir,
    image: PathBuf,
}

/// A disk is frozen until this is let go of, be it that this process dies. Let it go before the
/// daemon: nobody can kill who waits for a frozen disk.
struct Frozen(Child);

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        drop(self.0.wait());
    }
}

impl Disk {
    fn mount() -> Option<Self> {
        let (mounted, images) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let image = images.path().join("one");
        let disk = Self { mounted, images, image };
        std::fs::File::create(&disk.image).unwrap().set_len(DISK_BYTES).unwrap();
        let is_made = run(Command::new("mkfs.ext4").arg("-qF").arg(&disk.image));
        (is_made && disk.attach()).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.mounted.path()
    }

    fn attach(&self) -> bool {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(self.path()))
    }

    /// From here on, who writes waits.
    fn freeze(&self) -> Option<Frozen> {
        let mut freezing = Command::new("sh");
        let until_let_go = "read -r _; fsfreeze -u \"$0\"";
        freezing.args(["-c", until_let_go]).arg(self.path()).stdin(Stdio::piped());
        let frozen = Frozen(freezing.spawn().ok()?);
        run(Command::new("fsfreeze").arg("-f").arg(self.path())).then_some(frozen)
    }

    /// From here on, every access is an I/O error. What was written is on the disk.
    fn fail(&self) -> bool {
        // EXT4_IOC_SHUTDOWN, of <linux/ext4.h>, with EXT4_GOING_FLAGS_DEFAULT.
        let open = "my $how = pack('I', 0); sysopen(D, $ARGV[0], 0) or die $!;";
        let shut_down = "ioctl(D, 0x8004587d, $how) or die $!";
        run(Command::new("perl").args(["-e", open, "-e", shut_down]).arg(self.path()))
    }

    /// Puts another disk in its place, with what was on this one.
    fn replace(&mut self) {
        let image = self.images.path().join("two");
        std::fs::copy(&self.image, &image).unwrap();
        self.image = image;
        assert!(run(Command::new("umount").arg("-l").arg(self.path())) && self.attach());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

/// Whether a command succeeds; says so where it does not.
fn run(command: &mut Command) -> bool {
    match command.output() {
        Ok(done) if done.status.success() => true,
        Ok(failed) => {
            eprintln!("skipped: {command:?}: {}", stderr(&failed).trim());
            false
        }
        Err(error) => {
            eprintln!("skipped: cannot run {command:?}: {error}");
            false
        }
    }
}

/// A daemon whose state is on a disk, and a dial that is not.
async fn start(disk: &Disk) -> (Daemon, Dial, TempDir) {
    let elsewhere = TempDir::new().unwrap();
    let dial = Dial::new(elsewhere.path(), "dial", "1");
    let rule = "[rule.high]\nmetric = 'exec_value'\nabove = 10\n";
    let folder = TempDir::new_in(disk.path()).unwrap();
    super::write(folder.path(), &format!("{}{rule}", dial.table("dial")));
    (Daemon::start_in(folder).await, dial, elsewhere)
}

/// What a dial shows is judged soon.
async fn is_judged(daemon: &Daemon, dial: &Dial) {
    for (value, firing) in [("50", 1), ("1", 0), ("50", 1)] {
        dial.set(value);
        let what = format!("a dial at {value} is judged");
        let is_so = async || daemon.states().await.len() == firing;
        daemon.until_within(ALERT_MAX, &what, is_so).await;
    }
}

#[tokio::test]
async fn a_disk_that_hangs_stops_neither_judging_nor_whoever_pushes_for_ever() {
    let Some(disk) = Disk::mount() else { return };
    let (daemon, dial, _elsewhere) = start(&disk).await;
    let mut pusher = Pusher::new();
    assert!(pusher.push(&daemon).await);
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 1.0);
    let Some(frozen) = disk.freeze() else { return };
    let (is_kept, ()) = tokio::join!(pusher.push(&daemon), is_judged(&daemon, &dial));
    assert!(!is_kept, "nothing can be written");
    daemon
        .until("the disk is given up", async || {
            daemon.metric("watchpost_journal_writable").await == 0.0
        })
        .await;
    let began = Instant::now();
    assert!(!pusher.push(&daemon).await, "it is known not to be written");
    assert!(began.elapsed() < ALERT_MAX, "nobody waits for a disk that was given up");
    is_judged(&daemon, &dial).await;
    assert_eq!(daemon.log().matches("disk does not answer").count(), 1, "{}", daemon.log());
    drop(frozen);
    daemon.until("it recovers", async || pusher.push(&daemon).await).await;
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 1.0);
    assert_eq!(daemon.log().matches("the journal can be written again").count(), 1);
    all_is_kept(daemon);
}

#[tokio::test]
async fn io_errors_stop_no_judging_and_all_is_kept_once_the_disk_is_replaced() {
    let Some(mut disk) = Disk::mount() else { return };
    let (daemon, dial, _elsewhere) = start(&disk).await;
    let mut pusher = Pusher::new();
    assert!(pusher.push(&daemon).await);
    if !disk.fail() {
        return;
    }
    let refused = async || !pusher.push(&daemon).await;
    daemon.until("the disk fails", refused).await;
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 0.0);
    is_judged(&daemon, &dial).await;
    let unsaved = "watchpost_state_unsaved";
    let log = daemon.log();
    assert!(log.contains("Input/output error") || log.contains("os error 5"), "{log}");
    assert_eq!(log.matches("cannot keep samples in the journal").count(), 1, "{log}");
    assert!(daemon.metric(unsaved).await > 0.0);
    disk.replace();
    daemon.until("it recovers", async || pusher.push(&daemon).await).await;
    assert_eq!(daemon.metric("watchpost_journal_writable").await, 1.0);
    daemon.until("alerts are kept", async || daemon.metric(unsaved).await == 0.0).await;
    all_is_kept(daemon);
}
