//! `-v` and `-q`: more or less on stderr, the same on stdout.

use std::process::Output;

use super::stage::{Stage, capsmith, failure, success};

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn quiet_silences_notes_but_neither_errors_nor_results() {
    let stage = Stage::get();
    let check = ["dataset", "check", &stage.pictures(), "--test-captions", "50"];
    let folder = tempfile::tempdir().unwrap();
    let draw = |name: &str, more: &[&str]| {
        let out = folder.path().join(name).display().to_string();
        success(&[&["dataset", "draw", "--count", "6", "--out", &out], more].concat())
    };
    assert!(!errors(&draw("told", &[])).is_empty());
    assert_eq!(errors(&draw("quiet", &["-q"])), "");
    let usual = success(&check);
    let quiet = success(&[&check[..], &["-qq"]].concat());
    assert_eq!(quiet.stdout, usual.stdout);
    assert!(!usual.stdout.is_empty());
    let error = failure(&["-qq", "dataset", "check", "/nowhere"]);
    assert!(error.starts_with("error: ") && error.contains("/nowhere"), "{error}");
}

#[test]
fn verbose_adds_lines_with_time_and_target() {
    let stage = Stage::get();
    let check = ["dataset", "check", &stage.pictures(), "--test-captions", "50"];
    let (usual, verbose) = (success(&check), success(&[&["-v"], &check[..]].concat()));
    assert_eq!(verbose.stdout, usual.stdout);
    let is_debug = |line: &str| {
        let (seconds, rest) = line.split_once("s datasets::loading ").unwrap_or_default();
        seconds.parse::<f64>().is_ok() && rest.contains(&stage.pictures())
    };
    let verbose = errors(&verbose);
    assert!(verbose.lines().any(is_debug), "{verbose}");
    assert!(!errors(&usual).contains("datasets::loading"));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().display().to_string();
    let draw = ["dataset", "draw", "--count", "6", "--out", &out, "-vv"];
    let written = errors(&success(&draw));
    assert!(written.contains("durable wrote "), "{written}");
}

#[test]
fn verbose_and_quiet_are_refused_together() {
    for words in [["-v", "-q", "doctor"], ["-v", "doctor", "-q"], ["doctor", "-q", "-v"]] {
        let output = capsmith(&words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(errors(&output).contains("--verbose cannot be used with --quiet"));
    }
}

/// The limit is set by starting the program again; what the user sets stays.
#[test]
fn threads_of_commands_that_compute_spin_for_a_limited_time() {
    let command = ["-v", "evaluate", "missing-run"];
    let said = |variable: Option<(&str, &str)>| {
        let mut process = capsmith(&command);
        process.env_remove("GOMP_SPINCOUNT").env_remove("OMP_WAIT_POLICY").envs(variable);
        let output = process.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        errors(&output)
    };
    let usual = said(None);
    assert!(usual.contains("GOMP_SPINCOUNT=10000: how long"), "{usual}");
    for own in [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "passive")] {
        let text = said(Some(own));
        assert!(text.contains(&format!("{}={}: how long", own.0, own.1)), "{text}");
        assert!(!text.contains("10000"), "{text}");
    }
}
