//! Scores of the shared ground truth, against pycocoevalcap 1.2.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use caption_metrics::{Predictions, References, Tokenizer, evaluate};
use support::json;
use support::scores::{assert_scores, corpus, options};
use test_support::shared;

const RUNS: [&str; 3] =
    ["merge_flickr8k_3_256_1", "human0_flickr8k_raw_cased", "human0_flickr8k_raw_lower"];

fn assert_runs(protocol: &str, tokenizer: Tokenizer) {
    let Some(folder) = shared("evaluator/visible") else { return };
    let runs = json(&folder.join("scores.json"));
    for run in RUNS {
        let file = |kind: &str| folder.join(runs[run][kind].as_str().unwrap());
        let references = References::read(file("refs")).unwrap();
        let predictions = Predictions::read(file("preds")).unwrap();
        let evaluation = evaluate(&references, &predictions, &options(tokenizer)).unwrap();
        assert_eq!(evaluation.summary.n, 1000);
        let expected = &runs[run][protocol];
        let of_image = |_: &str, at: usize, name: &str| expected["per_image"][name][at].clone();
        assert_scores(&evaluation, &expected["corpus"], of_image, run);
    }
}

#[test]
fn published_and_human_captions_score_as_in_pycocoevalcap_without_tokenizer() {
    assert_runs("raw", Tokenizer::None);
}

#[test]
fn published_and_human_captions_score_as_in_pycocoevalcap_with_the_ptb_tokenizer() {
    assert_runs("ptb", Tokenizer::Ptb);
}

#[test]
fn odd_little_corpora_score_as_in_pycocoevalcap() {
    let Some(path) = shared("evaluator/visible/edge_corpora.json") else { return };
    let corpora = json(&path);
    let corpora = corpora.as_array().unwrap();
    assert_eq!(corpora.len(), 120);
    for (number, expected) in corpora.iter().enumerate() {
        let (references, predictions) = corpus(&expected["refs"], &expected["preds"]);
        let result = evaluate(&references, &predictions, &options(Tokenizer::None));
        if expected["error"].is_null() {
            let of_image = |_: &str, at: usize, name: &str| expected["per_image"][name][at].clone();
            let what = format!("corpus {number}");
            assert_scores(&result.unwrap(), &expected["corpus"], of_image, &what);
        } else {
            assert!(result.is_err(), "corpus {number}: pycocoevalcap raises");
        }
    }
}
