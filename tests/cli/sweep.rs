//! Sweeps: ranked, failing, killed, and shared by several processes.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::damage::flip;
use super::stage::{Stage, capsmith, config, failure, files, success, wait_while_running};

/// Writes the file of a sweep on the shared data set.
fn file(folder: &Path, stage: &Stage, head: &str, space: &str) -> PathBuf {
    let path = folder.join("sweep.toml");
    let text = format!(
        "base = {:?}\nsplit = \"validation\"\n{head}\n[fixed]\ndata.dataset = {:?}\n\
         data.embeddings = {:?}\ngpt2.model = {:?}\ndata.test_captions = 50\n\
         data.validation_captions = 50\ntraining.epochs = 2\ntraining.batch_size = 10\n\
         training.threads = 1\ntraining.scored_pictures = 0\noptimizer.warmup_steps = 5\n\
         [space]\n{space}\n",
        config(),
        stage.pictures(),
        stage.embeddings(),
        stage.gpt2(),
    );
    std::fs::write(&path, text).unwrap();
    path
}

fn words(file: &Path, out: &Path, more: &[&str]) -> Vec<String> {
    let start = ["sweep".to_owned(), file.display().to_string(), "--out".to_owned()];
    let more = more.iter().map(ToString::to_string);
    start.into_iter().chain([out.display().to_string()]).chain(more).collect()
}

fn results(out: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(out.join("sweep.json")).unwrap()).unwrap()
}

/// Returns the number of trials that have a score.
fn scored(results: &serde_json::Value) -> usize {
    results["trials"].as_array().unwrap().iter().filter(|trial| !trial["mean"].is_null()).count()
}

fn best_first(results: &serde_json::Value) -> Vec<u64> {
    let trials = results["trials"].as_array().unwrap();
    trials.iter().map(|trial| trial["trial"].as_u64().unwrap()).collect()
}

#[test]
fn a_grid_is_ranked_and_a_failed_trial_does_not_stop_the_others() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let head = "metric = \"validation-loss\"\ndirection = \"minimize\"\nseeds = [1, 2]\n\
                [search]\nkind = \"grid\"";
    let space = "optimizer.learning_rate = [1e9, 1e-5, 1e-3]";
    let file = file(folder.path(), stage, head, space);
    let error = failure(&words(&file, &out, &["--jobs", "2"]));
    assert!(error.contains("1 of 3 trials failed: 0"), "{error}");

    let found = results(&out);
    assert_eq!(best_first(&found), [2, 1, 0], "a rate of 1e-3 learns more than 1e-5 in two epochs");
    assert_eq!(found["complete"], true);
    let best = &found["trials"][0];
    let losses = best["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["rungs"][0]["values"]["validation-loss"].as_f64().unwrap());
    let losses: Vec<f64> = losses.collect();
    assert!((best["mean"].as_f64().unwrap() - f64::midpoint(losses[0], losses[1])).abs() < 1e-12);
    let error = found["trials"][2]["error"].as_str().unwrap();
    assert!(error.contains("optimizer.learning_rate"), "{error}");
    let lines = std::fs::read_to_string(out.join("trials.csv")).unwrap();
    assert!(
        lines.starts_with("trial,optimizer.learning_rate,rung,epochs,validation-loss,"),
        "{lines}"
    );
    let page = std::fs::read_to_string(out.join("index.html")).unwrap();
    assert!(page.contains("Failed trials") && page.contains("<polyline"), "{page}");
    assert!(page.contains("2 of 3 trials scored, 1 failed; 4 of 6 runs (2 seeds each)"), "{page}");
    let command = format!("capsmith train {}", out.display());
    assert!(page.contains(&command), "the command that uses a trial's values");
    assert_eq!(std::fs::read_dir(out.join("tensorboard")).unwrap().count(), 1 + 6);

    // Finished trials are kept, and a folder is reused only with --resume.
    assert!(failure(&words(&file, &out, &[])).contains("--resume"));
    let site = folder.path().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "mine").unwrap();
    assert!(failure(&words(&file, &site, &[])).contains("such as index.html"));
    let log = out.join("logs/002.seed-1.train.log");
    let before = std::fs::read(&log).unwrap();
    failure(&words(&file, &out, &["--resume"]));
    assert_eq!(std::fs::read(&log).unwrap(), before);
    assert_eq!(best_first(&results(&out)), [2, 1, 0]);
}

#[test]
fn halving_that_is_killed_or_shared_by_two_ends_as_an_uninterrupted_one() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let head = "metric = \"BLEU-1\"\ndirection = \"maximize\"\nseeds = [1]\n[search]\n\
                kind = \"successive-halving\"\ntrials = 4\nseed = 5\neta = 2\nmin_epochs = 1";
    let space = "optimizer.learning_rate = { log-uniform = [1e-5, 1e-2] }";
    let file = file(folder.path(), stage, head, space);
    let whole = folder.path().join("whole");
    let mut child = capsmith(&words(&file, &whole, &["--jobs", "2"]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Results of the first trials are there while the others run.
    wait_while_running(&mut child, "a result", || {
        whole.join("sweep.json").exists() && (1..4).contains(&scored(&results(&whole)))
    });
    assert!(child.wait().unwrap().success());
    let found = results(&whole);
    let rungs: Vec<u64> = found["trials"]
        .as_array()
        .unwrap()
        .iter()
        .map(|trial| trial["rung"].as_u64().unwrap())
        .collect();
    assert_eq!(rungs, [1, 1, 0, 0], "the best two of four continue");

    let cut = folder.path().join("cut");
    // Killed once the next of these files appears: early and late in a stage.
    for sign in [".log", "metrics.csv", "state.json", "scores.json"] {
        let before = files(&cut);
        let mut child = capsmith(&words(&file, &cut, &["--jobs", "2", "--resume"]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_while_running(&mut child, sign, || {
            let is_new = |file: &PathBuf| !before.contains_key(file);
            files(&cut)
                .keys()
                .any(|file| is_new(file) && file.display().to_string().ends_with(sign))
        });
        child.kill().unwrap();
        child.wait().unwrap();
    }
    success(&words(&file, &cut, &["--resume"]));
    assert_eq!(results(&cut), found);

    // A damaged score is measured again if the run has not been trained on.
    let run = cut.join("trials/001/seed-1");
    let scores = |epoch: u64| run.join(format!("evaluation/validation-epoch-{epoch}/scores.json"));
    flip(&scores(2));
    let said = success(&words(&file, &cut, &["--resume"])).stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("runs again") && said.contains("scores.json"), "{said}");
    assert_eq!(results(&cut), found);
    flip(&scores(1));
    let error = failure(&words(&file, &cut, &["--resume"]));
    assert!(error.contains("scores.json") && error.contains("trained further since"), "{error}");
    std::fs::remove_dir_all(&run).unwrap();
    success(&words(&file, &cut, &["--resume"]));
    assert_eq!(results(&cut), found);

    let shared = folder.path().join("shared");
    let start = |task: &str| {
        capsmith(&words(&file, &shared, &["--task", task]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut tasks = [start("0/2"), start("1/2")];
    assert!(tasks.iter_mut().all(|task| task.wait().unwrap().success()));
    // A task that found the other one missing ends early; this finishes the rest.
    success(&words(&file, &shared, &["--resume"]));
    assert_eq!(results(&shared), found);
    for entry in std::fs::read_dir(shared.join("logs")).unwrap() {
        let log = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert_eq!(log.matches("$ capsmith").count(), 1, "run twice: {log}");
    }
}

#[test]
fn a_sweep_that_cannot_run_is_refused_before_it_starts() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let head =
        "metric = \"CIDEr\"\ndirection = \"maximize\"\nseeds = [1]\n[search]\nkind = \"grid\"";
    let good = "optimizer.beta1 = [0.9]";
    let path = file(folder.path(), stage, head, "optimizer.beta = [0.9]");
    let error = failure(&words(&path, &out, &[]));
    assert!(
        error.contains("sweep.toml") && error.contains("did you mean `optimizer.beta"),
        "{error}"
    );
    let path = file(folder.path(), stage, head, good);
    let text = std::fs::read_to_string(&path).unwrap().replace("embeddings.safetensors", "none.st");
    std::fs::write(&path, text).unwrap();
    let error = failure(&words(&path, &out, &[]));
    assert!(error.contains("none.st does not exist") && error.contains("clip ="), "{error}");
    assert!(failure(&words(&path, &out, &["--device", "cpu,gpu"])).contains("gpu"));

    let path = file(folder.path(), stage, head, good);
    let script = success(&["sweep", "slurm", &path.display().to_string(), "--tasks", "3"]);
    let script = String::from_utf8(script.stdout).unwrap();
    assert!(
        script.contains("--array=0-2") && script.contains("$SLURM_ARRAY_TASK_ID/3"),
        "{script}"
    );
}
