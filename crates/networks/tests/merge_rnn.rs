//! Merge-RNN compared with `tests/reference/merge_rnn_goldens.py`: loss and gradients of both
//! architectures, and beam search, which there multiplies probabilities and rereads every prefix.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::path::PathBuf;

use networks::merge_rnn::{
    Architecture, MergeRnn, MergeRnnConfig, Sentence, WordBatch, beam_search,
};
use networks::weights::{self, Checkpoint};
use networks::{InitialWeights, Pass, Standardization};
use serde_json::Value;
use tch::{Device, Tensor, nn};

const WAYS: [(&str, Architecture); 2] =
    [("merge", Architecture::Merge), ("inject", Architecture::Inject)];

fn file(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/merge_rnn", name].iter().collect()
}

fn numbers() -> Value {
    serde_json::from_slice(&std::fs::read(file("numbers.json")).unwrap()).unwrap()
}

fn integers(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

/// Loads the network from a file, and the images.
fn network(
    architecture: Architecture,
    name: &str,
    weights: &str,
) -> (nn::VarStore, MergeRnn, Tensor) {
    let initial = Checkpoint::open(&file(&format!("{name}.initial.safetensors"))).unwrap();
    let images = initial.tensor("images", Device::Cpu).unwrap();
    let checkpoint = Checkpoint::open(&file(&format!("{name}.{weights}.safetensors"))).unwrap();
    let config = MergeRnnConfig::plain(
        architecture,
        checkpoint.shape("softmax.bias").unwrap()[0] as i64,
        checkpoint.shape("image.bias").unwrap()[0] as i64,
        images.size()[1],
    );
    let mut store = nn::VarStore::new(Device::Cpu);
    let network = MergeRnn::new(store.root(), &config);
    weights::load(&mut store, &checkpoint, str::to_owned, |name| name == "images").unwrap();
    (store, network, images)
}

#[test]
fn loss_and_gradients_are_those_of_plain_operations() {
    let numbers = numbers();
    for (name, architecture) in WAYS {
        let (store, network, images) = network(architecture, name, "initial");
        let rows = integers(&numbers["order"][0]);
        let captions: Vec<Vec<i64>> =
            rows.iter().map(|&row| integers(&numbers["captions"][row as usize])).collect();
        let captions: Vec<&[i64]> = captions.iter().map(Vec::as_slice).collect();
        let places: Vec<i64> =
            rows.iter().map(|&row| numbers["places"][row as usize].as_i64().unwrap()).collect();
        let batch = WordBatch::new(&captions, &places, Device::Cpu);
        let loss = network.loss(&images, &batch, Pass::TRAINING);
        loss.backward();
        let theirs = numbers[name]["loss"].as_f64().unwrap();
        let off = ((loss.double_value(&[]) - theirs) / theirs).abs();
        assert!(off < 1e-6, "{name}: loss {off:e}");
        let gradients = Checkpoint::open(&file(&format!("{name}.gradients.safetensors"))).unwrap();
        assert_eq!(gradients.names().count(), store.variables().len());
        let mut worst = 0.0_f64;
        for (variable, tensor) in store.variables() {
            let theirs = gradients.tensor(&variable, Device::Cpu).unwrap();
            worst = worst.max((tensor.grad() - &theirs).abs().max().double_value(&[]));
        }
        println!("{name}: loss {off:.1e} off, gradients {worst:.1e}");
        assert!(worst < 1e-5, "{name}: {worst:e}");
    }
}

#[test]
fn beams_choose_what_raw_probabilities_choose() {
    let numbers = numbers();
    let longest = numbers["longest"].as_u64().unwrap() as usize;
    let beams = numbers["beams"].as_u64().unwrap() as usize;
    for (name, architecture) in WAYS {
        let (_store, network, images) = network(architecture, name, "sharpened");
        let theirs = numbers[name]["beams"].as_array().unwrap();
        let all = beam_search(&network, &images, beams, longest);
        assert_eq!(all.len(), theirs.len());
        for (picture, (ours, theirs)) in all.iter().zip(theirs).enumerate() {
            assert_eq!(ours.words, integers(&theirs["words"]), "{name} {picture}");
            let off = (ours.log_probability - theirs["probability"].as_f64().unwrap().ln()).abs();
            assert!(off < 1e-5, "{name} {picture}: {off:e}");
        }
        // Images do not affect each other's sentences.
        let alone = beam_search(&network, &images.narrow(0, 5, 1), beams, longest);
        assert_eq!(alone[0].words, all[5].words);
        // Another beam width finds other sentences for some images.
        let narrow = beam_search(&network, &images, 1, longest);
        assert!(narrow.iter().zip(&all).any(|(a, b)| a.words != b.words), "{name}");
        assert_eq!(beam_search(&network, &images, beams, 0), vec![Sentence::default(); all.len()]);
    }
}

#[test]
fn a_new_network_is_drawn_as_glorot_and_bengio_say() {
    tch::manual_seed(1);
    let store = nn::VarStore::new(Device::Cpu);
    let config = MergeRnnConfig::plain(Architecture::Inject, 300, 64, 100);
    let _network = MergeRnn::new(store.root(), &config);
    // The LSTM's kernel has 128 + 64 inputs and 256 outputs.
    for (name, sum) in [
        ("word_embedding.weight", 364.0_f64),
        ("lstm.weight_ih", 448.0),
        ("lstm.weight_hh", 448.0),
        ("image.weight", 164.0),
        ("softmax.weight", 364.0),
    ] {
        let largest = store.variables()[name].abs().max().double_value(&[]);
        let limit = (6.0 / sum).sqrt();
        assert!(largest <= limit && largest > 0.99 * limit, "{name}: {largest} of {limit}");
    }
    for (name, variable) in store.variables() {
        assert_eq!(name.ends_with("bias"), variable.abs().max().double_value(&[]) == 0.0, "{name}");
    }
}

#[test]
fn a_standardised_network_is_the_plain_one_on_standardised_images() {
    let numbers = numbers();
    let caption = integers(&numbers["captions"][0]);
    let batch = WordBatch::new(&[caption.as_slice()], &[2], Device::Cpu);
    for (name, architecture) in WAYS {
        let (store, plain, images) = network(architecture, name, "sharpened");
        let config = MergeRnnConfig {
            architecture,
            vocab_size: store.variables()["softmax.bias"].size()[0],
            layer_size: store.variables()["image.bias"].size()[0],
            image_dim: images.size()[1],
            dropout: 0.0,
            standardize: true,
        };
        let ours = nn::VarStore::new(Device::Cpu);
        let standardised = MergeRnn::with_initial(ours.root(), &config, InitialWeights::Zeros);
        let statistics = Standardization::of(&images);
        standardised.standardization().unwrap().set(&statistics);
        let own = ours.variables();
        tch::no_grad(|| {
            for (variable, tensor) in store.variables() {
                own[&variable].shallow_clone().copy_(&tensor);
            }
        });
        let moved = statistics.apply(&images);
        let loss = |network: &MergeRnn, images: &Tensor| {
            network.loss(images, &batch, Pass::EVALUATION).double_value(&[])
        };
        assert_eq!(loss(&standardised, &images).to_bits(), loss(&plain, &moved).to_bits());
        assert!((loss(&standardised, &images) - loss(&plain, &images)).abs() > 1e-4, "{name}");
        let beams = |network: &MergeRnn, images: &Tensor| beam_search(network, images, 2, 6);
        assert_eq!(beams(&standardised, &images), beams(&plain, &moved), "{name}");
    }
}
