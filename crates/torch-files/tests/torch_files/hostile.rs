//! Checks that hostile files are refused by name and that nothing they ask for happens.

use std::path::Path;

use torch_files::Tree;

use crate::memory::{bound, peak};
use crate::{files, fixture, json};

/// File that the payloads would create; the script that wrote them checked this in Python.
const PAYLOAD: &str = "/tmp/capsmith_torch_files_payload_ran";

#[test]
fn every_hostile_file_is_refused_in_words_that_name_it() {
    let expected = json("hostile.json");
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), files("hostile").len());
    assert!(!Path::new(PAYLOAD).exists(), "remove {PAYLOAD} first");
    let mut wrong = Vec::new();
    for (file, words) in expected {
        let path = fixture("hostile").join(file);
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        let (result, peak) = peak(|| Tree::load(&path));
        assert!(peak <= bound(length), "{file}: {peak} bytes of memory for {length}");
        // These bombs are harmless here.
        let Some(words) = words.as_array() else {
            result.unwrap();
            continue;
        };
        let error = result.expect_err(file).to_string();
        let missing = |word: &&serde_json::Value| !error.contains(word.as_str().unwrap());
        if let Some(word) = words.iter().find(missing) {
            wrong.push(format!("{file}: {word} is not in: {error}"));
        }
        assert!(error.contains(file) && error.len() < 600, "{error}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!Path::new(PAYLOAD).exists(), "a payload ran");
}

#[test]
fn a_million_levels_are_refused_without_a_stack_of_a_million() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.pkl");
    for (up, down) in [(&b"]"[..], &b"a"[..]), (b"}N", b"s"), (b"(", b"t"), (b"(", b"l")] {
        let mut pickle = b"\x80\x02".to_vec();
        pickle.extend(up.repeat(1_000_000));
        pickle.extend(b"N");
        pickle.extend(down.repeat(1_000_000));
        pickle.push(b'.');
        std::fs::write(&path, &pickle).unwrap();
        let (result, peak) = peak(|| Tree::load(&path));
        let error = result.unwrap_err().to_string();
        assert!(error.contains("nest deeper than 100"), "{error}");
        assert!(peak <= bound(pickle.len()), "{peak} bytes of memory for {}", pickle.len());
    }
}

#[test]
fn a_hundred_levels_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep.pkl");
    for (levels, sound) in [(100, true), (101, false)] {
        let mut pickle = b"\x80\x02N".to_vec();
        pickle.extend(b"\x85".repeat(levels));
        pickle.push(b'.');
        std::fs::write(&path, &pickle).unwrap();
        assert_eq!(Tree::load(&path).is_ok(), sound);
        // The same depth through sharing, with the walk starting on either side.
        let mut pickle = b"\x80\x02N".to_vec();
        pickle.extend(b"\x85".repeat(levels - 1));
        pickle.extend(b"q\x00h\x00\x86.");
        std::fs::write(&path, &pickle).unwrap();
        assert_eq!(Tree::load(&path).is_ok(), sound);
    }
}
