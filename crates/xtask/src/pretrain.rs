//! Training of the models of `data/models`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cargo;

/// Data sets with other seeds than the demo's. GPT-2 sees no images.
const DRAWN: [&str; 2] = [
    "dataset draw --out target/pretrain/clip-set --count 16000 --seed 101 --size 112 --alt-texts 6",
    "dataset draw --out target/pretrain/gpt2-set --count 8000 --seed 102 --size 32",
];
const TRAINED: [&str; 2] = [
    "pretrain clip --out target/pretrain/clip --dataset target/pretrain/clip-set --test-captions 0 \
     --hidden-size 128 --layers 3 --heads 4 --projection-dim 128 --vocab-size 1200 \
     --steps 3500 --batch-size 128 --learning-rate 1e-3 --dtype f16",
    "pretrain gpt2 --out target/pretrain/gpt2 --dataset target/pretrain/gpt2-set --test-captions 0 \
     --hidden-size 128 --layers 4 --heads 4 --vocab-size 1000 --positions 192 \
     --steps 1500 --batch-size 32 --block-size 64 --learning-rate 2e-3 --dtype f16",
];

/// Draws data sets, trains the models and replaces those in `data/models`.
pub fn run(repository: &Path) -> anyhow::Result<ExitCode> {
    let made = repository.join("target/pretrain");
    for model in ["clip", "gpt2"] {
        if made.join(model).exists() {
            fs::remove_dir_all(made.join(model)).context("cannot remove the previous models")?;
        }
    }
    for line in DRAWN.iter().chain(&TRAINED) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let task = ["run", "--release", "--bin", "capsmith", "--"];
        let code = cargo(repository, &[&task[..], &words].concat(), &[])?;
        if code != ExitCode::SUCCESS {
            return Ok(code);
        }
    }
    for model in ["clip", "gpt2"] {
        for entry in fs::read_dir(made.join(model)).context("a model is not there")? {
            let file = entry.context("a model cannot be listed")?.path();
            let name = file.file_name().unwrap_or_default();
            let to = repository.join("data/models").join(model).join(name);
            fs::copy(&file, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
