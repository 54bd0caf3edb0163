//! The run that a command works on, and the device that it defaults to.

use std::path::{Path, PathBuf};

use launchers::ProcessRank;
use networks::device::DeviceError;
use runs::RunFolder;
use tch::Device;

use crate::{process, terminal};

/// Run folder, by position or by the option of version 0.2.0 and before.
#[derive(clap::Args)]
#[group(id = "of_run")]
pub struct RunArg {
    /// Run folder that `capsmith train` wrote.
    #[arg(value_name = "RUN")]
    run: Option<PathBuf>,
    #[arg(long = "run", hide = true, value_name = "RUN", conflicts_with = "run")]
    run_option: Option<PathBuf>,
}

impl RunArg {
    /// Returns the path of the run, if one is named.
    pub fn path(&self) -> Option<&Path> {
        self.run.as_deref().or(self.run_option.as_deref())
    }
}

/// Returns the device called `name`, or without a name the one that the run was trained on.
///
/// If that is not on this machine, returns the CPU and says so.
pub fn device(name: Option<&str>, run: &RunFolder, process: ProcessRank) -> anyhow::Result<Device> {
    if let Some(name) = name {
        return process::device(name, process);
    }
    let trained_on = run.provenance()?.hardware().device;
    match process::device(&trained_on, process) {
        Err(error) if error.downcast_ref::<DeviceError>().is_some() => {
            terminal::say(&format!(
                "using the CPU: {trained_on}, on which the run was trained, is not available here"
            ));
            process::device("cpu", process)
        }
        device => device,
    }
}
