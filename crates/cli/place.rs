//! A process among those of its job: its device and its share of the machine.

use launchers::Place;
use networks::device::{self, parse_device};
use tch::Device;

/// The device called `name` that is this process's own. One of several processes takes no more than its
/// share of the machine's cores.
pub fn device(name: &str, place: Place) -> anyhow::Result<Device> {
    if !place.is_alone() {
        device::set_threads(device::cpu_threads(launchers::processes_here()));
    }
    Ok(parse_device(&place.device_name(name))?)
}
