//! Prometheus' own suite, and tests in its notation of what it leaves out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use watchpost::promql::eval::{self, Options};
use watchpost::promql::memory::MemorySource;
use watchpost::promql::parse;

use super::script::{self, Place, Said, Series, Tally, Times, time};

/// Files run at once, where what answers are processes of their own.
const FILES_AT_ONCE: usize = 4;

/// Where Prometheus' own suite is, if it is there, and ours of what it leaves out.
pub(crate) fn folders() -> Vec<PathBuf> {
    let ours = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/promql/cases");
    super::conformance()
        .map(|all| all.join("promqltest"))
        .into_iter()
        .chain([ours.into()])
        .collect()
}

/// Runs every file of a folder, each on an empty place, and prints what became of it; fails where
/// anything failed.
pub(crate) async fn run<P: Place>(folder: &Path, place: impl Fn() -> P) {
    let mut all = Tally::default();
    eprintln!("{:28} {:>6} {:>6}  skipped", "file", "passed", "failed");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "test"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no files in {}", folder.display());
    let one = async |file: PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        (name, script::run(&std::fs::read_to_string(&file).unwrap(), place()).await)
    };
    let mut tallies = stream::iter(files).map(one).buffered(FILES_AT_ONCE);
    while let Some((name, tally)) = tallies.next().await {
        print_row(&name, tally.passed, tally.failed.len(), &tally.skipped);
        all.passed += tally.passed;
        all.failed.extend(tally.failed.iter().map(|failure| format!("{name}:{failure}")));
        for (reason, count) in tally.skipped {
            *all.skipped.entry(reason).or_default() += count;
        }
    }
    print_row("all", all.passed, all.failed.len(), &all.skipped);
    assert!(all.failed.is_empty(), "{}", all.failed.join("\n"));
}

fn print_row(name: &str, passed: usize, failed: usize, skipped: &BTreeMap<&str, usize>) {
    let skipped: Vec<_> =
        skipped.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
    eprintln!("{name:28} {passed:>6} {failed:>6}  {}", skipped.join(", "));
}

/// The evaluator, over series in memory.
#[derive(Default)]
struct Memory(MemorySource);

impl Place for Memory {
    async fn clear(&mut self) {
        self.0 = MemorySource::default();
    }

    async fn load(&mut self, series: Vec<Series>) {
        for (labels, points) in series {
            points.into_iter().for_each(|point| self.0.insert(&labels, point));
        }
    }

    async fn ask(&mut self, text: &str, times: Times) -> Result<Said, String> {
        let expr = parse(text).map_err(|error| error.to_string())?;
        let options = Options::default();
        let go_on: eval::Check<'_> = &|| Ok(());
        let answer = match times {
            Times::Instant(at) => eval::instant(&self.0, &expr, time(at), &options, go_on),
            Times::Range(start, end, step) => {
                let (between, step) = ((time(start), time(end)), Duration::from_secs_f64(step));
                eval::range(&self.0, &expr, between, step, &options, go_on)
            }
        };
        let answer = answer.map_err(|error| error.to_string())?;
        let (warnings, infos) = (answer.annotations.warnings(text), answer.annotations.infos(text));
        Ok(Said { value: answer.value, warnings, infos })
    }
}

#[tokio::test]
async fn prometheus_own_suite_and_what_it_leaves_out_pass() {
    for folder in folders() {
        run(&folder, Memory::default).await;
    }
}
