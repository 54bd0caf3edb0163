//! `capsmith doctor` on the processor, and without a GPU.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::stage::capsmith;

/// Examines a device without network, and writes to `folder`.
pub fn doctor(device: &str, folder: &Path) -> Command {
    let out = folder.display().to_string();
    let mut command = capsmith(&["doctor", "--device", device, "--out", &out]);
    command.env("HF_HUB_OFFLINE", "1").env_remove("LD_LIBRARY_PATH");
    command
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the lines that begin with `word`.
pub fn lines<'a>(shown: &'a str, word: &str) -> Vec<&'a str> {
    shown.lines().filter(|line| line.split_whitespace().next() == Some(word)).collect()
}

pub fn read(folder: &Path) -> (Value, String) {
    let json = std::fs::read(folder.join("doctor.json")).unwrap();
    let html = std::fs::read_to_string(folder.join("doctor.html")).unwrap();
    (serde_json::from_slice(&json).unwrap(), html)
}

pub fn assert_is_well(output: &Output, folder: &Path) {
    let (shown, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}\n{errors}");
    assert!(lines(&shown, "FAIL").is_empty(), "{shown}");
    assert!(!errors.to_lowercase().contains("warning"), "{errors}");
    let (report, html) = read(folder);
    assert_eq!(report["ok"], true);
    assert!(html.contains("0 failed") && html.contains("</html>"));
    let checks = report["checks"].as_array().unwrap();
    // What is computed is compared within its tolerance.
    let compared: Vec<f64> =
        checks.iter().filter_map(|check| check["tolerance"].as_f64()).collect();
    assert!(compared.len() >= 30, "only {} comparisons", compared.len());
    for check in checks.iter().filter(|check| check["tolerance"].is_f64()) {
        let of = |key: &str| check[key].as_f64().unwrap();
        assert!(of("difference") <= of("tolerance") && of("tolerance") < 0.5, "{check}");
    }
    let ok = |group: &str| {
        let of_group = checks.iter().filter(|check| check["group"] == group);
        of_group.filter(|check| check["outcome"] == "ok").count()
    };
    assert!(ok("networks") >= 25 && ok("training") >= 8 && ok("decoding") == 6, "{shown}");
}

#[test]
fn all_is_well_on_the_processor() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor("cpu", folder.path()).output().unwrap();
    assert_is_well(&output, folder.path());
    let shown = text(&output.stdout);
    // Nothing but TF32, and what the machine does not have, is skipped.
    let (report, _) = read(folder.path());
    for check in report["checks"].as_array().unwrap() {
        let may =
            check["group"] == "environment" || check["name"].as_str().unwrap().contains("TF32");
        assert!(check["outcome"] == "ok" || may && check["outcome"] == "skipped", "{check}");
    }
    assert!(
        shown.contains("2.11.0, from /") && shown.contains("resumed after 10 steps"),
        "{shown}"
    );
    // In half precision weights were rounded, and that was seen.
    let half = report["checks"].as_array().unwrap().iter().filter(|check| {
        ["bf16", "f16"].iter().any(|kind| check["name"].as_str().unwrap().ends_with(kind))
    });
    assert!(half.clone().count() >= 14);
    for check in half {
        assert!(check["difference"].as_f64().unwrap() > 1e-5, "{check}");
    }
}

#[test]
fn a_gpu_that_is_not_there_is_one_error_and_the_machine_is_described_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let output = doctor("cuda:127", folder.path()).output().unwrap();
    let (shown, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{shown}\n{errors}");
    assert_eq!(errors.matches("error: ").count(), 1, "{errors}");
    assert!(errors.contains("cuda:127") && errors.contains("hint: "), "{errors}");
    let failed = lines(&shown, "FAIL");
    assert!(matches!(failed[..], [line] if line.contains("device")), "{shown}");
    assert!(shown.contains("libtorch: 2.11.0") && shown.contains("processor: "), "{shown}");
    let (report, html) = read(folder.path());
    assert!(report["ok"] == false && html.contains("1 failed"));
}

#[test]
fn a_check_that_cannot_be_carried_out_fails() {
    // VGG and BART are written to the temporary folder, and checkpoints.
    let folder = tempfile::tempdir().unwrap();
    let output =
        doctor("cpu", folder.path()).env("TMPDIR", folder.path().join("none")).output().unwrap();
    let (shown, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{shown}\n{errors}");
    let failed = lines(&shown, "FAIL");
    assert!(failed.iter().any(|line| line.contains("VGG-16, f32")), "{shown}");
    assert!(failed.iter().any(|line| line.contains("resumed")), "{shown}");
    assert!(errors.contains(&format!("error: {} of ", failed.len())), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
}

#[test]
fn a_folder_that_cannot_be_written_to_and_a_device_that_there_never_is_are_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = doctor("cpu", &file.join("out")).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("file/out") && errors.contains("--out"), "{errors}");
    assert!(output.stdout.is_empty());
    let output = doctor("gpu", folder.path()).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cuda:N") && output.stdout.is_empty(), "{errors}");
}

/// Checks that a reader such as `head` costs neither the report nor the verdict.
#[test]
fn the_report_is_written_and_the_verdict_given_though_nobody_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = doctor("cuda:127", folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let (report, html) = read(folder.path());
    assert_eq!(report["ok"], false);
    assert!(html.contains("</html>"));
}
