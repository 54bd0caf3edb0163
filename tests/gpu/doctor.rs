//! `capsmith doctor` on the pretend GPU.

use super::device::{PretendGpu, Ran};
use crate::cli::doctor::{assert_is_well, doctor, lines, read};

#[test]
fn gpu_doctor_finds_all_well_until_memory_runs_out() {
    let Some(gpu) = PretendGpu::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let examined = |gpu: &PretendGpu| {
        let mut command = doctor("cuda:0", folder.path());
        gpu.lend(&mut command, folder.path());
        Ran::read(command.output().unwrap(), folder.path())
    };
    let ran = examined(&gpu);
    assert_is_well(&ran.output, folder.path());
    ran.check();
    // TF32 is checked here.
    let checks = read(folder.path()).0["checks"].as_array().unwrap().clone();
    let skipped = checks.iter().filter(|check| check["outcome"] == "skipped");
    assert!(skipped.clone().all(|check| check["group"] == "environment"), "{skipped:?}");

    let ran = examined(&gpu.with("MEMORY", &1_000_000));
    let shown = ran.printed();
    assert_eq!(ran.output.status.code(), Some(1), "{shown}");
    assert!(lines(&shown, "FAIL").iter().any(|line| line.contains("out of memory")), "{shown}");
    assert!(!shown.contains("frame #") && !shown.contains("unwrap"), "{shown}");
}
