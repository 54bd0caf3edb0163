//! Models with device-independent random weights.

use networks::gpt2::Gpt2Config;
use networks::merge_rnn::{Architecture, MergeRnnConfig};
use networks::prefix::{MapperConfig, MapperKind};
use tch::{Device, Kind, Tensor, nn, no_grad};
use training::named_variables;

use crate::error::CheckError;

/// Seed of the weights.
const SEED: i64 = 16;

/// Standard deviation of the noise added to initial weights: biases of 0 and norms of 1 would hide
/// errors.
const NOISE: f64 = 0.1;

/// Length of an image embedding.
pub(crate) const IMAGE_DIM: i64 = 24;

/// Mapper of the checked CLIP-prefix captioner.
pub(crate) const PREFIX: MapperConfig = MapperConfig::plain(MapperKind::Mlp, IMAGE_DIM, 5);

/// Sizes of the checked Merge-RNN.
pub(crate) const RNN: MergeRnnConfig =
    MergeRnnConfig::plain(Architecture::Merge, 120, 32, IMAGE_DIM);

/// Returns the config of a two-layer GPT-2.
pub(crate) fn small_gpt2() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 211,
        n_positions: 48,
        n_embd: 64,
        n_layer: 2,
        n_head: 4,
        ..Gpt2Config::default()
    }
}

/// Builds a model with weights drawn on the CPU, and copies it to `device` as `kind`.
pub(crate) fn model_on<M>(
    device: Device,
    kind: Kind,
    build: impl Fn(&nn::Path) -> Result<M, CheckError>,
) -> Result<(nn::VarStore, M), CheckError> {
    tch::manual_seed(SEED);
    let drawn = nn::VarStore::new(Device::Cpu);
    let model = build(&drawn.root())?;
    for (_, mut variable) in named_variables(&drawn) {
        let _ = no_grad(|| variable.f_add_(&(variable.f_randn_like()? * NOISE)))?;
    }
    if (device, kind) == (Device::Cpu, Kind::Float) {
        return Ok((drawn, model));
    }
    let mut store = nn::VarStore::new(device);
    store.set_kind(kind);
    let model = build(&store.root())?;
    store.copy(&drawn)?;
    Ok((store, model))
}

/// Draws standard normal numbers on the CPU from `seed`, and copies them to `device`.
pub(crate) fn random_tensor(seed: i64, size: &[i64], device: Device) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(size, (Kind::Float, Device::Cpu)).to_device(device)
}

/// Generates a caption of token ids from 1 to `vocabulary` - 1.
pub(crate) fn caption(number: usize, length: usize, vocabulary: usize) -> Vec<i64> {
    (0..length)
        .map(|place| (1 + (number * 37 + place * place * 11) % (vocabulary - 1)) as i64)
        .collect()
}
