//! An encoder tuned on drawn pictures: what is written, and what it depends on.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use datasets::{Corpus, Split, SplitSpec};
use demo_data::pretrain::{EncoderOptions, TrainingOptions, TunedRetrievals, encoder};
use keywords::SentenceEncoder;
use networks::efficientnet::EfficientNetLite;
use tch::{Device, Kind};

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures", name].iter().collect()
}

/// Trains for two steps on 8 of the 16 pictures in `data`, with 4 for validation and 4 for test.
fn tune(data: &Path, out: &Path, stop: bool) -> Option<TunedRetrievals> {
    let corpus = Corpus::load(data, None).unwrap();
    let spec = SplitSpec { test_captions: 20, validation_captions: 20, ..SplitSpec::PAPER };
    let split = Split::new(&corpus, &spec).unwrap();
    assert_eq!([split.train.len(), split.validation.len(), split.test.len()], [8, 4, 4]);
    let weights = fixture("efficientnet/package.pth");
    let network = EfficientNetLite::from_file(&weights, Device::Cpu, Kind::Float).unwrap();
    let sentences = SentenceEncoder::load(&fixture("bert"), Device::Cpu).unwrap();
    let training = TrainingOptions {
        steps: 2,
        batch_size: 4,
        learning_rate: 1e-3,
        warmup_steps: 0,
        weight_decay: 0.05,
        seed: 1,
    };
    let options = EncoderOptions { feature_dropout: 0.3, training };
    let (parts, stop) = ((network, &sentences), AtomicBool::new(stop));
    encoder(out, &corpus, &split, parts, &options, &mut progress::Silent, &stop).unwrap()
}

/// A single test: training draws from libtorch's generator, which all threads share.
#[test]
fn the_same_call_writes_the_same_bytes_which_held_out_pictures_do_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let data = place("data");
    let options = demo_data::Options { count: 16, seed: 7, size: 64, alt_texts: 0 };
    demo_data::draw(&data, &options, |_| {}).unwrap();
    let weights = |name: &str| fs::read(place(name).join("model.safetensors")).unwrap();
    let first = tune(&data, &place("first"), false).unwrap();
    for found in [&first.before, &first.after] {
        let (validation, test) = (found.validation.as_ref().unwrap(), found.test.as_ref().unwrap());
        assert_eq!((validation.images, validation.captions), (4, 20));
        assert_eq!((test.images, test.captions), (4, 20));
        assert!(test.recall_at_10 > 0.999, "4 candidates only: {test:?}");
    }
    let file = fs::read(place("first/retrieval.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let after = first.after.validation.unwrap();
    assert_eq!(file["after"]["validation"]["recall_at_1"], after.recall_at_1);

    // The held-out pictures are the last ones; the names keep their order.
    let corpus = Corpus::load(&data, None).unwrap();
    let picture = |index: usize| data.join("Images").join(&corpus.images[index].file_name);
    for index in 8..16 {
        fs::copy(picture(index % 8), picture(index)).unwrap();
    }
    tune(&data, &place("second"), false).unwrap();
    assert!(weights("first") == weights("second"));
    fs::copy(picture(1), picture(0)).unwrap();
    tune(&data, &place("third"), false).unwrap();
    assert!(weights("first") != weights("third"), "training pictures count");

    assert!(tune(&data, &place("stopped"), true).is_none());
    assert!(!place("stopped").exists());
}
