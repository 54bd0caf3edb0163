//! Device and CPU threads of one process of a distributed job.

use launchers::ProcessRank;
use networks::device::{self, parse_device};
use tch::Device;

/// Returns this process's device for the device name `name`, and prepares the process for work.
///
/// It keeps freed memory, and one of several processes limits its CPU threads to its share of the
/// cores.
pub fn device(name: &str, process: ProcessRank) -> anyhow::Result<Device> {
    device::keep_freed_memory();
    if !process.is_single() {
        device::set_threads(device::cpu_threads(launchers::local_world_size()));
    }
    Ok(parse_device(&process.device_name(name))?)
}
