//! Files as Python programs write them, against pycocoevalcap and scipy
//! (`tests/reference/metrics_python.py`).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::{Path, PathBuf};

use caption_metrics::consensus::Consensus;
use caption_metrics::correlate::Kendall;
use caption_metrics::{Error, Evaluation, Options, Predictions, References, Subset, evaluate};
use serde_json::Value;
use support::scores::assert_close;
use support::{fixture, json};
use tempfile::TempDir;

/// Writes references and predictions, and returns their folder and paths.
fn folder(references: &str, predictions: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (r, p) = (folder.path().join("r.json"), folder.path().join("p.json"));
    std::fs::write(&r, references).unwrap();
    std::fs::write(&p, predictions).unwrap();
    (folder, r, p)
}

fn read_and_evaluate(r: &Path, p: &Path, options: &Options) -> Result<Evaluation, Error> {
    evaluate(&References::read(r)?, &Predictions::read(p)?, options)
}

fn assert_corpus(found: &caption_metrics::Summary, expected: &Value, what: &str) {
    assert_eq!(found.corpus.iter().count(), 6);
    for (name, score) in found.corpus.iter() {
        assert_close(score, &expected[name], &format!("{what}: {name}"));
    }
}

#[test]
fn files_of_python_programs_score_as_in_pycocoevalcap() {
    let expected = json(&fixture("python.json"));
    let options = Options::default();
    for (name, pair) in expected["files"].as_object().unwrap() {
        let [references, predictions] = [0, 1].map(|side| pair[side].as_str().unwrap());
        let (_folder, r, p) = folder(references, predictions);
        let found =
            read_and_evaluate(&r, &p, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_corpus(&found.summary, &expected["corpus"], name);
    }
}

/// Python's `json.dump` escapes non-ASCII characters by default.
#[test]
fn a_line_of_jsonl_may_hold_what_python_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.jsonl");
    let lines = "{\"image_id\": 1e2, \"caption\": \"NaN\", \"p\": NaN}\n\
                 {\"image_id\": 18446744073709551617, \"caption\": \"b\", \"x\": \"\\ud800\"}\n";
    std::fs::write(&path, lines).unwrap();
    let read = Predictions::read(&path).unwrap();
    let expected = [("100", "NaN"), ("18446744073709551617", "b")];
    assert_eq!(read, Predictions::new(expected).unwrap());
}

/// Reads a file of identifiers.
fn subset(ids: &str) -> Result<Subset, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ids.txt");
    std::fs::write(&path, ids).unwrap();
    Subset::read(&path)
}

#[test]
fn only_images_with_a_prediction_are_scored_where_asked_to() {
    let expected = json(&fixture("python.json"));
    let pair = &expected["files"]["not finite"];
    let all: Vec<&str> = pair[1].as_str().unwrap().split("}, ").collect();
    let two = format!("{}}}, {}", all[0], all[2]);
    let (_folder, r, p) = folder(pair[0].as_str().unwrap(), &two);
    let error = read_and_evaluate(&r, &p, &Options::default()).err().unwrap();
    assert!(matches!(error, Error::MissingPredictions { count: 1, .. }), "{error}");
    assert!(error.to_string().contains("--subset predictions"), "{error}");

    let options = Options { subset: Subset::Predictions, ..Options::default() };
    let found = read_and_evaluate(&r, &p, &options).unwrap();
    assert_corpus(&found.summary, &expected["subset"], "subset");
    assert_eq!((found.summary.n, found.summary.protocol.references_left_out), (2, Some(1)));
    let ids: Vec<&str> = found.per_image().map(|image| image.id).collect();
    assert_eq!(ids, ["1", "3"]);

    let r = References::read(&r).unwrap();
    let unknown = Predictions::new([("1", "a"), ("9", "b")]).unwrap();
    let error = evaluate(&r, &unknown, &options).err().unwrap();
    assert!(matches!(error, Error::ExtraPredictions { count: 1, .. }), "{error}");
    let none = Predictions::new(Vec::<(String, String)>::new()).unwrap();
    assert!(matches!(evaluate(&r, &none, &options), Err(Error::NoImages)));

    for ids in ["3\n1\r\n\n", "3.0\n1", r#"["1", 3]"#, "[1.0, 3]"] {
        let subset = subset(ids).unwrap();
        let all = Predictions::new([("1", "a"), ("2", "b"), ("3", "c"), ("9", "d")]).unwrap();
        let found = evaluate(&r, &all, &Options { subset, ..Options::default() }).unwrap();
        assert_eq!((found.summary.n, found.summary.protocol.references_left_out), (2, Some(1)));
    }
    let two = Predictions::new([("1", "a"), ("9", "d")]).unwrap();
    for (ids, expected) in [
        ("1\n2", "1 of the images with references have no prediction, among them \"2\""),
        ("1\n9", "1 of the images of the subset have no references, among them \"9\""),
    ] {
        let options = Options { subset: subset(ids).unwrap(), ..Options::default() };
        let error = evaluate(&r, &two, &options).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    for ids in ["\n", "[]", "[1.5]", "[1"] {
        assert!(subset(ids).unwrap_err().to_string().contains("ids.txt"), "{ids}");
    }
}

#[test]
fn rank_correlations_are_scipys() {
    for (at, case) in
        json(&fixture("python.json"))["kendall"].as_array().unwrap().iter().enumerate()
    {
        let [x, y] = ["x", "y"].map(|side| {
            let values = case[side].as_array().unwrap().iter();
            values.map(|value| value.as_f64().unwrap()).collect::<Vec<_>>()
        });
        let kendall = Kendall::new(x.into_iter().zip(y));
        for (tau, name) in [(kendall.tau_b(), "tau_b"), (kendall.tau_c(), "tau_c")] {
            if case[name].is_null() {
                assert!(tau.is_nan(), "{name} of case {at}: {tau}");
            } else {
                assert_close(tau, &case[name], &format!("{name} of case {at}"));
            }
        }
    }
    for (x, y) in [(f64::NAN, 1.0), (1.0, f64::NAN)] {
        let kendall = Kendall::new([(x, y), (2.0, 3.0), (4.0, 5.0)]);
        assert!(kendall.tau_b().is_nan() && kendall.tau_c().is_nan());
    }
}

/// By the plain definition, with the similarity of every pair
/// (`tests/reference/metrics_consensus.py`).
#[test]
fn consensus_captions_are_those_of_python() {
    let expected = json(&fixture("consensus.json"));
    let images: Vec<Vec<String>> = serde_json::from_value(expected["images"].clone()).unwrap();
    let consensus = Consensus::new(&images);
    for case in expected["cases"].as_array().unwrap() {
        let chosen: Vec<usize> = serde_json::from_value(case["images"].clone()).unwrap();
        let (image, number) = consensus.choose(&chosen).unwrap();
        assert_eq!(case["caption"], images[image][number], "{chosen:?}");
    }
}
