//! CLIPScore against the program of its authors, on random CLIPs.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use caption_metrics::clip_score::ClipScore;
use caption_metrics::judges::{Suite, judge};
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

/// Returns Kendall's tau-b and tau-c by their definitions.
fn taus(points: &[(f64, f64)]) -> [f64; 2] {
    let sign = |a: f64, b: f64| f64::from(i8::from(a > b) - i8::from(a < b));
    let (mut excess, mut pairs_x, mut pairs_y) = (0.0, 0.0_f64, 0.0_f64);
    for (i, a) in points.iter().enumerate() {
        for b in &points[..i] {
            let (x, y) = (sign(a.0, b.0), sign(a.1, b.1));
            excess += x * y;
            pairs_x += x.abs();
            pairs_y += y.abs();
        }
    }
    let distinct = |value: fn(&(f64, f64)) -> f64| {
        points.iter().map(|point| value(point).to_bits()).collect::<BTreeSet<_>>().len()
    };
    let m = distinct(|point| point.0).min(distinct(|point| point.1)) as f64;
    let n = points.len() as f64;
    [excess / (pairs_x * pairs_y).sqrt(), 2.0 * excess / (n * n * (m - 1.0) / m)]
}

#[test]
fn judge_suites_correlate_the_reference_program_s_scores_with_ratings() {
    let golden = Golden::read();
    let data = tempfile::tempdir().unwrap();
    let mut tokens = String::new();
    let (mut expert, mut crowd) = (String::new(), String::new());
    // Each prediction is a caption of another image, which people judged; one that is among the
    // image's own would be left out.
    let judged: Vec<(usize, &String)> = golden
        .images
        .keys()
        .enumerate()
        .filter(|(_, name)| !["empty.jpg", "same.jpg"].contains(&name.as_str()))
        .collect();
    let ratings = |index: usize| [1, 1 + index % 2, 1 + 3 * index % 4].map(|rating| rating as f64);
    for &(index, name) in &judged {
        let [a, b, c] = ratings(index);
        let image = &golden.images[name];
        for (k, reference) in image["references"].as_array().unwrap().iter().enumerate() {
            writeln!(tokens, "{name}#{k}\t{}", reference.as_str().unwrap()).unwrap();
        }
        writeln!(tokens, "{index}.jpg#0\t{}", image["prediction"].as_str().unwrap()).unwrap();
        writeln!(expert, "{name}\t{index}.jpg#0\t{a}\t{b}\t{c}").unwrap();
        writeln!(crowd, "{name}\t{index}.jpg#0\t{}\t{c}\t{}", c / 4.0, 4.0 - c).unwrap();
    }
    for (name, text) in [
        ("Flickr8k.token.txt", tokens),
        ("ExpertAnnotations.txt", expert),
        ("CrowdFlowerAnnotations.txt", crowd),
    ] {
        std::fs::write(data.path().join(name), text).unwrap();
    }
    let names: Vec<&str> = golden.images.keys().map(String::as_str).collect();
    for (model, cases) in &golden.models {
        let (clip, file) = (fixture(model), data.path().join(model));
        embeddings(&names, &clip, &file);
        let model = Arc::new(ClipScorer::load(&clip, &file, Device::Cpu).unwrap());
        for Case { prompt, weight, per_image, .. } in cases {
            let (weight, prompt) = (*weight, prompt.clone());
            let options = Options {
                metrics: vec![Metric::ClipScore, Metric::RefClipScore],
                clip: Some(ClipScore { model: model.clone(), weight, prompt }),
                ..Options::default()
            };
            for (suite, tau) in [(Suite::Flickr8kCf, 0), (Suite::Flickr8kExpert, 1)] {
                let table = judge(suite, data.path(), &options, 0).unwrap().tables.remove(0);
                assert_eq!((table.pairs, table.rows.len()), (judged.len(), 2));
                for row in table.rows {
                    let points = judged.iter().flat_map(|&(index, _)| {
                        let ratings = &ratings(index)[if tau == 0 { 2 } else { 0 }..];
                        let score = per_image[row.metric][index];
                        ratings.iter().map(move |rating| (score, *rating)).collect::<Vec<_>>()
                    });
                    let expected = 100.0 * taus(&points.collect::<Vec<_>>())[tau];
                    let found = row.figures[0].computed;
                    assert!((found - expected).abs() < 1e-9, "{}: {found} {expected}", row.metric);
                    assert!(row.figures[0].published.is_some());
                }
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
