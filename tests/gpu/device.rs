//! The pretend GPU, commands that run on it, and their counts.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use training::seeds::{Purpose, derive};

use crate::cli::stage::capsmith;

/// A built pretend GPU.
#[derive(Clone)]
pub struct PretendGpu {
    library: PathBuf,
    settings: Vec<(&'static str, String)>,
}

impl PretendGpu {
    /// Finds the library that `cargo xtask test` built; skips if it did not.
    pub fn find() -> Option<Self> {
        let library = test_support::pretend_gpu(env!("CARGO_TARGET_TMPDIR"))?;
        Some(Self { library, settings: Vec::new() })
    }

    /// Returns a copy with a setting, named without its prefix `PRETEND_CUDA_`.
    pub fn with(&self, name: &'static str, value: &dyn Display) -> Self {
        let mut set = self.clone();
        set.settings.push((name, value.to_string()));
        set
    }

    /// Returns the path of a program that was built with the library.
    pub fn program(&self, name: &str) -> PathBuf {
        self.library.join(name)
    }

    /// Makes a command see this GPU, and write its counts to `folder`.
    pub fn lend(&self, command: &mut Command, folder: &Path) {
        let earlier = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = std::iter::once(self.library.clone()).chain(std::env::split_paths(&earlier));
        command.env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap());
        command.env("OMP_NUM_THREADS", "1");
        command.env("PRETEND_CUDA_REPORT", folder.join("report"));
        command.env("PRETEND_CUDA_STEPS", folder.join("steps"));
        for (name, value) in &self.settings {
            command.env(format!("PRETEND_CUDA_{name}"), value);
        }
    }

    /// Runs the binary, whether it succeeds or fails.
    pub fn run<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        let folder = tempfile::tempdir().unwrap();
        let mut command = capsmith(words);
        self.lend(&mut command, folder.path());
        let output = command.output().unwrap();
        Ran::read(output, folder.path())
    }

    /// Runs the binary to a success that passes [`Ran::check`].
    pub fn success<S: AsRef<OsStr>>(&self, words: &[S]) -> Ran {
        let ran = self.run(words);
        assert!(ran.output.status.success(), "{}", ran.errors());
        ran.check();
        ran
    }

    /// Runs the binary to a failure with exit code 1, and returns the message.
    pub fn failure<S: AsRef<OsStr>>(&self, words: &[S]) -> String {
        let ran = self.run(words);
        let said = ran.errors();
        assert_eq!(ran.output.status.code(), Some(1), "{said}");
        assert!(!said.contains("panicked") && !said.contains("frame #"), "{said}");
        said
    }
}

/// A command that ran on the pretend GPU.
pub struct Ran {
    pub output: Output,
    /// Report of the GPU: operators by name, remarks and races.
    pub report: String,
    /// Counts between two seedings of the device, that is, of training steps.
    pub steps: Vec<Step>,
}

impl Ran {
    /// Reads what an ended command wrote to `folder`.
    ///
    /// Panics if it did not load the GPU.
    pub fn read(output: Output, folder: &Path) -> Self {
        let read = |name: &str| {
            std::fs::read_to_string(folder.join(name)).unwrap_or_else(|_| {
                panic!("it never loaded the GPU, or crashed:\n{}", errors(&output))
            })
        };
        let (report, steps) = (read("report"), Step::read(&read("steps")));
        Self { output, report, steps }
    }

    /// Checks that the command used the device, raced with no copy and printed no warning.
    pub fn check(&self) {
        let (said, report) = (self.errors(), &self.report);
        assert!(self.total("ops") > 0, "nothing was computed on the device:\n{report}");
        assert!(!report.contains("RACE"), "{report}");
        let warns = |line: &&str| {
            let line = line.to_lowercase();
            ["warn", "deprecated", "[w", "aten/", ".cpp"].iter().any(|word| line.contains(word))
        };
        // capsmith's own warning about a demo is right here.
        let mut lines = said.lines().filter(|line| !line.contains("learned from drawn pictures"));
        assert_eq!(lines.find(warns), None, "{said}");
    }

    pub fn errors(&self) -> String {
        errors(&self.output)
    }

    pub fn printed(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    /// Returns the counts of each training step but the last, with its number from 1.
    ///
    /// A step ends where the device is seeded for the next.
    pub fn training_steps(&self, seed: u64, count: usize) -> Vec<(usize, Step)> {
        let starts = (0..count as u64).map(|finished| {
            let mark = derive(seed, Purpose::Dropout, finished).to_string();
            let place = self.steps.iter().position(|step| step.until == mark);
            place.unwrap_or_else(|| panic!("the device was never seeded for step {}", finished + 1))
        });
        let starts: Vec<usize> = starts.collect();
        let steps = starts.windows(2).map(|pair| Step::sum(&self.steps[pair[0] + 1..=pair[1]]));
        (1..).zip(steps).collect()
    }

    /// Returns a count of the whole run.
    pub fn total(&self, column: &str) -> u64 {
        self.steps.iter().map(|step| step.get(column)).sum()
    }
}

/// Runs the binary to a success on one core of the processor.
pub fn on_processor<S: AsRef<OsStr>>(words: &[S]) -> Output {
    let output = capsmith(words).env("OMP_NUM_THREADS", "1").output().unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    output
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Counts of a part of a run, by the column names of the pretend GPU's file.
#[derive(Debug, Clone)]
pub struct Step {
    counts: BTreeMap<String, u64>,
    /// Seed that ended the part.
    until: String,
}

impl Step {
    fn read(text: &str) -> Vec<Self> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let step = |line: &str| {
            let cells: Vec<(&str, &str)> = names.iter().copied().zip(line.split(',')).collect();
            let until = cells.iter().find(|(name, _)| *name == "until").unwrap().1.to_owned();
            let counts = cells.into_iter().filter(|(name, _)| !["process", "until"].contains(name));
            let counts = counts.map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
            Self { counts: counts.collect(), until }
        };
        lines.map(step).collect()
    }

    /// Adds up counts; for held bytes, takes the last.
    fn sum(parts: &[Self]) -> Self {
        let mut sum = parts.last().unwrap().clone();
        for part in &parts[..parts.len() - 1] {
            for (name, count) in &part.counts {
                if !["bytes", "peak_bytes"].contains(&name.as_str()) {
                    *sum.counts.get_mut(name).unwrap() += count;
                }
            }
        }
        sum
    }

    pub fn get(&self, column: &str) -> u64 {
        self.counts[column]
    }
}
