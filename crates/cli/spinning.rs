//! Limits how long OpenMP's threads spin while they wait for each other.
//!
//! libgomp, which libtorch computes with, lets a waiting thread spin for 300,000 rounds before it
//! sleeps. Where another process needs the core, the thread that all wait for cannot run meanwhile.
//! With 10,000 rounds a training step on a busy machine of two cores takes five sixths of the time,
//! on a quiet machine the same (docs/performance.md).

use std::env;

/// Variables that decide how threads wait.
const VARIABLES: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
const ROUNDS: &str = "10000";

/// Starts this program again with the limit, unless the environment decides how threads wait.
///
/// libgomp reads its environment when it is loaded, which is before `main`. The process stays the
/// same one; if it cannot be started again, nothing changes.
pub fn limit() {
    if VARIABLES.iter().any(|variable| env::var_os(variable).is_some()) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| "capsmith".into());
        let mut again = std::process::Command::new("/proc/self/exe");
        let _ = again.arg0(name).args(arguments).env(VARIABLES[0], ROUNDS).exec();
    }
}

/// Logs how threads wait.
pub fn log() {
    for variable in VARIABLES {
        if let Ok(value) = env::var(variable) {
            tracing::debug!("{variable}={value}: how long OpenMP's threads spin while they wait");
        }
    }
}
