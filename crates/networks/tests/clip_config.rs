//! CLIP's `config.json`: read as transformers reads it; bad values are named.

#![allow(clippy::unwrap_used)] // clippy's exemption of tests leaves out their helpers

use std::fs;
use std::path::Path;

use networks::clip::{Activation, ClipConfig};
use serde_json::{Value, json};

fn parse(config: &Value) -> Result<ClipConfig, String> {
    serde_json::from_str(&config.to_string()).map_err(|error| error.to_string())
}

/// Checks that every value of `part` is in `whole`, under the same name.
fn assert_contains(whole: &Value, part: &Value, place: &str) {
    if let Some(fields) = part.as_object() {
        for (name, value) in fields {
            assert_contains(&whole[name], value, &format!("{place}.{name}"));
        }
    } else if part.is_number() {
        assert_eq!(whole.as_f64(), part.as_f64(), "{place}");
    } else {
        assert_eq!(whole, part, "{place}");
    }
}

#[test]
fn every_form_is_read_as_transformers_reads_it() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/clip"));
    let forms: Vec<Value> =
        serde_json::from_slice(&fs::read(path.join("configs.json")).unwrap()).unwrap();
    assert_eq!(forms.len(), 6);
    for form in forms {
        let config = parse(&form["config"]).unwrap();
        let ours = serde_json::to_value(&config).unwrap();
        assert_contains(&ours, &form["effective"], &form["config"].to_string());
        assert_eq!(parse(&ours).unwrap(), config, "what is written is read back");
    }
}

#[test]
fn what_is_written_names_the_model_and_each_towers_projection() {
    let config = ClipConfig { projection_dim: 20, ..ClipConfig::default() };
    let value = serde_json::to_value(config).unwrap();
    assert_eq!(value["model_type"], "clip");
    assert_eq!(value["text_config"]["projection_dim"], 20);
    assert_eq!(value["vision_config"]["projection_dim"], 20);
    assert_eq!(value["vision_config"]["hidden_act"], "quick_gelu");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refused = [
        (json!({"model_type": "siglip"}), "model_type is \"siglip\""),
        (json!({"text_config": {"hidden_act": "relu"}}), "hidden_act is \"relu\""),
        (json!({"vision_config": {"hidden_act": "gelu_new"}}), "quick_gelu and gelu"),
        (json!({"vision_config": {"image_size": [224, 196]}}), "invalid type: sequence"),
        (json!({"projection_dim": 0}), "projection_dim is 0"),
        (
            json!({"text_config": {"hidden_size": 500, "num_attention_heads": 8}}),
            "text_config.hidden_size 500",
        ),
        (
            json!({"vision_config": {"num_attention_heads": -12}}),
            "vision_config.num_attention_heads is -12",
        ),
        (
            json!({"vision_config": {"num_hidden_layers": 0}}),
            "vision_config.num_hidden_layers is 0",
        ),
        (
            json!({"vision_config": {"patch_size": 225}}),
            "patch_size 225 is larger than image_size 224",
        ),
        (json!({"vision_config": {"layer_norm_eps": 0.0}}), "vision_config.layer_norm_eps is 0"),
        (
            json!({"text_config": {"initializer_factor": -1.0}}),
            "text_config.initializer_factor is -1",
        ),
        (
            json!({"vision_config": {"initializer_range": 0}}),
            "vision_config.initializer_range is 0",
        ),
        (json!({"text_config": {"vocab_size": 2_000_000_000}}), "which is no CLIP"),
        (
            json!({"text_config": {"num_hidden_layers": 2_000_000_000}}),
            "text_config.num_hidden_layers is 2000000000",
        ),
        (json!({"vision_config": {"image_size": 2_000_000_000}}), "which is no CLIP"),
    ];
    for (config, words) in refused {
        let error = parse(&config).unwrap_err();
        assert!(error.contains(words), "{config}: {error}");
    }
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |words: &str| {
        let error = ClipConfig::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains(words), "{error}");
    };
    error("hint: a model folder holds config.json");
    fs::write(folder.path().join("config.json"), "{\"text_config\": {").unwrap();
    error("EOF while parsing");
    fs::write(folder.path().join("config.json"), "{\"text_config\": {\n\"hidden_act\": \"silu\"}}")
        .unwrap();
    error("hidden_act is \"silu\"; supported are quick_gelu and gelu at line 2");
    assert_eq!(ClipConfig::default().text_config.hidden_act, Activation::QuickGelu);
}
