//! Checks of the machine and the installed software.

mod gpu;
mod machine;
mod resources;

use networks::device::{self, DeviceError};
use networks::libtorch;

use crate::Options;
use crate::error::CheckError;
use crate::examination::Examination;
use crate::finding::{Group, Verdict};

/// Runs all environment checks; returns the names of the driver's GPUs.
///
/// `missing` is the reason why the requested device is not available.
pub(crate) fn examine(
    examination: &mut Examination,
    options: &Options,
    missing: Option<&DeviceError>,
) -> Vec<String> {
    let mut check = |name: &str, work: &dyn Fn() -> Verdict| {
        examination.check(Group::Environment, name, || Ok::<_, CheckError>(work()));
    };
    check("libtorch", &libtorch);
    check("libtorch's CUDA", &cuda_library);
    let gpus = gpu::list();
    check("NVIDIA driver", &|| gpu::driver(gpus.as_ref()));
    let listed = gpus.unwrap_or_default();
    for gpu in &listed.gpus {
        check(&format!("GPU {}", gpu.number), &|| Verdict::ok(gpu.describe()));
    }
    check("device", &|| device(&options.device, missing));
    check("processor", &|| Verdict::ok(machine::processor()));
    check("memory", &machine::memory);
    check("disk of this folder", &|| machine::disk(&std::env::current_dir().unwrap_or_default()));
    check("METEOR", &resources::meteor);
    check("hub", &resources::hub);
    check("hub's cache", &resources::cache);
    listed.gpus.into_iter().map(|gpu| gpu.name).collect()
}

fn libtorch() -> Verdict {
    let configuration = match libtorch::configuration() {
        Ok(configuration) => configuration,
        Err(error) => return Verdict::failed(error.to_string()),
    };
    let built = |key: &str| {
        let (_, behind) = configuration.split_once(key)?;
        behind.split([',', '\n']).next().map(str::trim)
    };
    let version = built("TORCH_VERSION=").unwrap_or("of unknown version");
    let path = machine::loaded("libtorch_cpu").unwrap_or_else(|| "an unknown place".to_owned());
    let uses = built("CPU capability usage:").unwrap_or("unknown");
    Verdict::ok(format!("{version}, from {path}; uses {uses} of the processor"))
}

/// Judges whether libtorch's CUDA library is loaded; only GPUs need it.
fn cuda_library() -> Verdict {
    match device::parse_device("cuda:0") {
        Ok(_) | Err(DeviceError::NoSuchGpu { .. }) => {
            let path = machine::loaded("libtorch_cuda");
            let path = path.unwrap_or_else(|| "an unknown place".to_owned());
            Verdict::ok(format!("from {path}{}", cuda_versions()))
        }
        Err(DeviceError::NoCudaLibrary { reason, .. }) => Verdict::skipped(format!(
            "not loaded: {reason}"
        ))
        .with_hint("`cargo xtask setup --cuda` installs a libtorch with CUDA; only GPUs need it"),
        Err(error) => Verdict::skipped(error.to_string()),
    }
}

/// Returns the lines of libtorch's build description that name CUDA libraries.
fn cuda_versions() -> String {
    let configuration = libtorch::configuration().unwrap_or_default();
    let lines = configuration.lines().map(|line| line.trim_start_matches([' ', '-']));
    let is_version =
        |line: &&str| ["CUDA Runtime", "CuDNN"].iter().any(|library| line.starts_with(library));
    let versions: Vec<&str> = std::iter::once("").chain(lines.filter(is_version)).collect();
    versions.join("; ")
}

fn device(name: &str, missing: Option<&DeviceError>) -> Verdict {
    let Some(error) = missing else { return Verdict::ok(name) };
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((reason, hint)) => Verdict::failed(reason).with_hint(hint),
        None => Verdict::failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Outcome;

    #[test]
    fn unavailable_devices_fail_with_a_hint() {
        let error = DeviceError::NoSuchGpu { device: "cuda:3".to_owned(), count: 1 };
        let verdict = device("cuda:3", Some(&error));
        assert_eq!(verdict.outcome, Outcome::Failed);
        assert!(verdict.detail.contains("1 GPU") && verdict.hint.is_some(), "{verdict:?}");
        assert_eq!(device("cpu", None).outcome, Outcome::Ok);
    }

    #[test]
    fn libtorch_reports_its_version_and_path() {
        let text = libtorch().detail;
        assert!(text.starts_with("2.11.0, from /") && text.contains("libtorch_cpu.so"), "{text}");
    }
}
