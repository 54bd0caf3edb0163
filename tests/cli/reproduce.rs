//! `capsmith reproduce` on a few small pictures: every row, kills, changes, and failing rows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::damage::flip;
use super::stage::{Stage, capsmith, failure, success, wait_while_running};

/// The demo's configs, made short: 10 test pictures, one epoch.
fn configs(folder: &Path) -> PathBuf {
    const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/demo");
    let configs = folder.join("configs");
    fs::create_dir_all(&configs).unwrap();
    // Without `about`, scores stand beside the published ones.
    let recipe = fs::read_to_string(format!("{DEMO}/recipe.toml")).unwrap();
    let recipe: String =
        recipe.split_inclusive('\n').filter(|line| !line.starts_with("about")).collect();
    fs::write(configs.join("recipe.toml"), recipe).unwrap();
    for (row, held_out, own) in [
        ("prefix-original", 0, ""),
        ("prefix-gradient-clipping", 0, ""),
        ("prefix-custom-tokenizer", 0, "[tokenizer]\nvocab_size = 300\n"),
        ("sbg", 50, "[text]\nblock_size = 64\n[optimizer]\nlearning_rate = 1e-3\n"),
        ("merge-rnn", 50, ""),
    ] {
        let text = format!(
            "base = \"{DEMO}/{row}.toml\"\n\
             [data]\ntest_captions = 50\nvalidation_captions = {held_out}\n\
             [training]\nepochs = 1\nbatch_size = 8\nscored_pictures = 0\nthreads = 1\n\
             [decoding]\nmax_new_tokens = 12\nbatch_size = 64\n{own}"
        );
        fs::write(configs.join(format!("{row}.toml")), text).unwrap();
    }
    configs
}

pub struct Study {
    folder: tempfile::TempDir,
    configs: PathBuf,
}

impl Study {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configs = configs(folder.path());
        Self { folder, configs }
    }

    pub fn out(&self) -> PathBuf {
        self.folder.path().join("study")
    }

    pub fn words(&self, more: &[&str]) -> Vec<String> {
        let pictures = Stage::get().pictures();
        let weights = Path::new(&pictures).parent().unwrap().display().to_string();
        let (configs, out) = (self.configs.display().to_string(), self.out().display().to_string());
        let words =
            ["reproduce", "table1", "--configs", &configs, "--data", &pictures, "--weights"];
        let words = words.into_iter().chain([weights.as_str(), "--out", &out]);
        words.chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Returns the time of the last write of each stage's record.
    fn records(&self) -> BTreeMap<String, std::time::SystemTime> {
        let entries = fs::read_dir(self.out().join("stages")).unwrap().map(Result::unwrap);
        let record = |entry: fs::DirEntry| {
            let changed = entry.metadata().unwrap().modified().unwrap();
            (entry.file_name().into_string().unwrap().replace(".json", ""), changed)
        };
        entries.map(record).collect()
    }

    /// Resumes the study, and returns the stages that ran.
    fn redone(&self, more: &[&str]) -> Vec<String> {
        let before = self.records();
        success(&self.words(&[&["--resume"], more].concat()));
        let after = self.records();
        let changed = after.into_iter().filter(|(name, time)| before.get(name) != Some(time));
        changed.map(|(name, _)| name).collect()
    }

    fn change(&self, config: &str, from: &str, to: &str) {
        let file = self.configs.join(config);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{config} has no {from}");
        fs::write(&file, text.replace(from, to)).unwrap();
    }

    fn table(&self) -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(self.out().join("table1.json")).unwrap()).unwrap()
    }
}

#[test]
fn all_rows_come_out_are_kept_and_are_redone_where_something_changed() {
    let study = Study::new();
    let plan = success(&study.words(&["--dry-run"]));
    let plan = String::from_utf8(plan.stdout).unwrap();
    assert!(plan.contains("# train/sbg-seed-42: to run\n"), "{plan}");
    assert!(!study.out().exists(), "a dry run writes nothing");

    let output = success(&study.words(&["--seeds", "2", "--jobs", "2"]));
    let printed = String::from_utf8(output.stdout).unwrap();
    let rows = study.table()["rows"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 7);
    for row in &rows {
        let cell = &row["cells"][0];
        let (mean, published) =
            (cell["mean"].as_f64().unwrap(), cell["published"].as_f64().unwrap());
        assert!((cell["difference"].as_f64().unwrap() - (mean - published)).abs() < 1e-12, "{row}");
        assert!(cell["deviation"].is_f64(), "{row}");
        assert_eq!(row["seeds"], serde_json::json!([42, 43]));
        // What is in the table is what the runs have.
        let config = if row["row"].as_str().unwrap().starts_with("sbg") {
            "sbg"
        } else {
            row["row"].as_str().unwrap()
        };
        let folder = match row["row"].as_str().unwrap().strip_prefix("sbg-") {
            Some(k) => format!("test-best-of-{k}"),
            None => "test".to_owned(),
        };
        let scores = [42, 43].map(|seed| {
            let run = study
                .out()
                .join(format!("runs/{config}-seed-{seed}/evaluation/{folder}/scores.json"));
            let scores: serde_json::Value =
                serde_json::from_str(&fs::read_to_string(run).unwrap()).unwrap();
            scores["corpus"]["BLEU-1"].as_f64().unwrap()
        });
        assert!((mean - f64::midpoint(scores[0], scores[1])).abs() < 1e-12, "{row}");
        assert!(printed.contains(&format!("| {} | {mean:.3} ± ", row["title"].as_str().unwrap())));
    }
    let page = fs::read_to_string(study.out().join("table1.html")).unwrap();
    assert!(page.contains("SBG, top-5") && page.contains("data:image/jpeg;base64"));

    let error = failure(&study.words(&["--seeds", "2"]));
    assert!(error.contains("--resume"), "{error}");
    assert!(study.redone(&["--seeds", "2"]).is_empty(), "all is kept");
    study.change("sbg.toml", "learning_rate = 1e-3", "learning_rate = 2e-3");
    let redone = study.redone(&["--seeds", "2"]);
    assert_eq!(
        redone,
        ["evaluate.sbg-seed-42", "evaluate.sbg-seed-43", "train.sbg-seed-42", "train.sbg-seed-43"]
    );
    study.change("recipe.toml", "synonyms = \"wordnet\"", "synonyms = \"none\"");
    let redone = study.redone(&["--seeds", "2", "--rows", "sbg-5,merge-rnn"]);
    assert!(
        redone.iter().all(|name| name.starts_with("keywords") || name.contains("sbg")),
        "{redone:?}"
    );
    assert_eq!(redone.len(), 6, "{redone:?}");
}

#[test]
fn controls_and_a_baseline_stand_beside_the_rows() {
    let study = Study::new();
    let about =
        "dataset = \"demo\"\nabout = \"Drawn pictures.\"\ncontrols = true\nneighbours = 5\n";
    study.change("recipe.toml", "dataset = \"demo/pictures\"", about);
    study.change("recipe.toml", "gpt2 = \"gpt2\"", "gpt2 = \"pretrained-on-captions\"");
    let pretrain =
        "[pretrain.gpt2]\nvocab_size = 300\nhidden_size = 32\nlayers = 1\nsteps = 3\n[keywords]";
    study.change("recipe.toml", "[keywords]", pretrain);
    let rows = ["--rows", "prefix-original,prefix-gradient-clipping,sbg-5"];
    let printed = String::from_utf8(success(&study.words(&rows)).stdout).unwrap();
    assert!(printed.contains("Drawn pictures.") && !printed.contains("published"), "{printed}");

    let table = study.table();
    let names: Vec<&str> =
        table["rows"].as_array().unwrap().iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "prefix-original",
            "prefix-original-control",
            "prefix-gradient-clipping",
            "prefix-gradient-clipping-control",
            "sbg-5",
            "sbg-5-control",
            "neighbours"
        ]
    );
    let score = |row: usize| table["rows"][row]["cells"][0]["mean"].as_f64().unwrap();
    let run = study.out().join("runs/prefix-original-seed-42/evaluation");
    for (row, folder) in [(0, "test"), (1, "test-shuffled")] {
        let file = fs::read_to_string(run.join(folder).join("scores.json")).unwrap();
        let scores: serde_json::Value = serde_json::from_str(&file).unwrap();
        assert!((score(row) - scores["corpus"]["BLEU-1"].as_f64().unwrap()).abs() < 1e-12);
    }
    assert!(table["rows"][0]["cells"][0]["published"].is_null());
    let pairs: Vec<[&str; 2]> = table["comparisons"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| [pair["a"].as_str().unwrap(), pair["b"].as_str().unwrap()])
        .collect();
    assert_eq!(
        pairs,
        [
            ["CLIP-prefix (Original)", "CLIP-prefix, gradient clipping"],
            ["CLIP-prefix, gradient clipping", "SBG, top-5"],
            ["SBG, top-5", "Consensus of neighbours"],
        ]
    );
    let page = fs::read_to_string(study.out().join("table1.html")).unwrap();
    assert!(page.contains("Drawn pictures.") && page.contains("Consensus of neighbours"));
    assert!(page.contains("SBG, one caption") && page.contains("SBG, top-5"), "all rows are there");
    assert!(page.contains("drawn pictures, not Flickr8k") && !page.contains("paper 0."), "{page}");
    assert!(page.contains("capsmith serve --run"), "the next step");
    assert!(study.redone(&rows).is_empty(), "all is kept");
}

#[test]
fn what_a_study_kept_is_checked_and_made_again_where_it_has_changed() {
    let study = Study::new();
    let rows = ["--rows", "prefix-original"];
    success(&study.words(&rows));
    let table = fs::read_to_string(study.out().join("table1.csv")).unwrap();
    let first = study.records();
    success(&study.words(&[&rows[..], &["--rerun"]].concat()));
    let second = study.records();
    assert!(first.iter().all(|(stage, time)| second[stage] != *time), "{first:?} {second:?}");
    assert_eq!(fs::read_to_string(study.out().join("table1.csv")).unwrap(), table);
    let run = study.out().join("runs/prefix-original-seed-42");
    let again = |what: &str, file: &str, stages: &[&str]| {
        let before = study.records();
        let output = success(&study.words(&[&rows[..], &["--resume"]].concat()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("runs again") && said.contains(file), "{what}: {said}");
        let after = study.records();
        let changed: Vec<&String> = after
            .iter()
            .filter(|(name, time)| before.get(*name) != Some(*time))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(changed, stages, "{what}");
        assert_eq!(fs::read_to_string(study.out().join("table1.csv")).unwrap(), table, "{what}");
    };
    let [train, evaluate] = ["train.prefix-original-seed-42", "evaluate.prefix-original-seed-42"];

    let scores = run.join("evaluation/test/scores.json");
    let text = fs::read_to_string(&scores).unwrap();
    let edited = text.replacen("\"BLEU-1\": 0.", "\"BLEU-1\": 0.9", 1);
    assert_ne!(edited, text);
    fs::write(&scores, edited).unwrap();
    again("another score", "scores.json", &[evaluate]);
    assert_eq!(fs::read_to_string(&scores).unwrap(), text);

    fs::remove_dir_all(run.join("checkpoints")).unwrap();
    again("no checkpoints", "checkpoints", &[train]);
    flip(&super::stage::newest_checkpoint(&run).join("model.safetensors"));
    again("damaged weights", "model.safetensors", &[train]);
    flip(&run.join("config.toml"));
    again("another configuration", "config.toml", &[evaluate, train]);
    flip(&study.out().join("embeddings.safetensors"));
    again("other embeddings", "embeddings.safetensors", &["embeddings"]);

    let record = study.out().join(format!("stages/{train}.json"));
    flip(&record);
    let error = failure(&study.words(&[&rows[..], &["--resume"]].concat()));
    assert!(error.contains(&record.display().to_string()) && error.contains("hint"), "{error}");
}

/// Copies a folder as `cp -r` does: with the time of now.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::write(&target, fs::read(entry.path()).unwrap()).unwrap();
        }
    }
}

#[test]
fn a_copied_study_redoes_nothing_and_a_changed_picture_is_named_and_moves_outputs_aside() {
    let folder = tempfile::tempdir().unwrap();
    // Data and weights are in the study's folder, as in the demo's.
    let [study, copied] = ["study", "copied"].map(|name| folder.path().join(name));
    let pictures = Stage::get().pictures();
    copy(Path::new(&pictures), &study.join("pictures"));
    for model in ["clip", "gpt2"] {
        copy(&Path::new(&pictures).with_file_name(model), &study.join(model));
    }
    let configs = configs(folder.path()).display().to_string();
    let words = |study: &Path, more: &[&str]| {
        let text = |name: &str| study.join(name).display().to_string();
        let (dataset, weights) = (text("pictures"), study.display().to_string());
        let start = ["reproduce", "table1", "--configs", &configs, "--rows", "prefix-original"];
        let folders = ["--dataset", &dataset, "--weights", &weights, "-o", &weights];
        [&start[..], &folders, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    success(&words(&study, &[]));
    copy(&study, &copied);
    // Nothing of the copy reads the original.
    fs::rename(&study, folder.path().join("gone")).unwrap();
    let resumed = |more: &[&str]| {
        let output = success(&words(&copied, &[&["--resume"], more].concat()));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (plan, _) = resumed(&["--dry-run"]);
    assert_eq!(plan.matches(": finished").count(), 3, "{plan}");
    let (_, said) = resumed(&[]);
    assert_eq!(said.matches("already finished").count(), 3, "{said}");
    let run = copied.join("runs/prefix-original-seed-42");
    let official = fs::read(run.join("evaluation/test/scores.json")).unwrap();
    success(&["evaluate", &run.display().to_string()]);
    assert_eq!(fs::read(run.join("evaluation/test/scores.json")).unwrap(), official);

    let images = fs::read_dir(copied.join("pictures/Images")).unwrap();
    let mut images: Vec<PathBuf> = images.map(|entry| entry.unwrap().path()).collect();
    images.sort();
    fs::copy(&images[1], &images[0]).unwrap();
    let changed = images[0].display().to_string();
    let (plan, _) = resumed(&["--dry-run"]);
    assert!(plan.contains(&format!("to run again, changed inputs: {changed}")), "{plan}");
    assert!(!copied.join("embeddings.safetensors.previous").exists());
    let (_, said) = resumed(&[]);
    assert!(said.contains(&format!("running again, changed inputs: {changed}")), "{said}");
    assert!(copied.join("embeddings.safetensors.previous").is_file());
    let previous = copied.join("runs/prefix-original-seed-42.previous");
    assert_eq!(fs::read(previous.join("evaluation/test/scores.json")).unwrap(), official);
}

#[test]
fn a_dry_run_needs_no_device() {
    let study = Study::new();
    let output = success(&study.words(&["--device", "cuda:127", "--dry-run"]));
    let plan = String::from_utf8(output.stdout).unwrap();
    assert!(plan.contains("--device cuda:127"), "{plan}");
}

/// Otherwise a finished stage that read a fetched model would be shown as one to run again.
#[test]
fn a_dry_run_names_fetched_models_by_their_folders() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (out, pictures) = (path("study"), Stage::get().pictures());
    let words = ["reproduce", "table1", "--configs", "real", "--rows", "merge-rnn", "--dry-run"];
    let words = [&words[..], &["--dataset", &pictures, "--out", &out]].concat();
    let plan = || {
        let output = capsmith(&words).env("CAPSMITH_DATA", path("data")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(plan().contains(" --sentence-model all-MiniLM-L6-v2 "), "{}", plan());

    let model = folder.path().join("data/models/all-MiniLM-L6-v2");
    fs::create_dir_all(model.join("1_Pooling")).unwrap();
    for file in [
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ] {
        fs::write(model.join(file), "").unwrap();
    }
    assert!(plan().contains(&format!(" --sentence-model {} ", model.display())), "{}", plan());
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_row_that_fails_does_not_stop_the_others() {
    let study = Study::new();
    // More than GPT-2's 128 positions.
    study.change("sbg.toml", "block_size = 64", "block_size = 4000");
    let error = failure(&study.words(&["--rows", "sbg-1,prefix-original"]));
    assert!(error.contains("some rows could not be scored: sbg-1"), "{error}");
    let rows = study.table()["rows"].as_array().unwrap().clone();
    assert_eq!(
        (rows[0]["row"].as_str(), rows[1]["row"].as_str()),
        (Some("prefix-original"), Some("sbg-1"))
    );
    assert!(rows[0]["cells"][0]["mean"].is_f64() && rows[1]["cells"][0]["mean"].is_null());
    let failure = rows[1]["failures"][0].as_str().unwrap();
    assert!(failure.contains("train/sbg-seed-42") && failure.contains("4000"), "{failure}");
    assert!(fs::read_to_string(study.out().join("table1.md")).unwrap().contains("4000"));
}

#[test]
fn a_killed_study_ends_its_stages_and_resumes_to_the_same_scores() {
    let (whole, cut) = (Study::new(), Study::new());
    for study in [&whole, &cut] {
        study.change("prefix-original.toml", "epochs = 1", "epochs = 20");
    }
    let rows = ["--rows", "prefix-original"];
    success(&whole.words(&rows));
    let run = cut.out().join("runs/prefix-original-seed-42");
    let mut child =
        capsmith(&cut.words(&rows)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_while_running(&mut child, "a checkpoint", || run.join("checkpoints").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    success(&cut.words(&[&rows[..], &["--resume"]].concat()));
    let record =
        fs::read_to_string(cut.out().join("stages/train.prefix-original-seed-42.json")).unwrap();
    assert!(record.contains("--resume"), "{record}");
    assert_eq!(whole.table()["rows"], cut.table()["rows"]);
}

#[test]
fn unknown_names_are_refused_with_the_known_ones() {
    let study = Study::new();
    let output = capsmith(&study.words(&["--rows", "sbg-3"])).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("prefix-gradient-clipping"), "{said}");
    let error = failure(&["reproduce", "table1", "--configs", "nowhere", "--dry-run"]);
    assert!(error.contains("nowhere/recipe.toml") && error.contains("flickr8k"), "{error}");
}
