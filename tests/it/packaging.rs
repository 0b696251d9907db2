//! The Debian package: built, unpacked into a folder, and run from there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a program of the package's making; `None` if it is not installed, which is told.
fn run(command: &mut Command) -> Option<String> {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: cannot start {}: {error}", command.get_program().display());
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complaint}");
    Some(said)
}

/// The package of the binary under test; a release build would say no more.
pub(crate) fn build(folder: &Path) -> Option<PathBuf> {
    let binary = Path::new(env!("CARGO_BIN_EXE_watchpost"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    run(Command::new(source.join("packaging/generate")).arg(binary))?;
    let package = folder.join("watchpost.deb");
    // Where the binary is, whatever the target folder is called.
    let target = binary.parent()?.parent()?;
    run(Command::new("cargo-deb")
        .args(["deb", "--no-build", "--no-strip", "--fast", "--profile", "dev", "--output"])
        .arg(&package)
        .current_dir(source)
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_NET_OFFLINE", "true"))?;
    Some(package)
}

#[test]
fn the_package_holds_what_it_should_and_its_program_runs() {
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = build(folder.path()) else { return };
    let root = folder.path().join("root");
    if run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(&root)).is_none() {
        return;
    }
    for file in [
        "usr/lib/systemd/system/watchpost.service",
        "usr/lib/systemd/user/watchpost-notify.service",
        "usr/lib/sysusers.d/watchpost.conf",
        "usr/share/bash-completion/completions/watchpost",
        "usr/share/zsh/vendor-completions/_watchpost",
        "usr/share/fish/vendor_completions.d/watchpost.fish",
        "usr/share/man/man1/watchpost.1.gz",
        "usr/share/doc/watchpost/copyright",
        "etc/watchpost/config.example.toml",
    ] {
        assert!(root.join(file).is_file(), "{file} is missing");
    }
    assert!(root.join("usr/share/watchpost/rules").read_dir().unwrap().next().is_some());

    let program = root.join("usr/bin/watchpost");
    let version = run(Command::new(&program).arg("--version")).unwrap();
    assert_eq!(version.trim(), concat!("watchpost ", env!("CARGO_PKG_VERSION")));
    let config = folder.path().join("config.toml");
    let rules = root.join("usr/share/watchpost/rules/*.toml");
    std::fs::write(&config, format!("rules = [{rules:?}]\n[host.here]\n")).unwrap();
    run(Command::new(&program).arg("check").arg("--config").arg(&config)).unwrap();
}

#[test]
fn the_package_makes_its_user_and_starts_its_service() {
    let folder = tempfile::tempdir().unwrap();
    let Some(package) = build(folder.path()) else { return };
    let control = folder.path().join("control");
    if run(Command::new("dpkg-deb").arg("-e").arg(&package).arg(&control)).is_none() {
        return;
    }
    let script = |name: &str| std::fs::read_to_string(control.join(name)).unwrap();
    assert!(script("postinst").contains("systemd-sysusers watchpost.conf"));
    assert!(script("postinst").contains("watchpost.service"));
    assert!(script("prerm").contains("watchpost.service"));
    assert!(script("postrm").contains("/var/lib/watchpost"));
    assert!(script("conffiles").contains("/etc/watchpost/config.example.toml"));
    let said = run(Command::new("dpkg-deb").args(["-f"]).arg(&package)).unwrap();
    assert!(said.contains("Package: watchpost") && said.contains("systemd"), "{said}");
}

#[test]
fn the_rpm_holds_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_watchpost"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Some(target) = binary.parent().and_then(Path::parent) else { return };
    if run(Command::new(source.join("packaging/generate")).arg(binary)).is_none() {
        return;
    }
    let package = folder.path().join("watchpost.rpm");
    // Packed, a debug build would take minutes.
    let made = run(Command::new("cargo-generate-rpm")
        .args(["--profile", "dev", "--payload-compress", "none", "--output"])
        .arg(&package)
        .arg("--target-dir")
        .arg(target)
        .current_dir(source));
    if made.is_none() {
        return;
    }
    let Some(files) = run(Command::new("rpm").arg("-qpl").arg(&package)) else { return };
    for file in [
        "/usr/bin/watchpost",
        "/usr/lib/systemd/system/watchpost.service",
        "/usr/lib/systemd/user/watchpost-notify.service",
        "/usr/lib/sysusers.d/watchpost.conf",
        "/usr/share/bash-completion/completions/watchpost",
        "/usr/share/zsh/site-functions/_watchpost",
        "/usr/share/fish/vendor_completions.d/watchpost.fish",
        "/usr/share/man/man1/watchpost.1",
        "/usr/share/watchpost/rules/reachability.toml",
        "/usr/share/licenses/watchpost/LICENSE-MIT",
        "/etc/watchpost/config.example.toml",
    ] {
        assert!(files.lines().any(|line| line == file), "{file} is not in {files}");
    }
    let scripts = run(Command::new("rpm").args(["-qp", "--scripts"]).arg(&package)).unwrap();
    assert!(scripts.contains("systemd-sysusers watchpost.conf"), "{scripts}");
    assert!(scripts.contains("watchpost.service"), "{scripts}");
}

/// What can be said of the Dockerfile without Docker: what it copies is there and is not left out,
/// and what it starts is a command there is.
#[test]
fn the_dockerfile_copies_what_there_is_and_starts_what_can_be_started() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| std::fs::read_to_string(source.join(name)).unwrap();
    let dockerfile = read("packaging/Dockerfile");
    let ignored = read("packaging/Dockerfile.dockerignore");
    let copied = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY "));
    let own = copied.filter(|line| !line.starts_with("--from="));
    let sources: Vec<_> = own.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(sources, [".", "rules"]);
    for name in sources {
        assert!(source.join(name).exists() && ignored.lines().all(|line| line != name), "{name}");
    }
    // The build needs all that cargo and the program's sources name.
    for name in ["Cargo.toml", "Cargo.lock", "src", "web", "benches", "rules"] {
        assert!(source.join(name).exists(), "{name}");
        assert!(ignored.lines().all(|line| line.trim_end_matches('/') != name), "{name}");
    }
    let build = "cargo build --release --locked --bin watchpost";
    assert!(dockerfile.contains(build) && read("Cargo.toml").contains("name = \"watchpost\""));
    // The compiler is the one the sources ask for.
    let manifest = read("Cargo.toml");
    let wanted = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let wanted = wanted.expect("a version of Rust").trim_matches('"');
    assert!(dockerfile.contains(&format!("FROM rust:{wanted}-")), "{wanted}");
    assert!(dockerfile.contains("ENTRYPOINT [\"/usr/bin/watchpost\"]\nCMD [\"run\"]"));
    let help = Command::new(env!("CARGO_BIN_EXE_watchpost")).args(["run", "--help"]).output();
    assert!(help.unwrap().status.success());
}
