//! Small models that capsmith can only read from files; written to a temporary folder first.

use std::collections::BTreeMap;
use std::path::Path;

use networks::bart::BartClassifier;
use networks::vgg::Vgg16;
use networks::weights;
use serde_json::json;
use tch::{Device, Kind, Tensor};

use super::models::random_tensor;
use crate::error::CheckError;

/// Tensors by name.
type NamedTensors = Vec<(String, Tensor)>;

/// Adds a linear layer: weights scaled to keep the size of values, and a bias.
fn linear(tensors: &mut NamedTensors, name: &str, shape: &[i64]) {
    let inputs: i64 = shape[1..].iter().product();
    let seed = tensors.len() as i64;
    let weight = random_tensor(seed, shape, Device::Cpu) * (2.0 / inputs as f64).sqrt();
    tensors.push((format!("{name}.weight"), weight));
    tensors.push((format!("{name}.bias"), random_tensor(seed + 1, &shape[..1], Device::Cpu) * 0.1));
}

fn norm(tensors: &mut NamedTensors, name: &str, width: i64) {
    let seed = tensors.len() as i64;
    tensors
        .push((format!("{name}.weight"), random_tensor(seed, &[width], Device::Cpu) * 0.1 + 1.0));
    tensors.push((format!("{name}.bias"), random_tensor(seed + 1, &[width], Device::Cpu) * 0.1));
}

fn table(tensors: &mut NamedTensors, name: &str, shape: &[i64]) {
    let seed = tensors.len() as i64;
    tensors.push((format!("{name}.weight"), random_tensor(seed, shape, Device::Cpu)));
}

fn save(path: &Path, tensors: &NamedTensors) -> Result<(), CheckError> {
    Ok(weights::save(path, tensors, &BTreeMap::new())?)
}

/// Writes and loads a narrow VGG-16 with random weights.
pub(super) fn vgg(device: Device, kind: Kind) -> Result<Vgg16, CheckError> {
    const CONVOLUTIONS: [(usize, i64); 13] = [
        (0, 8),
        (2, 8),
        (5, 8),
        (7, 8),
        (10, 16),
        (12, 16),
        (14, 16),
        (17, 16),
        (19, 16),
        (21, 16),
        (24, 16),
        (26, 16),
        (28, 16),
    ];
    const HIDDEN: i64 = 32;
    let mut tensors = NamedTensors::new();
    let mut channels = 3;
    for (number, outputs) in CONVOLUTIONS {
        linear(&mut tensors, &format!("features.{number}"), &[outputs, channels, 3, 3]);
        channels = outputs;
    }
    linear(&mut tensors, "classifier.0", &[HIDDEN, channels * 49]);
    linear(&mut tensors, "classifier.3", &[HIDDEN, HIDDEN]);
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("vgg.safetensors");
    save(&file, &tensors)?;
    Ok(Vgg16::from_file(&file, device, kind)?)
}

/// Vocabulary size of [`bart`].
pub(super) const BART_VOCABULARY: usize = 90;
/// End token of [`bart`].
pub(super) const BART_END: i64 = 2;

/// Writes and loads a BART with two layers in encoder and decoder and random weights.
pub(super) fn bart(device: Device) -> Result<BartClassifier, CheckError> {
    const WIDTH: i64 = 32;
    const INNER: i64 = 64;
    const POSITIONS: i64 = 40;
    let mut tensors = NamedTensors::new();
    table(&mut tensors, "model.shared", &[BART_VOCABULARY as i64, WIDTH]);
    for stack in ["encoder", "decoder"] {
        let stack = format!("model.{stack}");
        table(&mut tensors, &format!("{stack}.embed_positions"), &[POSITIONS + 2, WIDTH]);
        norm(&mut tensors, &format!("{stack}.layernorm_embedding"), WIDTH);
        let attentions: &[&str] = if stack.ends_with("decoder") {
            &["self_attn", "encoder_attn"]
        } else {
            &["self_attn"]
        };
        for layer in 0..2 {
            let layer = format!("{stack}.layers.{layer}");
            for attention in attentions {
                for projection in ["q_proj", "k_proj", "v_proj", "out_proj"] {
                    linear(
                        &mut tensors,
                        &format!("{layer}.{attention}.{projection}"),
                        &[WIDTH, WIDTH],
                    );
                }
                norm(&mut tensors, &format!("{layer}.{attention}_layer_norm"), WIDTH);
            }
            linear(&mut tensors, &format!("{layer}.fc1"), &[INNER, WIDTH]);
            linear(&mut tensors, &format!("{layer}.fc2"), &[WIDTH, INNER]);
            norm(&mut tensors, &format!("{layer}.final_layer_norm"), WIDTH);
        }
    }
    linear(&mut tensors, "classification_head.dense", &[WIDTH, WIDTH]);
    linear(&mut tensors, "classification_head.out_proj", &[3, WIDTH]);
    let config = json!({
        "vocab_size": BART_VOCABULARY, "max_position_embeddings": POSITIONS, "d_model": WIDTH,
        "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": INNER,
        "decoder_layers": 2, "decoder_attention_heads": 4, "decoder_ffn_dim": INNER,
        "eos_token_id": BART_END, "pad_token_id": 1, "decoder_start_token_id": BART_END,
        "activation_function": "gelu",
        "label2id": {"contradiction": 0, "neutral": 1, "entailment": 2},
    });
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("config.json"), config.to_string())?;
    save(&folder.path().join("model.safetensors"), &tensors)?;
    Ok(BartClassifier::from_folder(folder.path(), device)?)
}
