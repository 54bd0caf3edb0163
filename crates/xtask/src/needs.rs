//! Requirements of the machine, with hints on what to install.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, ensure};

/// Returns the C++ compiler: `CXX`, which may hold flags ("ccache g++"), or `c++`.
pub fn cxx() -> Command {
    let named = std::env::var("CXX").unwrap_or_default();
    let mut words = named.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or("c++"));
    command.args(words);
    command
}

/// Fails without a C++ compiler, which the binding to libtorch needs.
pub fn cxx_compiler() -> anyhow::Result<()> {
    ensure!(
        succeeds(cxx().arg("--version")),
        "no C++ compiler: `{}` does not run. Install one (Debian, Ubuntu: `apt install g++`; \
         Fedora: `dnf install gcc-c++`; Arch: `pacman -S gcc`), then run this again",
        std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
    );
    Ok(())
}

/// Fails on platforms whose Python package does not hold the expected libraries.
pub fn known_platform() -> anyhow::Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "setup knows Linux on x86-64 only; here, get a libtorch 2.11.0 and set LIBTORCH to it"
    );
    Ok(())
}

/// Program that runs pip with `-m pip`.
#[derive(Debug)]
pub struct Pip {
    program: OsString,
}

impl Pip {
    /// Finds pip: `python3 -m pip` if it works, else pip in a virtual environment under `scratch`.
    ///
    /// A python3 without pip can often still create a virtual environment.
    ///
    /// # Errors
    /// Names the package to install.
    pub fn find(scratch: &Path) -> anyhow::Result<Self> {
        let install = "Debian, Ubuntu: `apt install python3-pip`; Fedora: `dnf install \
                       python3-pip`; Arch: `pacman -S python-pip`";
        if !succeeds(Command::new("python3").arg("--version")) {
            bail!("python3 is not installed, and libtorch comes through its pip ({install})");
        }
        let pip = Self { program: "python3".into() };
        if succeeds(pip.command().arg("--version")) {
            return Ok(pip);
        }
        let environment: PathBuf = scratch.join("pip");
        if succeeds(Command::new("python3").args(["-m", "venv"]).arg(&environment)) {
            return Ok(Self { program: environment.join("bin/python").into() });
        }
        bail!("python3 is there, but not its pip, and libtorch comes through it ({install})")
    }

    /// Returns the command `python3 -m pip`, to which pip's arguments are added.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-m", "pip"]);
        command
    }
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Fails if the disk of `folder` has too little free space; passes if `df` cannot tell.
pub fn disk_space(folder: &Path, gigabytes: u64) -> anyhow::Result<()> {
    let Some(free) = free_bytes(folder) else { return Ok(()) };
    ensure!(
        free >= gigabytes * 1_000_000_000,
        "libtorch needs about {gigabytes} GB on the disk of {}, and {:.1} GB are free; make room, \
         or set LIBTORCH to a libtorch 2.11.0 elsewhere",
        folder.display(),
        free as f64 / 1e9
    );
    Ok(())
}

fn free_bytes(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let kibibytes: u64 = text.lines().nth(1)?.split_whitespace().nth(3)?.parse().ok()?;
    Some(kibibytes * 1024)
}
