//! Kills and full disks, in child processes.
//!
//! A separate binary, because a starting process holds the locks of its parent for a moment.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use precompute::run;
use progress::Silent;

use test_support::wait_for;

use support::{BATCH, DataSet, PICTURES, Random, encode, run_plain, run_until};

#[path = "../precompute/support.rs"]
mod support;

/// Lock that runs one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn partial(output: &Path) -> PathBuf {
    output.with_extension("safetensors.partial")
}

/// Child process that the tests below start and kill; does nothing as a test.
#[test]
fn child() {
    let Some(folder) = std::env::var_os("PRECOMPUTE_TEST_FOLDER") else { return };
    let data = DataSet { folder: tempfile::tempdir().unwrap() };
    let folder = PathBuf::from(folder);
    let output = folder.join("out.safetensors");
    let mut plan = data.plan(&output);
    plan.find = Box::new(|_, name| folder.join(name).into());
    let slow = |pixels: &tch::Tensor| {
        std::thread::sleep(Duration::from_millis(5));
        encode(pixels)
    };
    if let Err(error) = run(&plan, slow, &mut Silent, &false.into()) {
        eprintln!("child: {error}");
        std::process::exit(3);
    }
}

fn child_of(data: &DataSet, mut command: Command) -> Command {
    command
        .args(["--exact", "child", "--nocapture"])
        .env("PRECOMPUTE_TEST_FOLDER", data.folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_bytes() {
    let _alone = ALONE.lock().unwrap();
    let data = DataSet::new();
    let expected = data.uninterrupted(false);
    let output = data.path("out.safetensors");
    let mut random = Random(3);
    let mut killed_midway = 0;
    for _ in 0..12 {
        let mut child = child_of(&data, Command::new(std::env::current_exe().unwrap()));
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        // The folder appears when libtorch is loaded; a run takes 60 ms from there.
        wait_for("the folder of pieces", || partial(&output).exists() || output.exists());
        std::thread::sleep(Duration::from_millis(random.below(90)));
        child.kill().unwrap();
        child.wait().unwrap();
        killed_midway += usize::from(!output.exists());
        let summary = run_plain(&data.plan(&output)).unwrap();
        assert_eq!(summary.encoded + summary.resumed, PICTURES);
        assert_eq!(fs::read(&output).unwrap(), expected);
        fs::remove_file(&output).unwrap();
        let left = fs::read_dir(data.folder.path()).unwrap().count();
        assert_eq!(left, PICTURES + 1, "only pictures and the uninterrupted run's file are left");
    }
    assert!(killed_midway > 0, "every child had finished before it was killed");
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_with_the_file_and_nothing_done_is_lost() {
    let _alone = ALONE.lock().unwrap();
    let data = DataSet::new();
    let expected = data.uninterrupted(false);
    let output = data.path("out.safetensors");
    // No file may grow beyond 1,536 bytes: two lines of the journal; SIGXFSZ would kill, so it is
    // ignored.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 3; exec \"$@\"", "sh"]);
    limited.arg(std::env::current_exe().unwrap());
    // `run.json` is longer than that, so it is written before.
    run_until(&data.plan(&output), 0).0.unwrap_err();
    let result = child_of(&data, limited).output().unwrap();
    let error = String::from_utf8(result.stderr).unwrap();
    assert_eq!(result.status.code(), Some(3), "{error}");
    assert!(error.contains("cannot write") && error.contains("out.safetensors.partial"), "{error}");
    assert!(error.contains("pictures done before are kept"), "{error}");
    assert!(!output.exists());
    let summary = run_plain(&data.plan(&output)).unwrap();
    assert!(summary.resumed >= BATCH, "{summary:?}");
    assert_eq!(fs::read(&output).unwrap(), expected);
}
