//! `capsmith reproduce` on two devices: the processor's table.

use super::device::{PretendGpu, on_processor};
use crate::cli::reproduce::Study;

#[test]
fn gpu_reproduce_on_two_devices_gives_the_processors_table() {
    let Some(gpu) = PretendGpu::find() else { return };
    let (here, there) = (Study::new(), Study::new());
    on_processor(&here.words(&["--device", "cpu"]));
    let devices = ["--device", "cuda:0,cuda:1", "--jobs", "2"];
    gpu.with("DEVICES", &2).success(&there.words(&devices));
    let table = |study: &Study| std::fs::read_to_string(study.out().join("table1.csv")).unwrap();
    assert_eq!(table(&there), table(&here));
    // Both devices were used.
    let records = std::fs::read_dir(there.out().join("stages")).unwrap();
    let records: String =
        records.map(|record| std::fs::read_to_string(record.unwrap().path()).unwrap()).collect();
    assert!(records.contains("cuda:0") && records.contains("cuda:1"));
}
