//! Commands that follow their run: scores with other settings, moved and copied runs, positions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::stage::{Stage, capsmith, config, failure, success};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Trains a short run of beam 3.
fn trained(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let run = folder.join(name);
    let beams = ["decoding.strategy.kind=beam", "decoding.strategy.num_beams=3"];
    let own = [beams[0], beams[1], "decoding.max_new_tokens=8", "training.scored_pictures=0"];
    let sets = own.iter().chain(more).flat_map(|set| ["--set", set]).collect::<Vec<_>>();
    success(&Stage::get().train(&run, &sets));
    run
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn scores_with_other_settings_lie_beside_the_official_ones() {
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), "run", &[]);
    let run_text = text(&run);
    let scores_json = folder.path().join("scores.json");
    let official = success(&["evaluate", &run_text, "--json", &text(&scores_json)]).stdout;
    let files = run.join("evaluation/test");
    let before = fs::read(files.join("scores.json")).unwrap();
    let (tagged, plain) = (json(&files.join("scores.json")), json(&scores_json));
    assert_eq!(tagged["corpus"], plain["corpus"]);
    assert_eq!(tagged["checkpoint"]["step"], 50);
    assert_eq!(tagged["checkpoint"]["epoch"], 2);
    assert_eq!(tagged["protocol"]["tokenizer"], "none");
    let settings = &tagged["settings"];
    assert_eq!(settings["split"], "test");
    assert_eq!(settings["decoding"]["decoding.dtype"], "\"f32\"");
    assert_eq!(settings["decoding"]["decoding.strategy.num_beams"], "3");
    assert_eq!(settings["changed"], serde_json::json!([]));

    let other = ["evaluate", &run_text, "--set", "decoding.strategy.num_beams=5"];
    let scored = success(&other);
    let said = String::from_utf8_lossy(&scored.stderr);
    assert!(said.contains("evaluation/num_beams=5/test"), "{said}");
    let beam_5 = json(&run.join("evaluation/num_beams=5/test/scores.json"));
    assert_eq!(beam_5["settings"]["changed"], serde_json::json!(["num_beams=5"]));
    assert_eq!(beam_5["settings"]["decoding"]["decoding.strategy.num_beams"], "5");
    // So do captions in another type.
    let said = success(&["evaluate", &run_text, "--dtype", "bf16"]).stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("evaluation/dtype=bf16/test"), "{said}");
    let bf16 = json(&run.join("evaluation/dtype=bf16/test/scores.json"));
    assert_eq!(bf16["settings"]["decoding"]["decoding.dtype"], "\"bf16\"");
    assert_eq!(bf16["settings"]["changed"], serde_json::json!(["dtype=bf16"]));
    // Another tokenizer scores the same captions.
    let scored = success(&["evaluate", &run_text, "--tokenizer", "ptb"]);
    let said = String::from_utf8_lossy(&scored.stderr);
    assert!(said.contains("reusing the captions in") && said.contains("tokenizer=ptb"), "{said}");
    // So does a batch size, which is no other decoding.
    let same = success(&["evaluate", &run_text, "--set", "decoding.batch_size=7"]).stdout;
    assert_eq!(same, official);
    success(&["evaluate", &run_text]);
    assert_eq!(fs::read(files.join("scores.json")).unwrap(), before);

    // Fewer metrics take none from the official scores.
    let scored = success(&["evaluate", &run_text, "--metrics", "bleu"]);
    let said = String::from_utf8_lossy(&scored.stderr);
    assert!(said.contains("reusing the captions in"), "{said}");
    let bleu = json(&run.join("evaluation/metrics=bleu/test/scores.json"));
    assert_eq!(bleu["corpus"].as_object().unwrap().len(), 4);
    assert_eq!(bleu["corpus"]["BLEU-4"], tagged["corpus"]["BLEU-4"]);
    assert_eq!(bleu["settings"]["changed"], serde_json::json!(["metrics=bleu"]));
    assert_eq!(fs::read(files.join("scores.json")).unwrap(), before);

    let page = folder.path().join("page.html");
    success(&["report", &run_text, "-o", &text(&page)]);
    let page = fs::read_to_string(page).unwrap();
    for name in ["num_beams=5", "tokenizer=ptb", "metrics=bleu"] {
        assert!(page.contains(&format!("<span class=\"tag\">{name}</span>")), "{name}");
    }
    // The page shows the captions of the official scores.
    let name = |path: &Path| json(path)[0]["caption"].as_str().unwrap().to_owned();
    assert!(page.contains(&name(&files.join("predictions.json"))));
    let error = failure(&["evaluate", &run_text, "--references", "refs.json"]);
    assert!(error.contains("--references is for files of captions"), "{error}");
}

#[test]
fn two_runs_are_compared_by_their_official_scores() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = [("a", "training.seed=1"), ("b", "training.seed=2")]
        .map(|(name, seed)| text(&trained(folder.path(), name, &[seed])));
    let error = failure(&["evaluate", "compare", &a, &b]);
    assert!(error.contains(&format!("capsmith evaluate {a}")), "{error}");
    let printed = |words: &[&str]| String::from_utf8(success(words).stdout).unwrap();
    let with_intervals = printed(&["evaluate", &a, "--bootstrap", "100"]);
    assert!(with_intervals.contains("  ["), "{with_intervals}");
    success(&["evaluate", &b]);
    success(&["evaluate", &b, "--set", "decoding.strategy.num_beams=5"]);
    let of_runs = printed(&["evaluate", "compare", &a, &b, "--resamples", "100"]);
    let file = |run: &str, name: &str| format!("{run}/evaluation/test/{name}.json");
    let of_files = printed(&[
        "evaluate",
        "compare",
        &file(&a, "predictions"),
        &file(&b, "predictions"),
        "--references",
        &file(&a, "references"),
        "--tokenizer",
        "none",
        "--resamples",
        "100",
    ]);
    assert_eq!(of_runs, of_files);
    // Scores of one run are not written over those of another.
    let of_a = format!("{a}/evaluation/test");
    let before = fs::read(file(&a, "scores")).unwrap();
    let error = failure(&["evaluate", &b, "--out", &of_a]);
    assert!(error.contains("has scores of another run"), "{error}");
    assert_eq!(fs::read(file(&a, "scores")).unwrap(), before);
    success(&["evaluate", &a, "--out", &of_a]);
    let error = failure(&["evaluate", "compare", &a, &format!("{b}c")]);
    assert!(error.contains("this run does not exist") && error.contains(&b), "{error}");
}

#[test]
fn a_run_is_moved_alone_or_with_its_data_and_names_what_is_missing() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let project = folder.path().join("project");
    fs::create_dir(&project).unwrap();
    let embeddings = project.join("embeddings.safetensors");
    fs::copy(stage.embeddings(), &embeddings).unwrap();
    // Trained from within the project, by relative paths.
    let run = project.join("runs/one");
    let sets = ["--set", "data.embeddings=embeddings.safetensors"];
    let words = stage.train(Path::new("runs/one"), &sets);
    let output = capsmith(&words).current_dir(&project).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains("embeddings = \"../../embeddings.safetensors\""), "{config}");
    let scores = |run: &Path| {
        let _ = fs::remove_dir_all(run.join("evaluation"));
        success(&["evaluate", &text(run)]).stdout
    };
    let before = scores(&run);
    let alone = folder.path().join("alone");
    fs::rename(&run, &alone).unwrap();
    assert_eq!(scores(&alone), before);
    fs::rename(&alone, &run).unwrap();
    let moved = folder.path().join("moved");
    fs::rename(&project, &moved).unwrap();
    let run = moved.join("runs/one");
    assert_eq!(scores(&run), before);

    let elsewhere = folder.path().join("elsewhere.safetensors");
    fs::rename(moved.join("embeddings.safetensors"), &elsewhere).unwrap();
    let error = failure(&["evaluate", &text(&run)]);
    assert!(error.contains("embeddings file") && error.contains("--embeddings FILE"), "{error}");
    let _ = fs::remove_dir_all(run.join("evaluation"));
    let given = ["evaluate", &text(&run), "--embeddings", &text(&elsewhere)];
    assert_eq!(success(&given).stdout, before);
    let error = failure(&[&given[..], &["--dataset", "no/data"]].concat());
    assert!(error.contains("no/data") && error.contains("--dataset DIR"), "{error}");
    // The captions that the run has are scored without its data set.
    let file = |name: &str| text(&run.join("evaluation/test").join(name));
    let (references, predictions) = (file("references.json"), file("predictions.json"));
    let words = ["evaluate", "--references", &references, "--predictions", &predictions];
    let words = [&words[..], &["--tokenizer", "none"]].concat();
    assert!(error.contains(&format!("capsmith {}", words.join(" "))), "{error}");
    assert_eq!(success(&words).stdout, before);
    // Captions of other pictures need neither data set nor embeddings.
    let picture = fs::read_dir(format!("{}/Images", stage.pictures())).unwrap().next().unwrap();
    success(&["caption", &text(&run), &text(&picture.unwrap().path())]);
    let page = text(&folder.path().join("page.html"));
    success(&["report", &text(&run), "--dataset", &stage.pictures(), "-o", &page]);
    assert!(fs::read_to_string(&page).unwrap().contains("data:image/jpeg"));
}

#[test]
fn a_run_that_is_not_finished_says_where_it_stands_and_positions_are_options() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let words = stage.train(&run, &["--stop-after-epochs", "1", "--device", "cpu"]);
    // By position: `train CONFIG`.
    let words: Vec<String> = words.into_iter().filter(|word| word != "--config").collect();
    assert_eq!(words[1], config());
    success(&words);
    let said = success(&["evaluate", &text(&run)]).stderr;
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.contains("stands after 1 of 2 epochs (step 25)"), "{said}");
    success(&stage.train(&run, &["--resume"]));
    // The option of earlier versions is still read.
    let said = success(&["evaluate", "--run", &text(&run)]).stderr;
    assert!(!String::from_utf8_lossy(&said).contains("stands after"));
}

#[test]
fn a_device_that_is_absent_is_replaced_with_a_word() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let run = trained(folder.path(), "run", &[]);
    let record = run.join("run.json");
    let mut value = json(&record);
    value["device"] = "cuda:127".into();
    value.as_object_mut().unwrap().remove("sha256");
    fs::write(&record, value.to_string()).unwrap();
    let note = "using the CPU: cuda:127, on which the run was trained, is not available here";
    let picture = fs::read_dir(format!("{}/Images", stage.pictures())).unwrap().next().unwrap();
    let picture = text(&picture.unwrap().path());
    let run = text(&run);
    for words in [vec!["evaluate", &run], vec!["caption", "--run", &run, &picture]] {
        let said = success(&words).stderr;
        assert!(String::from_utf8_lossy(&said).contains(note), "{words:?}");
    }
    let error = failure(&["evaluate", &run, "--device", "cuda:127"]);
    assert!(error.contains("device cuda:127"), "{error}");
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let script = String::from_utf8(success(&["completions", "bash"]).stdout).unwrap();
    let page = String::from_utf8(success(&["man"]).stdout).unwrap();
    for command in ["train", "evaluate", "caption", "report", "reproduce"] {
        assert!(script.contains(&format!("capsmith__subcmd__{command}")), "{command}");
        assert!(page.contains(&format!("capsmith\\-{command}(1)")), "{command}");
    }
    let bash = std::process::Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn();
    if let Ok(mut bash) = bash {
        std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(bash.wait().unwrap().success());
    }
    let folder = tempfile::tempdir().unwrap();
    success(&["man", "-o", &text(folder.path())]);
    assert!(folder.path().join("capsmith-evaluate-compare.1").is_file());
}

#[test]
fn missing_runs_data_and_models_are_named_with_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let missing = text(&folder.path().join("no-run"));
    for words in [vec!["evaluate", &missing], vec!["report", &missing]] {
        let error = failure(&words);
        assert!(error.contains("does not exist") && !error.contains("config.toml"), "{error}");
    }
    let small = format!("{}/configs/small/prefix-original.toml", env!("CARGO_MANIFEST_DIR"));
    let out = text(&folder.path().join("run"));
    let error_in_folder = |sets: &[&str]| {
        let words = [&["train", &small, "-o", &out][..], sets].concat();
        let output = capsmith(&words).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = error_in_folder(&[]);
    assert!(error.contains("capsmith init gpt2 --out weights/small-gpt2"), "{error}");
    let gpt2 = format!("gpt2.model={}", Stage::get().gpt2());
    let error = error_in_folder(&["--set", &gpt2]);
    assert!(error.contains("capsmith fetch flickr8k --out data/flickr8k"), "{error}");
}
