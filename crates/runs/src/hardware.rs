//! The hardware of a run. Resuming on other hardware is recorded in `run.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Device of a run, and the step from which on it was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Steps finished before this hardware was used.
    pub after_step: u64,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads; another number changes the last bits of results on the CPU.
    pub threads: usize,
}

impl Hardware {
    fn is_processor(&self) -> bool {
        self.device == "cpu"
    }

    /// Returns true if it is the same device, with as many threads where they compute.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let name =
            |device: &str| if device == "cuda" { "cuda:0".to_owned() } else { device.to_owned() };
        name(&self.device) == name(&other.device) && self.has_equal_results(other)
    }

    /// Returns true if results are expected to be the same.
    pub(crate) fn has_equal_results(&self, other: &Self) -> bool {
        self.is_processor() == other.is_processor()
            && (!self.is_processor() || self.threads == other.threads)
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.is_processor(), self.threads) {
            (false, _) => write!(f, "{}", self.device),
            (true, 1) => write!(f, "cpu with 1 thread"),
            (true, threads) => write!(f, "cpu with {threads} threads"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware(device: &str, threads: usize) -> Hardware {
        Hardware { after_step: 7, device: device.to_owned(), threads }
    }

    #[test]
    fn a_gpu_is_the_same_under_both_names_and_threads_count_on_the_processor_alone() {
        for (a, b, is_same, has_equal_results) in [
            (hardware("cuda", 1), hardware("cuda:0", 2), true, true),
            (hardware("cuda:0", 1), hardware("cuda:1", 1), false, true),
            (hardware("cpu", 1), hardware("cpu", 1), true, true),
            (hardware("cpu", 1), hardware("cpu", 2), false, false),
            (hardware("cpu", 1), hardware("cuda:0", 1), false, false),
        ] {
            assert_eq!(
                (a.is_same(&b), a.has_equal_results(&b)),
                (is_same, has_equal_results),
                "{a} {b}"
            );
            assert_eq!(
                (b.is_same(&a), b.has_equal_results(&a)),
                (is_same, has_equal_results),
                "{b} {a}"
            );
        }
    }
}
