//! A small data set, models and embeddings that the binary makes once for all tests, and helpers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::OnceLock;

use test_support::wait_for;

/// Folder of the shared files; tests write elsewhere.
pub struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// Returns the shared files; the first call makes them.
    pub fn get() -> &'static Self {
        static STAGE: OnceLock<Stage> = OnceLock::new();
        STAGE.get_or_init(Self::build)
    }

    fn build() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stage");
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let stage = Self { folder };
        let (pictures, clip, gpt2) = (stage.pictures(), stage.clip(), stage.gpt2());
        success(&["dataset", "draw", "--out", &pictures, "--count", "60", "--size", "64"]);
        init_clip(&clip, "24");
        init_gpt2(&gpt2, &pictures, &[]);
        let out = stage.embeddings();
        success(&["precompute", "--dataset", &pictures, "--clip", &clip, "--out", &out]);
        stage
    }

    fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    pub fn pictures(&self) -> String {
        self.place("pictures")
    }

    pub fn clip(&self) -> String {
        self.place("clip")
    }

    pub fn gpt2(&self) -> String {
        self.place("gpt2")
    }

    pub fn embeddings(&self) -> String {
        self.place("embeddings.safetensors")
    }

    /// Returns the words of a short training command: 25 steps in each of 2 epochs.
    pub fn train(&self, out: &Path, more: &[&str]) -> Vec<String> {
        let sets = [
            &format!("gpt2.model={}", self.gpt2()),
            "training.epochs=2",
            "training.batch_size=10",
            "optimizer.warmup_steps=5",
        ];
        let mut words = self.train_by(&config(), out, &sets);
        words.extend(more.iter().map(ToString::to_string));
        words
    }

    /// Returns the words that train by any configuration, with changes, on the shared pictures.
    pub fn train_by(&self, config: &str, out: &Path, sets: &[&str]) -> Vec<String> {
        let out = out.display().to_string();
        let start = ["train", "--config", config, "--out", &out];
        let mut words: Vec<String> = start.map(str::to_owned).to_vec();
        let (pictures, embeddings) = (self.pictures(), self.embeddings());
        let shared = [
            &format!("data.dataset={pictures}"),
            &format!("data.embeddings={embeddings}"),
            "data.test_captions=50",
            "training.threads=1",
        ];
        for set in shared.iter().chain(sets) {
            words.extend(["--set".to_owned(), (*set).to_owned()]);
        }
        words
    }
}

/// Makes a tiny CLIP with embeddings of `projection_dim` values.
pub fn init_clip(out: &str, projection_dim: &str) {
    let pictures = ["init", "clip", "--out", out, "--image-size", "32", "--patch-size", "16"];
    let towers = ["--hidden-size", "32", "--layers", "1", "--heads", "2"];
    success(&[&pictures[..], &towers, &["--projection-dim", projection_dim]].concat());
}

/// Makes a tiny GPT-2 with a tokenizer of the captions of `pictures`.
fn init_gpt2(out: &str, pictures: &str, more: &[&str]) {
    let set = ["init", "gpt2", "--out", out, "--dataset", pictures, "--test-captions", "50"];
    let shape = ["--vocab-size", "400", "--hidden-size", "32", "--layers", "1", "--heads", "2"];
    success(&[&set[..], &shape, more].concat());
}

/// Makes a language model without dropout, and returns the setting that names it.
///
/// Draws of dropout depend on which process has which captions.
pub fn without_dropout(folder: &Path) -> String {
    let gpt2 = folder.join("gpt2").display().to_string();
    init_gpt2(&gpt2, &Stage::get().pictures(), &["--dropout", "0"]);
    format!("gpt2.model={gpt2}")
}

/// Returns the demo's configuration.
pub fn config() -> String {
    format!("{}/configs/demo/prefix-gradient-clipping.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Returns the binary with these words.
pub fn capsmith<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_capsmith"));
    command.args(words);
    command
}

/// Runs the binary to a success.
pub fn success<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Output {
    let output = capsmith(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} failed:\n{errors}", words_of(words));
    output
}

/// Runs the binary to a failure with exit code 1, and returns its messages.
pub fn failure<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> String {
    let output = capsmith(words).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{:?} should fail:\n{errors}", words_of(words));
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

fn words_of<S: AsRef<std::ffi::OsStr>>(words: &[S]) -> Vec<String> {
    words.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect()
}

/// Returns the newest checkpoint's folder.
pub fn newest_checkpoint(run: &Path) -> PathBuf {
    let mut all: Vec<PathBuf> = std::fs::read_dir(run.join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_none())
        .collect();
    all.sort();
    all.pop().expect("a checkpoint")
}

/// Waits until `condition` holds, which it must before `child` ends.
pub fn wait_while_running(child: &mut Child, what: &str, mut condition: impl FnMut() -> bool) {
    wait_for(what, || {
        let ended = child.try_wait().unwrap().is_some();
        let holds = condition();
        assert!(holds || !ended, "it ended before there was {what}");
        holds
    });
}

/// Returns the files below a folder with their sizes; none if it does not exist.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    // Other processes may remove entries meanwhile.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(metadata) => {
                found.insert(entry.path(), metadata.len());
            }
            Err(_) => {}
        }
    }
    found
}
