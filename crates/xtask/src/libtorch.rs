//! Checks of libtorch folders.
//!
//! The check reads the `RECORD` that pip writes for every package, which lists each file with its
//! size. A folder that was filled with pip by hand is accepted too.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// Version of libtorch that the workspace's `tch` crate is made for; it works with no other.
pub const VERSION: &str = "2.11.0";

/// Libraries that are required besides libtorch itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// libtorch and the two CUDA libraries that `libtorch_cpu.so` links on every device.
    Cpu,
    /// All libraries that `libtorch_cuda.so` links.
    Cuda,
}

/// Packages of a CPU install, in the versions that torch 2.11.0 requires.
pub const CPU_PACKAGES: [(&str, &str); 3] =
    [("torch", VERSION), ("nvidia-cuda-cupti", "13.0.85"), ("nvidia-cuda-runtime", "13.0.96")];

/// Libraries that `libtorch_cuda.so` and its linear algebra need, in the folders of its RPATH.
const CUDA_LIBRARIES: [&str; 13] = [
    "cu13/lib/libcublas.so.13",
    "cu13/lib/libcublasLt.so.13",
    "cu13/lib/libcufft.so.12",
    "cu13/lib/libcufile.so.0",
    "cu13/lib/libcurand.so.10",
    "cu13/lib/libcusolver.so.12",
    "cu13/lib/libcusparse.so.12",
    "cu13/lib/libnvJitLink.so.13",
    "cu13/lib/libnvrtc.so.13",
    "cudnn/lib/libcudnn.so.9",
    "cusparselt/lib/libcusparseLt.so.0",
    "nccl/lib/libnccl.so.2",
    "nvshmem/lib/libnvshmem_host.so.3",
];

/// Checks that `folder`, a pip target folder, holds a complete libtorch of `kind`.
///
/// # Errors
/// Names the missing part, in words that follow "libtorch is not usable:".
pub fn check(folder: &Path, kind: Kind) -> anyhow::Result<()> {
    for (package, version) in CPU_PACKAGES {
        let info = format!("{}-{version}.dist-info", package.replace('-', "_"));
        check_package(folder, &folder.join(info))?;
    }
    if kind == Kind::Cuda {
        for library in CUDA_LIBRARIES {
            let path = folder.join("nvidia").join(library);
            ensure!(path.is_file(), "{} is missing", path.display());
        }
        for info in package_records(folder)? {
            check_package(folder, &info)?;
        }
    }
    Ok(())
}

fn package_records(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let cannot_list = || format!("cannot list {}", folder.display());
    let mut infos = Vec::new();
    for entry in fs::read_dir(folder).with_context(cannot_list)? {
        let path = entry.with_context(cannot_list)?.path();
        if path.extension() == Some(OsStr::new("dist-info")) {
            infos.push(path);
        }
    }
    Ok(infos)
}

/// Compares a package's files with the sizes in its `RECORD`.
fn check_package(folder: &Path, info: &Path) -> anyhow::Result<()> {
    let record = info.join("RECORD");
    let text =
        fs::read_to_string(&record).with_context(|| format!("cannot read {}", record.display()))?;
    let mut lists_itself = false;
    for line in text.lines() {
        lists_itself |= line.ends_with("dist-info/RECORD,,");
        let Some((path, size)) = recorded_size(line) else { continue };
        let path = folder.join(path);
        let found = fs::metadata(&path).map(|metadata| metadata.len());
        match found {
            Ok(found) if found == size => {}
            Ok(found) => bail!("{} has {found} of {size} bytes", path.display()),
            Err(_) => bail!("{} is missing", path.display()),
        }
    }
    ensure!(lists_itself, "{} is cut short", record.display());
    Ok(())
}

/// Returns path and size of a row `path,sha256=…,size`.
///
/// `None` for rows without a size, and for scripts and metadata, which no build reads.
fn recorded_size(row: &str) -> Option<(&str, u64)> {
    let (rest, size) = row.rsplit_once(',')?;
    let (path, _digest) = rest.rsplit_once(',')?;
    let path = path.trim_matches('"');
    let first = path.split('/').next()?;
    (first != ".." && !first.ends_with(".dist-info")).then_some(())?;
    Some((path, size.parse().ok()?))
}

/// Returns the libtorch of the user's own `LIBTORCH`, unless it is this repository's folder.
///
/// # Errors
/// Fails if it is set and cannot work.
pub fn of_the_user(value: Option<OsString>, ours: &Path) -> anyhow::Result<Option<PathBuf>> {
    let Some(value) = value else { return Ok(None) };
    let folder = PathBuf::from(&value);
    if same_folder(&folder, &ours.join("torch")) {
        return Ok(None);
    }
    let advice = "set LIBTORCH to the folder of a libtorch 2.11.0 that has lib/ and include/, or \
                  unset it and run `cargo xtask setup`";
    ensure!(
        folder.is_absolute(),
        "LIBTORCH={} is not an absolute path; {advice}",
        folder.display()
    );
    let library = folder.join("lib/libtorch_cpu.so");
    ensure!(
        library.is_file(),
        "LIBTORCH={}: there is no {}; {advice}",
        folder.display(),
        library.display()
    );
    if let Some(version) = stated_version(&folder) {
        let release = version.split('+').next().unwrap_or_default();
        ensure!(
            release == VERSION,
            "LIBTORCH={} is libtorch {version}, and capsmith is built with {VERSION} only; {advice}",
            folder.display()
        );
    }
    Ok(Some(folder))
}

/// Returns whether a `LIBTORCH` value is that of this repository's `.cargo/config.toml`.
pub fn is_ours(value: &OsStr, repository: &Path) -> bool {
    same_folder(Path::new(value), &repository.join(".libtorch/torch"))
}

fn same_folder(one: &Path, other: &Path) -> bool {
    one == other
        || fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|o| o == one))
}

/// Returns the version of a libtorch archive (`build-version`) or Python package (`version.py`).
fn stated_version(folder: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(folder.join("build-version")) {
        return Some(text.trim().to_owned());
    }
    let text = fs::read_to_string(folder.join("version.py")).ok()?;
    let line = text.lines().find(|line| line.starts_with("__version__"))?;
    Some(line.split('\'').nth(1)?.to_owned())
}
