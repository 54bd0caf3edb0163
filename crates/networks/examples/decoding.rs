//! Decoding benchmark: GPT-2 small with random weights, behind prefixes of 10 vectors.
//!
//! Usage: `cargo run --release -p networks --example decoding -- [PICTURES] [DEVICE] [THREADS]`
//!
//! Every twelfth token id is a stop token, so that sampled captions have realistic lengths.

use std::time::Instant;

use networks::decode::{Options, Sampling, Strategy, generate};
use networks::device::{parse_device, set_threads};
use networks::gpt2::{Gpt2, Gpt2Config};
use tch::{Kind, Tensor, nn};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |place: usize, default| arguments.get(place).map_or(default, String::as_str);
    let pictures: i64 = argument(0, "32").parse()?;
    let device = parse_device(argument(1, "cpu"))?;
    set_threads(argument(2, "2").parse()?);
    // Seeded before the weights, so that runs decode the same captions.
    tch::manual_seed(1);
    let mut store = nn::VarStore::new(device);
    let model = Gpt2::new(store.root(), &Gpt2Config::default());
    store.freeze();

    let prompt = Tensor::randn([pictures, 10, 768], (Kind::Float, device));
    let numbers: Vec<u64> = (0..pictures as u64).collect();
    let stops: Vec<bool> = (0..50_257).map(|id| id % 12 == 5).collect();
    let plain =
        Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, num_return_sequences: 1, seed: 1 };
    for strategy in [
        Strategy::Greedy {},
        Strategy::Sampling(plain),
        Strategy::Sampling(Sampling { top_k: 50, ..plain }),
        Strategy::Sampling(Sampling { top_p: 0.9, ..plain }),
        Strategy::Sampling(Sampling { top_k: 50, num_return_sequences: 5, ..plain }),
        Strategy::Beam { num_beams: 5 },
    ] {
        let options = Options { strategy, max_tokens: 67, stops: &stops, ..Options::default() };
        let start = Instant::now();
        let written = generate(&model, &prompt, &numbers, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        let hypotheses: Vec<_> = written.iter().flatten().collect();
        let tokens: usize = hypotheses.iter().map(|hypothesis| hypothesis.tokens.len()).sum();
        let longest = hypotheses.iter().map(|hypothesis| hypothesis.tokens.len()).max();
        println!(
            "{seconds:7.2} s  {:7.1} tokens/s, {:.1} tokens a caption, {} at the most: {strategy:?}",
            tokens as f64 / seconds,
            tokens as f64 / hypotheses.len() as f64,
            longest.unwrap_or_default(),
        );
    }
    Ok(())
}
