//! Checks that only the named packages use the dependencies that deny.toml explains.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn rules() -> Table {
    fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap()
}

fn texts(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Returns the packages of Cargo.lock: name, version and direct dependencies.
fn packages() -> Vec<(String, String, Vec<String>)> {
    let lock: Table = fs::read_to_string(root().join("Cargo.lock")).unwrap().parse().unwrap();
    let package = |package: &Value| {
        let text = |key: &str| package[key].as_str().unwrap().to_owned();
        let dependencies = package.get("dependencies").map(texts).unwrap_or_default();
        (text("name"), text("version"), dependencies.into_iter().collect())
    };
    lock["package"].as_array().unwrap().iter().map(package).collect()
}

#[test]
fn only_those_that_deny_toml_names_use_what_it_denies() {
    let packages = packages();
    let denied = rules()["bans"]["deny"].as_array().unwrap().clone();
    assert!(!denied.is_empty());
    for rule in denied {
        let (name, major) = rule["crate"].as_str().unwrap().split_once('@').unwrap();
        assert!(rule["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{name}");
        let is_denied = |package: &str, version: &str| {
            package == name && version.starts_with(&format!("{major}."))
        };
        assert!(
            packages.iter().any(|(package, version, _)| is_denied(package, version)),
            "{name} {major} is no longer there: take its rule out of deny.toml"
        );
        let mut versions = packages.iter().filter(|(package, ..)| package == name);
        let only = versions.next().filter(|_| versions.next().is_none());
        // Cargo.lock omits the version of a package that it has only once.
        let uses = |dependency: &String| match dependency.split_once(' ') {
            Some((package, version)) => is_denied(package, version),
            None => {
                dependency == name && only.is_some_and(|(_, version, _)| is_denied(name, version))
            }
        };
        let users: BTreeSet<String> = packages
            .iter()
            .filter(|(.., dependencies)| dependencies.iter().any(uses))
            .map(|(package, ..)| package.clone())
            .collect();
        assert_eq!(users, texts(&rule["wrappers"]), "of {name} {major}");
    }
}

#[test]
fn the_advisories_that_are_passed_over_have_a_reason() {
    let rules = rules();
    let ignored = rules["advisories"]["ignore"].as_array().unwrap();
    let all: Vec<(&str, &str)> = ignored
        .iter()
        .map(|one| (one["id"].as_str().unwrap(), one["reason"].as_str().unwrap()))
        .collect();
    for (id, package) in
        [("RUSTSEC-2024-0437", "protobuf 2.28"), ("RUSTSEC-2025-0056", "adler 1.0.2")]
    {
        assert!(all.iter().any(|(other, reason)| *other == id && reason.contains(package)), "{id}");
    }
}

/// Parsing functions of protobuf begin with `parse`, `merge` or `read`.
#[test]
fn no_message_of_protobuf_is_parsed() {
    for crate_name in ["training", "studies"] {
        let sources = root().join("crates").join(crate_name).join("src");
        let output = Command::new("grep")
            .args(["-rlE", "protobuf|tensorboard_proto"])
            .arg(&sources)
            .output()
            .unwrap();
        let files = String::from_utf8(output.stdout).unwrap();
        assert!(!files.is_empty(), "{crate_name} no longer uses protobuf: see deny.toml");
        for file in files.lines() {
            let text = fs::read_to_string(file).unwrap();
            for parsing in
                ["parse_from", "merge_from", "CodedInputStream", "read_message", "text_format"]
            {
                assert!(!text.contains(parsing), "{file} parses by protobuf: {parsing}");
            }
        }
    }
}
