//! Helpers of tests: skipping where data or tools are absent, and waiting for conditions.
//!
//! A test without its data, resources or tools calls [`skip`] and returns. `cargo xtask test` names
//! a file in [`SKIPPED`], to which every test process appends, and prints its [`summary`].

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Display;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

/// Variable with the file to which [`skip`] appends.
pub const SKIPPED: &str = "CAPSMITH_SKIPPED";
/// Variable that makes [`skip`] panic if it is `1`.
pub const REQUIRE_ALL: &str = "CAPSMITH_REQUIRE_ALL";
/// Variable with the folder of the pretend GPU that `cargo xtask test` built.
pub const PRETEND_GPU: &str = "CAPSMITH_PRETEND_CUDA";

/// Longest wait of [`wait_for`]; machines that test are busy.
const DEADLINE: Duration = Duration::from_mins(5);

/// Reports that the calling test skips itself, or a part of it, because `lack` is absent.
///
/// `lack` completes "without"; `detail` says what is missing where.
///
/// # Panics
/// Panics if [`REQUIRE_ALL`] is `1`, or if the file of [`SKIPPED`] cannot be written.
pub fn skip(lack: &str, detail: &dyn Display) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("?");
    let all = env::var_os(REQUIRE_ALL).is_some_and(|value| value == "1");
    assert!(!all, "{REQUIRE_ALL}=1, but {test} runs without {lack}: {detail}");
    eprintln!("skipped without {lack}: {detail}");
    let Some(file) = env::var_os(SKIPPED) else { return };
    let program = env::current_exe().unwrap_or_default();
    // One write: processes append side by side.
    let line = format!("{lack}\t{} {test}\n", program.display());
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .and_then(|mut file| file.write_all(line.as_bytes()));
    written.unwrap_or_else(|error| panic!("cannot write {}: {error}", file.display()));
}

/// Returns the line that says how many tests were skipped, and what they lacked.
///
/// `lines` is the text of the file of [`SKIPPED`]. A test counts once, however often it skips.
#[must_use]
pub fn summary(lines: &str) -> String {
    let mut lacks: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (lack, test) in lines.lines().filter_map(|line| line.split_once('\t')) {
        lacks.entry(lack).or_default().insert(test);
    }
    let count = match lacks.values().flatten().collect::<BTreeSet<_>>().len() {
        0 => return "skipped no test".to_owned(),
        1 => "1 test".to_owned(),
        count => format!("{count} tests"),
    };
    let mut lacks: Vec<_> = lacks.iter().map(|(lack, tests)| (tests.len(), lack)).collect();
    lacks.sort_by(|a, b| b.cmp(a));
    let lacks: Vec<_> =
        lacks.iter().map(|(tests, lack)| format!("{tests} without {lack}")).collect();
    format!("skipped {count}: {}", lacks.join(", "))
}

/// Returns a path of the reference data in `../shared` beside the repository; skips if absent.
#[must_use]
pub fn shared(path: &str) -> Option<PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared"));
    let path = folder.join(path);
    if path.exists() {
        return Some(path);
    }
    skip("../shared", &format_args!("there is no {}", path.display()));
    None
}

/// Returns the folder of the pretend GPU that `cargo xtask test` built; skips if it did not.
///
/// `target_tmpdir` is the calling test's `CARGO_TARGET_TMPDIR`.
///
/// # Panics
/// Panics if [`PRETEND_GPU`] names a folder without one.
#[must_use]
pub fn pretend_gpu(target_tmpdir: &str) -> Option<PathBuf> {
    let named = env::var_os(PRETEND_GPU).map(PathBuf::from);
    let is_named = named.is_some();
    let folder = named.unwrap_or_else(|| Path::new(target_tmpdir).with_file_name("pretend-cuda"));
    if folder.join("stamp").is_file() {
        return Some(folder);
    }
    assert!(!is_named, "there is no pretend GPU in {}", folder.display());
    skip("the pretend GPU", &"`cargo xtask test` builds it");
    None
}

/// Returns the Python of a new virtual environment in `folder` with packages that pip installs.
///
/// Skips if there is no Python, or pip cannot bring them.
#[must_use]
pub fn python_with(folder: &Path, packages: &[&str]) -> Option<PathBuf> {
    let python = folder.join("bin/python");
    let made = output(Command::new("python3").args(["-m", "venv"]).arg(folder));
    let install = ["-m", "pip", "install", "--quiet"];
    let ready = made.and_then(|_| output(Command::new(&python).args(install).args(packages)));
    ready
        .inspect_err(|message| skip(&format!("Python's {}", packages.join(", ")), message))
        .ok()?;
    Some(python)
}

/// Runs a command, and returns its output with its errors.
///
/// # Errors
/// The same text of a command that failed, or why it did not start.
pub fn output(command: &mut Command) -> Result<String, String> {
    let Output { status, stdout, stderr } = command.output().map_err(|error| error.to_string())?;
    let text = (String::from_utf8_lossy(&stdout) + String::from_utf8_lossy(&stderr)).into_owned();
    if status.success() { Ok(text) } else { Err(text) }
}

/// Waits until `condition` holds, and returns how long that took.
///
/// # Panics
/// Panics after five minutes, naming `what`.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
    start.elapsed()
}

/// Waits until a file or folder exists.
///
/// # Panics
/// Panics after five minutes.
pub fn wait_for_path(path: &Path) {
    wait_for(&path.display().to_string(), || path.exists());
}
