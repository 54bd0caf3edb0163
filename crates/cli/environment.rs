//! Settings that libraries take from the environment when they are loaded, which is before `main`.
//!
//! - libgomp, which libtorch computes with, lets a waiting thread spin for 300,000 rounds before it
//!   sleeps. Where another process needs the core, the thread that all wait for cannot run
//!   meanwhile. With 10,000 rounds a training step on a busy machine of two cores takes five sixths
//!   of the time, on a quiet machine the same (docs/performance.md).
//! - glibc's allocator asks for pages of 2 MB in place of 4 KB, where the kernel gives them on
//!   request. A training step then takes up to a twelfth less time.
//! - cuBLAS is deterministic only with workspaces of a given size, without which libtorch refuses
//!   `training.deterministic`. Eight of 4 MiB are what libtorch takes on an H200 anyway.

use std::env;

/// Default of an environment variable.
struct Setting {
    /// Variables that decide the setting; if none is set, the first one gets `value`.
    variables: &'static [&'static str],
    value: &'static str,
    meaning: &'static str,
}

const SETTINGS: [Setting; 3] = [
    Setting {
        variables: &["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"],
        value: "10000",
        meaning: "how long OpenMP's threads spin while they wait",
    },
    Setting {
        variables: &["GLIBC_TUNABLES"],
        value: "glibc.malloc.hugetlb=1",
        meaning: "huge pages for large allocations",
    },
    Setting {
        variables: &["CUBLAS_WORKSPACE_CONFIG"],
        value: ":4096:8",
        meaning: "cuBLAS's workspaces, so that it can be deterministic",
    },
];

impl Setting {
    fn is_made(&self) -> bool {
        self.variables.iter().any(|variable| env::var_os(variable).is_some())
    }
}

/// Starts this program again with the settings that the environment lacks, if any.
///
/// The process stays the same one; if it cannot be started again, nothing changes.
pub fn complete() {
    if SETTINGS.iter().all(Setting::is_made) {
        return;
    }
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let mut arguments = env::args_os();
        let name = arguments.next().unwrap_or_else(|| "capsmith".into());
        let missing = SETTINGS.iter().filter(|setting| !setting.is_made());
        // By its path, so that `ps` and `pkill` know it by its name.
        let program = env::current_exe().unwrap_or_else(|_| "/proc/self/exe".into());
        let mut again = std::process::Command::new(program);
        again.envs(missing.map(|setting| (setting.variables[0], setting.value)));
        let _ = again.arg0(name).args(arguments).exec();
    }
}

/// Logs the settings.
pub fn log() {
    for Setting { variables, meaning, .. } in &SETTINGS {
        for variable in *variables {
            if let Ok(value) = env::var(variable) {
                tracing::debug!("{variable}={value}: {meaning}");
            }
        }
    }
}
