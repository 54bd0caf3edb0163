//! Files that others reported as refused, with the scores that their README states.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(feature = "cli")]

use std::process::Command;

use test_support::shared;

/// Scores a case as its README does, and compares the scores that it states.
fn assert_case(name: &str, options: &[&str]) {
    let Some(folder) = shared(&format!("cases/{name}")) else { return };
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let command = readme.lines().find_map(|line| line.trim().strip_prefix("capsmith ")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_caption-eval"))
        .args(command.split_whitespace().chain(options.iter().copied()))
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let right = readme.lines().find_map(|line| line.strip_prefix("Right: ")).unwrap();
    let scores = right.rsplit(": ").next().unwrap();
    let mut compared = 0;
    for score in scores.split(", ") {
        let (name, value) = score.split_once(' ').unwrap();
        assert!(printed.contains(&format!("{name:8} {value}\n")), "{score}:\n{printed}");
        compared += 1;
    }
    assert!(compared >= 4, "{right}");
}

#[test]
fn integers_beyond_64_bits_are_identifiers() {
    assert_case("eval-large-ids", &[]);
}

#[test]
fn nan_is_passed_over_in_fields_that_are_not_read() {
    assert_case("eval-nan", &[]);
}

#[test]
fn dictionaries_of_pycocoevalcap_are_captions() {
    assert_case("eval-pycocoevalcap-dicts", &[]);
}

#[test]
fn results_for_some_of_the_images_are_scored_where_asked_to() {
    assert_case("eval-subset", &["--subset", "predictions"]);
}
