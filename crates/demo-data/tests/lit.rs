//! CLIP on stored features: what it learns, and from which pictures.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use datasets::{Corpus, Split, SplitSpec};
use demo_data::pretrain::{LitOptions, Retrievals, TrainingOptions, lit};
use networks::clip::{ClipConfig, LoadedClip, TextConfig};
use precompute::{Dtype, Embeddings, Identity, Network};
use tch::{Device, Kind};

const COLOURS: [&str; 6] = ["red", "green", "blue", "black", "white", "yellow"];
const THINGS: [&str; 6] = ["dog", "cat", "horse", "bird", "boat", "car"];
/// Held while training, which draws from libtorch's generator: all threads share it.
static GENERATOR: Mutex<()> = Mutex::new(());

/// Number of pictures: three of each colour and thing.
const COUNT: usize = 3 * 36;
/// Number of pictures of the validation and of the test set.
const HELD_OUT: usize = 36;

/// Returns the colour and the thing of a picture.
fn scene(index: usize) -> (usize, usize) {
    (index % 36 / 6, index % 6)
}

/// Writes a data set whose pictures nobody reads, with two captions each; `test` are the captions
/// of test pictures.
fn write_captions(folder: &Path, test: fn(&str, &str) -> [String; 2]) {
    fs::create_dir_all(folder.join("Images")).unwrap();
    let mut text = "image,caption\n".to_owned();
    for index in 0..COUNT {
        let (colour, thing) = scene(index);
        let (colour, thing) = (COLOURS[colour], THINGS[thing]);
        let captions = if index < COUNT - HELD_OUT { usual } else { test };
        for caption in captions(colour, thing) {
            writeln!(text, "{index:03}.jpg,{caption}").unwrap();
        }
        fs::write(folder.join(format!("Images/{index:03}.jpg")), "").unwrap();
    }
    fs::write(folder.join("captions.txt"), text).unwrap();
}

fn usual(colour: &str, thing: &str) -> [String; 2] {
    [format!("a {colour} {thing} ."), format!("the {thing} is {colour} .")]
}

/// Saves features that separate colours and things; `moved` is added to those of held-out pictures.
fn features(path: &Path, corpus: &Corpus, moved: f32) -> Embeddings {
    let mut rows = Vec::new();
    for index in 0..COUNT {
        let (colour, thing) = scene(index);
        let held_out = if index < COUNT - HELD_OUT { 0.0 } else { moved };
        rows.extend((0..12).map(|at| {
            let on = at == colour || at == 6 + thing;
            // Far from a mean of 0, and each feature with a scale of its own.
            (4.0 + f32::from(u8::from(on))) * (1 + at) as f32 + held_out
        }));
        // A feature that never varies in training.
        rows.push(3.0 + held_out);
    }
    let identity = Identity {
        network: Network::Imported,
        model: "toy".to_owned(),
        model_sha256: "12ab".to_owned(),
        preprocessing: None,
        upright: false,
        normalize: false,
        dtype: Dtype::F32,
        dataset_fingerprint: corpus.fingerprint(),
        dimension: 13,
    };
    let names: Vec<&str> = corpus.images.iter().map(|image| image.file_name.as_str()).collect();
    Embeddings::save(path, &identity, &names, &[], &rows).unwrap();
    Embeddings::open(path).unwrap()
}

fn options() -> LitOptions {
    LitOptions {
        config: ClipConfig {
            projection_dim: 24,
            text_config: TextConfig {
                hidden_size: 32,
                intermediate_size: 64,
                num_hidden_layers: 1,
                num_attention_heads: 2,
                ..TextConfig::default()
            },
            ..ClipConfig::default()
        },
        vocab_size: 600,
        feature_dropout: 0.1,
        token_dropout: 0.0,
        training: TrainingOptions {
            steps: 150,
            batch_size: 36,
            learning_rate: 1e-2,
            warmup_steps: 10,
            weight_decay: 0.01,
            seed: 1,
        },
        kind: Kind::Float,
    }
}

/// Trains on the first pictures of a data set, with the last ones for validation or test.
fn train(
    folder: &Path,
    test: fn(&str, &str) -> [String; 2],
    moved: f32,
    validation: bool,
    stop: bool,
) -> Option<Retrievals> {
    let data = folder.join("data");
    write_captions(&data, test);
    let corpus = Corpus::load(&data, None).unwrap();
    let held_out = 2 * HELD_OUT;
    let spec = SplitSpec {
        test_captions: if validation { 0 } else { held_out },
        validation_captions: if validation { held_out } else { 0 },
        ..SplitSpec::PAPER
    };
    let split = Split::new(&corpus, &spec).unwrap();
    let features = features(&folder.join("f.safetensors"), &corpus, moved);
    let out = folder.join("lit");
    let _alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    let stop = AtomicBool::new(stop);
    lit(&out, &corpus, &split, &features, &options(), &mut progress::Silent, &stop).unwrap()
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("lit/model.safetensors")).unwrap()
}

#[test]
fn a_separable_set_is_learned_and_projected_from_raw_features() {
    let folder = tempfile::tempdir().unwrap();
    let found = train(folder.path(), usual, 0.0, false, false).unwrap();
    assert!(found.validation.is_none());
    let test = found.test.unwrap();
    assert_eq!((test.images, test.captions), (36, 72));
    assert!(test.recall_at_1 > 0.95, "{test:?}");
    let file = fs::read(folder.path().join("lit/retrieval.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(file["test"]["recall_at_1"], test.recall_at_1);

    // The folder gives the same ranks.
    let path = folder.path().join("lit");
    let clip = LoadedClip::from_folder(&path, Device::Cpu, Kind::Float).unwrap();
    let features = Embeddings::open(&folder.path().join("f.safetensors")).unwrap();
    let out = folder.path().join("projected.safetensors");
    precompute::project(&features, "lit", &path, true, &out).unwrap();
    let projected = Embeddings::open(&out).unwrap();
    let identity = projected.identity();
    assert_eq!((identity.network, identity.dimension), (Network::Imported, 24));
    assert_eq!((&*identity.model, &identity.model_sha256), ("lit", &clip.identity()));
    let images = projected.tensor(Device::Cpu).unwrap().narrow(0, 72, 36);
    let texts = keywords::TextEncoder::load(&path, Device::Cpu, Kind::Float).unwrap();
    assert_eq!(texts.identity(), identity.model_sha256);
    let captions: Vec<String> = (72..COUNT)
        .map(|index| format!("a {} {} .", COLOURS[scene(index).0], THINGS[scene(index).1]))
        .collect();
    let similarities = texts.encode(&captions).unwrap().matmul(&images.tr());
    let best = Vec::<i64>::try_from(similarities.argmax(1, false)).unwrap();
    let right = best.iter().enumerate().filter(|(row, best)| *row as i64 == **best).count();
    assert!(right >= 34, "{right} of 36");
}

#[test]
fn held_out_pictures_and_captions_do_not_change_the_weights() {
    for validation in [false, true] {
        let first = tempfile::tempdir().unwrap();
        train(first.path(), usual, 0.0, validation, false).unwrap();
        let second = tempfile::tempdir().unwrap();
        let other = |_: &str, _: &str| ["nothing at all".to_owned(), "some words".to_owned()];
        train(second.path(), other, 7.0, validation, false).unwrap();
        let tensors = |folder: &Path| {
            let clip = networks::weights::Checkpoint::open(&folder.join("lit")).unwrap();
            let names: Vec<String> = clip.names().map(str::to_owned).collect();
            let tensor = |name: &String| clip.tensor(name, Device::Cpu).unwrap();
            names.iter().map(|name| (name.clone(), tensor(name))).collect::<Vec<_>>()
        };
        assert!(tensors(first.path()) == tensors(second.path()));
    }
}

#[test]
fn the_same_call_writes_the_same_bytes_and_a_stopped_one_none() {
    let [first, second, stopped] = [(); 3].map(|()| tempfile::tempdir().unwrap());
    train(first.path(), usual, 0.0, false, false).unwrap();
    train(second.path(), usual, 0.0, false, false).unwrap();
    assert!(weights(first.path()) == weights(second.path()));
    assert!(train(stopped.path(), usual, 0.0, false, true).is_none());
    assert!(!stopped.path().join("lit").exists());
}

#[test]
fn features_of_another_encoder_are_refused_with_the_difference() {
    let folder = tempfile::tempdir().unwrap();
    train(folder.path(), usual, 0.0, false, false).unwrap();
    let corpus = Corpus::load(&folder.path().join("data"), None).unwrap();
    let file = features(&folder.path().join("g.safetensors"), &corpus, 0.0);
    let identity = Identity { model_sha256: "34cd".to_owned(), ..file.identity().clone() };
    let names: Vec<&str> = file.names().iter().map(String::as_str).collect();
    let path = folder.path().join("other.safetensors");
    Embeddings::save(&path, &identity, &names, &[], &vec![1.0; 13 * names.len()]).unwrap();
    let other = Embeddings::open(&path).unwrap();
    let out = folder.path().join("out.safetensors");
    let lit = folder.path().join("lit");
    let error = precompute::project(&other, "lit", &lit, false, &out).unwrap_err().to_string();
    assert!(
        error.contains("another encoder") && error.contains("34cd there, 12ab here"),
        "{error}"
    );
    assert!(!out.exists());
}
