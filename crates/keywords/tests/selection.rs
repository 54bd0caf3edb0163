//! Selection against `tests/reference/keywords_goldens.py`, which writes the paper's steps down in Python,
//! and the paper's own files.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use keywords::{Encyclopedia, Selector, read_labels};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use words::{Label, PartOfSpeech};

#[derive(Deserialize)]
struct Case {
    labels: Vec<Label>,
    encyclopedia: Value,
    ties: bool,
    hierarchy: bool,
    expected: Vec<Vec<(String, f64)>>,
}

fn root(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../..", path].iter().collect()
}

/// The script's embedding of a text.
fn vector(text: &str) -> Vec<i64> {
    Sha256::digest(text)[..16].iter().map(|&byte| i64::from(byte.cast_signed())).collect()
}

/// The script's similarity.
fn similarity(picture: &[i64], text: &str, ties: bool) -> f32 {
    let key: String = if ties { text.chars().take(12).collect() } else { text.to_owned() };
    let text = vector(&key);
    let dot = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i64>() as f64;
    let norms = dot(picture, picture).sqrt() * dot(&text, &text).sqrt();
    (0.2 + 0.05 * (dot(picture, &text) / norms)) as f32
}

#[test]
fn keywords_are_those_of_the_steps_in_python() {
    let text = std::fs::read(root("tests/fixtures/keywords_selection.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("encyclopedia.json");
    let (mut pictures, mut worst) = (0, 0.0_f64);
    for case in &cases {
        std::fs::write(&file, case.encyclopedia.to_string()).unwrap();
        let encyclopedia = Encyclopedia::open(&file).unwrap();
        let selector = Selector::new(&case.labels, case.hierarchy.then_some(&encyclopedia));
        for (number, expected) in case.expected.iter().enumerate() {
            let picture = vector(&format!("picture {number}"));
            let texts = selector.texts().iter();
            let similarities: Vec<f32> =
                texts.map(|text| similarity(&picture, text, case.ties)).collect();
            let found = selector.select(&similarities);
            let words = |all: &[(String, f64)]| -> Vec<String> {
                all.iter().map(|(word, _)| word.clone()).collect()
            };
            let found: Vec<(String, f64)> =
                found.into_iter().map(|keyword| (keyword.word, keyword.probability)).collect();
            assert_eq!(words(&found), words(expected), "picture {number}");
            for ((_, ours), (_, theirs)) in found.iter().zip(expected) {
                worst = worst.max((ours - theirs).abs());
            }
            pictures += 1;
        }
    }
    println!("{pictures} pictures, probabilities at most {worst:.1e} off");
    assert!(pictures >= 200 && worst < 1e-8, "{pictures} {worst:e}");
}

/// The paper's published labels and encyclopedia; none, with a message, where they are not at hand.
fn published() -> Option<(Vec<Label>, Encyclopedia)> {
    let shared = root("../shared/sbg");
    if !shared.exists() {
        println!("skipped: {} is not here", shared.display());
        return None;
    }
    let labels = read_labels(&shared.join("all_labels.json")).unwrap();
    Some((labels, Encyclopedia::open(&shared.join("encyclopedia.json")).unwrap()))
}

#[test]
fn the_papers_published_files_are_read_as_they_are() {
    let Some((labels, encyclopedia)) = published() else { return };
    assert_eq!(labels.len(), 5346);
    let filed: HashSet<&String> =
        encyclopedia.leaves().iter().flat_map(|leaf| &leaf.words).collect();
    assert!(labels.iter().all(|label| filed.contains(&label.word)));
}

#[test]
fn the_wordnet_mode_agrees_with_few_of_the_papers_categories() {
    let Some((labels, published)) = published() else { return };
    let ours = Encyclopedia::file::<keywords::Error>(&labels, |labels, names| {
        Ok(keywords::nearest_by_wordnet(labels, names))
    })
    .unwrap();
    let places = |encyclopedia: &Encyclopedia| -> HashMap<String, (&'static str, &'static str)> {
        let leaves = encyclopedia.leaves().iter();
        let words = leaves.flat_map(|leaf| {
            leaf.words.iter().map(|word| (word.clone(), (leaf.category, leaf.name)))
        });
        words.collect()
    };
    let (ours, theirs) = (places(&ours), places(&published));
    for part in [PartOfSpeech::Noun, PartOfSpeech::Verb] {
        let words: Vec<&Label> =
            labels.iter().filter(|label| label.part_of_speech == part).collect();
        let same = |is_same: &dyn Fn(&String) -> bool| {
            words.iter().filter(|label| is_same(&label.word)).count()
        };
        let leaf = same(&|word| ours[word] == theirs[word]);
        let category = same(&|word| ours[word].0 == theirs[word].0);
        println!(
            "{part:?}: of {} labels {leaf} in the published leaf, {category} in the published category",
            words.len()
        );
        assert!(leaf > words.len() / 10);
    }
}
