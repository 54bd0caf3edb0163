//! Scores of Merge-RNN's published captions. Skipped if `../shared` is absent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::fs;

use caption_metrics::{Options, Predictions, References, Tokenizer, evaluate};
use test_support::shared;
use words::karpathy_tokens;

/// Published scores: `results.txt` of mtanti/rnn-role, merge, threshold 3, layer 256, run 2.
const PUBLISHED: [(&str, f64); 6] = [
    ("BLEU-1", 0.595_727_282_02),
    ("BLEU-2", 0.405_060_820_035),
    ("BLEU-3", 0.263_615_579_828),
    ("BLEU-4", 0.171_324_913_727),
    ("ROUGE_L", 0.436_481_079_961),
    ("CIDEr", 0.460_274_555_806),
];

#[test]
fn published_captions_have_their_published_scores_against_karpathys_tokens() {
    let Some(flickr8k) = shared("flickr8k") else { return };
    let Some(predictions) = shared("evaluator/visible/preds/merge_flickr8k_3_256_2.json") else {
        return;
    };
    let lines = fs::read_to_string(flickr8k.join("Flickr8k.token.txt")).unwrap();
    let test = fs::read_to_string(flickr8k.join("Flickr_8k.testImages.txt")).unwrap();
    let mut captions: HashMap<&str, Vec<String>> = HashMap::new();
    for (id, caption) in lines.lines().filter_map(|line| line.split_once('\t')) {
        let image = id.split('#').next().unwrap();
        captions.entry(image).or_default().push(karpathy_tokens(caption).join(" "));
    }
    let references = References::new(
        test.split_whitespace()
            .enumerate()
            .map(|(n, image)| (n.to_string(), captions[image].clone())),
    );
    let predictions = Predictions::read(predictions);
    let options = Options { tokenizer: Tokenizer::Ptb, ..Options::default() };
    let scores = evaluate(&references.unwrap(), &predictions.unwrap(), &options).unwrap();
    for (name, published) in PUBLISHED {
        let score = scores.summary.corpus.get(name).unwrap();
        assert!((score - published).abs() < 1e-10, "{name}: {score}, published {published}");
    }
}
