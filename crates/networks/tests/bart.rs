//! BART's logits and zero-shot scores compared with transformers', on a random checkpoint from
//! `tests/reference/bart_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::fs;

use common::{difference, fixture, tensors};
use networks::ModelError;
use networks::bart::BartClassifier;
use serde_json::Value;
use tch::{Device, Tensor};

const TOLERANCE: f64 = 1e-5;

fn loaded() -> BartClassifier {
    BartClassifier::from_folder(&fixture("bart"), Device::Cpu).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(&format!("bart/{name}"))).unwrap()).unwrap()
}

fn rows() -> Vec<Vec<i64>> {
    serde_json::from_value(json("pairs.json")["rows"].take()).unwrap()
}

#[test]
fn logits_equal_transformers_in_every_batch_size() {
    let expected = &tensors("bart/golden.safetensors")["logits"];
    for batch in [1, 7, 100] {
        let off = difference(&loaded().logits(&rows(), batch).unwrap(), expected);
        println!("in batches of {batch}: logits differ by at most {off:.1e}");
        assert!(off < TOLERANCE, "in batches of {batch}: {off:e}");
    }
}

#[test]
fn zero_shot_scores_equal_the_pipelines() {
    let golden = json("zero_shot.json");
    let scores: Vec<Vec<f64>> = serde_json::from_value(golden["scores"].clone()).unwrap();
    let (texts, labels) = (scores.len(), scores[0].len());
    let expected = Tensor::from_slice2(&scores);
    let ours = loaded().zero_shot(&rows()[..texts * labels], labels, 32).unwrap();
    let off = difference(&ours, &expected);
    println!("scores of {texts} texts and {labels} labels differ by at most {off:.1e}");
    assert!(off < TOLERANCE, "{off:e}");
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let bart = loaded();
    let words = bart.config().vocab_size;
    for (row, problem) in [
        (vec![0, 5, 2, words], "token id"),
        (vec![0, 5], "lacks the end token 2"),
        (vec![2; 65], "65 tokens"),
    ] {
        let error = bart.logits(&[row], 8).unwrap_err();
        assert!(matches!(error, ModelError::Tokens(_)), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
    assert_eq!(bart.logits(&[], 8).unwrap().size(), [0, 3]);
}

#[test]
fn unsupported_settings_are_rejected_by_name() {
    for (key, value, problem) in [
        ("activation_function", Value::from("relu"), "only gelu"),
        ("scale_embedding", Value::from(true), "only false"),
        ("decoder_attention_heads", Value::from(3), "not a multiple"),
        ("label2id", serde_json::json!({"LABEL_0": 0}), "entailment"),
        ("eos_token_id", Value::from(-1), "not in the vocabulary"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = json("config.json");
        config[key] = value;
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        let error = BartClassifier::from_folder(folder.path(), Device::Cpu).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("config.json") && error.contains(problem), "{error}");
    }
}
