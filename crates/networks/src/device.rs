//! Device names (`cpu`, `cuda`, `cuda:N`), CUDA loading, and the number of CPU threads.
//!
//! The binary does not reference `libtorch_cuda.so`, so the linker omits it and the same binary
//! runs with a CPU-only libtorch. A CUDA device needs the library loaded at run time, before
//! anything asks libtorch about CUDA, because libtorch caches its first answer.

use std::error::Error as _;
use std::ffi::OsStr;
use std::sync::OnceLock;

use foreign_text::printable;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use tch::{Cuda, Device, Kind, Tensor};

use crate::libtorch;

/// Requested device that is not available.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is no device.
    #[error(
        "\"{}\" is not a device\nhint: use cpu, cuda, or cuda:N with N from 0 (cuda is cuda:0)",
        printable(.0)
    )]
    Unknown(String),
    /// libtorch has no CUDA, or a library that CUDA needs is missing.
    #[error(
        "device {device}: {} ({reason})\nhint: {}; --device cpu needs none",
        load_failure(reason),
        load_hint(reason)
    )]
    NoCudaLibrary {
        /// Requested device.
        device: String,
        /// The dynamic linker's reason for not loading `libtorch_cuda.so`.
        reason: String,
    },
    /// libtorch has CUDA, but there is no such GPU.
    #[error(
        "device {device}: libtorch sees {count} GPU(s)\n\
         hint: `nvidia-smi` lists them, and the CUDA version of the driver, which must not be older than libtorch's (13.0 for that of `cargo xtask setup --cuda`); CUDA_VISIBLE_DEVICES hides GPUs; --device cpu needs none"
    )]
    NoSuchGpu {
        /// Requested device.
        device: String,
        /// Number of GPUs that libtorch sees.
        count: i64,
    },
}

/// Parses `cpu`, `cuda` (the first GPU) or `cuda:N`, and checks that the device is available.
///
/// # Errors
/// Fails with the device and a hint.
pub fn parse_device(name: &str) -> Result<Device, DeviceError> {
    let Some(index) = gpu_index(name)? else { return Ok(Device::Cpu) };
    load_cuda_library()
        .map_err(|reason| DeviceError::NoCudaLibrary { device: name.to_owned(), reason })?;
    let count = if Cuda::is_available() { Cuda::device_count() } else { 0 };
    if index as i64 >= count {
        return Err(DeviceError::NoSuchGpu { device: name.to_owned(), count });
    }
    tracing::debug!("device cuda:{index} of {count}");
    Ok(Device::Cuda(index))
}

/// Returns the requested GPU, or `None` for the CPU.
fn gpu_index(name: &str) -> Result<Option<usize>, DeviceError> {
    let unknown = || DeviceError::Unknown(name.to_owned());
    match name {
        "cpu" => Ok(None),
        "cuda" => Ok(Some(0)),
        _ => {
            let digits = name.strip_prefix("cuda:").ok_or_else(unknown)?;
            // libtorch stores a device index as a signed 8-bit integer.
            let index: i8 = digits.parse().map_err(|_| unknown())?;
            usize::try_from(index).map(Some).map_err(|_| unknown())
        }
    }
}

/// File name of libtorch's CUDA library.
const CUDA_LIBRARY: &str = "libtorch_cuda.so";

/// Loads `libtorch_cuda.so` for the rest of the process; later calls repeat the first result.
///
/// Also disables TF32, which libtorch enables by default for convolutions and recurrent networks,
/// and cuDNN's attention.
fn load_cuda_library() -> Result<(), String> {
    static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| {
        let library = open_library(CUDA_LIBRARY.as_ref())?;
        libtorch::allow_tf32(false);
        libtorch::forbid_cudnn_attention();
        Ok(library)
    });
    library.as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Loads a library, or returns the dynamic linker's reason.
fn open_library(name: &OsStr) -> Result<Library, String> {
    // SAFETY: the library belongs to the libtorch that this program is linked with, and the same
    // search path finds it. Its initialisers only register CUDA with libtorch. It stays loaded,
    // since it is never dropped.
    unsafe { Library::open(Some(name), RTLD_NOW | RTLD_GLOBAL) }.map_err(|error| {
        // The source of the error holds the linker's own message.
        let source = error.source().map(ToString::to_string);
        source.unwrap_or_else(|| error.to_string())
    })
}

/// Returns the library that the dynamic linker did not find, from the message of glibc or musl.
fn missing_library(reason: &str) -> Option<&str> {
    if let Some((name, _)) = reason.split_once(": cannot open shared object file") {
        return Some(name);
    }
    let (_, name) = reason.split_once("Error loading shared library ")?;
    name.split(':').next()
}

fn load_failure(reason: &str) -> &'static str {
    match missing_library(reason) {
        Some(CUDA_LIBRARY) => "this libtorch has no CUDA",
        _ => "libtorch's CUDA library does not load",
    }
}

fn load_hint(reason: &str) -> String {
    match missing_library(reason) {
        Some(CUDA_LIBRARY) => {
            "`cargo xtask setup --cuda` installs a libtorch that has CUDA".to_owned()
        }
        Some(driver) if driver.starts_with("libcuda.so") || driver.starts_with("libnvidia-") => {
            format!(
                "{driver} comes with NVIDIA's driver: install that, or start the container with \
                 access to the GPUs"
            )
        }
        Some(library) => format!(
            "{library} is one of the CUDA libraries that belong to libtorch: `cargo xtask setup \
             --cuda` installs them; where it is installed, LD_LIBRARY_PATH must name its folder"
        ),
        None => format!(
            "{CUDA_LIBRARY} is damaged, or of another version than the libtorch beside it: \
             `cargo xtask setup --cuda` installs both"
        ),
    }
}

/// Returns the number of CPU threads for each of `processes_here` processes on this machine.
///
/// It is `OMP_NUM_THREADS`, which libtorch uses too, or the cores available to the process, but at
/// most its share of all cores: more threads than cores mostly wait for each other.
#[must_use]
pub fn cpu_threads(processes_here: usize) -> usize {
    let configured = std::env::var("OMP_NUM_THREADS").ok().and_then(|threads| threads.parse().ok());
    configured.filter(|&threads| threads > 0).unwrap_or_else(|| {
        let usable = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        // SAFETY: queries a number from the system.
        let all = usize::try_from(unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) });
        usable.min((all.unwrap_or(usable) / processes_here.max(1)).max(1))
    })
}

/// Returns the machine's total memory in bytes, or `None` if the system does not report it.
#[must_use]
pub fn memory() -> Option<u64> {
    // SAFETY: queries two numbers from the system.
    let (pages, size) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)
}

/// Sets the number of threads of one CPU operation; 0 counts as 1.
///
/// The number changes the order of sums and so the last bits of results (about 1e-7); a run records
/// it.
pub fn set_threads(threads: usize) {
    tracing::debug!("{} threads for a CPU operation", threads.max(1));
    tch::set_num_threads(i32::try_from(threads.max(1)).unwrap_or(i32::MAX));
}

/// Makes glibc's allocator keep freed memory for later allocations.
///
/// Otherwise the system maps and zeroes pages for every large tensor, about a tenth of a training
/// step on the CPU. The process then keeps the most memory that it ever had.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets two parameters of the allocator, which is allowed at any time.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
    }
}

/// Returns the number of threads of one CPU operation.
#[must_use]
pub fn threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1)
}

/// Copies rows of integers to `device` in one asynchronous transfer.
///
/// A GPU reads them from page-locked memory.
///
/// # Panics
/// Panics if memory is exhausted.
pub(crate) fn upload<const N: usize>(rows: [&[i64]; N], device: Device) -> [Tensor; N] {
    let mut parts = upload_list(&rows, device).into_iter();
    rows.map(|_| parts.next().unwrap_or_default())
}

/// Copies any number of rows to `device`, as [`upload`] does.
pub(crate) fn upload_list(rows: &[&[i64]], device: Device) -> Vec<Tensor> {
    let count: usize = rows.iter().map(|row| row.len()).sum();
    let all = if device.is_cuda() {
        let size = [count as i64];
        let mut pinned = libtorch::expect(libtorch::empty_pinned(&size, Kind::Int64));
        let mut left = libtorch::values::<i64>(&mut pinned);
        for row in rows {
            let (target, rest) = left.split_at_mut(row.len());
            target.copy_from_slice(row);
            left = rest;
        }
        pinned.to_device_(device, Kind::Int64, true, false)
    } else {
        Tensor::from_slice(&rows.concat())
    };
    let lengths: Vec<i64> = rows.iter().map(|row| row.len() as i64).collect();
    all.split_with_sizes(lengths, 0)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    #[test]
    fn devices_are_read_by_name() {
        assert_eq!(gpu_index("cpu").unwrap(), None);
        assert_eq!(gpu_index("cuda").unwrap(), Some(0));
        assert_eq!(gpu_index("cuda:3").unwrap(), Some(3));
        assert_eq!(parse_device("cpu").unwrap(), Device::Cpu);
    }

    #[test]
    fn attention_on_a_gpu_is_not_cudnns() {
        if load_cuda_library().is_ok() {
            assert!(!libtorch::forbid_cudnn_attention(), "the library's load forbids it");
        }
    }

    #[test]
    fn invalid_device_names_are_errors_with_valid_ones() {
        for name in ["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:128", "cuda:1 ", "mps"] {
            let error = parse_device(name).unwrap_err();
            assert!(matches!(error, DeviceError::Unknown(_)), "{name}: {error}");
            assert!(error.to_string().contains("cuda:N"), "{error}");
        }
    }

    #[test]
    fn absent_gpus_are_errors_with_a_hint() {
        // 127 is the highest possible index: absent with and without CUDA, for different reasons.
        let error = parse_device("cuda:127").unwrap_err();
        assert!(
            matches!(error, DeviceError::NoCudaLibrary { .. } | DeviceError::NoSuchGpu { .. }),
            "{error}"
        );
        let words = error.to_string();
        assert!(words.contains("cuda:127") && words.contains("hint:"), "{words}");
    }

    /// Compiles an empty library in `folder`, linked with `needed`.
    fn compile(folder: &Path, name: &str, needed: &[&str]) -> PathBuf {
        let source = folder.join("empty.c");
        std::fs::write(&source, "int empty;").unwrap();
        let library = folder.join(name);
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-Wl,--no-as-needed", "-o"]).arg(&library).arg(&source);
        compiler.args(needed.iter().map(|needed| folder.join(needed)));
        assert!(compiler.status().unwrap().success());
        library
    }

    #[test]
    fn load_errors_name_the_missing_library() {
        let folder = tempfile::tempdir().unwrap();
        let needed = compile(folder.path(), "libcudnn-of-this-test.so", &[]);
        let library = compile(folder.path(), "broken.so", &["libcudnn-of-this-test.so"]);
        std::fs::remove_file(needed).unwrap();
        let reason = open_library(library.as_os_str()).unwrap_err();
        let error = DeviceError::NoCudaLibrary { device: "cuda:0".to_owned(), reason };
        let text = error.to_string();
        let (first, hint) = text.split_once("\nhint: ").unwrap();
        assert!(first.contains("cuda:0") && first.contains("does not load"), "{text}");
        assert!(first.contains("libcudnn-of-this-test.so"), "{text}");
        assert!(hint.contains("setup --cuda") && hint.contains("LD_LIBRARY_PATH"), "{text}");

        std::fs::write(&library, "no library").unwrap();
        let reason = open_library(library.as_os_str()).unwrap_err();
        assert!(reason.contains("broken.so"), "{reason}");
        assert!(load_hint(&reason).contains("damaged"), "{reason}");
    }

    #[test]
    fn the_hint_fits_the_library_that_is_missing() {
        let missing = |name: &str| {
            format!("{name}: cannot open shared object file: No such file or directory")
        };
        for (reason, failure, hint) in [
            (missing("libtorch_cuda.so"), "has no CUDA", "a libtorch that has CUDA"),
            (missing("libcuda.so.1"), "does not load", "libcuda.so.1 comes with NVIDIA's driver"),
            (
                missing("libcudnn.so.9"),
                "does not load",
                "libcudnn.so.9 is one of the CUDA libraries",
            ),
            (
                "Error loading shared library libcudart.so.13: No such file".to_owned(),
                "does not load",
                "libcudart.so.13 is one of the CUDA libraries",
            ),
            (
                "libtorch_cuda.so: undefined symbol: x".to_owned(),
                "does not load",
                "of another version",
            ),
        ] {
            let text = DeviceError::NoCudaLibrary { device: "cuda".to_owned(), reason }.to_string();
            assert!(text.contains(failure) && text.contains(hint), "{text}");
            assert!(text.ends_with("--device cpu needs none"), "{text}");
        }
    }
}
