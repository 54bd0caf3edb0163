//! EfficientNet-Lite2 with its real weights, on photographs of full size, compared with PyTorch
//! and Pillow by `tests/reference/efficientnet_goldens.py --real`.

use std::path::{Path, PathBuf};

use networks::weights::Checkpoint;
use precompute::{Dtype, EncoderSource, ImageEncoder, Network};
use tch::{Device, Kind};

/// Returns the weights that `capsmith fetch weights efficientnet-lite2` brings.
fn weights() -> Option<PathBuf> {
    let file = "models/efficientnet-lite2/efficientnet-lite2-9656183e.pth";
    let weights = durable::data_folder()?.join(file);
    if weights.is_file() {
        return Some(weights);
    }
    let lack = "the weights of EfficientNet-Lite2";
    test_support::skip(lack, &"run capsmith fetch weights efficientnet-lite2");
    None
}

#[test]
fn lite2_finds_the_classes_that_pytorch_finds_in_photographs() {
    let Some(weights) = weights() else { return };
    let Some(pictures) = test_support::shared("flickr8k/originals") else { return };
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/efficientnet/lite2.safetensors");
    let expected = Checkpoint::open(&fixture).unwrap();
    let names: Vec<String> = serde_json::from_str(&expected.metadata()["names"]).unwrap();
    let source = EncoderSource {
        network: Network::EfficientNetLite,
        path: weights.clone(),
        dtype: Dtype::F32,
        locked: None,
    };
    let encoder = ImageEncoder::load(&source, Device::Cpu).unwrap();
    assert_eq!((encoder.dimension(), encoder.preprocessing().crop), (1280, 260));
    let planes: Vec<Vec<u8>> = names
        .iter()
        .map(|name| pictures::decode(&pictures.join(name)).unwrap())
        .map(|pixels| encoder.preprocessing().planes(&pixels))
        .collect();
    let features = encoder.encode_pictures(&planes).unwrap();
    let tensor = |name: &str| expected.tensor(name, Device::Cpu).unwrap();
    let off = (&features - tensor("features")).abs().max().double_value(&[]);
    println!("features: {off:.1e} off");
    assert!(off < 1e-4, "{off:e}");

    let classifier = Checkpoint::open(&weights).unwrap();
    let of_classifier = |name: &str| classifier.tensor(name, Device::Cpu).unwrap();
    let logits = features.linear(&of_classifier("_fc.weight"), Some(&of_classifier("_fc.bias")));
    let (_, top) = logits.topk(5, 1, true, true);
    assert_eq!(top, tensor("top").to_kind(Kind::Int64));
}
