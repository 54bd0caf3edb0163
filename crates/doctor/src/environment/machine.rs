//! CPU, memory, disks and loaded libraries, as reported by Linux.

use std::ffi::CString;
use std::fs;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use foreign_text::printable_path;
use networks::device;

use crate::finding::Verdict;

/// Runs, checkpoints and embeddings of a data set need more free space than this, in bytes.
const LOW_DISK: u64 = 2 << 30;

/// CPU features that affect libtorch's speed, by their Linux names.
const INSTRUCTIONS: [(&str, &str); 6] = [
    ("avx2", "AVX2"),
    ("avx512f", "AVX-512"),
    ("avx512_bf16", "AVX-512 bf16"),
    ("avx512_fp16", "AVX-512 f16"),
    ("amx_bf16", "AMX bf16"),
    ("amx_fp16", "AMX f16"),
];

/// Returns the path of a library loaded into this process.
pub(super) fn loaded(name: &str) -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    let mut paths =
        paths.filter(|path| path.rsplit('/').next().is_some_and(|file| file.starts_with(name)));
    paths.next().map(str::to_owned)
}

/// Describes the CPU: name, threads and relevant features.
pub(super) fn processor() -> String {
    let described = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = described.lines().find(|line| line.starts_with(key))?;
        line.split_once(':').map(|(_, value)| value.trim())
    };
    let flags: Vec<&str> = value("flags").unwrap_or_default().split(' ').collect();
    let has = |(flag, name): &(&str, &'static str)| flags.contains(flag).then_some(*name);
    let instructions: Vec<&str> = INSTRUCTIONS.iter().filter_map(has).collect();
    let name = value("model name").unwrap_or("of unknown name");
    let threads = device::cpu_threads(1);
    let instructions = match instructions[..] {
        [] => "none of AVX2, AVX-512, AMX".to_owned(),
        _ => instructions.join(", "),
    };
    format!("{name}, {threads} threads for capsmith; {instructions}")
}

/// Reports the machine's memory.
pub(super) fn memory() -> Verdict {
    let Some(all) = device::memory() else {
        return Verdict::skipped("the system does not say how much there is");
    };
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = available.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    Verdict::ok(match kibibytes {
        Some(kibibytes) => format!("{}, {} available", size(all), size(kibibytes * 1024)),
        None => size(all),
    })
}

/// Reports the free space on the disk of a folder.
pub(super) fn disk(folder: &Path) -> Verdict {
    match free(folder) {
        Some(free) => {
            let verdict = Verdict::ok(format!("{} free at {}", size(free), printable_path(folder)));
            if free < LOW_DISK {
                return verdict
                    .with_hint("checkpoints and embeddings may not fit; free some space");
            }
            verdict
        }
        None => Verdict::skipped(format!("unknown: {} cannot be asked", printable_path(folder))),
    }
}

/// Returns the bytes available to the user on the disk of a folder.
fn free(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut stat = MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: a C string, and a struct that the system fills.
    let failure = unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) };
    // SAFETY: any bytes are valid numbers, and the struct was zeroed.
    let stat = unsafe { stat.assume_init() };
    #[allow(clippy::useless_conversion, reason = "their types differ between systems")]
    (failure == 0).then(|| u64::from(stat.f_bavail) * u64::from(stat.f_frsize))
}

/// Formats a number of bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const GIB: f64 = (1_u64 << 30) as f64;
    let gibibytes = bytes as f64 / GIB;
    if gibibytes < 0.95 {
        format!("{:.0} MiB", gibibytes * 1024.0)
    } else {
        format!("{gibibytes:.1} GiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_by_people() {
        assert_eq!(size(0), "0 MiB");
        assert_eq!(size(300 << 20), "300 MiB");
        assert_eq!(size(85_899_345_920), "80.0 GiB");
    }

    #[test]
    fn this_machine_has_room_and_memory() {
        assert!(free(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free(Path::new("/no/such/folder")), None);
        assert!(loaded("libtorch_cpu").is_some() && loaded("libnothing").is_none());
        assert!(processor().contains("threads"), "{}", processor());
    }
}
