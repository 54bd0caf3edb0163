//! Fixtures and tensor distances of the golden tests.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::HashMap;
use std::path::PathBuf;

use networks::weights::Checkpoint;
use tch::{Device, Tensor};

pub fn fixture(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures", path].iter().collect()
}

/// Reads all tensors of a safetensors file, by name.
pub fn tensors(path: &str) -> HashMap<String, Tensor> {
    let file = Checkpoint::open(&fixture(path)).unwrap();
    file.names().map(|name| (name.to_owned(), file.tensor(name, Device::Cpu).unwrap())).collect()
}

/// Returns the largest difference of two tensors of one shape; infinite for NaN.
pub fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let largest = tch::no_grad(|| (ours - theirs).abs().max()).double_value(&[]);
    if largest.is_nan() { f64::INFINITY } else { largest }
}
