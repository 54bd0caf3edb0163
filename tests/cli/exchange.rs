//! Import from and export to files of Python programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::stage::{self, Stage, config, failure, success};

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Makes a CLIP of 16 values, as the fixtures have, and its embeddings of the drawn set.
fn clip_and_embeddings(folder: &Path) -> (String, String) {
    let clip = folder.join("clip").display().to_string();
    let embeddings = folder.join("e.safetensors").display().to_string();
    stage::init_clip(&clip, "16");
    let pictures = Stage::get().pictures();
    success(&["precompute", "--dataset", &pictures, "--clip", &clip, "--out", &embeddings]);
    (clip, embeddings)
}

/// A config on the demo's, with the drawn set and these embeddings.
fn config_for(folder: &Path, embeddings: &str) -> String {
    let (base, pictures) = (config(), Stage::get().pictures());
    let text = format!(
        "base = {base:?}\n[data]\ndataset = {pictures:?}\nembeddings = {embeddings:?}\n\
         test_captions = 50\n"
    );
    let path = folder.join("config.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_checkpoint_of_pythons_captions_is_scored_and_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (clip, embeddings) = clip_and_embeddings(folder.path());
    let (run, config) = (place("run"), config_for(folder.path(), &embeddings));
    let (file, tokenizer) = (fixture("import/mlp.pt"), fixture("import/tokenizer"));
    let words = ["import", &file, "--out", &run, "--config", &config, "--tokenizer", &tokenizer];
    let error = failure(&words);
    assert!(error.contains("--heads") && !Path::new(&run).exists(), "{error}");
    let output = success(&[&words[..], &["--heads", "4"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("MLP from 16 values to 3 prefix vectors"), "{said}");
    let record = fs::read_to_string(Path::new(&run).join("run.json")).unwrap();
    assert!(!record.contains("unfinished"), "{record}");

    let picture = fs::read_dir(format!("{}/Images", Stage::get().pictures())).unwrap();
    let picture = picture.map(|entry| entry.unwrap().path().display().to_string()).next().unwrap();
    let error = failure(&["caption", "--run", &run, &picture]);
    assert!(error.contains("--clip"), "{error}");
    let error = failure(&["caption", "--run", &run, &picture, "--clip", &Stage::get().clip()]);
    assert!(error.contains("24") && error.contains("16"), "{error}");
    let line = success(&["caption", "--run", &run, &picture, "--clip", &clip]);
    assert!(String::from_utf8_lossy(&line.stdout).starts_with(&format!("{picture}\t")));
    let scores = success(&["evaluate", "--run", &run]);
    assert!(String::from_utf8_lossy(&scores.stdout).contains("BLEU-4"));

    for (format, name, made) in [
        ("huggingface", "gpt2", "gpt2/config.json"),
        ("clipcap", "all.safetensors", "all.safetensors"),
    ] {
        let out = place(name);
        let words = ["export", "--run", &run, "--format", format, "--out", &out];
        success(&words);
        assert!(folder.path().join(made).is_file());
        assert!(failure(&words).contains("exists"));
    }

    let (exported, again) = (place("all.safetensors"), place("again"));
    let words =
        ["import", &exported, "--out", &again, "--config", &config, "--tokenizer", &tokenizer];
    // The exported file tells its heads.
    success(&words);
    let same = success(&["caption", "--run", &again, &picture, "--clip", &clip]);
    assert_eq!(same.stdout, line.stdout);
}

#[test]
fn embeddings_go_out_as_a_pickle_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let stage = Stage::get();
    let (pictures, embeddings) = (stage.pictures(), stage.embeddings());
    let (pickle, again) = (place("e.pkl"), place("again.safetensors"));
    success(&["export", "--embeddings", &embeddings, "--dataset", &pictures, "--out", &pickle]);
    success(&["import", &pickle, "--dataset", &pictures, "--out", &again]);
    let rows = |path: &str| {
        let bytes = fs::read(path).unwrap();
        // They come first behind the header, and what identifies their pictures behind them.
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..][..60 * 24 * 4].to_vec()
    };
    assert!(rows(&embeddings) == rows(&again), "60 rows of 24 values, the same bits");
    let run = folder.path().join("run");
    success(&stage.train(
        &run,
        &["--set", "training.epochs=1", "--set", &format!("data.embeddings={again}")],
    ));
}

/// Writes the features of docs/usage.md's script; false where pip cannot bring numpy and Pillow.
fn write_thumbnails(folder: &Path, out: &str) -> bool {
    let usage = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/usage.md")).unwrap();
    let (_, script) = usage.split_once("```python\n").unwrap();
    let script_file = folder.join("features.py");
    fs::write(&script_file, script.split_once("```").unwrap().0).unwrap();
    let python = test_support::python_with(&folder.join("venv"), &["numpy", "pillow"]);
    let Some(python) = python else { return false };
    let pictures = format!("{}/Images", Stage::get().pictures());
    let written =
        test_support::output(Command::new(python).arg(script_file).args([&pictures, out]));
    assert!(written.is_ok(), "{written:?}");
    true
}

#[test]
fn features_of_a_python_script_train_a_run_that_is_evaluated_but_needs_its_encoder_to_caption() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let stage = Stage::get();
    let (pictures, features) = (stage.pictures(), place("thumbnails.npz"));
    if !write_thumbnails(folder.path(), &features) {
        return;
    }
    let import = |file: &str, encoder: &str, out: &str| {
        let to = ["--dataset", &pictures, "--encoder", encoder, "--out", out];
        let output = success(&[&["import-features", file][..], &to].concat());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let to = ["--dataset", &pictures, "--encoder", "thumbnails", "--out", &place("copy.NPZ")];
    let error = failure(&[&["import-features", &features][..], &to].concat());
    assert!(error.contains("end the name in .safetensors"), "{error}");
    let embeddings = place("thumbnails.safetensors");
    let said = import(&features, "thumbnails", &embeddings);
    assert!(said.contains("60 embeddings of 192 values, 0 pictures without one"), "{said}");

    let run = folder.path().join("run");
    let with = |embeddings: &str| format!("data.embeddings={embeddings}");
    let train = stage.train(&run, &["--set", &with(&embeddings), "--set", "training.epochs=1"]);
    success(&train);
    let run = run.display().to_string();
    let scores = success(&["evaluate", "--run", &run]);
    assert!(String::from_utf8_lossy(&scores.stdout).contains("BLEU-4"));
    let html = place("report.html");
    success(&["report", &run, "--out", &html]);
    let picture = fs::read_dir(format!("{pictures}/Images")).unwrap().next().unwrap().unwrap();
    let picture = picture.path().display().to_string();
    let clip = stage.clip();
    for words in [
        &["caption", "--run", &run, &picture][..],
        &["caption", "--run", &run, "--clip", &clip, &picture],
        &["serve", "--run", &run, "--address", "127.0.0.1:0"],
    ] {
        let error = failure(words);
        assert!(error.contains("thumbnails") && error.contains("not known to capsmith"), "{error}");
        assert!(error.contains("hint: `capsmith evaluate`"), "{error}");
    }

    // The same values under another name are of another encoder.
    let other = place("other.safetensors");
    import(&features, "other", &other);
    let error = failure(&["evaluate", "--run", &run, "--set", &with(&other)]);
    assert!(error.contains("encoder: thumbnails there, other here"), "{error}");

    let (exported, again) = (place("again.npy"), place("again.safetensors"));
    success(&["export-features", &embeddings, "--out", &exported]);
    let names = ["--names", &place("again.txt"), "--dataset", &pictures, "--encoder", "thumbnails"];
    success(&[&["import-features", &exported, "--out", &again][..], &names].concat());
    let rows = |path: &str| {
        let bytes = fs::read(path).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        bytes[8 + header..].to_vec()
    };
    assert!(rows(&embeddings) == rows(&again), "60 rows of 192 values, the same bits");
}

#[test]
fn a_hostile_file_and_a_wrong_tokenizer_leave_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run").display().to_string();
    let evil = fixture("torch_files/hostile/os_system_2.pkl");
    let tokenizer = fixture("import/tokenizer");
    let error = failure(&["import", &evil, "--out", &run, "--tokenizer", &tokenizer]);
    assert!(error.contains("os_system_2.pkl") && error.contains("posix.system"), "{error}");
    let (file, larger) = (fixture("import/mlp.pt"), Stage::get().gpt2());
    let error = failure(&["import", &file, "--out", &run, "--heads", "4", "--tokenizer", &larger]);
    assert!(error.contains(&larger) && error.contains("257"), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
