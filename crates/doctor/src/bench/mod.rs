//! Benchmarks of training, decoding and CLIP, compared with a plain PyTorch loop if available.
//!
//! Models have random weights. On the CPU they are small, with few steps, so that a benchmark takes
//! minutes at most.

mod measurement;
mod peaks;
mod plain;

use std::time::{Duration, Instant};

use bench::{Bench, CLIP_DIM, PREFIX_LENGTH};
use networks::Precision;
use networks::clip::{ClipConfig, ClipModel, Towers, VisionConfig};
use networks::decode::Strategy;
use networks::gpt2::Gpt2Config;
use networks::libtorch::{self, Tf32Scope};
use tch::{Device, Kind, Tensor, nn, no_grad};
use training::learner::LearnerOptions;

use crate::compare::Arithmetic;
use crate::error::{CheckError, catch, first_line};
use crate::finding::Group;
use crate::observer::Observer;
pub use measurement::Measurement;
use measurement::STEP;
use plain::{B32, Job, L14, Tower};

/// Sizes for a device.
struct Sizes {
    gpt2: Gpt2Config,
    gpt2_name: &'static str,
    batches: &'static [usize],
    arithmetics: &'static [Arithmetic],
    decoded: i64,
    towers: &'static [Tower],
    pictures: i64,
    picture_arithmetics: &'static [Arithmetic],
    rounds: usize,
}

impl Sizes {
    fn of(device: Device) -> Self {
        if device.is_cuda() {
            return Self {
                gpt2: Gpt2Config::default(),
                gpt2_name: "GPT-2 small",
                batches: &[40, 160],
                arithmetics: &[Arithmetic::F32, Arithmetic::Tf32, Arithmetic::Bf16],
                decoded: 128,
                towers: &[B32, L14],
                pictures: 64,
                picture_arithmetics: &[Arithmetic::F32, Arithmetic::F16],
                rounds: 20,
            };
        }
        let gpt2 = Gpt2Config {
            vocab_size: 8192,
            n_embd: 256,
            n_layer: 4,
            n_head: 4,
            ..Gpt2Config::default()
        };
        Self {
            gpt2,
            gpt2_name: "GPT-2 of 4 layers, 256 wide",
            batches: &[40],
            arithmetics: &[Arithmetic::F32],
            decoded: 40,
            towers: &[B32],
            pictures: 8,
            picture_arithmetics: &[Arithmetic::F32],
            rounds: 3,
        }
    }
}

/// Runs all benchmarks. `gpus` are the names of the driver's GPUs.
pub(crate) fn measure(
    observer: &mut dyn Observer,
    device: Device,
    gpus: &[String],
) -> Vec<Measurement> {
    let sizes = Sizes::of(device);
    let peaks = peaks::lookup(gpus).filter(|_| device.is_cuda());
    let mut work: Vec<(Measurement, Job)> = Vec::new();
    let mut add = |name: String,
                   arithmetic: Arithmetic,
                   unit,
                   job: Job,
                   measured: &dyn Fn() -> Result<Measured, CheckError>| {
        observer.started(Group::Bench, &format!("{name}, {}", arithmetic.name()));
        work.push((measurement(device, name, arithmetic, unit, measured), job));
    };
    for (&batch, &arithmetic) in
        sizes.batches.iter().flat_map(|batch| sizes.arithmetics.iter().map(move |one| (batch, one)))
    {
        let name = format!("train {}, batch {batch}", sizes.gpt2_name);
        let job = Job::train(&sizes.gpt2, batch, arithmetic, sizes.rounds);
        add(name, arithmetic, STEP, job, &|| train(&sizes, batch, arithmetic, device, peaks));
    }
    for (name, strategy) in
        [("greedy", Strategy::Greedy {}), ("beams of 5", Strategy::Beam { num_beams: 5 })]
    {
        let beams = if let Strategy::Beam { num_beams: beams } = strategy { beams } else { 1 };
        let job = Job::decode(&sizes.gpt2, beams, sizes.rounds);
        let name = format!("caption by {}, {name}", sizes.gpt2_name);
        add(name, Arithmetic::F32, "captions/s", job, &|| decode(&sizes, strategy, device));
    }
    for (tower, &arithmetic) in sizes
        .towers
        .iter()
        .flat_map(|tower| sizes.picture_arithmetics.iter().map(move |one| (tower, one)))
    {
        let job = Job::encode(tower, sizes.pictures, arithmetic, sizes.rounds);
        let name = format!("CLIP {}", tower.name);
        add(name, arithmetic, "pictures/s", job, &|| encode(&sizes, tower, arithmetic, device));
    }
    observer.started(Group::Bench, "the plain loop in PyTorch");
    let (mut all, jobs): (Vec<Measurement>, Vec<Job>) = work.into_iter().unzip();
    plain::compare(&mut all, &jobs, device);
    for measurement in &all {
        observer.measured(measurement);
    }
    all
}

/// Measured value, and the fraction of the GPU's peak.
struct Measured {
    value: f64,
    mfu: Option<f64>,
}

fn measurement(
    device: Device,
    work: String,
    arithmetic: Arithmetic,
    unit: &'static str,
    measured: &dyn Fn() -> Result<Measured, CheckError>,
) -> Measurement {
    let gpu = if let Device::Cuda(gpu) = device { Some(gpu) } else { None };
    // An allocator without counters reports the error again below.
    let _ = gpu.map(libtorch::reset_peak_memory);
    let tf32 = Tf32Scope::new(arithmetic == Arithmetic::Tf32);
    let result = catch(measured);
    drop(tf32);
    let peak_bytes = gpu.and_then(|gpu| libtorch::peak_memory(gpu).ok());
    let (value, mfu, note) = match result {
        Ok(Measured { value, mfu }) => (Some(value), mfu, None),
        Err(error) => (None, None, Some(first_line(&error))),
    };
    let arithmetic = arithmetic.name();
    Measurement { work, arithmetic, unit, value, mfu, peak_bytes, plain: None, note }
}

/// Measures training steps, waiting for the GPU after each.
fn train(
    sizes: &Sizes,
    batch: usize,
    arithmetic: Arithmetic,
    device: Device,
    peaks: Option<peaks::Peaks>,
) -> Result<Measured, CheckError> {
    let bench = Bench::with_random_tokens(&sizes.gpt2, 10 * batch, batch, device)?;
    let precision = if arithmetic == Arithmetic::Bf16 { Precision::Bf16 } else { Precision::Full };
    let options = LearnerOptions {
        max_grad_norm: 1.0,
        dropout: true,
        precision,
        gradient_checkpointing: false,
    };
    let operations = operations(&sizes.gpt2, &bench);
    let seconds = median(bench.train(sizes.rounds, options)?);
    let mfu = peaks.and_then(|peaks| Some(operations / seconds / peaks.rate(arithmetic)?));
    Ok(Measured { value: seconds * 1e3, mfu })
}

/// Returns the floating-point operations of a training step: 6 per parameter and row.
///
/// Two of them are for the forward pass and four for the backward pass; attention is not counted.
fn operations(gpt2: &Gpt2Config, bench: &Bench) -> f64 {
    let (rows, targets) = bench.work();
    let captions = bench.shape().0 as f64;
    let hidden = gpt2.n_embd as f64;
    let blocks = 12.0 * hidden * hidden * gpt2.n_layer as f64;
    let head = hidden * gpt2.vocab_size as f64;
    // MLP mapper: from the embedding to half of the prefix's values, and from there to all.
    let prefix = PREFIX_LENGTH as f64 * hidden;
    let mapper = CLIP_DIM as f64 * prefix / 2.0 + prefix * prefix / 2.0;
    6.0 * (blocks * rows + head * targets + mapper * captions)
}

fn decode(sizes: &Sizes, strategy: Strategy, device: Device) -> Result<Measured, CheckError> {
    let bench = Bench::with_random_tokens(&sizes.gpt2, 5 * sizes.decoded as usize, 1, device)?;
    let (times, _) = bench.decode(strategy, sizes.rounds.min(5), sizes.decoded)?;
    Ok(Measured { value: sizes.decoded as f64 / median(times), mfu: None })
}

fn encode(
    sizes: &Sizes,
    tower: &Tower,
    arithmetic: Arithmetic,
    device: Device,
) -> Result<Measured, CheckError> {
    let config = ClipConfig {
        vision_config: VisionConfig {
            hidden_size: tower.hidden,
            intermediate_size: 4 * tower.hidden,
            num_hidden_layers: tower.layers,
            num_attention_heads: tower.heads,
            patch_size: tower.patch,
            ..VisionConfig::default()
        },
        projection_dim: tower.projection,
        towers: Towers::Vision,
        ..ClipConfig::default()
    };
    let mut store = nn::VarStore::new(device);
    store.set_kind(arithmetic.kind());
    let clip = ClipModel::new(store.root(), &config)?;
    store.freeze();
    let size = config.vision_config.image_size;
    let pixels = Tensor::f_randn([sizes.pictures, 3, size, size], (Kind::Float, device))?;
    let mut times = Vec::new();
    for _ in 0..=sizes.rounds {
        let start = Instant::now();
        let embeddings = no_grad(|| clip.encode_image(&pixels))?;
        // Waits for the device.
        let _ = embeddings.f_double_value(&[0, 0])?;
        times.push(start.elapsed());
    }
    times.remove(0);
    Ok(Measured { value: sizes.pictures as f64 / median(times), mfu: None })
}

/// Returns the median in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times.get(times.len() / 2).map_or(f64::NAN, Duration::as_secs_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_counts_six_operations_for_each_parameter_and_row() {
        let _turn = crate::checks::lock_generator();
        let gpt2 = Gpt2Config {
            vocab_size: 100,
            n_embd: 8,
            n_layer: 2,
            n_head: 2,
            ..Gpt2Config::default()
        };
        let bench = Bench::with_random_tokens(&gpt2, 30, 10, Device::Cpu).unwrap();
        let (rows, targets) = bench.work();
        let blocks = 2.0 * 12.0 * 64.0;
        let mapper = 768.0 * 40.0 + 40.0 * 80.0;
        let expected = 6.0 * (blocks * rows + 800.0 * targets + mapper * 10.0);
        assert!((operations(&gpt2, &bench) - expected).abs() < 1.0);
        // Ten prefix vectors per caption, and all tokens but the last of each.
        assert!((rows - targets - 90.0).abs() < 1e-9);
    }
}
