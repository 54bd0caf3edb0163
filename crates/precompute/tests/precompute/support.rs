//! A small data set, and an encoder whose result depends on order and batches.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use precompute::{Dtype, Error, Identity, Plan, Summary, run};
use progress::{Progress, Silent, Unit};
use tch::{Device, Kind, TchError, Tensor};
use tempfile::TempDir;

pub const PICTURES: usize = 43;
pub const BATCH: usize = 4;

/// Folder with images of random colours, and room for the output.
pub struct DataSet {
    pub folder: TempDir,
}

impl DataSet {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut random = Random(7);
        for index in 0..PICTURES {
            let colours = (0..7 * 5 * 3).map(|_| random.below(256) as u8).collect();
            let picture = image::RgbImage::from_raw(7, 5, colours).unwrap();
            picture.save(folder.path().join(name(index))).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn plan<'a>(&self, output: &'a Path) -> Plan<'a> {
        let folder = self.folder.path().to_owned();
        Plan {
            names: (0..PICTURES).map(name).collect(),
            find: Box::new(move |_, name| folder.join(name).into()),
            identity: Identity {
                network: precompute::Network::Clip,
                model: "stand-in".to_owned(),
                model_sha256: "1234".to_owned(),
                preprocessing: Some(pictures::Preprocessing::clip(4)),
                upright: false,
                normalize: false,
                dtype: Dtype::F32,
                dataset_fingerprint: "5678".to_owned(),
                dimension: 5,
            },
            device: Device::Cpu,
            batch_size: BATCH,
            skip_corrupt: false,
            process: launchers::ProcessRank::SINGLE,
            output,
        }
    }

    /// Returns the bytes that an uninterrupted run writes.
    pub fn uninterrupted(&self, skip_corrupt: bool) -> Vec<u8> {
        let output = self.path("uninterrupted.safetensors");
        run_plain(&Plan { skip_corrupt, ..self.plan(&output) }).unwrap();
        std::fs::read(output).unwrap()
    }
}

pub fn name(index: usize) -> String {
    format!("picture {index:02}.png")
}

/// Returns `[batch, 5]`: channel means, index in the batch and length of the batch.
pub fn encode(pixels: &Tensor) -> Result<Tensor, TchError> {
    let batch = pixels.size()[0];
    let means = pixels.f_mean_dim([2i64, 3].as_slice(), false, Kind::Float)?;
    let position = Tensor::f_arange(batch, (Kind::Float, Device::Cpu))?.f_unsqueeze(1)?;
    let length = position.f_full_like(batch as f64)?;
    Tensor::f_cat(&[means, position, length], 1)
}

pub fn run_plain(plan: &Plan) -> Result<Summary, Error> {
    run(plan, encode, &mut Silent, &AtomicBool::new(false))
}

/// Runs until `batches` batches are done, then raises the stop flag.
///
/// Returns the run's result, and the number of calls of the encoder.
pub fn run_until(plan: &Plan, batches: usize) -> (Result<Summary, Error>, usize) {
    let stop = AtomicBool::new(false);
    let mut calls = 0;
    let encoder = |pixels: &Tensor| {
        calls += 1;
        encode(pixels)
    };
    let mut watcher = Watcher::calling(|done| {
        stop.fetch_or(done >= batches * plan.batch_size, Ordering::Relaxed);
    });
    let result = run(plan, encoder, &mut watcher, &stop);
    (result, calls)
}

/// Records done units and total at each event, and calls a function with the done units.
#[derive(Default)]
pub struct Watcher<'a> {
    pub seen: Vec<(usize, usize)>,
    call: Option<Box<dyn FnMut(usize) + 'a>>,
    total: usize,
}

impl<'a> Watcher<'a> {
    pub fn calling(call: impl FnMut(usize) + 'a) -> Self {
        Self { call: Some(Box::new(call)), ..Self::default() }
    }
}

impl Progress for Watcher<'_> {
    fn start(&mut self, _task: &str, _unit: Unit, total: Option<u64>, done: u64) {
        self.total = total.unwrap() as usize;
        self.position(done);
    }

    fn position(&mut self, done: u64) {
        self.seen.push((done as usize, self.total));
        if let Some(call) = &mut self.call {
            call(done as usize);
        }
    }
}

/// Steps of a linear congruential generator: the same in each run of a test.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}
