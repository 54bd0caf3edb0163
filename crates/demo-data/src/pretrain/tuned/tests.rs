//! Tuning compared with PyTorch's, on the narrow EfficientNet-Lite0 and the batches of
//! `tests/reference/encoder_tuning_goldens.py`.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::path::PathBuf;

use networks::weights::Checkpoint;

use super::*;

/// First and last image of each batch, exclusive.
const BATCHES: [(i64, i64); 4] = [(0, 5), (2, 6), (0, 6), (1, 5)];
/// Index of the block with which the last halving of sides begins.
const FIRST_TUNED: usize = 11;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/efficientnet", name].iter().collect()
}

fn network(path: &Path) -> EfficientNetLite {
    EfficientNetLite::from_file(path, Device::Cpu, Kind::Float).unwrap()
}

/// Golden tensors, and a network at the start of training with its parameters.
struct Stage {
    golden: Checkpoint,
    parameters: Vec<(String, Tensor)>,
}

impl Stage {
    fn new() -> (Self, Tuned) {
        let golden = Checkpoint::open(&fixture("tuned.safetensors")).unwrap();
        let network = network(&fixture("package.pth"));
        let [pixels, texts] =
            ["pixels", "texts"].map(|name| golden.tensor(name, Device::Cpu).unwrap());
        let features = tch::no_grad(|| network.encode(&pixels)).unwrap();
        let (tuned, parameters) = Tuned::new(network, &features, &texts, 0.0).unwrap();
        (Self { golden, parameters }, tuned)
    }

    fn golden(&self, name: &str) -> Tensor {
        self.golden.tensor(name, Device::Cpu).unwrap()
    }

    fn batch(&self, step: usize) -> Captioned {
        let (first, end) = BATCHES[step];
        let [pixels, texts] =
            ["pixels", "drawn"].map(|name| self.golden(name).narrow(0, first, end - first));
        Captioned { pixels, texts }
    }

    /// Checks a tensor against the golden one, to a part of the largest value, or of 1 if larger.
    fn check(&self, name: &str, found: &Tensor, tolerance: f64) {
        let expected = self.golden(name);
        assert_eq!(found.size(), expected.size(), "{name}");
        let largest = expected.abs().max().double_value(&[]).max(1.0);
        let off = (found.detach() - expected).abs().max().double_value(&[]);
        assert!(off < tolerance * largest, "{name}: {off:e} off, the largest is {largest}");
    }
}

/// Trains as PyTorch did; returns the network's training with the losses.
fn trained(stage: &Stage, tuned: Tuned) -> (Learner<Tuned>, Vec<f64>) {
    let training = TrainingOptions {
        steps: BATCHES.len() as u64,
        batch_size: 6,
        learning_rate: 1e-3,
        warmup_steps: 1,
        weight_decay: 0.05,
        seed: 1,
    };
    let parameters =
        stage.parameters.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
    let mut learner = training.learner(tuned, parameters.collect(), true);
    let mut losses = Vec::new();
    for step in 0..BATCHES.len() {
        let computed = learner.compute(&[stage.batch(step)], step as u64, 1).unwrap();
        losses.push(computed.loss.double_value(&[]));
        learner.apply(&computed).unwrap();
    }
    (learner, losses)
}

#[test]
fn the_projection_starts_as_pytorchs_ridge_regression_and_all_gradients_are_pytorchs() {
    let (stage, tuned) = Stage::new();
    stage.check("ridge.weight", &tuned.projection, 1e-5);
    stage.check("ridge.bias", &tuned.bias, 1e-5);
    let loss = tuned.batch_loss(&stage.batch(0), true).unwrap();
    let parameters: Vec<&Tensor> = stage.parameters.iter().map(|(_, tensor)| tensor).collect();
    let gradients = Tensor::run_backward(&[loss], &parameters, false, false);
    let expected = stage.golden.names().filter(|name| name.starts_with("gradient.")).count();
    assert_eq!(gradients.len(), expected);
    for ((name, _), gradient) in stage.parameters.iter().zip(gradients) {
        // Rounding in f32: PyTorch's own gradients are up to 2.3e-5 off those in f64.
        stage.check(&format!("gradient.{name}"), &gradient, 5e-5);
    }
}

#[test]
fn steps_are_pytorchs_and_change_the_last_stages_only() {
    let folder = tempfile::tempdir().unwrap();
    let [before, after] = ["before", "after"].map(|name| folder.path().join(name));
    let (stage, tuned) = Stage::new();
    tuned.network.save(&before).unwrap();
    let (mut learner, losses) = trained(&stage, tuned);
    stage.check("losses", &Tensor::from_slice(&losses).to_kind(Kind::Float), 1e-5);
    for (name, tensor) in &stage.parameters {
        stage.check(&format!("after.{name}"), tensor, 1e-5);
    }

    let tuned = learner.model_mut();
    tuned.network.save(&after).unwrap();
    let [before, saved] = [&before, &after].map(|path| Checkpoint::open(path).unwrap());
    let mut changed = 0;
    for name in before.names() {
        let tensor = |file: &Checkpoint| file.tensor(name, Device::Cpu).unwrap();
        let block = name.strip_prefix("_blocks.").and_then(|rest| rest.split('.').next());
        let is_late = block
            .map_or(name.starts_with("_conv_head") || name.starts_with("_bn1"), |block| {
                block.parse::<usize>().unwrap() >= FIRST_TUNED
            });
        let (layer, value) = name.rsplit_once('.').unwrap();
        let is_tuned = is_late && (value == "bias" || value == "weight" && !layer.contains("_bn"));
        assert_eq!(tensor(&before) != tensor(&saved), is_tuned, "{name}");
        changed += usize::from(is_tuned);
    }
    assert_eq!(changed, stage.parameters.len() - 4, "all but projection, map and scale");

    let pixels = stage.golden("pixels");
    let features = |network: &EfficientNetLite| tch::no_grad(|| network.encode(&pixels)).unwrap();
    assert!(features(&network(&after)) == features(&tuned.network));
    let parts = encode(&tuned.network, &pixels).unwrap();
    assert!(parts.detach() == features(&tuned.network), "training sees what inference sees");
}

#[test]
fn means_are_over_each_images_own_captions() {
    let embeddings = Tensor::from_slice2(&[[1.0_f32, 0.0], [3.0, 4.0], [5.0, 6.0]]);
    let texts = Texts { embeddings, own: vec![0, 0, 1], first: vec![0, 2] };
    assert_eq!(texts.means().unwrap(), Tensor::from_slice2(&[[2.0_f32, 2.0], [5.0, 6.0]]));
}
