//! Installation of libtorch into the repository: complete or absent, even if interrupted.
//!
//! pip installs into `.libtorch.partial/`. The result is checked, synced and renamed to
//! `.libtorch/`. The next setup removes a stale partial folder.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::libtorch::{self, CPU_PACKAGES, Kind, VERSION};
use crate::needs::{self, Pip};

/// Ensures that `.libtorch/` of the repository is complete.
pub fn ensure(repository: &Path, kind: Kind) -> anyhow::Result<()> {
    let folder = repository.join(".libtorch");
    if libtorch::check(&folder, kind).is_ok() {
        report(&folder, kind);
        return Ok(());
    }
    needs::known_platform()?;
    let lock = lock(repository)?;
    // Another setup may have finished during the wait.
    let Err(fault) = libtorch::check(&folder, kind) else {
        report(&folder, kind);
        return Ok(());
    };
    if folder.exists() {
        eprintln!("{} is not usable ({fault}); installing it again", folder.display());
    }
    let partial = repository.join(".libtorch.partial");
    remove(&partial)?;
    let result = install(&partial, kind, &lock).and_then(|()| put_in_place(&partial, &folder));
    let cleaned = remove(&partial);
    result?;
    cleaned?;
    report(&folder, kind);
    Ok(())
}

fn report(folder: &Path, kind: Kind) {
    let with = if kind == Kind::Cuda { " with CUDA" } else { "" };
    eprintln!("libtorch {VERSION}{with} is ready in {}", folder.display());
}

/// Locks the repository for one setup, waiting for another one to end.
fn lock(repository: &Path) -> anyhow::Result<File> {
    let path = repository.join(".libtorch.lock");
    let context = || format!("cannot lock {}", path.display());
    let file = File::create(&path).with_context(context)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("another setup of this repository is running; waiting for it to end");
            file.lock().with_context(context)?;
        }
        Err(TryLockError::Error(error)) => return Err(error).with_context(context),
    }
    Ok(file)
}

/// Runs pip into `partial/new` and checks the result.
fn install(partial: &Path, kind: Kind, lock: &File) -> anyhow::Result<()> {
    let (download, space, size) = match kind {
        Kind::Cpu => ("0.5 GB", 3, "1.2 GB"),
        Kind::Cuda => ("2.5 GB", 10, "5 GB"),
    };
    let scratch = partial.join("tmp");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot create {}", scratch.display()))?;
    needs::disk_space(partial, space)?;
    let pip = Pip::find(partial)?;
    eprintln!("bringing libtorch {VERSION} with pip: {download} to download, {size} on disk");

    let target = partial.join("new");
    let mut command = pip.command();
    command.args(["install", "--no-input", "--no-compile", "--target"]).arg(&target);
    command.args(packages(kind));
    // These settings would clash with --target, or refuse to work outside a virtual environment.
    command.envs([("PIP_USER", "0"), ("PIP_REQUIRE_VIRTUALENV", "0")]);
    // The system is not changed, so pip's warning about root does not apply.
    command.env("PIP_ROOT_USER_ACTION", "ignore");
    // pip unpacks here before it moves files to the target: on the same disk, and removed with it.
    command.env("TMPDIR", &scratch);
    // pip does not read its input, but holds the lock while it runs, even if this process is
    // killed.
    command.stdin(Stdio::from(lock.try_clone().context("cannot share the lock with pip")?));
    let status = command.status().context("cannot start python3")?;
    if !status.success() {
        bail!(
            "pip could not install torch {VERSION} ({status}; its message is above). Check the \
             network (proxies: HTTPS_PROXY), the package index in `python3 -m pip config list`, \
             and that pip is not ancient (`python3 -m pip --version`, 21 or later), then run \
             `cargo xtask setup` again. Or set LIBTORCH to a libtorch {VERSION} of your own"
        );
    }
    libtorch::check(&target, kind).context("pip reported success, but left an unusable libtorch")
}

/// Headers that the feature `nccl` is compiled with and that torch does not depend on.
const CUDA_HEADERS: [(&str, &str); 2] =
    [("nvidia-cuda-crt", "13.0.88"), ("nvidia-cuda-cccl", "13.0.85")];

/// Returns pip's options and packages.
///
/// The CPU install names wheels exactly and for a fixed Python. Only their libraries are used, so
/// any python3 may fetch them.
fn packages(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Cuda => {
            let mut packages = vec![format!("torch=={VERSION}")];
            packages.extend(CUDA_HEADERS.map(|(name, version)| format!("{name}=={version}")));
            packages
        }
        Kind::Cpu => {
            let options = "--no-deps --only-binary=:all: --implementation=cp --python-version=3.12 \
                           --platform=manylinux_2_28_x86_64 --platform=manylinux_2_25_x86_64 \
                           --platform=manylinux2014_x86_64";
            let pinned = CPU_PACKAGES.map(|(name, version)| format!("{name}=={version}"));
            options.split_whitespace().map(str::to_owned).chain(pinned).collect()
        }
    }
}

/// Replaces `folder` with the finished install.
///
/// A stop between the two renames leaves no folder, and the next setup starts over.
fn put_in_place(partial: &Path, folder: &Path) -> anyhow::Result<()> {
    sync(partial)?;
    if folder.exists() {
        fs::rename(folder, partial.join("old"))
            .with_context(|| format!("cannot move {} away", folder.display()))?;
    }
    fs::rename(partial.join("new"), folder)
        .with_context(|| format!("cannot rename the finished install to {}", folder.display()))
}

/// Syncs the file system of `folder`, so that sizes and contents agree after a power cut.
///
/// One call replaces an fsync for each of 14,000 files.
fn sync(folder: &Path) -> anyhow::Result<()> {
    let status = Command::new("sync").arg("-f").arg(folder).status();
    match status {
        Ok(status) if !status.success() => bail!("`sync -f {}` failed", folder.display()),
        // Without coreutils, the kernel writes the data later.
        _ => Ok(()),
    }
}

/// Removes a folder if there is one.
pub(crate) fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}
