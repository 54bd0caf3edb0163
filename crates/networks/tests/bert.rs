//! Sentence embeddings compared with transformers', on a random checkpoint from
//! `tests/reference/bert_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::fs;
use std::path::Path;

use common::{difference, fixture, tensors};
use networks::ModelError;
use networks::bert::BertEncoder;
use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};

const TOLERANCE: f64 = 1e-5;

fn loaded() -> BertEncoder {
    BertEncoder::from_folder(&fixture("bert"), Device::Cpu).unwrap()
}

fn read(name: &str) -> Value {
    serde_json::from_slice(&fs::read(fixture(&format!("bert/{name}"))).unwrap()).unwrap()
}

fn rows() -> Vec<Vec<u32>> {
    serde_json::from_value(read("ids.json")["rows"].take()).unwrap()
}

#[test]
fn embeddings_equal_transformers_in_every_batch_size() {
    let expected = &tensors("bert/golden.safetensors")["embeddings"];
    for batch in [1, 7, 100] {
        let embeddings = loaded().encode(&rows(), batch).unwrap();
        let off = difference(&embeddings, expected);
        println!("in batches of {batch}: embeddings differ by at most {off:.1e}");
        assert!(off < TOLERANCE, "in batches of {batch}: {off:e}");
        let lengths = embeddings.norm_scalaropt_dim(2.0, [1_i64].as_slice(), false);
        assert!(difference(&lengths, &Tensor::ones_like(&lengths)) < TOLERANCE);
    }
    assert_eq!(loaded().encode(&[], 8).unwrap().size(), [0, 24]);
    assert_eq!(expected.kind(), Kind::Float);
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let bert = loaded();
    let words = u32::try_from(bert.config().vocab_size).unwrap();
    for (row, problem) in
        [(vec![2, words, 3], "token id"), (vec![], "0 tokens"), (vec![2; 33], "33 tokens")]
    {
        let error = bert.encode(&[row], 8).unwrap_err();
        assert!(matches!(error, ModelError::Tokens(_)), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

/// Loads the fixture's folder with a changed file; returns the error, if there is one.
fn load_with(file: &str, change: impl Fn(&mut Value)) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("1_Pooling")).unwrap();
    for name in ["config.json", "modules.json", "1_Pooling/config.json"] {
        let mut value = read(name);
        if name == file {
            change(&mut value);
        }
        fs::write(folder.path().join(name), value.to_string()).unwrap();
    }
    let weights = "model.safetensors";
    fs::copy(fixture("bert").join(weights), folder.path().join(weights)).unwrap();
    Some(BertEncoder::from_folder(folder.path(), Device::Cpu).err()?.to_string())
}

/// Returns the error of the fixture's folder with a changed file.
fn error_with(file: &str, change: impl Fn(&mut Value)) -> String {
    let error = load_with(file, change).unwrap();
    let weights = "model.safetensors";
    let name = Path::new(file).file_name().unwrap().to_str().unwrap();
    assert!(error.contains(name) || error.contains(weights), "{error}");
    error
}

#[test]
fn unsupported_settings_are_rejected_by_name() {
    for (key, value, problem) in [
        ("hidden_act", json!("relu"), "only gelu"),
        ("model_type", json!("roberta"), "only bert"),
        ("position_embedding_type", json!("relative_key"), "only absolute"),
        ("num_attention_heads", json!(5), "not a multiple"),
        ("num_hidden_layers", json!(0), "from 1 to 200"),
        ("layer_norm_eps", json!(0.0), "between 0 and 1"),
        ("vocab_size", json!("many"), "invalid type"),
        ("intermediate_size", json!(41), "encoder.layer.0.intermediate.dense"),
    ] {
        let error = error_with("config.json", |config| config[key] = value.clone());
        assert!(error.contains(problem), "{key}: {error}");
    }
    let error = error_with("1_Pooling/config.json", |config| {
        config["pooling_mode_cls_token"] = json!(true);
    });
    assert!(error.contains("pooling_mode_cls_token is true; only the mean"), "{error}");
    for mode in [json!("cls"), json!(["mean", "max"]), json!(null)] {
        let error = error_with("1_Pooling/config.json", |config| {
            *config = json!({"embedding_dimension": 32, "pooling_mode": mode});
        });
        assert!(error.contains(&format!("pooling_mode is {mode}; only the mean")), "{error}");
    }
    for mode in [json!("mean"), json!(["mean"])] {
        let newer =
            json!({"embedding_dimension": 32, "pooling_mode": mode, "include_prompt": true});
        assert_eq!(load_with("1_Pooling/config.json", |config| *config = newer.clone()), None);
    }
    let error = error_with("modules.json", |modules| {
        modules[2]["type"] = json!("sentence_transformers.models.Dense");
    });
    assert!(error.contains("a module sentence_transformers.models.Dense"), "{error}");
}
