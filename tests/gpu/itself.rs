//! Self-test of the pretend GPU.

use std::process::Command;

use super::device::PretendGpu;

#[test]
fn gpu_itself_computes_what_the_processor_does_and_refuses_what_a_gpu_does() {
    let Some(gpu) = PretendGpu::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(gpu.program("selftest"));
    gpu.lend(&mut command, folder.path());
    let output = command.output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
}
