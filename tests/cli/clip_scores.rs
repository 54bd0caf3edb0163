//! CLIPScore and diversity of runs and of files, on a CLIP with random weights.

use std::fmt::Write as _;
use std::path::Path;

use super::main_path::read_json;
use super::stage::{Stage, failure, init_clip, success};

const METRICS: &str = "clipscore,refclipscore,clipscore-torchmetrics,diversity,rouge";

#[test]
fn a_run_and_its_files_have_the_same_scores_by_the_run_s_clip() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let run = place("run");
    success(&stage.train(Path::new(&run), &["--set", "training.epochs=1"]));
    let printed = success(&["evaluate", "--run", &run, "--metrics", METRICS]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    for part in ["\nRefCLIPScore ", "\nnovel ", "w = 2.5 and prompt \"A photo depicts\""] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let of_run = Path::new(&run).join("evaluation/test");
    let written = read_json(&of_run.join("scores.json"));
    let clip_score = written["corpus"]["CLIPScore"].as_f64().unwrap();
    assert!((0.0..=2.5).contains(&clip_score), "{written}");
    assert!(written["diversity"]["novel"].is_f64(), "{written}");
    let csv = std::fs::read_to_string(of_run.join("per-image.csv")).unwrap();
    let head = csv.lines().next().unwrap();
    assert_eq!(head, "image_id,ROUGE_L,CLIPScore,RefCLIPScore,CLIPScore_torchmetrics");

    let file = |name: &str| of_run.join(name).display().to_string();
    let (references, predictions) = (file("references.json"), file("predictions.json"));
    let (clip, embeddings, again) = (stage.clip(), stage.embeddings(), place("again.json"));
    let files = ["evaluate", "--references", &references, "--predictions", &predictions];
    let files = [&files[..], &["--tokenizer", "none", "--metrics", METRICS]].concat();
    let by_clip = ["--clip", &clip, "--embeddings", &embeddings];
    success(&[&files[..], &by_clip, &["--json", &again]].concat());
    let mut found = read_json(Path::new(&again));
    assert_eq!(found["corpus"], written["corpus"]);
    assert_eq!(found["per_image"], written["per_image"]);
    assert_eq!(found["protocol"], written["protocol"]);
    // Only the run knows its training captions.
    found["diversity"]["novel"] = written["diversity"]["novel"].clone();
    assert_eq!(found["diversity"], written["diversity"]);
    // PAC-S has another weight.
    success(&[&files[..], &by_clip, &["--clipscore-weight", "2", "--json", &again]].concat());
    let other = read_json(Path::new(&again))["corpus"]["CLIPScore"].as_f64().unwrap();
    assert!((other - clip_score * 2.0 / 2.5).abs() < 1e-12, "{other} {clip_score}");

    let page = place("report.html");
    success(&["report", &run, "--out", &page]);
    let page = std::fs::read_to_string(page).unwrap();
    for part in ["CLIPScore", "RefCLIPScore", "distinct_2", "novel"] {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.contains(&format!("data-value=\"{clip_score}\"")));

    let error = failure(&files);
    assert!(error.contains("--embeddings F") && error.contains("precompute"), "{error}");
    let other = place("other");
    init_clip(&other, "24");
    let weights = Path::new(&other).join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    let error = failure(&[&files[..], &["--clip", &other, "--embeddings", &embeddings]].concat());
    assert!(error.contains("SHA-256") && error.contains(&other), "{error}");
    let error = failure(&["evaluate", "--run", &run, "--metrics", METRICS, "--clip", &other]);
    assert!(error.contains("SHA-256"), "{error}");
    let error = failure(&[&files[..7], &["--metrics", "rouge"], &by_clip].concat());
    assert!(error.contains("--metrics"), "{error}");
}

#[test]
fn judges_and_ratings_are_compared_with_scores_by_a_clip() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let captions = std::fs::read_to_string(Path::new(&stage.pictures()).join("captions.txt"));
    let (mut tokens, mut ratings) = (String::new(), String::new());
    let (mut references, mut predictions) = (serde_json::Map::new(), serde_json::Map::new());
    let captions = captions.unwrap();
    let mut rows: Vec<(&str, &str)> =
        captions.lines().skip(1).map(|line| line.split_once(',').unwrap()).collect();
    rows.dedup_by_key(|row| row.0);
    let (rows, others) = rows.split_at(rows.len() / 2);
    for (index, ((image, own), (other, caption))) in rows.iter().zip(others).enumerate() {
        writeln!(tokens, "{image}#0\t{own}\n{other}#0\t{caption}").unwrap();
        let rating = 1 + index % 4;
        writeln!(ratings, "{image}\t{other}#0\t{rating}\t{rating}\t{rating}").unwrap();
        references.insert((*image).to_owned(), vec![*own].into());
        predictions.insert((*image).to_owned(), (*caption).into());
    }
    std::fs::write(place("Flickr8k.token.txt"), tokens).unwrap();
    std::fs::write(place("ExpertAnnotations.txt"), ratings).unwrap();
    let by_clip = ["--clip", &stage.clip(), "--embeddings", &stage.embeddings()];
    let words = ["evaluate", "judges", "flickr8k-expert", "--data", &place(""), "--json"];
    let printed = success(&[&words[..], &[&place("judges.json")], &by_clip].concat());
    let printed = String::from_utf8(printed.stdout).unwrap();
    for part in ["\nCLIPScore ", "\nRefCLIPScore ", "(51.2)", "prompt \"A photo depicts\""] {
        assert!(printed.contains(part), "{part}: {printed}");
    }
    let tables = &read_json(Path::new(&place("judges.json")))["tables"][0];
    let rows = tables["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["metric"] == "CLIPScore").unwrap();
    let found = row["figures"][0]["computed"].as_f64().unwrap();

    // The same pairs are images of their own in files.
    let write = |name: &str, map| {
        std::fs::write(place(name), serde_json::Value::Object(map).to_string()).unwrap();
    };
    write("references.json", references);
    write("predictions.json", predictions);
    let words = ["evaluate", "--references", &place("references.json"), "--predictions"];
    let more = [&place("predictions.json"), "--json", &place("scores.json")];
    success(&[&words[..], &more, &by_clip].concat());
    let scores = &read_json(Path::new(&place("scores.json")))["per_image"];
    assert!(scores.to_string().contains("RefCLIPScore"), "{scores}");
    let words = ["evaluate", "correlate", "--references", &place("Flickr8k.token.txt")];
    let more = ["--ratings", &place("ExpertAnnotations.txt"), "--json", &place("tau.json")];
    success(&[&words[..], &more, &by_clip, &["--metrics", "clipscore"]].concat());
    let tau = read_json(Path::new(&place("tau.json")))["tau_c"]["CLIPScore"].as_f64().unwrap();
    assert!((100.0 * tau - found).abs() < 1e-9, "{tau} {found}");
    let error = failure(&[
        "evaluate",
        "judges",
        "flickr8k-expert",
        "--data",
        &place(""),
        "--metrics",
        "clipscore",
    ]);
    assert!(error.contains("--embeddings"), "{error}");
}
