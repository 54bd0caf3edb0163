//! VGG-16's fc7 compared with torchvision's, on narrow random networks from
//! `tests/reference/vgg_goldens.py` with torchvision's and timm's names.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::{difference, fixture, tensors};
use networks::vgg::Vgg16;
use networks::weights::{self, Checkpoint};
use tch::{Device, Kind, Tensor};

#[test]
fn fc7_is_torchvisions_under_either_name() {
    let expected = tensors("vgg/expected.safetensors");
    for name in ["torchvision", "timm"] {
        let file = fixture(&format!("vgg/{name}.safetensors"));
        let vgg = Vgg16::from_file(&file, Device::Cpu, Kind::Float).unwrap();
        assert_eq!(vgg.dimension(), 16);
        let features = vgg.encode(&expected["pixels"]).unwrap();
        let off = difference(&features, &expected["fc7"]);
        println!("{name}: {off:.1e} off");
        assert!(off < 1e-5, "{name}: {off:e}");
    }
}

/// Runs with a file from `vgg_goldens.py --real FILE` in `CAPSMITH_VGG`.
#[test]
#[ignore = "needs the file of `vgg_goldens.py --real FILE` in CAPSMITH_VGG"]
fn fc7_is_torchvisions_at_real_width() {
    let path = std::env::var_os("CAPSMITH_VGG").expect("CAPSMITH_VGG names a file");
    let folder = tempfile::tempdir().unwrap();
    let all = Checkpoint::open(Path::new(&path)).unwrap();
    let tensor = |name: &str| all.tensor(name, Device::Cpu).unwrap();
    let weights: Vec<(String, Tensor)> = all
        .names()
        .filter(|name| !["pixels", "fc7"].contains(name))
        .map(|name| (name.to_owned(), tensor(name)))
        .collect();
    let file = folder.path().join("vgg16.safetensors");
    weights::save(&file, &weights, &BTreeMap::new()).unwrap();
    let vgg = Vgg16::from_file(&file, Device::Cpu, Kind::Float).unwrap();
    assert_eq!(vgg.dimension(), 4096);
    let off = difference(&vgg.encode(&tensor("pixels")).unwrap(), &tensor("fc7"));
    println!("real width: {off:.1e} off");
    assert!(off < 1e-4);
}

#[test]
fn files_of_other_models_are_rejected_with_their_missing_tensors() {
    let error =
        Vgg16::from_file(&fixture("merge_rnn/merge.final.safetensors"), Device::Cpu, Kind::Float);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("merge.final.safetensors") && error.contains("features.0.weight"),
        "{error}"
    );
}
