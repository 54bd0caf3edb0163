//! Learner of the tiny GPT-2 of SBG's trajectories.

use std::path::PathBuf;

use networks::Precision;
use networks::gpt2::{self, Gpt2Config, Vocabulary};
use networks::language_model::LanguageModel;
use networks::weights::Checkpoint;
use recipes::{Rule, Schedule};
use tch::{Device, nn};
use training::learner::{Learner, LearnerOptions, Model};
use training::optimizer::{AdamW, AdamWOptions};
use training::schedule::RateSchedule;

/// Returns the learner, and the store of its weights.
pub fn learner(
    device: Device,
    precision: Precision<'static>,
    gradient_checkpointing: bool,
) -> (Learner<LanguageModel>, nn::VarStore) {
    learner_of(device, precision, gradient_checkpointing, |model| model)
}

/// Returns a learner of the model that `wrap` returns, and the store of its weights.
pub fn learner_of<M: Model>(
    device: Device,
    precision: Precision<'static>,
    gradient_checkpointing: bool,
    wrap: impl FnOnce(LanguageModel) -> M,
) -> (Learner<M>, nn::VarStore) {
    let folder: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/sbg_trajectory"].iter().collect();
    let mut store = nn::VarStore::new(device);
    let config = Gpt2Config::open(&folder.join("config.json")).unwrap();
    let network = LanguageModel::new(store.root(), &config);
    let weights = Checkpoint::open(&folder.join("model.safetensors")).unwrap();
    gpt2::load_pretrained(&mut store, "gpt", &weights, Vocabulary::Same).unwrap();
    let parameters = training::named_variables(&store);
    let options = AdamWOptions {
        rule: Rule::Torch,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-3,
        weight_decay: 0.1,
    };
    let schedule =
        RateSchedule { shape: Schedule::Constant, peak: 1e-2, warmup_steps: 0, total_steps: 10 };
    let step =
        LearnerOptions { max_grad_norm: 1.0, dropout: false, precision, gradient_checkpointing };
    (Learner::new(wrap(network), AdamW::new(parameters, options), schedule, step), store)
}
