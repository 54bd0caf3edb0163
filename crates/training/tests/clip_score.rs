//! CLIPScore against the program of its authors, on random CLIPs.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caption_metrics::clip_score::ClipScore;
use caption_metrics::{Error, Metric, Options, Predictions, References, Tokenizer, evaluate};
use networks::clip::LoadedClip;
use networks::weights::Checkpoint;
use precompute::{Dtype, Embeddings, Identity, Network};
use serde::Deserialize;
use tch::{Device, Kind};
use training::clip_scorer::ClipScorer;

const METRICS: [Metric; 3] =
    [Metric::ClipScoreTorchmetrics, Metric::RefClipScore, Metric::ClipScore];

#[derive(Deserialize)]
struct Golden {
    images: serde_json::Map<String, serde_json::Value>,
    models: BTreeMap<String, Vec<Case>>,
    cut_predictions: usize,
    cut_references: usize,
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    weight: f64,
    corpus: BTreeMap<String, f64>,
    per_image: BTreeMap<String, Vec<f64>>,
}

impl Golden {
    fn read() -> Self {
        serde_json::from_slice(&std::fs::read(fixture("golden.json")).unwrap()).unwrap()
    }

    fn references(&self) -> References {
        let captions = |value: &serde_json::Value| -> Vec<String> {
            serde_json::from_value(value["references"].clone()).unwrap()
        };
        References::new(self.images.iter().map(|(name, image)| (name, captions(image)))).unwrap()
    }

    fn predictions(&self) -> Predictions {
        let images = self.images.iter();
        let caption = |image: &serde_json::Value| image["prediction"].as_str().unwrap().to_owned();
        Predictions::new(images.map(|(name, image)| (name, caption(image)))).unwrap()
    }
}

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/clip_score", name].iter().collect()
}

/// Writes the golden image features as embeddings that the CLIP in `clip` computed.
fn embeddings(names: &[&str], clip: &Path, out: &Path) {
    let model = LoadedClip::from_folder(clip, Device::Cpu, Kind::Float).unwrap();
    let features = Checkpoint::open(&clip.join("features.safetensors")).unwrap();
    let features = features.tensor("features", Device::Cpu).unwrap();
    let identity = Identity {
        network: Network::Clip,
        model: clip.display().to_string(),
        model_sha256: model.identity(),
        preprocessing: None,
        upright: false,
        normalize: false,
        dtype: Dtype::F32,
        dataset_fingerprint: String::new(),
        dimension: features.size()[1] as usize,
    };
    let values: Vec<f32> = features.view([-1]).try_into().unwrap();
    Embeddings::save(out, &identity, names, &[], &values).unwrap();
}

#[test]
fn scores_are_those_of_the_reference_program() {
    let golden = Golden::read();
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<&str> = golden.images.keys().map(String::as_str).collect();
    for (model, cases) in &golden.models {
        let (clip, file) = (fixture(model), folder.path().join(model));
        embeddings(&names, &clip, &file);
        let scorer = Arc::new(ClipScorer::load(&clip, &file, Device::Cpu).unwrap());
        for case in cases {
            let clip = ClipScore {
                model: scorer.clone(),
                weight: case.weight,
                prompt: case.prompt.clone(),
            };
            let options = Options {
                metrics: METRICS.to_vec(),
                // CLIP reads captions as they are with any tokenizer.
                tokenizer: Tokenizer::Ptb,
                clip: Some(clip),
                ..Options::default()
            };
            let found = evaluate(&golden.references(), &golden.predictions(), &options).unwrap();
            assert_eq!(found.summary.corpus.iter().count(), 3);
            for (name, score) in found.summary.corpus.iter() {
                let expected = case.corpus[name];
                let scale = if name.contains("torchmetrics") { 100.0 } else { 1.0 };
                assert!((score - expected).abs() < 1e-6 * scale, "{name}: {score}, {expected}");
                for (image, expected) in found.per_image().zip(&case.per_image[name]) {
                    let score = image.scores.get(name).unwrap();
                    let difference = (score - expected).abs();
                    assert!(difference < 1e-6 * scale, "{model} {name} {}: {score}", image.id);
                }
            }
            if !case.prompt.is_empty() {
                let protocol = found.summary.protocol.clip.unwrap();
                let cut = (protocol.cut_predictions, protocol.cut_references);
                assert_eq!(cut, (golden.cut_predictions, golden.cut_references));
                assert_eq!(protocol.context_length, 77);
            }
        }
    }
}

#[test]
fn embeddings_of_another_clip_and_unknown_images_are_refused() {
    let golden = Golden::read();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("embeddings");
    let mut names: Vec<&str> = golden.images.keys().map(String::as_str).collect();
    names[1] = "other.jpg";
    embeddings(&names, &fixture("gelu"), &file);
    let error = ClipScorer::load(&fixture("quick_gelu"), &file, Device::Cpu).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("SHA-256") && error.contains("precompute --clip"), "{error}");

    let scorer = ClipScorer::load(&fixture("gelu"), &file, Device::Cpu).unwrap();
    let clip = ClipScore { model: Arc::new(scorer), weight: 2.5, prompt: String::new() };
    let options = Options { metrics: METRICS.to_vec(), clip: Some(clip), ..Options::default() };
    let error = evaluate(&golden.references(), &golden.predictions(), &options).unwrap_err();
    assert!(matches!(error, Error::Clip(_)));
    assert!(error.to_string().contains("two.men.png"), "{error}");
}
