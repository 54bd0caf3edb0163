//! A process among those of its job: its device and its share of the machine.

use launchers::ProcessRank;
use networks::device::{self, parse_device};
use tch::Device;

/// The device called `name` that is this process's own. One of several processes takes no more than its
/// share of the machine's cores.
pub fn device(name: &str, process: ProcessRank) -> anyhow::Result<Device> {
    if !process.is_single() {
        device::set_threads(device::cpu_threads(launchers::local_world_size()));
    }
    Ok(parse_device(&process.device_name(name))?)
}
