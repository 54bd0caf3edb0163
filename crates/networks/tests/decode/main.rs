//! Decoding compared with ClipCap and transformers, on results of
//! `tests/reference/decode_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod beam;
#[path = "../common/mod.rs"]
mod common;
mod constraints;
mod sampling;

use common::fixture;
use networks::gpt2::{self, Gpt2, Gpt2Config};
use networks::weights::Checkpoint;
use tch::{Device, nn};

/// Loads the tiny random GPT-2.
fn loaded() -> Gpt2 {
    let config = Gpt2Config::open(&fixture("decode/config.json")).unwrap();
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = Gpt2::new(store.root(), &config);
    let checkpoint = Checkpoint::open(&fixture("decode/model.safetensors")).unwrap();
    gpt2::load_pretrained(&mut store, "", &checkpoint, gpt2::Vocabulary::Same).unwrap();
    model
}
