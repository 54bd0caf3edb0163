//! GPUs as NVIDIA's driver lists them.

use libloading::os::unix::{Library, Symbol};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::machine::size;
use crate::finding::Verdict;

/// Driver version and GPUs.
#[derive(Debug, Default)]
pub(super) struct Driver {
    version: String,
    pub(super) gpus: Vec<Gpu>,
}

/// GPU of this machine.
#[derive(Debug)]
pub(super) struct Gpu {
    /// Driver's index, which `CUDA_VISIBLE_DEVICES` renumbers.
    pub(super) number: u32,
    pub(super) name: String,
    total: u64,
    free: u64,
    capability: String,
}

impl Gpu {
    pub(super) fn describe(&self) -> String {
        let Self { name, total, free, capability, .. } = self;
        let (total, free) = (size(*total), size(*free));
        format!("{name}, {total} of memory, {free} free, compute capability {capability}")
    }
}

/// Queries the driver through NVML, its management library.
pub(super) fn list() -> Result<Driver, String> {
    let nvml = Nvml::builder()
        .lib_path("libnvidia-ml.so.1".as_ref())
        .init()
        .map_err(|error| error.to_string())?;
    listed(&nvml).map_err(|error| error.to_string())
}

fn listed(nvml: &Nvml) -> Result<Driver, NvmlError> {
    let gpu = |number: u32| -> Result<Gpu, NvmlError> {
        let device = nvml.device_by_index(number)?;
        let memory = device.memory_info()?;
        let capability = device.cuda_compute_capability()?;
        Ok(Gpu {
            number,
            name: device.name()?,
            total: memory.total,
            free: memory.free,
            capability: format!("{}.{}", capability.major, capability.minor),
        })
    };
    Ok(Driver {
        version: nvml.sys_driver_version()?,
        gpus: (0..nvml.device_count()?).map(gpu).collect::<Result<_, _>>()?,
    })
}

/// Judges the result of [`list`]. A machine without a driver has no GPU, which is not a failure.
pub(super) fn driver(listed: Result<&Driver, &String>) -> Verdict {
    match listed {
        Ok(listed) => {
            let cuda = cuda_version().unwrap_or_else(|| "unknown".to_owned());
            let count = listed.gpus.len();
            Verdict::ok(format!("{}, for CUDA up to {cuda}; {count} GPU(s)", listed.version))
        }
        Err(reason) => Verdict::skipped(format!("none found: {reason}")),
    }
}

/// Returns the newest CUDA version that the driver supports.
fn cuda_version() -> Option<String> {
    // SAFETY: the driver's library; its initialisers do not touch this program's state.
    let library = unsafe { Library::new("libcuda.so.1") }.ok()?;
    // SAFETY: cuda.h declares CUresult cuDriverGetVersion(int*).
    let version: Symbol<unsafe extern "C" fn(*mut i32) -> i32> =
        unsafe { library.get(b"cuDriverGetVersion") }.ok()?;
    let mut number = 0;
    // SAFETY: writes one number, and may be called before the driver is initialised.
    let failure = unsafe { version(&raw mut number) };
    (failure == 0).then(|| format!("{}.{}", number / 1000, number % 1000 / 10))
}
