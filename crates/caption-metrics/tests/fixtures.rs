//! The project's own small corpora and lines, against pycocoevalcap 1.2
//! (`tests/reference/metrics_fixtures.py`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use caption_metrics::{Tokenizer, evaluate, ptb};
use support::scores::{assert_scores, corpus, options};
use support::{fixture, json, strings};

#[test]
fn corpora_score_as_in_pycocoevalcap_with_and_without_tokenizer() {
    let corpora = json(&fixture("corpora.json"));
    for entry in corpora.as_array().unwrap() {
        let (references, predictions) = corpus(&entry["references"], &entry["predictions"]);
        for (tokenizer, key) in [(Tokenizer::None, "none"), (Tokenizer::Ptb, "ptb")] {
            let what = format!("{} with tokenizer {key}", entry["name"]);
            let evaluation = evaluate(&references, &predictions, &options(tokenizer)).unwrap();
            let of_image =
                |id: &str, _: usize, name: &str| entry[key]["per_image"][id][name].clone();
            assert_scores(&evaluation, &entry[key]["corpus"], of_image, &what);
        }
    }
}

#[test]
fn lines_have_the_jars_tokens() {
    let lines = json(&fixture("lines.json"));
    let inputs = strings(&lines["in"]);
    let tokens = ptb::tokenize(&inputs);
    for ((input, tokens), expected) in
        inputs.iter().zip(&tokens.captions).zip(strings(&lines["out"]))
    {
        assert_eq!(*tokens, expected, "{input:?}");
    }
    assert_eq!(tokens.captions.len(), inputs.len());
}

/// U+0085 is a line separator to Unicode, but pycocoevalcap's tokenizer makes dots of it.
#[test]
fn line_separators_within_captions_are_white_space_and_counted() {
    let tokens = ptb::tokenize(&["a\rb", "c\nd", "e\u{2028}f\u{0B}g", "h"]);
    assert_eq!(tokens.captions, ["a b", "c d", "e f g", "h"]);
    assert_eq!(tokens.with_line_separators, 2);
}
