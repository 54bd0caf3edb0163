//! Every number of the shared ground truth, against pycocoevalcap 1.2.

mod support;

use std::path::Path;

use caption_metrics::{Evaluation, Metric, Options, Predictions, References, Tokenizer, evaluate};
use serde_json::Value;
use support::{json, resources, shared, strings};

/// Relative for large numbers, absolute for small ones.
const TOLERANCE: f64 = 1e-12;

fn assert_scores(evaluation: &Evaluation, expected: &Value, what: &str) {
    let mut compared = 0;
    for (name, score) in evaluation.corpus.iter() {
        assert_close(score, &expected["corpus"][name], &format!("{what}: corpus {name}"));
        let per_image = expected["per_image"][name].as_array().unwrap();
        assert_eq!(per_image.len(), evaluation.n, "{what}");
        for (image, expected) in evaluation.per_image.iter().zip(per_image) {
            let what = format!("{what}: image {} {name}", image.id);
            assert_close(image.scores.get(name).unwrap(), expected, &what);
            compared += 1;
        }
    }
    assert!(compared >= evaluation.n * 6, "{what}: only {compared} scores compared");
}

fn assert_close(actual: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    let bound = TOLERANCE * expected.abs().max(1.0);
    assert!((actual - expected).abs() <= bound, "{what}: {actual} instead of {expected}");
}

/// All metrics; METEOR where its resources have been fetched.
fn options(tokenizer: Tokenizer) -> Options {
    let meteor = resources();
    let metrics = Metric::ALL.into_iter().filter(|m| *m != Metric::Meteor || meteor.is_some());
    Options { tokenizer, metrics: metrics.collect(), meteor }
}

fn assert_file(run: &str, protocol: &str, tokenizer: Tokenizer) {
    let Some(folder) = shared("evaluator/visible") else { return };
    let expected = &json(&folder.join("scores.json"))[run];
    let file = |kind: &str| folder.join(expected[kind].as_str().unwrap());
    let (references, predictions) = read(&file("refs"), &file("preds"));
    let evaluation = evaluate(&references, &predictions, &options(tokenizer)).unwrap();
    assert_eq!(evaluation.n, 1000);
    assert_scores(&evaluation, &expected[protocol], run);
}

fn read(references: &Path, predictions: &Path) -> (References, Predictions) {
    (References::read(references).unwrap(), Predictions::read(predictions).unwrap())
}

const RUNS: [&str; 3] =
    ["merge_flickr8k_3_256_1", "human0_flickr8k_raw_cased", "human0_flickr8k_raw_lower"];

#[test]
fn published_and_human_captions_score_as_in_pycocoevalcap_without_tokenizer() {
    for run in RUNS {
        assert_file(run, "raw", Tokenizer::None);
    }
}

#[test]
fn published_and_human_captions_score_as_in_pycocoevalcap_with_the_ptb_tokenizer() {
    for run in RUNS {
        assert_file(run, "ptb", Tokenizer::Ptb);
    }
}

#[test]
fn odd_little_corpora_score_as_in_pycocoevalcap() {
    let Some(path) = shared("evaluator/visible/edge_corpora.json") else { return };
    let corpora = json(&path);
    for (number, corpus) in corpora.as_array().unwrap().iter().enumerate() {
        let references = corpus["refs"].as_object().unwrap();
        let references =
            References::new(references.iter().map(|(id, list)| (id.as_str(), strings(list))));
        let predictions = corpus["preds"].as_object().unwrap();
        let predictions = Predictions::new(
            predictions.iter().map(|(id, caption)| (id.as_str(), caption.as_str().unwrap())),
        );
        let result =
            evaluate(&references.unwrap(), &predictions.unwrap(), &options(Tokenizer::None));
        if corpus["error"].is_null() {
            assert_scores(&result.unwrap(), corpus, &format!("corpus {number}"));
        } else {
            assert!(result.is_err(), "corpus {number}: pycocoevalcap raises");
        }
    }
    assert_eq!(corpora.as_array().unwrap().len(), 120);
}
