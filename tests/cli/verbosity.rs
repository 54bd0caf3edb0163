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

/// Settings of libraries are made by starting the program again; what the user sets stays.
#[test]
fn commands_that_compute_complete_the_environment_of_libraries() {
    let said = |variables: &[(&str, &str)]| {
        let mut process = capsmith(&["-v", "evaluate", "missing-run"]);
        for variable in ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "GLIBC_TUNABLES"] {
            process.env_remove(variable);
        }
        let output = process.envs(variables.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        errors(&output)
    };
    let (spin, pages) =
        ("GOMP_SPINCOUNT=10000: how long", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1: huge");
    let usual = said(&[]);
    assert!(usual.contains(spin) && usual.contains(pages), "{usual}");
    for (variable, value) in [("GOMP_SPINCOUNT", "77"), ("OMP_WAIT_POLICY", "passive")] {
        let text = said(&[(variable, value)]);
        assert!(text.contains(&format!("{variable}={value}: how long")), "{text}");
        assert!(!text.contains("10000") && text.contains(pages), "{text}");
    }
    let own = said(&[("GLIBC_TUNABLES", "glibc.malloc.arena_max=2")]);
    assert!(own.contains("arena_max=2: huge") && !own.contains("hugetlb"), "{own}");
    assert!(own.contains(spin), "{own}");
}
