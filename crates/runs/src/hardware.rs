//! The hardware of a run. Resuming on other hardware is recorded in `run.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::provenance::Provenance;
use crate::run_folder::RunFolder;

/// A device, and from which step on a run is computed there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Steps that were finished before.
    pub after_step: u64,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// CPU threads: another number gives other last bits on the processor.
    pub threads: usize,
}

impl Hardware {
    fn is_processor(&self) -> bool {
        self.device == "cpu"
    }

    /// Returns true if it is the same device, with as many threads where they compute.
    fn is_same(&self, other: &Self) -> bool {
        let name =
            |device: &str| if device == "cuda" { "cuda:0".to_owned() } else { device.to_owned() };
        name(&self.device) == name(&other.device) && self.gives_the_same(other)
    }

    /// Returns true if results are expected to be the same.
    fn gives_the_same(&self, other: &Self) -> bool {
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

impl RunFolder {
    /// Records in `run.json` that a run is resumed on other hardware than it was computed on last.
    ///
    /// Returns a note if its results change by that.
    ///
    /// # Errors
    /// Fails if the file cannot be written.
    pub fn resume_on(
        &self,
        now: Hardware,
        mut provenance: Provenance,
    ) -> Result<Option<String>, Error> {
        // Nothing is left of what was computed after the checkpoint.
        provenance.resumed_on.retain(|before| before.after_step < now.after_step);
        let before = provenance.hardware();
        if now.is_same(&before) {
            return Ok(None);
        }
        let note = (!now.gives_the_same(&before)).then(|| {
            format!(
                "resuming on {now} a run that was computed on {before}: the last digits of its results will differ from an uninterrupted run"
            )
        });
        provenance.resumed_on.push(now);
        self.save_provenance(&provenance)?;
        Ok(note)
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
        for (a, b, is_same, gives_the_same) in [
            (hardware("cuda", 1), hardware("cuda:0", 2), true, true),
            (hardware("cuda:0", 1), hardware("cuda:1", 1), false, true),
            (hardware("cpu", 1), hardware("cpu", 1), true, true),
            (hardware("cpu", 1), hardware("cpu", 2), false, false),
            (hardware("cpu", 1), hardware("cuda:0", 1), false, false),
        ] {
            assert_eq!((a.is_same(&b), a.gives_the_same(&b)), (is_same, gives_the_same), "{a} {b}");
            assert_eq!((b.is_same(&a), b.gives_the_same(&a)), (is_same, gives_the_same), "{b} {a}");
        }
    }
}
