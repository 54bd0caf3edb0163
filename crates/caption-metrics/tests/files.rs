//! Files whose captions of an image are far apart score as captions in memory do, to the bit.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fmt::Write;
use std::path::Path;

use caption_metrics::{Predictions, References, Tokenizer, evaluate, evaluate_with_progress};
use support::scores;

/// Number of images: more than one block holds.
const IMAGES: usize = 9000;

/// Returns sentences, of which some end in a token that depends on the next sentence.
fn sentence(seed: usize) -> String {
    const ENDS: [&str; 6] = ["plan b.", "The snow .", "two cats", "fig.", "", "a man's dog."];
    const STARTS: [&str; 5] = ["The dog runs near", "two men in", "", "A red car by", "no"];
    format!("{} {}", STARTS[seed * 7 % 5], ENDS[seed / 3 % 6])
}

/// Returns three references of every image.
fn references() -> Vec<(String, [String; 3])> {
    (0..IMAGES).map(|n| (format!("image {n}"), [n, n + 4, n * n].map(sentence))).collect()
}

/// Returns a prediction for every image, in another order (17 and 9,000 are coprime).
fn predictions() -> Vec<(String, String)> {
    let images = (0..IMAGES).map(|n| n * 17 % IMAGES);
    images.map(|n| (format!("image {n}"), sentence(n + 1))).collect()
}

fn row(id: &str, caption: &str) -> String {
    format!("{{\"image_id\": \"{id}\", \"caption\": \"{caption}\"}}\n")
}

/// Writes annotations in COCO's format, each image's captions far apart, and results as CSV.
fn write(folder: &Path, references: &[(String, [String; 3])], predictions: &[(String, String)]) {
    let rows: Vec<String> = (0..3)
        .flat_map(|k| references.iter().map(move |(id, captions)| row(id, &captions[k])))
        .collect();
    let images: Vec<String> =
        references.iter().map(|(id, _)| format!("{{\"id\": \"{id}\"}}")).collect();
    let coco = format!(
        "{{\"annotations\": [{}], \"licenses\": [], \"images\": [{}]}}",
        rows.join(","),
        images.join(",")
    );
    std::fs::write(folder.join("r.json"), coco).unwrap();
    let mut csv = String::from("image,caption\n");
    for (id, caption) in predictions {
        writeln!(csv, "{id},\"{caption}\"").unwrap();
    }
    std::fs::write(folder.join("p.csv"), csv).unwrap();
}

#[test]
fn scattered_captions_of_files_score_as_captions_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (references, predictions) = (references(), predictions());
    write(folder.path(), &references, &predictions);
    let r = References::read(folder.path().join("r.json")).unwrap();
    let p = Predictions::read(folder.path().join("p.csv")).unwrap();
    let in_memory = (References::new(references).unwrap(), Predictions::new(predictions).unwrap());
    assert!(r == in_memory.0 && p == in_memory.1);
    for tokenizer in [Tokenizer::None, Tokenizer::Ptb] {
        let options = scores::options(tokenizer);
        let mut last = (0, 0);
        let progress = |done, of| last = (done, of);
        let found = evaluate_with_progress(&r, &p, &options, progress).unwrap();
        assert_eq!(last, (2 * IMAGES, 2 * IMAGES));
        let expected = evaluate(&in_memory.0, &in_memory.1, &options).unwrap();
        assert_eq!(found.summary, expected.summary);
        assert!(found.per_image().eq(expected.per_image()));
    }
}
