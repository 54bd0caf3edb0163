//! Judge suites: their layouts on small files, and Flickr8k's on the real ones.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::error::Error as StdError;
use std::path::Path;
use std::sync::{Arc, Mutex};

use caption_metrics::clip_score::{ClipModel, ClipScore, Cosines};
use caption_metrics::judges::{Report, Suite, judge};
use caption_metrics::meteor::Segment;
use caption_metrics::{Error, Metric, Options, Tokenizer};
use tempfile::TempDir;
use test_support::shared;

const TOKENS: &str = "a.jpg#0\tA dog runs .\na.jpg#1\tThe dog .\na.jpg#2\tA wet dog .\n\
                      b.jpg#0\tTwo cats sit .\nb.jpg#1\tA dog runs .\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, contents) in files {
        std::fs::write(folder.path().join(name), contents).unwrap();
    }
    folder
}

fn options() -> Options {
    Options { tokenizer: Tokenizer::Ptb, ..Options::default() }
}

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    image: String,
    caption: String,
    references: Vec<String>,
}

/// A CLIP whose cosine is the number of a caption's letters, and the lists of pairs it was given.
#[derive(Debug, Default)]
struct Letters(Mutex<Vec<Vec<Pair>>>);

impl ClipModel for Letters {
    fn cosines(
        &self,
        pairs: &[Segment<'_, String>],
        _: &str,
        _: bool,
    ) -> Result<Cosines, Box<dyn StdError + Send + Sync>> {
        let given = pairs.iter().map(|pair| Pair {
            image: pair.id.to_owned(),
            caption: pair.hypothesis.to_owned(),
            references: pair.references.to_vec(),
        });
        self.0.lock().unwrap().push(given.collect());
        let images = pairs.iter().map(|pair| pair.hypothesis.len() as f64).collect();
        Ok(Cosines { images, ..Cosines::default() })
    }

    fn sha256(&self) -> &'static str {
        "0"
    }

    fn context_length(&self) -> usize {
        77
    }
}

/// Judges a suite with the number of a caption's letters for CLIPScore, and returns the lists of
/// pairs that the CLIP was given.
fn judged(suite: Suite, data: &Path) -> Result<(Report, Vec<Vec<Pair>>), Error> {
    let model = Arc::new(Letters::default());
    let mut options = options();
    options.metrics.push(Metric::ClipScore);
    options.clip = Some(ClipScore { model: model.clone(), weight: 1.0, prompt: String::new() });
    let report = judge(suite, data, &options, 0)?;
    let lists = std::mem::take(&mut *model.0.lock().unwrap());
    Ok((report, lists))
}

/// Writes each pair as `image caption / reference / …`.
fn described(pairs: &[Pair]) -> Vec<String> {
    let line = |pair: &Pair| {
        let mut parts = vec![format!("{} {}", pair.image, pair.caption)];
        parts.extend(pair.references.clone());
        parts.join(" / ")
    };
    pairs.iter().map(line).collect()
}

fn computed(report: &Report, table: usize, metric: &str) -> Vec<f64> {
    let row = report.tables[table].rows.iter().find(|row| row.metric == metric).unwrap();
    row.figures.iter().map(|figure| figure.computed).collect()
}

#[test]
fn experts_rate_captions_that_are_not_among_the_images_own() {
    let ratings = "a.jpg\ta.jpg#0\t4\t4\t4\na.jpg\tb.jpg#0\t1\t1\t2\n\
                   a.jpg\tb.jpg#1\t4\t3\t4\nb.jpg\ta.jpg#2\t1\t2\t3\n";
    let data = folder(&[("Flickr8k.token.txt", TOKENS), ("ExpertAnnotations.txt", ratings)]);
    let (report, lists) = judged(Suite::Flickr8kExpert, data.path()).unwrap();
    let table = &report.tables[0];
    assert_eq!((table.pairs, table.ratings, table.left_out), (2, 6, 2));
    assert_eq!(
        described(&lists[0]),
        [
            "a.jpg Two cats sit . / A dog runs . / The dog . / A wet dog .",
            "b.jpg A wet dog . / Two cats sit . / A dog runs ."
        ]
    );
    // Of nine pairs of points with two lengths five rise with the shorter caption and one falls;
    // m = 2: 2 * -(5 - 1) / (36 / 2).
    let tau = computed(&report, 0, "CLIPScore")[0];
    assert!((tau + 100.0 * 8.0 / 18.0).abs() < 1e-9, "{tau}");
    assert_eq!(report.files[0].is_known_copy, Some(false));
}

#[test]
fn captions_of_the_image_that_a_crowd_judges_are_no_references() {
    let ratings = "a.jpg\ta.jpg#1\t1\t3\t0\na.jpg\tb.jpg#0\t0\t0\t3\n\
                   a.jpg\tb.jpg#1\t0.333333333333\t1\t2\nb.jpg\ta.jpg#2\t0\t0\t3\n";
    let rows = [("Flickr8k.token.txt", TOKENS), ("CrowdFlowerAnnotations.txt", ratings)];
    let (report, lists) = judged(Suite::Flickr8kCf, folder(&rows).path()).unwrap();
    assert_eq!((report.tables[0].pairs, report.tables[0].ratings), (4, 4));
    assert_eq!(
        described(&lists[0]),
        [
            "a.jpg The dog . / A wet dog .",
            "a.jpg Two cats sit . / A wet dog .",
            "a.jpg A dog runs . / A wet dog .",
            "b.jpg A wet dog . / Two cats sit . / A dog runs ."
        ]
    );
}

#[test]
fn composite_is_read_with_and_without_the_rated_reference() {
    let three = "HITId;Input.image_url;Input.text1;Input.text2;Input.text3;Answer.Q1Answer;\
                 Answer.Q2Answer;Answer.Q3Answer\n\
                 x;http://h/a.jpg;the dog;\"a dog; wet\";cats;5;4;1\n;;;;;;;\n";
    let four = "Input.image_url;Input.text1;Input.text2;Input.text3;Input.text4;Answer.Q1Answer;\
                Answer.Q2Answer;Answer.Q3Answer;Answer.Q4Answer\n\
                http://h/7.jpg;a red car .;a car;a bus;;4;5;NA;\n";
    let coco = three.replace("a.jpg", "COCO_val2014_000000000042.jpg");
    let annotations = r#"{"images": [{"id": 42}], "annotations": [
        {"image_id": 42, "caption": "cats"}, {"image_id": 42, "caption": "The dog."}]}"#;
    let data = folder(&[
        ("Flickr8k.token.txt", TOKENS),
        (
            "results.csv",
            "image_name| comment_number| comment\n7.jpg| 0| A red car .\n7.jpg| 1| A bus .\n",
        ),
        ("captions_val2014.json", annotations),
        ("8k_correctness.csv", three),
        ("30k_correctness.csv", four),
        ("coco_correctness.csv", &coco),
    ]);
    let (report, lists) = judged(Suite::Composite, data.path()).unwrap();
    let counts: Vec<_> = report.tables.iter().map(|table| (table.pairs, table.left_out)).collect();
    assert_eq!(counts, [(8, 1), (8, 1), (5, 4)]);
    let harder = described(&lists[0]);
    assert_eq!(harder[0], "a.jpg the dog / A dog runs . / A wet dog .");
    assert_eq!(harder[1], "a.jpg a dog; wet / A dog runs . / A wet dog .");
    assert_eq!(harder[3], "7.jpg a red car . / A bus .");
    assert_eq!(harder[5], "COCO_val2014_000000000042.jpg the dog / cats");
    assert_eq!(described(&lists[1])[3], "7.jpg a red car . / A red car . / A bus .");
    assert_eq!(described(&lists[2])[2], "7.jpg a car / A red car . / A bus .");
    for (name, contents, expected) in [
        ("coco_correctness.csv", three, "has no reference captions"),
        ("coco_correctness.csv", "a;b\n1;2\n", "no column Input.image_url"),
        ("coco_correctness.csv", &coco.replace("5;4", "5;good"), "line 2: \"good\" is no rating"),
    ] {
        std::fs::write(data.path().join(name), contents).unwrap();
        let error = judged(Suite::Composite, data.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
}

#[test]
fn pascal_50s_averages_accuracies_over_draws_of_references() {
    let pair = |category: usize, captions: [&str; 2], votes: [u32; 2]| {
        let references: Vec<String> = (0..48).map(|k| format!("reference {k}")).collect();
        serde_json::json!({"image": "i.jpg", "category": category, "captions": captions,
            "references": references, "votes": votes})
        .to_string()
    };
    let lines = [
        pair(1, ["longer", "short"], [30, 18]),
        pair(1, ["longer", "short"], [18, 30]),
        pair(1, ["longer", "short"], [40, 8]),
        pair(2, ["a", "longer"], [8, 40]),
        pair(3, ["equal", "score"], [8, 40]),
        pair(4, ["longer", "short"], [24, 24]),
    ];
    let data = folder(&[("pascal50s.jsonl", &lines.join("\n"))]);
    let (report, lists) = judged(Suite::Pascal50s, data.path()).unwrap();
    let accuracies = computed(&report, 0, "CLIPScore");
    let expected = [200.0 / 3.0, 100.0, 50.0, 50.0, 800.0 / 12.0];
    assert!(accuracies.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{accuracies:?}");
    assert_eq!(lists.len(), 10, "two captions in each of five draws");
    for pairs in &lists {
        assert!(pairs.iter().all(|pair| pair.references.len() == 5));
    }
    assert_eq!(lists[0][0].references, lists[1][0].references, "both captions of a pair");
    assert_ne!(lists[0][0].references, lists[2][0].references, "another draw");
    assert_eq!(judged(Suite::Pascal50s, data.path()).unwrap().1, lists, "the seed decides");
    for (line, expected) in [
        (pair(5, ["a", "b"], [1, 0]), "line 1: expected a category from 1 to 4"),
        ("{\"image\": \"x\"}".to_owned(), "line 1: missing field"),
        ("\n".to_owned(), "it holds no pairs"),
    ] {
        let error = judged(Suite::Pascal50s, folder(&[("pascal50s.jsonl", &line)]).path());
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn without_its_files_a_suite_says_what_to_put_where() {
    for (name, file, hint) in [
        ("flickr8k-expert", "ExpertAnnotations.txt", "Flickr8k_text.zip"),
        ("flickr8k-cf", "CrowdFlowerAnnotations.txt", "Flickr8k_text.zip"),
        ("composite", "8k_correctness.csv", "captions_val2014.json"),
        ("pascal-50s", "pascal50s.jsonl", "consensus_pascal.mat"),
    ] {
        let folder = folder(&[]);
        let error = judged(name.parse().unwrap(), folder.path()).unwrap_err().to_string();
        let folder = folder.path().display().to_string();
        let start = format!("{folder} has no {file}");
        assert!(
            error.starts_with(&start) && error.contains("\nhint: put ") || name == "pascal-50s"
        );
        assert!(error.contains(hint), "{error}");
    }
    let error = "flickr8k".parse::<Suite>().unwrap_err().to_string();
    assert!(error.contains("flickr8k-expert, flickr8k-cf, composite, pascal-50s"), "{error}");
}

/// Expert to the digit that papers print; of CF, of which 542 rows are lost, within 0.1.
#[test]
fn figures_of_flickr8k_are_those_that_papers_print() {
    let Some(data) = shared("flickr8k") else { return };
    for (suite, bound, pairs) in
        [(Suite::Flickr8kExpert, 0.05, 5664), (Suite::Flickr8kCf, 0.1, 47_288)]
    {
        let report = judge(suite, &data, &options(), 0).unwrap();
        assert_eq!(report.tables[0].pairs, pairs);
        let mut compared = 0;
        for row in &report.tables[0].rows {
            let figure = row.figures[0];
            let Some(published) = figure.published else { continue };
            assert!((figure.computed - published).abs() <= bound, "{}: {figure:?}", row.metric);
            compared += 1;
        }
        assert_eq!(compared, 4, "BLEU-1, BLEU-4, ROUGE-L and CIDEr");
    }
}
