//! The package on a machine of its own: this one's files under an overlay, booted by systemd.

use std::fs;
use std::process::Command;

/// What is booted, instead of all that is installed here.
const TARGET: &str = "\
[Unit]
Requires=basic.target trial.service
After=basic.target
AllowIsolate=yes
";

const SERVICE: &str = "\
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/bin/sh /trial/trial.sh
ExecStopPost=/bin/systemctl --no-block exit 0
StandardOutput=file:/trial/log
StandardError=file:/trial/log
TimeoutStartSec=120s
";

/// Mounts are private to the command, and so gone with it.
const BOOT: &str = "\
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work merged || exit 42
exec timeout --signal=KILL 180 systemd-nspawn --quiet --boot --directory=merged --private-network \\
    --register=no --keep-unit --bind=$PWD/trial:/trial -- --unit=trial.target </dev/null
";
const NO_OVERLAY: i32 = 42;

#[test]
fn the_package_runs_under_systemd() {
    for (needed, argument) in [("systemd-nspawn", "--version"), ("unshare", "--version")] {
        if let Err(error) = Command::new(needed).arg(argument).output() {
            eprintln!("skipped: cannot start {needed}: {error}");
            return;
        }
    }
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: booting a machine of one's own needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let trial = folder.path().join("trial");
    let units = folder.path().join("upper/etc/systemd/system");
    for needed in [&trial, &units, &folder.path().join("work"), &folder.path().join("merged")] {
        fs::create_dir_all(needed).unwrap();
    }
    if crate::packaging::build(&trial).is_none() {
        return;
    }
    fs::write(trial.join("trial.sh"), include_str!("trial.sh")).unwrap();
    fs::write(units.join("trial.target"), TARGET).unwrap();
    fs::write(units.join("trial.service"), SERVICE).unwrap();
    let mut boot = Command::new("unshare");
    boot.args(["--mount", "sh", "-c", BOOT]).current_dir(folder.path());
    let booted = boot.output().unwrap();
    let console = String::from_utf8_lossy(&booted.stdout);
    let complaint = String::from_utf8_lossy(&booted.stderr);
    if booted.status.code() == Some(NO_OVERLAY) {
        eprintln!("skipped: cannot lay a machine over this one: {complaint}");
        return;
    }
    let Ok(log) = fs::read_to_string(trial.join("log")) else {
        eprintln!("skipped: systemd does not boot here: {complaint}{console}");
        return;
    };
    assert!(log.ends_with("all went as it should\n"), "{log}{complaint}");
}
