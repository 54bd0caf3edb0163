//! EfficientNet-Lite's features compared with PyTorch's, on a narrow random Lite0 from
//! `tests/reference/efficientnet_goldens.py` with its package's and timm's names.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::collections::BTreeMap;

use common::{difference, fixture, tensors};
use networks::efficientnet::EfficientNetLite;
use networks::weights::{self, Checkpoint};
use tch::{Device, Kind, Tensor};

/// File whose tensors are laid out as TensorFlow's, in the format of PyTorch before 1.6.
const PACKAGE: &str = "efficientnet/package.pth";

#[test]
fn features_are_pytorchs_under_either_name() {
    let expected = tensors("efficientnet/expected.safetensors");
    for name in [PACKAGE, "efficientnet/timm.safetensors"] {
        let network =
            EfficientNetLite::from_file(&fixture(name), Device::Cpu, Kind::Float).unwrap();
        assert_eq!((network.dimension(), network.image_size()), (20, 224));
        let features = network.encode(&expected["pixels"]).unwrap();
        let off = difference(&features, &expected["features"]);
        println!("{name}: {off:.1e} off");
        assert!(off < 1e-5, "{name}: {off:e}");
    }
}

#[test]
fn the_number_of_blocks_tells_the_variant_and_its_size() {
    let folder = tempfile::tempdir().unwrap();
    // Blocks of each stage, channels of the last block, and size by the authors and by timm.
    for (repeats, channels, [package, timm]) in [
        ([1, 3, 3, 4, 4, 5, 1], 320, [240, 240]),
        ([1, 3, 3, 4, 4, 5, 1], 352, [260, 260]),
        ([1, 3, 3, 5, 5, 6, 1], 384, [280, 300]),
        ([1, 4, 4, 6, 6, 8, 1], 448, [300, 380]),
    ] {
        for (is_timm, size) in [(false, package), (true, timm)] {
            let file = folder.path().join("model.safetensors");
            weights::save(&file, &ones(repeats, channels, is_timm), &BTreeMap::new()).unwrap();
            let network = EfficientNetLite::from_file(&file, Device::Cpu, Kind::Float).unwrap();
            assert_eq!((network.dimension(), network.image_size()), (2, size), "{channels}");
        }
    }
}

/// Returns weights of ones with two channels in each layer but the last block.
fn ones(repeats: [usize; 7], last: i64, is_timm: bool) -> Vec<(String, Tensor)> {
    let mut weights = Vec::new();
    let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
    let mut layer = |convolution: &str, norm: &str, shape: [i64; 4]| {
        weights.push((format!("{convolution}.weight"), ones(&shape)));
        for name in ["weight", "bias", "running_mean", "running_var"] {
            weights.push((format!("{norm}.{name}"), ones(&shape[..1])));
        }
    };
    let top = |names: [&'static str; 2]| names[usize::from(is_timm)];
    layer(top(["_conv_stem", "conv_stem"]), top(["_bn0", "bn1"]), [2, 3, 3, 3]);
    let mut index = 0;
    for (stage, count) in repeats.into_iter().enumerate() {
        for block in 0..count {
            let root = if is_timm {
                format!("blocks.{stage}.{block}")
            } else {
                format!("_blocks.{index}")
            };
            let names = match (is_timm, stage) {
                (false, _) => {
                    ["_expand_conv", "_bn0", "_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
                }
                (true, 0) => ["", "", "conv_dw", "bn1", "conv_pw", "bn2"],
                (true, _) => ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"],
            };
            let names = names.map(|name| format!("{root}.{name}"));
            let kernel = if [2, 4, 5].contains(&stage) { 5 } else { 3 };
            if stage > 0 {
                layer(&names[0], &names[1], [2, 2, 1, 1]);
            }
            layer(&names[2], &names[3], [2, 1, kernel, kernel]);
            layer(&names[4], &names[5], [if stage == 6 { last } else { 2 }, 2, 1, 1]);
            index += 1;
        }
    }
    layer(top(["_conv_head", "conv_head"]), top(["_bn1", "bn2"]), [2, last, 1, 1]);
    weights
}

#[test]
fn a_written_file_gives_the_same_features_to_the_bit_under_either_name() {
    let folder = tempfile::tempdir().unwrap();
    let pixels = &tensors("efficientnet/expected.safetensors")["pixels"];
    for (name, written) in
        [(PACKAGE, "_conv_stem.weight"), ("efficientnet/timm.safetensors", "conv_stem.weight")]
    {
        let network =
            EfficientNetLite::from_file(&fixture(name), Device::Cpu, Kind::Float).unwrap();
        let file = folder.path().join("written.safetensors");
        network.save(&file).unwrap();
        assert!(Checkpoint::open(&file).unwrap().shape(written).is_some(), "{name}");
        let again = EfficientNetLite::from_file(&file, Device::Cpu, Kind::Float).unwrap();
        let features = network.encode(pixels).unwrap();
        assert!(again.encode(pixels).unwrap() == features, "{name}");
        let states = network.encode_fixed(pixels).unwrap();
        assert_eq!(states.size()[2..], [3, 4], "a 16th of 48 by 61");
        assert!(network.encode_tuned(&states).unwrap() == features, "{name}");
    }
}

#[test]
fn files_of_other_models_are_rejected_with_their_missing_tensors() {
    let file = fixture("vgg/torchvision.safetensors");
    let error = EfficientNetLite::from_file(&file, Device::Cpu, Kind::Float).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("torchvision.safetensors") && error.contains("_blocks.0._bn1.bias"),
        "{error}"
    );
}

#[test]
fn tensors_of_the_package_are_read_by_their_strides() {
    let package = Checkpoint::open(&fixture(PACKAGE)).unwrap();
    let timm = tensors("efficientnet/timm.safetensors");
    let head = package.tensor("_conv_head.weight", Device::Cpu).unwrap();
    assert!(head.equal(&timm["conv_head.weight"]));
    let classifier = package.tensor("_fc.weight", Device::Cpu).unwrap();
    assert!(classifier.equal(&timm["classifier.weight"]));
}
