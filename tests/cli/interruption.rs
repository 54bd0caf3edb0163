//! Killed or stopped anywhere, a resumed command ends in the same bytes.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use test_support::wait_for;

use super::stage::{Stage, capsmith, files, newest_checkpoint, success, wait_while_running};

fn start(words: &[String]) -> Child {
    capsmith(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Starts the command again and again, and kills it at ever other moments until it ends by itself.
///
/// Each third kill falls anywhere into the start, the others at most `longest` after the command
/// has written below `output`. Returns the number of kills.
fn kill_until_done(
    words: &[String],
    first: &[String],
    kills: u32,
    output: &Path,
    longest: Duration,
) -> u32 {
    let mut killed = 0;
    for attempt in 0..kills {
        let before = files(output);
        let mut child = start(if attempt == 0 { first } else { words });
        // Parts of the pause that share no period with the program's own rhythm.
        let part = attempt * 37 % 23;
        if attempt % 3 == 0 {
            std::thread::sleep(Duration::from_millis(150) + Duration::from_millis(20) * part);
        } else {
            wait_for("something new to be written", || {
                files(output) != before || child.try_wait().unwrap().is_some()
            });
            std::thread::sleep(longest * part / 23);
        }
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        killed += 1;
    }
    success(words);
    killed
}

fn same_bytes(left: &Path, right: &Path) {
    assert!(
        std::fs::read(left).unwrap() == std::fs::read(right).unwrap(),
        "{} and {} differ",
        left.display(),
        right.display()
    );
}

#[test]
fn training_killed_at_random_moments_ends_in_the_same_bytes() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    // With a save at every step, a kill is likely to hit one.
    let every_step = ["--set", "training.checkpoint_every_steps=1", "--set", "training.epochs=32"];
    success(&stage.train(&whole, &every_step));
    let first = stage.train(&cut, &every_step);
    let again = stage.train(&cut, &[&every_step[..], &["--resume"]].concat());
    let checkpoints = cut.join("checkpoints");
    let killed = kill_until_done(&again, &first, 20, &checkpoints, Duration::from_millis(60));
    assert_eq!(killed, 20, "the run ended before it could be killed so often");

    let (whole, cut) = (newest_checkpoint(&whole), newest_checkpoint(&cut));
    assert_eq!(whole.file_name(), cut.file_name());
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        same_bytes(&whole.join(file), &cut.join(file));
    }
}

#[test]
fn a_run_stopped_by_ctrl_c_exits_130_and_resumes_to_the_same_bytes() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let longer = ["--set", "training.epochs=12"];
    success(&stage.train(&whole, &longer));
    let mut child = start(&stage.train(&cut, &longer));
    wait_while_running(&mut child, "a checkpoint", || cut.join("checkpoints").exists());
    let stopped = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    success(&stage.train(&cut, &[&longer[..], &["--resume"]].concat()));
    let file = "model.safetensors";
    same_bytes(&newest_checkpoint(&whole).join(file), &newest_checkpoint(&cut).join(file));
    same_bytes(
        &newest_checkpoint(&whole).join("optimizer.safetensors"),
        &newest_checkpoint(&cut).join("optimizer.safetensors"),
    );
}

#[test]
fn precompute_killed_at_random_moments_ends_in_the_same_bytes() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let words = |out: &Path| -> Vec<String> {
        [
            "precompute",
            "--batch-size",
            "2",
            "--dataset",
            &stage.pictures(),
            "--clip",
            &stage.clip(),
            "--out",
            &out.display().to_string(),
        ]
        .map(str::to_owned)
        .to_vec()
    };
    let (whole, cut) = (folder.path().join("whole.st"), folder.path().join("cut.st"));
    success(&words(&whole));
    let again = words(&cut);
    let partial = cut.with_extension("st.partial");
    let killed = kill_until_done(&again, &again, 8, &partial, Duration::from_millis(10));
    assert!(killed > 0, "the command ended before it could be killed");
    same_bytes(&whole, &cut);
}

#[test]
fn a_full_disk_ends_training_with_the_files_name_and_leaves_the_previous_checkpoint() {
    let stage = Stage::get();
    let folder = tempfile::tempdir().unwrap();
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let longer = ["--set", "training.epochs=4"];
    success(&stage.train(&whole, &longer));
    let mut child = start(&stage.train(&cut, &longer));
    let checkpoint = cut.join("checkpoints/step-000000025");
    wait_while_running(&mut child, "a checkpoint", || checkpoint.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let before = newest_checkpoint(&cut);

    // No file may grow beyond 64 KiB: a write fails as on a full disk, without a signal.
    let resumed = stage.train(&cut, &[&longer[..], &["--resume"]].concat());
    let output = std::process::Command::new("bash")
        .args(["-c", "ulimit -f 64; exec \"$@\"", "bash"])
        .arg(env!("CARGO_BIN_EXE_capsmith"))
        .args(&resumed)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("cannot write") && errors.contains("model.safetensors"), "{errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(newest_checkpoint(&cut), before);
    let left =
        std::fs::read_dir(cut.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = left.filter(|path| path.extension().is_some()).collect();
    assert!(left.is_empty(), "{left:?}");

    success(&resumed);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        same_bytes(&newest_checkpoint(&whole).join(file), &newest_checkpoint(&cut).join(file));
    }
}
