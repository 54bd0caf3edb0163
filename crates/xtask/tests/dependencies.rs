//! Checks of dependencies: the denied ones of deny.toml, and libtorch.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::collections::{BTreeMap, BTreeSet};
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

/// Returns the table of crates/README.md: the column `libtorch` by crate.
fn libtorch_column() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join("crates/README.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].trim_matches('`').to_owned(), cells[2].to_owned())
    });
    rows.collect()
}

/// Returns all packages that a package depends on, its tests included.
fn all_dependencies<'a>(
    of: &'a str,
    packages: &'a [(String, String, Vec<String>)],
) -> BTreeSet<&'a str> {
    let (mut found, mut left) = (BTreeSet::new(), vec![of]);
    while let Some(name) = left.pop() {
        let same_name = packages.iter().filter(|(package, ..)| package == name);
        for dependency in same_name.flat_map(|(.., dependencies)| dependencies) {
            let dependency = dependency.split(' ').next().unwrap();
            if found.insert(dependency) {
                left.push(dependency);
            }
        }
    }
    found
}

#[test]
fn crates_depend_on_libtorch_as_their_table_says() {
    let column = libtorch_column();
    let folders = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap());
    let folders: BTreeSet<String> = folders
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let rows: BTreeSet<String> = column.keys().cloned().collect();
    assert_eq!(rows, folders, "rows of crates/README.md, and folders");
    let packages = packages();
    for (name, libtorch) in column.iter().filter(|(name, _)| *name != "cli") {
        let dependencies = all_dependencies(name, &packages);
        let needs_libtorch = dependencies.contains("torch-sys") || dependencies.contains("tch");
        let expected = if needs_libtorch { "yes" } else { "no" };
        assert_eq!(libtorch, expected, "{name}, which depends on {dependencies:?}");
    }
    assert!(column.values().any(|libtorch| libtorch == "no"));
}

/// Parsing functions of protobuf begin with `parse`, `merge` or `read`.
#[test]
fn no_message_of_protobuf_is_parsed() {
    for crate_name in ["runs", "studies"] {
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
