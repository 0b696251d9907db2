//! Which files of tests there are, and what came of one.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What came of a file of tests.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// How many tests passed.
    pub passed: usize,
    /// How many did not.
    pub failed: usize,
    /// What went otherwise than expected.
    pub failures: Vec<Failure>,
}

/// One expectation that was not met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Failure {
    /// The line of the expectation.
    pub line: usize,
    /// The test's name.
    pub test: String,
    /// What was expected.
    pub expected: String,
    /// What was found instead.
    pub found: String,
    /// What happened to the alerts of the rule up to then, in order.
    pub history: Vec<String>,
}

/// As people read it, without the file.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.test)?;
        writeln!(f, "    expected  {}", self.expected)?;
        write!(f, "    found     {}", self.found)?;
        for (i, line) in self.history.iter().enumerate() {
            write!(f, "\n    {}{line}", if i == 0 { "history   " } else { "          " })?;
        }
        Ok(())
    }
}

/// The files of tests there are: those given, and of folders all `*.test.toml` in them.
#[must_use]
pub fn find(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in paths {
        if !path.is_dir() {
            found.push(path.clone());
            continue;
        }
        let files = std::fs::read_dir(path).into_iter().flatten().filter_map(Result::ok);
        let mut tests: Vec<_> = files
            .map(|entry| entry.path())
            .filter(|path| path.to_string_lossy().ends_with(".test.toml"))
            .collect();
        tests.sort();
        found.extend(tests);
    }
    found
}
