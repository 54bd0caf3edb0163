//! Compares BART's tokenizer with transformers' (`tests/reference/bart_goldens.py`).
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use words::BartTokenizer;

#[derive(Deserialize)]
struct Pairs {
    premises: Vec<String>,
    hypotheses: Vec<String>,
    rows: Vec<Vec<i64>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/bart")
}

fn check(folder: &Path) {
    let pairs: Pairs =
        serde_json::from_slice(&fs::read(fixtures().join("pairs.json")).unwrap()).unwrap();
    let tokenizer = BartTokenizer::from_folder(folder).unwrap();
    let texts: Vec<(&String, &String)> = pairs.premises.iter().zip(&pairs.hypotheses).collect();
    assert_eq!(tokenizer.encode_pairs(&texts).unwrap(), pairs.rows);
    assert_eq!(pairs.rows.len(), 65);
}

#[test]
fn the_ids_of_pairs_are_those_of_transformers() {
    check(&fixtures());
}

#[test]
fn a_folder_without_tokenizer_json_gives_the_same_ids() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vocab.json", "merges.txt"] {
        fs::copy(fixtures().join(name), folder.path().join(name)).unwrap();
    }
    check(folder.path());
}

#[test]
fn candidates_become_the_hypotheses_of_transformers_pipeline() {
    let read = |name| fs::read(fixtures().join(name)).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&read("zero_shot.json")).unwrap();
    let strings = |key| serde_json::from_value::<Vec<String>>(golden[key].clone()).unwrap();
    let (texts, labels) = (strings("texts"), strings("labels"));
    let tokenizer = BartTokenizer::from_folder(&fixtures()).unwrap();
    let pairs: Pairs = serde_json::from_slice(&read("pairs.json")).unwrap();
    let rows = tokenizer.encode_zero_shot(&texts, &labels).unwrap();
    assert_eq!(rows, pairs.rows[..texts.len() * labels.len()]);
}

#[test]
fn another_models_tokenizer_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    words::Gpt2Tokenizer::train(["a dog"], 260).unwrap().save(folder.path()).unwrap();
    let error = BartTokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: no token <s>: not BART's"), "{error}");
}
