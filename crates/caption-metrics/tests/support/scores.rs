//! Comparison of an evaluation with pycocoevalcap's numbers.

use caption_metrics::{Evaluation, KeyStyle, Metric, Options, Predictions, References, Tokenizer};
use serde_json::Value;

use super::{resources, strings};

/// Tolerance, relative for large numbers and absolute for small ones.
const TOLERANCE: f64 = 1e-12;

/// Returns options with all metrics; METEOR only if its resources have been fetched.
pub fn options(tokenizer: Tokenizer) -> Options {
    let meteor = resources();
    let metrics =
        Metric::PYCOCOEVALCAP.into_iter().filter(|m| *m != Metric::Meteor || meteor.is_some());
    Options { tokenizer, metrics: metrics.collect(), meteor, ..Options::default() }
}

/// Reads references `{image: [captions]}` and predictions `{image: caption}`.
pub fn corpus(references: &Value, predictions: &Value) -> (References, Predictions) {
    let references = references.as_object().unwrap();
    let predictions = predictions.as_object().unwrap();
    (
        References::new(references.iter().map(|(id, list)| (id.as_str(), strings(list)))).unwrap(),
        Predictions::new(
            predictions.iter().map(|(id, text)| (id.as_str(), text.as_str().unwrap())),
        )
        .unwrap(),
    )
}

pub fn to_json(evaluation: &Evaluation) -> String {
    let mut json = Vec::new();
    evaluation.write_json(&mut json, KeyStyle::Plain).unwrap();
    String::from_utf8(json).unwrap()
}

pub fn assert_close(actual: f64, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap_or_else(|| panic!("{what}: no number expected"));
    let bound = TOLERANCE * expected.abs().max(1.0);
    assert!((actual - expected).abs() <= bound, "{what}: {actual} instead of {expected}");
}

/// Checks every computed score; `of_image` returns the expected score of an image.
pub fn assert_scores(
    evaluation: &Evaluation,
    corpus: &Value,
    of_image: impl Fn(&str, usize, &str) -> Value,
    what: &str,
) {
    assert!(evaluation.summary.corpus.iter().count() >= 6, "{what}: too few scores");
    for (name, score) in evaluation.summary.corpus.iter() {
        assert_close(score, &corpus[name], &format!("{what}: corpus {name}"));
        for (at, image) in evaluation.per_image().enumerate() {
            let expected = of_image(image.id, at, name);
            let what = format!("{what}: image {} {name}", image.id);
            assert_close(image.scores.get(name).unwrap(), &expected, &what);
        }
    }
}
