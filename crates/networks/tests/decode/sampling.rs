//! Sampling distributions compared with transformers' warpers, and draws with the distributions.

use networks::decode::{Options, Sampling, Strategy, generate, probabilities};
use networks::gpt2::Gpt2;
use tch::{Kind, Tensor};

use crate::common::{difference, tensors};
use crate::loaded;

const TOLERANCE: f64 = 1e-6;
const PLAIN: Sampling =
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, num_return_sequences: 1, seed: 1 };

/// Parses the settings in the name of a golden distribution, such as `0.5_20_0.903`.
fn setting(name: &str) -> Sampling {
    let parts: Vec<&str> = name.split('_').collect();
    Sampling {
        temperature: parts[0].parse().unwrap(),
        top_k: parts[1].parse().unwrap_or(0),
        top_p: parts[2].parse().unwrap_or(1.0),
        ..PLAIN
    }
}

/// Rows of the golden logits with tied tokens.
const TIED: [i64; 4] = [4, 5, 6, 8];

/// Sorts each row, because an unstable sort may keep another one of several tied tokens.
fn values(probabilities: &Tensor) -> Tensor {
    probabilities.sort(-1, false).0
}

#[test]
fn distributions_and_their_supports_equal_transformers() {
    let expected = tensors("decode/filters.safetensors");
    let logits = &expected["logits"];
    let mut largest = 0_f64;
    for (name, theirs) in expected.iter().filter(|(name, _)| *name != "logits") {
        let sampling = setting(name);
        let ours = probabilities(&sampling, logits);
        for row in 0..logits.size()[0] {
            let (mut ours, mut theirs) = (ours.get(row), theirs.get(row));
            if sampling.top_p < 1.0 && TIED.contains(&row) {
                (ours, theirs) = (values(&ours), values(&theirs));
            }
            assert_eq!(ours.greater(0.0), theirs.greater(0.0), "row {row} of {name}");
            largest = largest.max(difference(&ours, &theirs));
        }
    }
    println!("{} distributions differ by at most {largest:.1e}", expected.len() - 1);
    assert_eq!(expected.len() - 1, 11);
    assert!(largest < TOLERANCE, "{largest:e}");
}

#[test]
fn ties_at_the_nucleus_edge_keep_the_highest_ids() {
    let logits = Tensor::from_slice(&[0.0_f32, 1.0, 0.0, 1.0, 1.0, 1.0]).unsqueeze(0);
    let nucleus = probabilities(&Sampling { top_p: 0.4, ..PLAIN }, &logits);
    assert_eq!(nucleus, Tensor::from_slice2(&[[0.0_f32, 0.0, 0.0, 0.0, 0.5, 0.5]]));
}

#[test]
fn omitting_or_changing_a_filter_changes_the_distribution() {
    let expected = tensors("decode/filters.safetensors");
    let notice = |name: &str, change: fn(&mut Sampling)| {
        let mut wrong = setting(name);
        change(&mut wrong);
        let probabilities = probabilities(&wrong, &expected["logits"]);
        let off = difference(&values(&probabilities), &values(&expected[name]));
        assert!(off > 10.0 * TOLERANCE, "{name} and {wrong:?} are the same");
    };
    notice("0.7_none_none", |sampling| sampling.temperature = 0.701);
    notice("1.3_50_none", |sampling| sampling.top_k = 0);
    notice("1.3_50_none", |sampling| sampling.top_k = 51);
    notice("1.3_50_none", |sampling| sampling.temperature = 1.0);
    // Both filters, of which a nucleus alone or a top-k alone keeps more.
    notice("0.5_20_0.903", |sampling| sampling.top_k = 0);
    notice("0.5_20_0.903", |sampling| sampling.top_p = 1.0);
    notice("0.5_20_0.903", |sampling| sampling.top_p = 0.95);
}

/// Returns Pearson's chi-squared statistic of drawn tokens, and its degrees of freedom.
fn chi_square(counts: &[f64], probabilities: &[f64]) -> (f64, f64) {
    let draws: f64 = counts.iter().sum();
    let (mut statistic, mut cells) = (0.0, 0.0);
    for (count, probability) in counts.iter().zip(probabilities) {
        if *probability <= 0.0 {
            assert!(*count < 1.0, "a token that was filtered out came");
            continue;
        }
        let wanted = draws * probability;
        assert!(wanted > 5.0, "too rare for the statistic");
        statistic += (count - wanted).powi(2) / wanted;
        cells += 1.0;
    }
    (statistic, cells - 1.0)
}

#[test]
fn fifty_thousand_draws_fit_the_distribution() {
    let prompt = tensors("decode/beams.safetensors")["prompts"].narrow(0, 3, 1);
    let model = loaded();
    let mut cache = model.cache(1, 5);
    let logits = model.logits(&model.forward_cached(&prompt, &mut cache).select(1, 4));
    let sampling = Sampling { top_k: 30, top_p: 0.97, num_return_sequences: 100, ..PLAIN };
    let options = Options {
        strategy: Strategy::Sampling(sampling),
        max_tokens: 1,
        stops: &[],
        ..Options::default()
    };
    // Draws differ by the row's number and by the sample.
    let numbers: Vec<u64> = (0..500).collect();
    let prompts = prompt.expand([500, -1, -1], false);
    let mut counts = vec![0.0; 83];
    let written = generate(&model, &prompts, &numbers, &options).unwrap();
    assert_eq!(written.iter().flatten().count(), 50_000);
    for hypothesis in written.iter().flatten() {
        counts[hypothesis.tokens[0] as usize] += 1.0;
    }
    let against = |sampling: &Sampling| {
        let probabilities = probabilities(sampling, &logits).to_kind(Kind::Double).squeeze_dim(0);
        chi_square(&counts, &Vec::<f64>::try_from(probabilities).unwrap())
    };
    let (statistic, freedom) = against(&sampling);
    println!("chi-square {statistic:.1} with {freedom} degrees of freedom");
    assert!(freedom > 8.0);
    // Its mean is the degrees of freedom, its variance twice that.
    let limit = freedom + 4.0 * (2.0 * freedom).sqrt();
    assert!(statistic < limit, "{statistic}, {freedom} degrees of freedom");
    let (warmer, _) = against(&Sampling { temperature: 1.05, ..sampling });
    assert!(warmer > limit, "a temperature of 1.05 goes unnoticed: {warmer}");
}

/// Returns the smallest difference of logits between one of `tokens` and any other token.
fn margin(model: &Gpt2, prompt: &Tensor, tokens: &[i64]) -> f64 {
    let ids = Tensor::from_slice(tokens).unsqueeze(0);
    let inputs = Tensor::cat(&[prompt, &model.embed(&ids)], 1);
    let mut cache = model.cache(1, inputs.size()[1]);
    let states = model.forward_cached(&inputs, &mut cache);
    let first = prompt.size()[1] - 1;
    let two = model.logits(&states.narrow(1, first, ids.size()[1])).topk(2, -1, true, true).0;
    (two.select(2, 0) - two.select(2, 1)).min().double_value(&[])
}

#[test]
fn low_temperature_and_top_k_1_equal_greedy() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"];
    let model = loaded();
    let numbers: Vec<u64> = (0..16).collect();
    let written = |strategy| {
        let options = Options { strategy, max_tokens: 12, stops: &[], ..Options::default() };
        generate(&model, prompts, &numbers, &options).unwrap()
    };
    let greedy = written(Strategy::Greedy {});
    let margin =
        |row: i64| margin(&model, &prompts.narrow(0, row, 1), &greedy[row as usize][0].tokens);
    // Differences of 0.03 at a temperature of 0.001: another token has a probability below e^-30.
    let clear: Vec<usize> =
        (0..16).filter(|&row| margin(row) > 0.03).map(|row| row as usize).collect();
    assert!(clear.len() >= 8, "{clear:?}");
    for sampling in [
        Sampling { temperature: 0.001, ..PLAIN },
        Sampling { top_k: 1, ..PLAIN },
        Sampling { top_p: 1e-9, ..PLAIN },
    ] {
        let sampled = written(Strategy::Sampling(sampling));
        for &row in &clear {
            assert_eq!(sampled[row], greedy[row], "{sampling:?}");
        }
    }
    assert_ne!(written(Strategy::Sampling(PLAIN)), greedy);
}

#[test]
fn invalid_values_are_rejected_by_name() {
    let refused =
        |sampling: Sampling| Strategy::Sampling(sampling).check().unwrap_err().to_string();
    for temperature in [0.0, 0.0009, -1.0, f64::NAN, f64::INFINITY] {
        let words = refused(Sampling { temperature, ..PLAIN });
        assert!(words.starts_with("temperature is ") && words.contains("hint: "), "{words}");
    }
    for top_p in [0.0, -0.5, 1.1, f64::NAN] {
        let words = refused(Sampling { top_p, ..PLAIN });
        assert!(words.starts_with("top_p is ") && words.contains("hint: "), "{words}");
    }
    for samples in [0, 1_001] {
        assert!(
            refused(Sampling { num_return_sequences: samples, ..PLAIN })
                .starts_with("num_return_sequences is ")
        );
    }
    let widest = Sampling { top_k: usize::MAX, top_p: 1.0, num_return_sequences: 1_000, ..PLAIN };
    Strategy::Sampling(widest).check().unwrap();
}
