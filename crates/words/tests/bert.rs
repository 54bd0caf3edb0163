//! Compares BERT's tokenizer with transformers' (`tests/reference/bert_goldens.py`).
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use words::BertTokenizer;

#[derive(Deserialize)]
struct Ids {
    texts: Vec<String>,
    rows: Vec<Vec<u32>>,
    cased_rows: Vec<Vec<u32>>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/bert")
}

fn ids() -> Ids {
    serde_json::from_slice(&fs::read(fixtures().join("ids.json")).unwrap()).unwrap()
}

/// Returns a folder with some of the fixture's files.
fn folder_of(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(fixtures().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn encode(folder: &Path) -> Vec<Vec<u32>> {
    BertTokenizer::from_folder(folder).unwrap().encode_batch(&ids().texts).unwrap()
}

#[test]
fn ids_are_those_of_transformers() {
    assert_eq!(encode(&fixtures()), ids().rows);
    // The longest text is truncated to sentence_bert_config.json's limit.
    assert_eq!(ids().rows.iter().map(Vec::len).max(), Some(24));
}

#[test]
fn a_folder_without_tokenizer_json_gives_the_same_ids() {
    assert_eq!(encode(folder_of(&["vocab.txt", "sentence_bert_config.json"]).path()), ids().rows);
}

#[test]
fn the_config_decides_about_case() {
    for vocabulary in ["tokenizer.json", "vocab.txt"] {
        let folder = folder_of(&[vocabulary, "sentence_bert_config.json"]);
        let config = folder.path().join("tokenizer_config.json");
        fs::write(config, r#"{"do_lower_case": false, "strip_accents": null}"#).unwrap();
        assert_eq!(encode(folder.path()), ids().cased_rows);
    }
    assert_ne!(ids().rows, ids().cased_rows);
}

#[test]
fn without_a_limit_a_text_keeps_512_tokens() {
    let tokenizer = BertTokenizer::from_folder(folder_of(&["vocab.txt"]).path()).unwrap();
    let rows = tokenizer.encode_batch(&["dog ".repeat(600)]).unwrap();
    assert_eq!(rows[0].len(), 512);
    assert_eq!(rows[0].last(), ids().rows[0].last());
}

#[test]
fn damaged_folders_and_other_models_are_refused_by_name() {
    let refused = |folder: &Path, problem: &str| {
        let error = BertTokenizer::from_folder(folder).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    };
    refused(folder_of(&[]).path(), "needs tokenizer.json or vocab.txt");
    let other = tempfile::tempdir().unwrap();
    words::Gpt2Tokenizer::train(["a dog"], 260).unwrap().save(other.path()).unwrap();
    refused(other.path(), "tokenizer.json: the normalizer is not BertNormalizer");
    let vocabulary = fs::read_to_string(fixtures().join("vocab.txt")).unwrap();
    let write = |name: &str, text: &str| {
        let folder = folder_of(&["vocab.txt"]);
        fs::write(folder.path().join(name), text).unwrap();
        folder
    };
    refused(write("vocab.txt", &vocabulary.replace("[SEP]", "sep")).path(), "no token [SEP]");
    refused(write("vocab.txt", &format!("{vocabulary}[CLS]\n")).path(), "no token has id 2");
    refused(write("tokenizer.json", "[1]").path(), "the normalizer is not");
    refused(write("tokenizer.json", "{").path(), "not valid JSON");
    let length = write("sentence_bert_config.json", r#"{"max_seq_length": 2}"#);
    refused(length.path(), "max_seq_length is 2, not a number above 2");
}
