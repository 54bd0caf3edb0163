//! Beam search compared with ClipCap's, on prompts for which rounding decides no choice.

use networks::decode::{Hypothesis, Options, Strategy, StrategyError, generate};
use networks::gpt2::Gpt2;
use tch::{Kind, Tensor};

use crate::common::{difference, tensors};
use crate::loaded;

const PICTURES: i64 = 16;
const TOLERANCE: f64 = 1e-5;
const STOP: usize = 13;
const SEVERAL: [usize; 4] = [STOP, 0, 29, 56];
/// Name in the fixture, beam width, stop tokens and maximum number of tokens.
const CASES: [(&str, usize, &[usize], usize); 8] = [
    ("beams_1", 1, &[STOP], 67),
    ("beams_2", 2, &[STOP], 67),
    ("beams_3", 3, &[STOP], 67),
    ("beams_5", 5, &[STOP], 67),
    ("beams_8", 8, &[STOP], 67),
    ("several_stops", 5, &SEVERAL, 67),
    ("short", 5, &[STOP], 6),
    ("one_token", 5, &[STOP], 1),
];

fn by_id(stops: &[usize]) -> Vec<bool> {
    (0..83).map(|id| stops.contains(&id)).collect()
}

/// Generates from each row of `prompt`, `batch` rows at a time.
fn in_batches(
    model: &Gpt2,
    prompt: &Tensor,
    options: &Options,
    batch: i64,
) -> Vec<Vec<Hypothesis>> {
    let written = |part: &Tensor| {
        let numbers: Vec<u64> = (0..part.size()[0] as u64).collect();
        generate(model, part, &numbers, options).unwrap()
    };
    prompt.split(batch, 0).iter().flat_map(written).collect()
}

#[test]
fn beams_equal_the_uncached_references_in_every_batch_size() {
    let expected = tensors("decode/beams.safetensors");
    let model = loaded();
    let mut largest = 0_f64;
    for (name, beams, stops, max_tokens) in CASES {
        let stops = by_id(stops);
        let options = Options {
            strategy: Strategy::Beam { num_beams: beams },
            max_tokens,
            stops: &stops,
            ..Options::default()
        };
        let of = |part: &str| &expected[&format!("{name}.{part}")];
        let tokens = of("tokens").to_kind(Kind::Int64);
        for batch in [1, 5, PICTURES] {
            let found = in_batches(&model, &expected["prompts"], &options, batch);
            assert_eq!(found.len() as i64, PICTURES);
            for (hypotheses, picture) in found.iter().zip(0..) {
                assert_eq!(hypotheses.len(), beams);
                for (hypothesis, beam) in hypotheses.iter().zip(0..) {
                    let length = of("lengths").int64_value(&[picture, beam]);
                    let wanted = tokens.get(picture).get(beam).narrow(0, 0, length);
                    assert_eq!(
                        hypothesis.tokens,
                        Vec::<i64>::try_from(wanted).unwrap(),
                        "{name}, beam {beam} of picture {picture} in batches of {batch}"
                    );
                }
            }
            let scores: Vec<f64> = found.iter().flatten().map(Hypothesis::score).collect();
            let scores = Tensor::from_slice(&scores).view([PICTURES, beams as i64]);
            largest = largest.max(difference(&scores, of("scores")));
        }
    }
    println!("scores differ by at most {largest:.1e}");
    assert!(largest < TOLERANCE, "{largest:e}");
}

#[test]
fn a_beams_log_probability_is_that_of_its_tokens_read_at_once() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"];
    let model = loaded();
    let stops = by_id(&[STOP]);
    let options = Options {
        strategy: Strategy::Beam { num_beams: 5 },
        max_tokens: 67,
        stops: &stops,
        ..Options::default()
    };
    for (hypotheses, picture) in in_batches(&model, prompts, &options, PICTURES).iter().zip(0..) {
        for Hypothesis { tokens, log_probability } in hypotheses {
            let ids = Tensor::from_slice(tokens).unsqueeze(0);
            let read = model.embed(&ids.narrow(1, 0, ids.size()[1] - 1));
            let inputs = Tensor::cat(&[prompts.narrow(0, picture, 1), read], 1);
            let mut cache = model.cache(1, inputs.size()[1]);
            let states = model.forward_cached(&inputs, &mut cache).narrow(1, 4, ids.size()[1]);
            let all = model.logits(&states).log_softmax(-1, Kind::Double);
            let sum = all.gather(2, &ids.unsqueeze(2), false).sum(Kind::Double).double_value(&[]);
            let off = (sum - log_probability).abs() / tokens.len() as f64;
            assert!(off < TOLERANCE, "picture {picture}: {log_probability}, not {sum}");
        }
    }
}

#[test]
fn one_beam_is_greedy_decoding() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"];
    let model = loaded();
    for stops in [by_id(&[STOP]), by_id(&SEVERAL), Vec::new()] {
        let written = |strategy| {
            let options = Options { strategy, max_tokens: 67, stops: &stops, ..Options::default() };
            in_batches(&model, prompts, &options, PICTURES)
        };
        let both =
            written(Strategy::Greedy {}).into_iter().zip(written(Strategy::Beam { num_beams: 1 }));
        for (greedy, beam) in both {
            assert_eq!((greedy.len(), beam.len()), (1, 1));
            assert_eq!(greedy[0].tokens, beam[0].tokens);
            assert!((greedy[0].score() - beam[0].score()).abs() < TOLERANCE);
        }
    }
}

#[test]
fn beams_are_limited_by_vocabulary_and_positions() {
    let prompts = &tensors("decode/beams.safetensors")["prompts"].narrow(0, 0, 2);
    let model = loaded();
    let beams = |beams, max_tokens| {
        let options = Options {
            strategy: Strategy::Beam { num_beams: beams },
            max_tokens,
            stops: &[],
            ..Options::default()
        };
        in_batches(&model, prompts, &options, 2)
    };
    let sizes = |found: &[Vec<Hypothesis>]| found.iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes(&beams(100, 3)), [83, 83]);
    let longest = beams(2, 1_000_000);
    // 71 positions, 5 of them the prompt's; the last token is no input.
    assert!(longest.iter().flatten().all(|hypothesis| hypothesis.tokens.len() == 67));
    assert_eq!(beams(2, 0), vec![vec![Hypothesis::default(); 2]; 2]);
    assert_eq!(Hypothesis::default().score().to_bits(), 0.0_f64.to_bits());
}

#[test]
fn beam_widths_out_of_range_are_rejected() {
    for beams in [0, 1_001, usize::MAX] {
        let error = Strategy::Beam { num_beams: beams }.check().unwrap_err();
        assert_eq!(error, StrategyError::Continuations { name: "num_beams", count: beams });
        assert!(error.to_string().contains(&format!("num_beams is {beams}")), "{error}");
    }
    let prompts = &tensors("decode/beams.safetensors")["prompts"];
    let options = Options {
        strategy: Strategy::Beam { num_beams: 0 },
        max_tokens: 67,
        stops: &[],
        ..Options::default()
    };
    assert!(generate(&loaded(), &prompts.narrow(0, 0, 1), &[0], &options).is_err());
}
