//! The main path from pictures to scores.

use std::collections::BTreeSet;
use std::path::Path;

use recipes::Config;
use tch::Device;
use training::inputs::Inputs;

use super::stage::{Stage, failure, newest_checkpoint, success};

#[test]
fn a_drawn_set_is_checked_embedded_trained_on_captioned_and_scored() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");

    let report = success(&["dataset", "check", &stage.pictures(), "--test-captions", "50"]);
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("60") && report.contains("300"), "{report}");

    success(&stage.train(&run, &["--set", "training.epochs=4"]));
    let metrics = std::fs::read_to_string(run.join("metrics.csv")).unwrap();
    assert_eq!(metrics.lines().count(), 1 + 4 * 25);
    let losses: Vec<f64> = metrics
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(2).unwrap().parse().unwrap())
        .collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    assert!(mean(&losses[80..]) < mean(&losses[..20]) - 1.0, "the loss does not fall: {losses:?}");
    assert!(newest_checkpoint(&run).ends_with("step-000000100"));

    let run_name = run.display().to_string();
    let scores = success(&["evaluate", "--run", &run_name]);
    let scores = String::from_utf8(scores.stdout).unwrap();
    assert!(scores.contains("BLEU-4") && scores.contains("ROUGE_L"), "{scores}");
    success(&["evaluate", "--run", &run_name, "--control", "3"]);
    let files = run.join("evaluation/test");
    assert!(run.join("evaluation/test-shuffled/scores.json").is_file());
    let mut written: serde_json::Value = read_json(&files.join("scores.json"));
    assert_eq!(written["n"], 10);

    // The same predictions scored from files give the same numbers.
    let again = folder.path().join("again.json");
    let place = |path: &Path| path.display().to_string();
    success(&[
        "evaluate",
        "--references",
        &place(&files.join("references.json")),
        "--predictions",
        &place(&files.join("predictions.json")),
        "--tokenizer",
        "none",
        "--json",
        &place(&again),
    ]);
    // A run's scores say besides what they belong to.
    assert_eq!(written["checkpoint"]["step"], 100);
    written
        .as_object_mut()
        .unwrap()
        .retain(|key, _| !["sha256", "checkpoint", "settings", "files"].contains(&key.as_str()));
    assert_eq!(read_json(&again), written);

    // Captioning a picture's file gives what evaluation gave from its embedding.
    let predictions = read_json(&files.join("predictions.json"));
    let name = predictions[0]["image_id"].as_str().unwrap();
    let picture = format!("{}/Images/{name}", stage.pictures());
    let line = success(&["caption", "--raw", &run_name, &picture]);
    let line = String::from_utf8(line.stdout).unwrap();
    assert_eq!(
        line.trim_end(),
        format!("{picture}\t{}", predictions[0]["caption"].as_str().unwrap())
    );

    // The page shows what was trained, captioned and scored.
    let page = folder.path().join("report.html");
    let others = folder.path().join("sweeps");
    std::fs::create_dir(&others).unwrap();
    let said = success(&["report", &run_name, &place(&others), "--out", &place(&page)]).stderr;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains("no run folders: ") && said.contains("sweeps"), "{said}");
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains(&format!("data-value=\"{}\"", written["corpus"]["BLEU-1"])));
    assert!(page.contains(predictions[0]["caption"].as_str().unwrap()));
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 10);
    let scores = std::fs::read_to_string(run.join("epoch-scores.csv")).unwrap();
    assert_eq!(scores.lines().count(), 1 + 4);
}

#[test]
fn neighbours_lend_their_captions_to_the_nearest_test_pictures() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("neighbours");
    let out_name = out.display().to_string();
    let (pictures, embeddings) = (stage.pictures(), stage.embeddings());
    let words = ["baseline", "neighbours", "--dataset", &pictures, "--test-captions", "50"];
    let words = [&words[..], &["--embeddings", &embeddings, "--out", &out_name]].concat();
    let scores = success(&[&words[..], &["--neighbours", "1"]].concat());
    let scores = String::from_utf8(scores.stdout).unwrap();
    assert!(scores.contains("BLEU-4") && scores.contains("CIDEr"), "{scores}");

    // Its own scores are replaced, and no others.
    success(&[&words[..], &["--neighbours", "1"]].concat());
    let scores = out.join("scores.json");
    let own = std::fs::read(&scores).unwrap();
    std::fs::write(&scores, "mine").unwrap();
    let error = failure(&words);
    assert!(error.contains("scores.json: is not of a baseline"), "{error}");
    std::fs::write(&scores, own).unwrap();

    let mut config = Config::built_in("flickr8k/prefix-original.toml", &[]).unwrap();
    config.data.dataset = stage.pictures().into();
    config.data.embeddings = stage.embeddings().into();
    config.data.test_captions = 50;
    let inputs = Inputs::load(&config.data, Device::Cpu).unwrap();
    let row = |image: usize| -> Vec<f32> {
        let row = inputs.embeddings.get(inputs.row(image).unwrap());
        (&row / row.norm()).try_into().unwrap()
    };
    let predictions = read_json(&out.join("predictions.json"));
    assert_eq!(predictions.as_array().unwrap().len(), 10);
    for (&image, prediction) in inputs.split.test.iter().zip(predictions.as_array().unwrap()) {
        let cosine =
            |other: &usize| -> f32 { row(image).iter().zip(row(*other)).map(|(a, b)| a * b).sum() };
        let train = inputs.split.train.iter();
        let nearest = train.max_by(|a, b| cosine(a).total_cmp(&cosine(b))).unwrap();
        let captions = inputs.captions(&[*nearest]);
        assert_eq!(prediction["image_id"], inputs.corpus.images[image].file_name);
        assert!(captions.iter().any(|caption| prediction["caption"] == **caption), "{captions:?}");
    }

    let of_all = success(&[&words[..], &["--neighbours", "10000"]].concat());
    let of_all = String::from_utf8(of_all.stdout).unwrap();
    assert_ne!(of_all, scores, "more neighbours, other captions");
    let distinct: BTreeSet<String> = read_json(&out.join("predictions.json"))
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["caption"].to_string())
        .collect();
    assert_eq!(distinct.len(), 1, "all pictures have the same neighbours");
}

pub fn read_json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
