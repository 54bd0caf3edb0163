//! Embeddings standardised by the statistics of the training images: fitted once, kept through
//! training, and folded into the mapper where ClipCap's own layout is asked for.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

#[allow(dead_code, reason = "each file of tests uses some of it")]
mod stage;

use networks::gpt2::Gpt2Config;
use networks::prefix::{self, CaptionerInitialWeights, ClipCaptioner, MapperConfig};
use networks::weights::{self, Checkpoint};
use runs::RunFolder;
use stage::{Stage, kept_steps, weight};
use tch::{Device, Kind, Tensor, nn};
use training::export::{Format, export};
use training::inputs::Inputs;

/// Returns mean and standard deviation of each column, by plain sums in f64.
fn statistics(rows: &[Vec<f32>]) -> [Vec<f64>; 2] {
    let count = rows.len() as f64;
    let columns = 0..rows[0].len();
    let column = |at: usize| rows.iter().map(move |row| f64::from(row[at]));
    let mean: Vec<f64> = columns.clone().map(|at| column(at).sum::<f64>() / count).collect();
    let variance = |at: usize| column(at).map(|value| (value - mean[at]).powi(2)).sum::<f64>();
    let deviation = columns.map(|at| (variance(at) / count).sqrt()).collect();
    [mean, deviation]
}

fn difference(found: &Tensor, expected: &Tensor) -> f64 {
    (found - expected).abs().max().double_value(&[])
}

/// Returns the prefix vectors of a file's mapper.
fn prefix_vectors(run: &RunFolder, file: &Checkpoint, standardize: bool, rows: &Tensor) -> Tensor {
    let config = run.config().unwrap();
    let mapper = &config.clip_prefix().unwrap().mapper;
    let mapper = MapperConfig { standardize, ..MapperConfig::new(mapper, rows.size()[1] as usize) };
    let gpt2 = Gpt2Config::open(&run.gpt2()).unwrap();
    let mut store = nn::VarStore::new(Device::Cpu);
    let zeros = CaptionerInitialWeights::ZEROS;
    let captioner = ClipCaptioner::with_initial(store.root(), &gpt2, &mapper, zeros);
    prefix::load(&mut store, file).unwrap();
    tch::no_grad(|| captioner.prefix(rows))
}

#[test]
fn statistics_are_of_training_images_and_fold_into_either_mapper() {
    let stage = Stage::new();
    for mapper in ["mlp", "transformer"] {
        let sets = [
            &format!("mapper.kind={mapper}"),
            "gpt2.tuning=frozen",
            "mapper.standardize=true",
            "training.epochs=1",
            "training.checkpoint_every_steps=1",
        ];
        let (run, ..) = stage.trained(mapper, &sets);
        let inputs = Inputs::load(&run.config().unwrap().data, Device::Cpu).unwrap();
        let training_rows = inputs.embeddings_of(&inputs.split.train);
        assert!(training_rows.size()[0] < inputs.embeddings.size()[0]);
        let rows: Vec<Vec<f32>> = (&training_rows).try_into().unwrap();
        let steps = kept_steps(&run);
        assert!(steps.len() > 1);
        for (name, expected) in ["mean", "deviation"].iter().zip(statistics(&rows)) {
            for &step in &steps {
                let found = weight(&run, step, &format!("standardization.{name}"));
                let expected = Tensor::from_slice(&expected).to_kind(Kind::Float);
                let off = difference(&found, &expected);
                assert!(off < 1e-6, "{mapper}, {name} of step {step}: {off:e}");
            }
        }

        let out = run.path().with_extension("safetensors");
        export(&run, Format::ClipCap, &out).unwrap();
        let exported = Checkpoint::open(&out).unwrap();
        assert!(exported.names().all(|name| !name.starts_with("standardization")));
        let last = steps.last().unwrap();
        let own = run.checkpoints().join(format!("step-{last:09}/model.safetensors"));
        let own = prefix_vectors(&run, &Checkpoint::open(&own).unwrap(), true, &inputs.embeddings);
        let folded = prefix_vectors(&run, &exported, false, &inputs.embeddings);
        let off = difference(&folded, &own);
        assert!(off < 1e-5, "{mapper}: {off:e}");
        let raw = prefix_vectors(&run, &without_statistics(&run, *last), false, &inputs.embeddings);
        assert!(difference(&raw, &own) > 1e-2, "{mapper}: the statistics change nothing");
    }
}

/// Returns a checkpoint's weights without its statistics.
fn without_statistics(run: &RunFolder, step: u64) -> Checkpoint {
    let path = run.checkpoints().join(format!("step-{step:09}/model.safetensors"));
    let file = Checkpoint::open(&path).unwrap();
    let tensors: Vec<(String, Tensor)> = file
        .names()
        .filter(|name| !name.starts_with("standardization"))
        .map(|name| (name.to_owned(), file.tensor(name, Device::Cpu).unwrap()))
        .collect();
    let out = run.path().with_extension("plain.safetensors");
    weights::save(&out, &tensors, &std::collections::BTreeMap::new()).unwrap();
    Checkpoint::open(&out).unwrap()
}
