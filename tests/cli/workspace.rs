//! Keywords and runs of a test on the shared drawn set.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use keywords::TextEncoder;
use serde_json::Value;
use tch::{Device, Kind};
use tempfile::TempDir;

use super::stage::{Stage, success};

/// Folder of a test's keywords and runs on the shared drawn set.
pub struct Workspace {
    pub stage: &'static Stage,
    pub folder: TempDir,
}

impl Workspace {
    /// Returns an empty folder beside the shared set.
    pub fn new() -> Self {
        Self { stage: Stage::get(), folder: tempfile::tempdir().unwrap() }
    }

    /// Returns the text tower of the shared CLIP.
    pub fn text_encoder(&self) -> Rc<TextEncoder> {
        let clip = PathBuf::from(self.stage.clip());
        Rc::new(TextEncoder::load(&clip, Device::Cpu, Kind::Float).unwrap())
    }

    /// Builds and selects keywords.
    pub fn with_keywords() -> Self {
        let place = Self::new();
        let (pictures, clip) = (place.stage.pictures(), place.stage.clip());
        let keywords = place.of("keywords");
        success(&[
            "keywords",
            "build",
            "--dataset",
            &pictures,
            "--clip",
            &clip,
            "--out",
            &keywords,
        ]);
        success(&place.select(&["--keywords", &keywords], "selected.jsonl"));
        place
    }

    pub fn of(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn select(&self, more: &[&str], out: &str) -> Vec<String> {
        let (pictures, clip, embeddings) =
            (self.stage.pictures(), self.stage.clip(), self.stage.embeddings());
        let out = self.of(out);
        let words = [
            "keywords",
            "select",
            "--dataset",
            &pictures,
            "--clip",
            &clip,
            "--embeddings",
            &embeddings,
            "--out",
            &out,
        ];
        words.iter().chain(more).map(ToString::to_string).collect()
    }

    pub fn train(&self, system: &str, run: &str, more: &[&str]) -> Vec<String> {
        let config = format!("{}/configs/small/{system}.toml", env!("CARGO_MANIFEST_DIR"));
        let mut sets = vec![
            format!("data.dataset={}", self.stage.pictures()),
            format!("data.embeddings={}", self.stage.embeddings()),
            "data.split=paper".to_owned(),
            "data.test_captions=50".to_owned(),
            "data.validation_captions=50".to_owned(),
            "training.epochs=3".to_owned(),
            "training.threads=1".to_owned(),
        ];
        if system == "sbg" {
            sets.extend([
                format!("gpt2.model={}", self.stage.gpt2()),
                format!("reranking.clip={}", self.stage.clip()),
                format!("keywords.selected={}", self.of("selected.jsonl")),
                format!("keywords.labels={}", self.of("keywords/labels.json")),
                format!("keywords.encyclopedia={}", self.of("keywords/encyclopedia.json")),
            ]);
        }
        let run = self.of(run);
        let mut words: Vec<String> =
            ["train", "--config", &config, "--out", &run].map(str::to_owned).to_vec();
        words.extend(sets.iter().flat_map(|set| ["--set".to_owned(), set.clone()]));
        words.extend(more.iter().map(ToString::to_string));
        words
    }

    /// Checks that `capsmith caption` writes the evaluation's caption of its first picture.
    ///
    /// Returns the picture.
    pub fn captioned_alike(&self, run: &str, evaluation: &str) -> String {
        let predictions = Path::new(run).join(format!("evaluation/{evaluation}/predictions.json"));
        let predictions = read_json(&predictions);
        let name = predictions[0]["image_id"].as_str().unwrap();
        let picture = format!("{}/Images/{name}", self.stage.pictures());
        let line = String::from_utf8(success(&["caption", "--raw", "--run", run, &picture]).stdout)
            .unwrap();
        let caption = predictions[0]["caption"].as_str().unwrap();
        assert_eq!(line.trim_end(), format!("{picture}\t{caption}"));
        picture
    }
}

pub fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
