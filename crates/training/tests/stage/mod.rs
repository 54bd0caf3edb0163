//! Temporary folder with a small data set, its embeddings, and a GPT-2 of one layer.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use datasets::ImageFiles;
use demo_data::models::init_gpt2;
use networks::gpt2::Gpt2Config;
use networks::weights::Checkpoint;
use pictures::Preprocessing;
use precompute::{Dtype, Identity, Plan};
use progress::{Progress, Silent, Unit};
use recipes::Config;
use runs::RunFolder;
use runs::metrics::{self, StepRecord};
use tch::{Device, Kind, TchError, Tensor};
use tempfile::TempDir;
use training::session::{Outcome, TrainOptions};
use training::trainer::train;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const EMBEDDING: i64 = 8;
/// Caption rows at the end that are not trained on.
const TEST_CAPTIONS: usize = 5;

pub struct Stage {
    folder: TempDir,
}

impl Stage {
    /// Batches per epoch: 35 captions in sixes, without the last five.
    pub const BATCHES: u64 = 5;
    /// Batches per epoch with five captions held out: 30 in sixes.
    pub const BATCHES_WITHOUT_HELD_OUT: u64 = 5;

    /// Makes seven training images with five captions each.
    pub fn new() -> Self {
        let who = ["a dog", "two boys", "an old man", "a woman", "a brown horse"];
        let what = ["runs", "jumps high", "sits down", "sleeps", "looks at the camera", "plays"];
        let place = ["on the grass", "in the snow", "by a river", "on a street", "at the beach"];
        let caption = |image: usize, number: usize| {
            let (who, what) = (who[(image + number / 2) % 5], what[(image * 2 + number) % 6]);
            format!("{who} {what} {} .", place[(image + number * number) % 5])
        };
        let captions = |image| (0..5).map(|number| caption(image, number)).collect();
        Self::of(&(0..8).map(captions).collect::<Vec<_>>())
    }

    /// Makes one training image with one caption five times.
    pub fn of_one_caption() -> Self {
        Self::of_one_caption_written("a dog runs on the grass .")
    }

    /// Makes one training image with `caption` five times.
    pub fn of_one_caption_written(caption: &str) -> Self {
        let image = |caption: &str| vec![caption.to_owned(); 5];
        Self::of(&[image(caption), image("a dog sleeps .")])
    }

    /// Returns [`Self::new`]'s data set, but no token of every third caption counts in the loss.
    pub fn with_captions_without_targets() -> Self {
        let caption = |image: usize, number: usize| match (image + number) % 3 {
            0 => "<|endoftext|>".to_owned(),
            rest => format!("a dog of {rest} colours runs on the grass ."),
        };
        let captions = |image| (0..5).map(|number| caption(image, number)).collect();
        Self::of(&(0..8).map(captions).collect::<Vec<_>>())
    }

    fn of(images: &[Vec<String>]) -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        let pictures = stage.path("set/Images");
        fs::create_dir_all(&pictures).unwrap();
        let picture = Path::new(ROOT).join("tests/fixtures/pictures/decodable/rgb.png");
        let mut rows = "image,caption\n".to_owned();
        for (image, captions) in images.iter().enumerate() {
            let name = format!("{image:03}.png");
            fs::copy(&picture, pictures.join(&name)).unwrap();
            for caption in captions {
                writeln!(rows, "{name},\"{caption}\"").unwrap();
            }
        }
        fs::write(stage.path("set/captions.txt"), rows).unwrap();
        stage.embed();
        let texts = images.concat();
        for (folder, dropout) in [(stage.gpt2(), 0.0), (stage.gpt2_with_dropout(), 0.3)] {
            let config = Gpt2Config {
                vocab_size: 320,
                n_positions: 40,
                n_embd: 16,
                n_layer: 1,
                n_head: 2,
                resid_pdrop: dropout,
                embd_pdrop: dropout,
                attn_pdrop: dropout,
                ..Gpt2Config::default()
            };
            init_gpt2(&folder, &config, &texts, 7).unwrap();
        }
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Returns the GPT-2 without dropout.
    pub fn gpt2(&self) -> PathBuf {
        self.path("gpt2")
    }

    /// Returns the same weights with much dropout.
    pub fn gpt2_with_dropout(&self) -> PathBuf {
        self.path("gpt2-with-dropout")
    }

    /// Writes embeddings without meaning, a different one for each image.
    fn embed(&self) {
        let pictures = ImageFiles::load(&self.path("set"), None).unwrap();
        let output = self.path("embeddings.safetensors");
        let plan = Plan {
            names: pictures.names,
            find: Box::new(|index, name| pictures.locations.find(index, name)),
            identity: Identity {
                network: precompute::Network::Clip,
                model: "none".to_owned(),
                model_sha256: "none".to_owned(),
                preprocessing: Some(Preprocessing::clip(4)),
                upright: false,
                normalize: false,
                dtype: Dtype::F32,
                dataset_fingerprint: pictures.fingerprint,
                dimension: EMBEDDING as usize,
            },
            device: Device::Cpu,
            batch_size: 1,
            skip_corrupt: false,
            process: launchers::ProcessRank::SINGLE,
            output: &output,
        };
        let mut seen = 0;
        let encoder = |_: &Tensor| -> Result<Tensor, TchError> {
            seen += EMBEDDING;
            let values = Tensor::arange_start(seen - EMBEDDING, seen, (Kind::Float, Device::Cpu));
            values.square().sin().f_unsqueeze(0)
        };
        precompute::run(&plan, encoder, &mut Silent, &AtomicBool::new(false)).unwrap();
    }

    /// Returns the run folder `name`.
    pub fn run(&self, name: &str) -> RunFolder {
        RunFolder::new(&self.path(name))
    }

    /// Returns the paper's configuration for this small data set, with `sets` of `key=value`.
    pub fn config<S: AsRef<str>>(&self, sets: &[S]) -> Config {
        let file = Path::new(ROOT).join("configs/flickr8k/prefix-gradient-clipping.toml");
        let mut all = vec![
            format!("data.dataset={}", self.path("set").display()),
            format!("data.embeddings={}", self.path("embeddings.safetensors").display()),
            format!("data.test_captions={TEST_CAPTIONS}"),
            format!("gpt2.model={}", self.gpt2().display()),
            "mapper.prefix_length=3".to_owned(),
            "training.device=cpu".to_owned(),
            "training.threads=1".to_owned(),
            "training.batch_size=6".to_owned(),
            "training.scored_pictures=0".to_owned(),
            "optimizer.warmup_steps=2".to_owned(),
            "decoding.max_new_tokens=10".to_owned(),
        ];
        all.extend(sets.iter().map(|set| set.as_ref().to_owned()));
        Config::load(&file, &all).unwrap()
    }

    /// Trains to the end.
    pub fn trained<S: AsRef<str>>(
        &self,
        name: &str,
        sets: &[S],
    ) -> (RunFolder, Outcome, Vec<StepRecord>) {
        let (run, stop) = (self.run(name), AtomicBool::new(false));
        let config = self.config(sets);
        let outcome = train(
            &run,
            &config,
            config.system.language_model().map(Path::new),
            &TrainOptions::default(),
            &mut Watcher::default(),
            &stop,
        )
        .unwrap();
        let records = records(&run);
        (run, outcome, records)
    }

    /// Returns a tensor of the GPT-2 that training starts from.
    pub fn pretrained(&self, name: &str) -> Tensor {
        Checkpoint::open(&self.gpt2()).unwrap().tensor(name, Device::Cpu).unwrap()
    }
}

/// Locks out other tests: libtorch's random generator, threads and determinism are the process's.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the lines of a run's `metrics.csv`.
pub fn records(run: &RunFolder) -> Vec<StepRecord> {
    metrics::records(&run.path().join("metrics.csv")).unwrap()
}

/// Returns a tensor of the checkpoint after `step` steps.
pub fn weight(run: &RunFolder, step: u64, name: &str) -> Tensor {
    let file = run.checkpoints().join(format!("step-{step:09}/model.safetensors"));
    Checkpoint::open(&file).unwrap().tensor(name, Device::Cpu).unwrap()
}

/// Returns the bytes of each file of the newest checkpoint.
pub fn newest_files(run: &RunFolder) -> BTreeMap<String, Vec<u8>> {
    let newest = runs::checkpoints::latest(&run.checkpoints()).unwrap().0.unwrap();
    let files = fs::read_dir(newest.path).unwrap().map(|entry| entry.unwrap());
    files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect()
}

/// Keeps notes, and raises a flag after this many training steps.
#[derive(Default)]
pub struct Watcher<'a> {
    pub notes: Vec<String>,
    pub steps: u64,
    pub stop: Option<(&'a AtomicBool, u64)>,
    is_epoch: bool,
}

impl<'a> Watcher<'a> {
    /// Raises `stop` after `steps` steps.
    pub fn stopping(stop: &'a AtomicBool, steps: u64) -> Self {
        Self { stop: Some((stop, steps)), ..Self::default() }
    }
}

impl Progress for Watcher<'_> {
    fn start(&mut self, task: &str, _unit: Unit, _total: Option<u64>, _done: u64) {
        self.is_epoch = task.starts_with("epoch ");
    }

    fn position(&mut self, _done: u64) {
        self.steps += u64::from(self.is_epoch);
        if let Some((stop, steps)) = self.stop {
            stop.fetch_or(self.is_epoch && self.steps == steps, Ordering::Relaxed);
        }
    }

    fn note(&mut self, message: &str) {
        self.notes.push(message.to_owned());
    }
}

/// Returns the steps of the checkpoints.
pub fn kept_steps(run: &RunFolder) -> std::collections::BTreeSet<u64> {
    let folders = fs::read_dir(run.checkpoints()).unwrap().map(|entry| entry.unwrap().file_name());
    folders
        .map(|name| name.to_str().unwrap().strip_prefix("step-").unwrap().parse().unwrap())
        .collect()
}
