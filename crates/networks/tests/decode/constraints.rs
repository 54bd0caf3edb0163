//! Constraints compared with transformers' `generate`, on results of
//! `tests/reference/constraints_goldens.py`.

use std::collections::HashMap;

use networks::decode::{Constraints, Hypothesis, Options, Sampling, Strategy, generate};
use tch::{Kind, Tensor};

use crate::common::{difference, tensors};
use crate::loaded;

const STOP: usize = 13;
const TOKENS: i64 = 83;
const TOLERANCE: f64 = 1e-5;
const NONE: Constraints = Constraints {
    no_repeat_ngram_size: 0,
    repetition_penalty: 1.0,
    length_penalty: 1.0,
    min_new_tokens: 0,
};

/// Name in the fixture, beam width (0 for greedy decoding), whether the stop token ends a text, and
/// constraints.
const CASES: [(&str, usize, bool, Constraints); 12] = [
    ("ngram_1", 0, true, Constraints { no_repeat_ngram_size: 1, ..NONE }),
    ("ngram_3", 0, true, Constraints { no_repeat_ngram_size: 3, ..NONE }),
    ("penalty_1.3", 0, true, Constraints { repetition_penalty: 1.3, ..NONE }),
    ("penalty_0.8", 0, true, Constraints { repetition_penalty: 0.8, ..NONE }),
    ("least_9", 0, true, Constraints { min_new_tokens: 9, ..NONE }),
    (
        "all",
        0,
        true,
        Constraints { no_repeat_ngram_size: 2, repetition_penalty: 1.2, min_new_tokens: 7, ..NONE },
    ),
    ("endless_ngram", 3, false, Constraints { no_repeat_ngram_size: 2, ..NONE }),
    (
        "endless_all",
        3,
        false,
        Constraints { no_repeat_ngram_size: 3, repetition_penalty: 1.2, ..NONE },
    ),
    ("length_0.5", 3, true, Constraints { length_penalty: 0.5, ..NONE }),
    ("length_2", 3, true, Constraints { length_penalty: 2.0, ..NONE }),
    ("length_-1", 3, true, Constraints { length_penalty: -1.0, ..NONE }),
    (
        "beam_all",
        3,
        true,
        Constraints {
            no_repeat_ngram_size: 2,
            repetition_penalty: 1.2,
            length_penalty: 0.7,
            min_new_tokens: 5,
        },
    ),
];

fn stops() -> Vec<bool> {
    (0..TOKENS as usize).map(|id| id == STOP).collect()
}

fn written(prompts: &Tensor, options: &Options) -> Vec<Vec<Hypothesis>> {
    let numbers: Vec<u64> = (0..prompts.size()[0] as u64).collect();
    generate(&loaded(), prompts, &numbers, options).unwrap()
}

/// Returns the tokens of the fixture's texts, one or several for each prompt.
fn expected_tokens(expected: &HashMap<String, Tensor>, name: &str) -> Vec<Vec<Vec<i64>>> {
    let (tokens, lengths) =
        (&expected[&format!("{name}.tokens")], &expected[&format!("{name}.lengths")]);
    let row = |picture: i64, beam: i64| {
        let length = lengths.int64_value(&[picture, beam]);
        let row = tokens.get(picture).get(beam).narrow(0, 0, length).to_kind(Kind::Int64);
        Vec::<i64>::try_from(row).unwrap()
    };
    let [pictures, beams] = [lengths.size()[0], lengths.size()[1]];
    (0..pictures).map(|picture| (0..beams).map(|beam| row(picture, beam)).collect()).collect()
}

#[test]
fn constrained_texts_are_those_of_transformers() {
    let expected = tensors("decode/constraints.safetensors");
    let stops = stops();
    for (name, beams, has_end, constraints) in CASES {
        let strategy = match beams {
            0 => Strategy::Greedy {},
            num_beams => Strategy::Beam { num_beams },
        };
        let stops = if has_end { stops.as_slice() } else { &[] };
        let options = Options {
            strategy,
            max_tokens: 16,
            stops,
            constraints,
            ends: stops,
            ..Options::default()
        };
        let prompts = &expected["prompts"];
        let all = written(prompts, &options);
        let tokens: Vec<Vec<Vec<i64>>> = all
            .iter()
            .map(|texts| texts.iter().map(|text| text.tokens.clone()).collect())
            .collect();
        assert_eq!(tokens, expected_tokens(&expected, name), "{name}");
        let by_one: Vec<_> =
            prompts.split(1, 0).iter().flat_map(|prompt| written(prompt, &options)).collect();
        for (alone, together) in by_one.iter().flatten().zip(all.iter().flatten()) {
            assert_eq!(alone.tokens, together.tokens, "{name}");
        }
        if let Some(scores) = expected.get(&format!("{name}.scores")) {
            let score = |text: &Hypothesis| text.penalized_score(constraints.length_penalty);
            let found: Vec<f64> = all.iter().flatten().map(score).collect();
            let found = Tensor::from_slice(&found).view_as(scores);
            // Sums, which a negative length penalty multiplies, have larger errors.
            let largest = difference(&found, scores) / scores.abs().max().double_value(&[]);
            assert!(largest < TOLERANCE, "{name}: {largest:e}");
        }
    }
}

#[test]
fn a_sample_of_the_most_probable_token_obeys_as_greedy_decoding_does() {
    let expected = tensors("decode/constraints.safetensors");
    let stops = stops();
    let sampling =
        Sampling { num_return_sequences: 2, temperature: 1.0, top_k: 1, top_p: 1.0, seed: 1 };
    for (name, _, _, constraints) in CASES.into_iter().filter(|(_, beams, ..)| *beams == 0) {
        let options = Options {
            strategy: Strategy::Sampling(sampling),
            max_tokens: 16,
            stops: &stops,
            constraints,
            ends: &stops,
            ..Options::default()
        };
        let all = written(&expected["prompts"], &options);
        for (texts, expected) in all.iter().zip(expected_tokens(&expected, name)) {
            let [one, other] = texts.as_slice() else { panic!("{} samples", texts.len()) };
            assert_eq!([&one.tokens, &other.tokens], [&expected[0]; 2], "{name}");
        }
    }
}

#[test]
fn ids_without_a_token_are_never_chosen() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"];
    let sampling =
        Sampling { num_return_sequences: 5, temperature: 3.0, top_k: 0, top_p: 1.0, seed: 1 };
    for strategy in
        [Strategy::Greedy {}, Strategy::Beam { num_beams: 9 }, Strategy::Sampling(sampling)]
    {
        let largest = |vocabulary| {
            let options = Options { strategy, max_tokens: 30, vocabulary, ..Options::default() };
            let all = written(prompts, &options);
            all.iter().flatten().flat_map(|text| &text.tokens).max().copied()
        };
        assert!(largest(None) > Some(60), "{strategy:?} writes such ids");
        assert!(largest(Some(20)) < Some(20), "{strategy:?}");
        assert_eq!(largest(Some(1)), Some(0), "{strategy:?}");
        assert_eq!(largest(Some(100)), largest(None), "{strategy:?}");
    }
}

#[test]
fn beams_without_any_allowed_token_end() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"].narrow(0, 0, 2);
    let options = Options {
        strategy: Strategy::Beam { num_beams: 4 },
        constraints: Constraints { no_repeat_ngram_size: 1, ..NONE },
        vocabulary: Some(3),
        ..Options::default()
    };
    for texts in written(prompts, &options) {
        assert_eq!(texts.len(), 3);
        for text in texts {
            let mut tokens = text.tokens.clone();
            tokens.sort_unstable();
            assert!(tokens.windows(2).all(|two| two[0] != two[1]) && tokens.len() <= 3, "{text:?}");
            assert!(text.log_probability.is_finite());
        }
    }
}
