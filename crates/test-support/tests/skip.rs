//! Skipped tests are counted over all processes, and fail where nothing may be skipped.

#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::path::Path;
use std::process::{Command, Output};

use test_support::{REQUIRE_ALL, SKIPPED, shared, skip, summary};

/// Set in the processes whose tests skip.
const INSIDE: &str = "CAPSMITH_SKIP_INSIDE";

/// Not a test by itself: skips in the processes of the tests below.
#[test]
fn without_data() {
    if std::env::var_os(INSIDE).is_some() {
        assert_eq!(shared("no/such/file"), None);
    }
}

/// Not a test by itself: lacks two things, one of them twice.
#[test]
fn without_data_and_tool() {
    if std::env::var_os(INSIDE).is_some() {
        assert_eq!(shared("no/such/file"), None);
        skip("a tool", &"nobody wrote it");
        skip("a tool", &"nobody wrote it");
    }
}

/// Runs the two tests above in a process that appends to `file`.
fn run(file: &Path, require_all: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["without_data", "--nocapture", "--test-threads=2"])
        .envs([(INSIDE, "1"), (REQUIRE_ALL, require_all)])
        .env(SKIPPED, file)
        .output()
        .unwrap()
}

#[test]
fn tests_are_counted_once_over_all_processes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skipped");
    for _ in 0..2 {
        let output = run(&file, "");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{messages}");
        assert!(messages.contains("skipped without ../shared: there is no"), "{messages}");
    }
    let lines = std::fs::read_to_string(file).unwrap();
    assert_eq!(lines.lines().count(), 8, "{lines}");
    assert_eq!(summary(&lines), "skipped 2 tests: 2 without ../shared, 1 without a tool");
    let one = lines.lines().find(|line| line.starts_with("a tool")).unwrap();
    assert_eq!(summary(one), "skipped 1 test: 1 without a tool");
    assert_eq!(summary(""), "skipped no test");
}

#[test]
fn nothing_is_skipped_where_all_is_required() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("skipped");
    let output = run(&file, "1");
    let messages = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(101), "{messages}");
    let panic = "CAPSMITH_REQUIRE_ALL=1, but without_data runs without ../shared: there is no";
    assert!(messages.contains(panic), "{messages}");
    assert!(!file.exists());
}
