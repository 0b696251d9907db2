//! What a program started and what has left its process group since: found by parentage while the
//! parents live, and afterwards because Linux gives orphans to the process that asked for them
//! ([`adopt`]).
//!
//! Every program gets the name of its run in its environment, which its children inherit. An
//! orphan is killed if it bears the name of a run that has ended, and none else is: a process that
//! was there before, or that made itself another environment, is nobody's here; of those only the
//! service manager's cgroup takes care.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The variable that names the run.
pub(super) const VARIABLE: &str = "WATCHPOST_RUN";

/// Processes looked at below one program: more than that is a fork bomb, which only limits stop.
const DESCENDANTS_MAX: usize = 10_000;

/// Rounds of looking for orphans: killing one may make its children orphans.
const ROUNDS_MAX: u32 = 8;

static IS_ADOPTING: AtomicBool = AtomicBool::new(false);

/// The runs under way, and the processes that are waited for by those who started them.
static RUNS: Mutex<BTreeMap<u64, Option<Pid>>> = Mutex::new(BTreeMap::new());

/// Makes this process the parent of orphans among its descendants, who are then ended and waited
/// for when a program has ended. For a process that is all watchpost's own: it waits for every
/// child nobody else here waits for.
pub fn adopt() {
    match set_child_subreaper(true) {
        Ok(()) => IS_ADOPTING.store(true, Ordering::Relaxed),
        Err(error) => {
            tracing::warn!(%error, "programs' children that leave their session cannot be found");
        }
    }
}

/// One program that runs.
pub(super) struct Run(u64);

impl Run {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let run = Self(NEXT.fetch_add(1, Ordering::Relaxed));
        runs().insert(run.0, None);
        run
    }

    /// Its name, unlike those of other daemons' runs.
    pub(super) fn name(&self) -> String {
        format!("{}-{}", std::process::id(), self.0)
    }

    /// Says which process it is, so that nobody else waits for that.
    pub(super) fn is_by(&self, process: Option<Pid>) {
        runs().insert(self.0, process);
    }

    /// Kills its descendants, as they were found, and its orphans.
    pub(super) fn end(&self, descendants: &[Pid]) {
        runs().remove(&self.0);
        descendants.iter().for_each(|process| end(*process));
        if IS_ADOPTING.load(Ordering::Relaxed) {
            sweep();
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        runs().remove(&self.0);
    }
}

fn runs() -> MutexGuard<'static, BTreeMap<u64, Option<Pid>>> {
    RUNS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn end(process: Pid) {
    // The only failures are that it is gone, or another user's.
    kill(process, Signal::SIGKILL).ok();
}

/// Ends the orphans whose runs have ended, and waits for those that have.
fn sweep() {
    for _ in 0..ROUNDS_MAX {
        let mut some = false;
        for child in children(Pid::this()) {
            if runs().values().any(|process| *process == Some(child)) {
                continue;
            }
            if waitpid(child, Some(WaitPidFlag::WNOHANG)) == Ok(WaitStatus::StillAlive)
                && is_of_ended_run(child)
            {
                some = true;
                descendants(child).into_iter().for_each(end);
                end(child);
            }
        }
        if !some {
            break;
        }
    }
}

fn is_of_ended_run(process: Pid) -> bool {
    let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let prefix = format!("{VARIABLE}={}-", std::process::id());
    let run = environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(prefix.as_bytes()))
        .and_then(|run| std::str::from_utf8(run).ok()?.parse::<u64>().ok());
    run.is_some_and(|run| !runs().contains_key(&run))
}

/// The children of a process, of their children, and so on; of those that live.
pub(super) fn descendants(process: Pid) -> Vec<Pid> {
    let mut found = vec![process];
    let mut at = 0;
    while at < found.len() && found.len() < DESCENDANTS_MAX {
        found.extend(children(found[at]));
        at += 1;
    }
    found.remove(0);
    found
}

/// The children of a process, of whichever of its threads; none where it is gone.
fn children(process: Pid) -> Vec<Pid> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let mut children = Vec::new();
    for thread in threads.flatten() {
        // Kernels without CONFIG_PROC_CHILDREN have no list.
        let Ok(listed) = std::fs::read_to_string(thread.path().join("children")) else {
            return children_by_search(process);
        };
        children
            .extend(listed.split_whitespace().filter_map(|id| id.parse().ok()).map(Pid::from_raw));
    }
    children
}

/// The same by asking every process who its parent is.
fn children_by_search(process: Pid) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let id = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw);
    all.flatten().filter_map(id).filter(|of| parent(*of) == Some(process)).collect()
}

/// The parent of a process: the second field after its name, which may have any characters (proc(5)).
fn parent(process: Pid) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{process}/stat")).ok()?;
    let after_name = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let field = std::str::from_utf8(after_name).ok()?.split_whitespace().nth(1)?;
    field.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_by_search_as_by_the_list() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert_eq!(parent(pid), Some(Pid::this()));
        assert!(children(Pid::this()).contains(&pid));
        assert!(children_by_search(Pid::this()).contains(&pid));
        assert!(descendants(Pid::this()).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(children(pid), []);
    }
}
