//! Keyword selection against `tests/reference/keywords_goldens.py` and the paper's own files.
//!
//! The script follows the code path of `SBG.ipynb`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use keywords::{Encyclopedia, Selector, read_labels};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use words::{Label, PartOfSpeech};

/// Images, and the keywords that the notebook's code path selects for each.
#[derive(Deserialize)]
struct Case {
    ties: bool,
    spread: f64,
    pictures: Vec<Vec<String>>,
    expected: Vec<Vec<(String, f64)>>,
}

/// A case with its own labels and encyclopedia.
#[derive(Deserialize)]
struct DrawnCase {
    labels: Vec<Label>,
    encyclopedia: Value,
    hierarchy: bool,
    #[serde(flatten)]
    case: Case,
}

fn root(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../..", path].iter().collect()
}

fn fixture<T: DeserializeOwned>(name: &str) -> T {
    let text = std::fs::read(root("tests/fixtures").join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Returns the script's embedding of a text.
fn vector(text: &str) -> Vec<i64> {
    Sha256::digest(text)[..16].iter().map(|&byte| i64::from(byte.cast_signed())).collect()
}

/// Returns the script's embedding of an image.
fn picture(texts: &[String]) -> Vec<i64> {
    texts.iter().fold(vec![0; 16], |sum, text| {
        sum.iter().zip(vector(text)).map(|(sum, value)| sum + value).collect()
    })
}

/// Returns the script's similarity of an image and a text.
fn similarity(case: &Case, picture: &[i64], text: &str) -> f32 {
    let key: String = if case.ties { text.chars().take(12).collect() } else { text.to_owned() };
    let text = vector(&key);
    let dot = |a: &[i64], b: &[i64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<i64>() as f64;
    let norms = dot(picture, picture).sqrt() * dot(&text, &text).sqrt();
    (0.2 + case.spread * (dot(picture, &text) / norms)) as f32
}

/// Checks words and their order, and returns the largest difference of a probability.
fn worst(case: &Case, selector: &Selector) -> f64 {
    let mut worst = 0.0_f64;
    for (texts, expected) in case.pictures.iter().zip(&case.expected) {
        let picture = picture(texts);
        let similarities: Vec<f32> =
            selector.texts().iter().map(|text| similarity(case, &picture, text)).collect();
        let found = selector.select(&similarities);
        let ours: Vec<&str> = found.iter().map(|keyword| keyword.word.as_str()).collect();
        let theirs: Vec<&str> = expected.iter().map(|(word, _)| word.as_str()).collect();
        assert_eq!(ours, theirs, "{texts:?}");
        for (ours, (_, theirs)) in found.iter().zip(expected) {
            worst = worst.max((ours.probability - theirs).abs());
        }
    }
    worst
}

#[test]
fn keywords_are_those_of_the_notebooks_code_path() {
    let cases: Vec<DrawnCase> = fixture("keywords_selection.json");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("encyclopedia.json");
    let (mut pictures, mut off) = (0, 0.0_f64);
    for DrawnCase { labels, encyclopedia, hierarchy, case } in &cases {
        std::fs::write(&file, encyclopedia.to_string()).unwrap();
        let encyclopedia = Encyclopedia::open(&file).unwrap();
        let selector = Selector::new(labels, hierarchy.then_some(&encyclopedia));
        off = off.max(worst(case, &selector));
        pictures += case.pictures.len();
    }
    println!("{pictures} pictures, probabilities at most {off:.1e} off");
    assert!(pictures >= 240 && off < 1e-9, "{pictures} {off:e}");
}

#[test]
fn keywords_by_the_papers_own_files_are_those_of_the_notebooks_code_path() {
    let Some((labels, encyclopedia)) = published() else { return };
    let case: Case = fixture("keywords_published.json");
    let off = worst(&case, &Selector::new(&labels, Some(&encyclopedia)));
    println!("{} pictures, probabilities at most {off:.1e} off", case.pictures.len());
    assert!(case.pictures.len() >= 240 && off < 1e-9, "{off:e}");
}

/// Checks that the fixtures have each kind of prompt that differs from capsmith 0.1.0's rules.
#[test]
fn the_fixtures_hold_every_kind_of_keyword() {
    let cases: Vec<DrawnCase> = fixture("keywords_selection.json");
    let words: HashSet<&str> = cases
        .iter()
        .flat_map(|case| case.case.expected.iter().flatten())
        .map(|(word, _)| word.as_str())
        .collect();
    for kind in
        ["a man", "an old woman", "two boys", "red shirt", "white cloth", "indoor", "building"]
    {
        assert!(words.contains(kind), "{kind}");
    }
    assert!(words.iter().all(|word| !word.starts_with("wearing ") && !word.contains("gray ")));
    assert!(!words.contains("clothing and fashion"));
}

/// Returns the paper's published labels and encyclopedia; skips if they are absent.
fn published() -> Option<(Vec<Label>, Encyclopedia)> {
    let shared = test_support::shared("sbg")?;
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
