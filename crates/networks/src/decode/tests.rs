//! Sampled texts against the uncached computation with the same draws.

use std::path::PathBuf;

use tch::{Device, Kind, Tensor, nn};

use super::constraints::TokenConstraints;
use super::{Constraints, Hypothesis, Options, Sampling, Strategy, generate};
use crate::gpt2::{self, Gpt2, Gpt2Config};
use crate::weights::Checkpoint;

/// Minimum distance of a draw from the next token's threshold; rounding moves thresholds by 1e-6.
const MARGIN: f64 = 1e-5;
const STOPS: [usize; 4] = [13, 0, 29, 56];
const SAMPLING: Sampling =
    Sampling { temperature: 1.2, top_k: 40, top_p: 0.95, num_return_sequences: 3, seed: 5 };

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/decode", name].iter().collect()
}

fn loaded() -> (Gpt2, Tensor) {
    let config = Gpt2Config::open(&fixture("config.json")).unwrap();
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = Gpt2::new(store.root(), &config);
    let checkpoint = Checkpoint::open(&fixture("model.safetensors")).unwrap();
    gpt2::load_pretrained(&mut store, "", &checkpoint, gpt2::Vocabulary::Same).unwrap();
    let prompts = Checkpoint::open(&fixture("beams.safetensors")).unwrap();
    (model, prompts.tensor("prompts", Device::Cpu).unwrap())
}

fn write(
    (model, prompts): &(Gpt2, Tensor),
    numbers: &[u64],
    sampling: Sampling,
) -> Vec<Vec<Hypothesis>> {
    let stops: Vec<bool> = (0..83).map(|id| STOPS.contains(&id)).collect();
    let options = Options {
        strategy: Strategy::Sampling(sampling),
        max_tokens: 40,
        stops: &stops,
        ..Options::default()
    };
    let rows: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
    let prompts = prompts.index_select(0, &Tensor::from_slice(&rows));
    generate(model, &prompts, numbers, &options).unwrap()
}

/// Computes one sample of one prompt without a cache, reading everything again for each token.
///
/// Fails if rounding could decide a choice.
fn write_uncached(
    (model, prompts): &(Gpt2, Tensor),
    number: u64,
    sampling: Sampling,
    sample: usize,
) -> Hypothesis {
    let mut written = Hypothesis::default();
    for step in 0..40 {
        let read = model.embed(&Tensor::from_slice(&written.tokens).unsqueeze(0));
        let inputs = Tensor::cat(&[prompts.narrow(0, number as i64, 1), read], 1);
        let mut cache = model.cache(1, inputs.size()[1]);
        let states = model.forward_cached(&inputs, &mut cache);
        let logits = model.logits(&states.select(1, inputs.size()[1] - 1));
        let probabilities = super::probabilities(&sampling, &logits).to_kind(Kind::Double);
        let probabilities = Vec::<f64>::try_from(probabilities.squeeze_dim(0)).unwrap();
        let draw = super::sampling::draw(&sampling, number, sample, step) as f64 / 2_f64.powi(53);
        let mut passed = 0.0;
        let token = probabilities
            .iter()
            .position(|probability| {
                passed += probability;
                assert!((passed - draw).abs() > MARGIN, "hangs on rounding");
                passed > draw
            })
            .unwrap();
        let log_probabilities = logits.log_softmax(-1, Kind::Double);
        written.log_probability += log_probabilities.double_value(&[0, token as i64]);
        written.tokens.push(token as i64);
        if STOPS.contains(&token) {
            break;
        }
    }
    written
}

fn assert_same(ours: &Hypothesis, theirs: &Hypothesis) {
    assert_eq!(ours.tokens, theirs.tokens);
    assert!((ours.score() - theirs.score()).abs() < 1e-5, "{ours:?}\n{theirs:?}");
}

#[test]
fn samples_are_what_the_uncached_computation_draws_in_any_batch() {
    let model = loaded();
    let all: Vec<u64> = (0..16).collect();
    let wanted: Vec<Vec<Hypothesis>> = all
        .iter()
        .map(|&number| {
            let samples = 0..SAMPLING.num_return_sequences;
            samples.map(|sample| write_uncached(&model, number, SAMPLING, sample)).collect()
        })
        .collect();
    let mut lengths: Vec<usize> = wanted.iter().flatten().map(|text| text.tokens.len()).collect();
    lengths.sort_unstable();
    assert!(lengths[0] < 3 && lengths[47] > 20, "rows leave at many steps: {lengths:?}");

    let backwards: Vec<u64> = all.iter().rev().copied().collect();
    let one_by_one: Vec<&[u64]> = all.chunks(1).collect();
    for batches in [vec![all.as_slice()], vec![&backwards], one_by_one, vec![&[7, 2], &[11, 2, 0]]]
    {
        for numbers in batches {
            let found = write(&model, numbers, SAMPLING);
            assert_eq!(found.len(), numbers.len());
            for (samples, &number) in found.iter().zip(numbers) {
                assert_eq!(samples.len(), SAMPLING.num_return_sequences);
                for (ours, theirs) in samples.iter().zip(&wanted[number as usize]) {
                    assert_same(ours, theirs);
                }
            }
        }
    }
    // More samples do not change the earlier ones.
    let fewer = write(&model, &all, Sampling { num_return_sequences: 1, ..SAMPLING });
    for (ours, theirs) in fewer.iter().zip(&wanted) {
        assert_same(&ours[0], &theirs[0]);
    }
}

#[test]
fn constrained_distributions_are_those_of_transformers() {
    let golden = Checkpoint::open(&fixture("constraints.safetensors")).unwrap();
    let tensor = |name: &str| golden.tensor(name, Device::Cpu).unwrap();
    let (logits, history) = (tensor("logits"), tensor("history"));
    let ends: Vec<bool> = (0..83).map(|id| id == 13).collect();
    let none = Constraints::default();
    let all = Constraints {
        no_repeat_ngram_size: 2,
        repetition_penalty: 1.2,
        min_new_tokens: 12,
        ..none
    };
    let plain = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, ..SAMPLING };
    let filtered = Sampling { temperature: 0.7, top_k: 20, top_p: 0.903, ..SAMPLING };
    for (name, constraints, sampling) in [
        ("sampled_all", all, filtered),
        ("sampled_ngram", Constraints { no_repeat_ngram_size: 3, ..none }, plain),
        ("sampled_ngram_9", Constraints { no_repeat_ngram_size: 9, ..none }, plain),
    ] {
        let constraints = TokenConstraints::new(constraints, &ends, 83, Device::Cpu);
        assert!(constraints.need_history());
        let scores = constraints.apply(&logits, Some(&history), 9);
        let found = super::probabilities(&sampling, &scores);
        let expected = tensor(&format!("{name}.distribution"));
        assert!(found.greater(0.0) == expected.greater(0.0), "{name}");
        assert!((found - expected).abs().max().double_value(&[]) < 1e-6, "{name}");
    }
}

#[test]
fn the_same_seed_draws_the_same_and_another_draws_otherwise() {
    let model = loaded();
    let all: Vec<u64> = (0..16).collect();
    let first = write(&model, &all, SAMPLING);
    assert_eq!(write(&model, &all, SAMPLING), first);
    let other = write(&model, &all, Sampling { seed: SAMPLING.seed + 1, ..SAMPLING });
    let same = first.iter().flatten().zip(other.iter().flatten()).filter(|(a, b)| a == b).count();
    assert!(same < 10, "{same} of 48 are the same with another seed");
}

#[test]
fn draws_are_uniform_and_uncorrelated() {
    let unit = |bits: i64| bits as f64 / 2_f64.powi(53) - 0.5;
    let count = 20_000;
    let draw = |seed: u64, number: usize, sample: usize, step: usize| {
        unit(super::sampling::draw(&Sampling { seed, ..SAMPLING }, number as u64, sample, step))
    };
    let base: Vec<f64> = (0..count).map(|place| draw(1, place, 0, 0)).collect();
    let neighbours: [Vec<f64>; 4] = [
        (0..count).map(|place| draw(2, place, 0, 0)).collect(),
        (0..count).map(|place| draw(1, place + 1, 0, 0)).collect(),
        (0..count).map(|place| draw(1, place, 1, 0)).collect(),
        (0..count).map(|place| draw(1, place, 0, 1)).collect(),
    ];
    assert!(base.iter().all(|draw| (-0.5..0.5).contains(draw)));
    // For uniform draws: mean 0 with deviation 1 / sqrt(12 n), variance 1/12 with 1 / sqrt(180 n).
    let n = count as f64;
    let mean = base.iter().sum::<f64>() / n;
    let variance = base.iter().map(|draw| draw * draw).sum::<f64>() / n;
    assert!(mean.abs() < 4.0 / (12.0 * n).sqrt(), "mean {mean}");
    assert!((variance - 1.0 / 12.0).abs() < 4.0 / (180.0 * n).sqrt(), "variance {variance}");
    for other in &neighbours {
        let together = base.iter().zip(other).map(|(one, other)| one * other).sum::<f64>() / n;
        assert!(together.abs() < 4.0 / (12.0 * n.sqrt()), "correlation {}", 12.0 * together);
    }
}
