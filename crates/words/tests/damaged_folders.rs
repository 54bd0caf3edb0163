//! Checks that the error for a damaged tokenizer folder names the file and the problem.

#![allow(clippy::unwrap_used)] // clippy's exemption of tests leaves out their helpers

use std::fs;
use std::path::Path;

use words::{ClipTokenizer, Gpt2Tokenizer};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/words");

/// Returns a copy of a fixture's files, modified by `change`.
fn changed(source: &str, files: &[&str], change: impl FnOnce(&Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        fs::copy(Path::new(FIXTURES).join(source).join(file), folder.path().join(file)).unwrap();
    }
    change(folder.path());
    folder
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "the fixture has no {from:?}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

const PAIR: &[&str] = &["vocab.json", "merges.txt"];
const WHOLE: &[&str] = &["tokenizer.json"];

fn assert_error(folder: &Path, words: &[&str]) {
    let gpt2 = Gpt2Tokenizer::from_folder(folder).unwrap_err().to_string();
    for word in words {
        assert!(gpt2.contains(word), "{gpt2:?} does not say {word:?}");
    }
}

#[test]
fn an_empty_folder_says_what_it_needs() {
    let folder = changed("gpt2", &[], |_| {});
    assert_error(folder.path(), &["tokenizer.json, or both vocab.json and merges.txt"]);
    let folder = changed("gpt2", &["vocab.json"], |_| {});
    assert_error(folder.path(), &["tokenizer.json, or both vocab.json and merges.txt"]);
}

#[test]
fn truncated_json_is_named() {
    let folder = changed("gpt2", PAIR, |folder| cut(&folder.join("vocab.json")));
    assert_error(folder.path(), &["vocab.json is not valid JSON", "cut short"]);
    let folder = changed("gpt2", WHOLE, |folder| cut(&folder.join("tokenizer.json")));
    assert_error(folder.path(), &["tokenizer.json is not valid JSON", "cut short"]);
}

#[test]
fn a_merge_of_unknown_tokens_is_named_with_its_line() {
    let folder = changed("gpt2", PAIR, |folder| {
        edit(&folder.join("merges.txt"), "\n", "\na nosuchtokenthatislongerthananyother\n");
    });
    assert_error(folder.path(), &["merges.txt: line 2", "\"nosuchtokenthatislongerthananyother\""]);
    // Both tokens exist, but not the merged one: the tokenizers library would panic.
    let folder = changed("gpt2", WHOLE, |folder| {
        let path = folder.join("tokenizer.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let vocab = json["model"]["vocab"].as_object().unwrap();
        let longest = vocab.keys().max_by_key(|token| token.len()).unwrap().clone();
        json["model"]["merges"][7] = serde_json::json!([longest, longest]);
        fs::write(&path, json.to_string()).unwrap();
    });
    assert_error(folder.path(), &["tokenizer.json: model.merges[7]", "is not in the vocabulary"]);
}

#[test]
fn a_line_that_is_no_pair_is_named() {
    for line in ["a", "a b c", "", "a  b"] {
        let folder = changed("gpt2", PAIR, |folder| {
            edit(&folder.join("merges.txt"), "\n", &format!("\n{line}\n"));
        });
        assert_error(folder.path(), &["merges.txt: line 2", "not two tokens"]);
    }
}

#[test]
fn a_vocabulary_with_holes_or_twins_is_named() {
    let vocab = |from: &'static str, to: &'static str| {
        changed("gpt2", PAIR, move |folder| edit(&folder.join("vocab.json"), from, to))
    };
    assert_error(vocab("\":700,", "\":5000,").path(), &["vocab.json", "no token has id 700"]);
    assert_error(vocab("\":700,", "\":699,").path(), &["vocab.json", "both have id 699"]);
    assert_error(vocab("\":700,", "\":-1,").path(), &["vocab.json", "has -1 for an id"]);
    assert_error(vocab("\":700,", "\":\"x\",").path(), &["vocab.json", "has \"x\" for an id"]);
    let folder = changed("gpt2", WHOLE, |folder| {
        edit(&folder.join("tokenizer.json"), ": 700,", ": 5000,");
    });
    assert_error(folder.path(), &["tokenizer.json", "no token has id 700"]);
}

#[test]
fn a_vocabulary_that_cannot_write_every_byte_is_refused() {
    let folder = changed("clip_slow", &[], |folder| {
        fs::write(folder.join("vocab.json"), r#"{"a": 0, "b": 1}"#).unwrap();
        fs::write(folder.join("merges.txt"), "#version: 0.2\n").unwrap();
    });
    assert_error(folder.path(), &["vocab.json", "no token for byte 0x00"]);
    let clip = ClipTokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(clip.contains("vocab.json: no token <|startoftext|>: not CLIP's"), "{clip}");
}

#[test]
fn another_kind_of_model_is_refused_by_its_name() {
    let folder = changed("gpt2", WHOLE, |folder| {
        edit(&folder.join("tokenizer.json"), "\"BPE\"", "\"WordPiece\"");
    });
    assert_error(folder.path(), &["tokenizer.json", "WordPiece", "not BPE"]);
}

#[test]
fn gpt2s_files_are_no_clip_tokenizer() {
    let folder = Path::new(FIXTURES).join("gpt2");
    let error = ClipTokenizer::from_folder(&folder).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: no token <|startoftext|>"), "{error}");
}

#[test]
fn a_clip_tokenizer_that_adds_no_start_and_end_is_refused() {
    let folder = changed("clip_fast", WHOLE, |folder| {
        let path = folder.join("tokenizer.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json["post_processor"] = serde_json::Value::Null;
        fs::write(&path, json.to_string()).unwrap();
    });
    let error = ClipTokenizer::from_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer.json: an empty text becomes []"), "{error}");
}

#[test]
fn a_bad_context_length_is_named_and_an_unknown_one_means_77() {
    let config = |value: &'static str| {
        let files = ["tokenizer.json", "tokenizer_config.json"];
        changed("clip_fast", &files, move |folder| {
            edit(&folder.join("tokenizer_config.json"), ": 77", value);
        })
    };
    for value in [": 2", ": -5", ": \"long\""] {
        let error = ClipTokenizer::from_folder(config(value).path()).unwrap_err().to_string();
        assert!(error.contains("tokenizer_config.json: model_max_length is"), "{error}");
    }
    let unknown = config(": 1000000000000000019884624838656");
    assert_eq!(ClipTokenizer::from_folder(unknown.path()).unwrap().context_length(), 77);
}
