//! Files that are scored piece by piece give the same bytes as captions in memory.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fmt::Write;
use std::path::Path;

use caption_metrics::significance::Resampling;
use caption_metrics::{Error, Predictions, References, Tokenizer, evaluate, files};
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
fn files_give_what_captions_in_memory_give() {
    let folder = tempfile::tempdir().unwrap();
    let (references, predictions) = (references(), predictions());
    write(folder.path(), &references, &predictions);
    let in_memory = (References::new(references).unwrap(), Predictions::new(predictions).unwrap());
    let resampling = Resampling { resamples: 3, seed: 1 };
    for tokenizer in [Tokenizer::None, Tokenizer::Ptb] {
        let options = scores::options(tokenizer);
        let mut expected = evaluate(&in_memory.0, &in_memory.1, &options).unwrap();
        expected.add_confidence(resampling);
        let (r, p) = (folder.path().join("r.json"), folder.path().join("p.csv"));
        let mut last = (0, 0);
        let progress = |done, of| last = (done, of);
        let found = files::evaluate(&r, &p, &options, Some(resampling), progress).unwrap();
        assert_eq!(last, (2 * IMAGES, 2 * IMAGES));
        assert_eq!(found.summary, expected.summary);
        let (json, csv) = (folder.path().join("o.json"), folder.path().join("o.csv"));
        found.write_json(&json).unwrap();
        found.write_csv(&csv).unwrap();
        assert_eq!(std::fs::read_to_string(json).unwrap(), expected.to_json().unwrap());
        assert_eq!(std::fs::read_to_string(csv).unwrap(), expected.per_image_csv());
    }
}

#[test]
fn files_of_different_images_are_refused_with_the_first_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let (r, p) = (folder.path().join("r.json"), folder.path().join("p.json"));
    std::fs::write(&r, r#"{"1": ["a"], "2": ["b"], "3": ["c"]}"#).unwrap();
    let options = scores::options(Tokenizer::None);
    let evaluate = |predictions: &str| {
        std::fs::write(&p, predictions).unwrap();
        files::evaluate(&r, &p, &options, None, |_, _| {}).err().unwrap()
    };
    let error = evaluate(r#"{"3": "a", "1": "b", "5": "c"}"#);
    assert!(matches!(error, Error::MissingPredictions { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("among them \"2\""), "{error}");
    let error = evaluate(r#"{"3": "a", "7": "x", "1": "b", "2": "c", "5": "d"}"#);
    assert!(matches!(error, Error::ExtraPredictions { count: 2, .. }), "{error}");
    assert!(error.to_string().contains("\"7\", \"5\""), "{error}");
    std::fs::write(&r, "{}").unwrap();
    assert!(matches!(evaluate("{}"), Error::NoImages));
}
