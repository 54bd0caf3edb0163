//! ClipCap's captioner compared with a padded, uncached reference on a random checkpoint, both from
//! `tests/reference/prefix_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{difference, fixture, tensors};
use networks::decode::{Options, Sampling, Strategy, generate};
use networks::gpt2::Gpt2Config;
use networks::prefix::{
    self, CaptionerInitialWeights, ClipCaptioner, MapperConfig, MapperKind, TokenBatch,
};
use networks::weights::{self, Checkpoint, WeightsError};
use networks::{InitialWeights, Pass, Standardization};
use tch::{Device, Kind, Tensor, nn};

const PREFIX: i64 = 3;
const MAPPER: MapperConfig = MapperConfig::plain(MapperKind::Mlp, 16, PREFIX);
const FULL_STOP: usize = 13;
const TOLERANCE: f64 = 1e-5;
const NOTICED: f64 = 10.0 * TOLERANCE;

/// Waits for the random numbers of other tests: all threads share libtorch's generator.
fn generator() -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a captioner with ten positions and random weights.
fn short() -> (nn::VarStore, ClipCaptioner) {
    let _alone = generator();
    let mut config = Gpt2Config::open(&fixture("prefix/config.json")).unwrap();
    config.n_positions = 10;
    let store = nn::VarStore::new(Device::Cpu);
    let captioner = ClipCaptioner::new(store.root(), &config, &MAPPER);
    (store, captioner)
}

/// Returns a captioner with zeros for weights, which draws no random numbers.
fn of_zeros(
    change: impl Fn(&mut Gpt2Config),
    mapper: &MapperConfig,
) -> (nn::VarStore, ClipCaptioner) {
    let mut config = Gpt2Config::open(&fixture("prefix/config.json")).unwrap();
    change(&mut config);
    let store = nn::VarStore::new(Device::Cpu);
    let zeros = CaptionerInitialWeights::ZEROS;
    let captioner = ClipCaptioner::with_initial(store.root(), &config, mapper, zeros);
    (store, captioner)
}

fn loaded() -> (nn::VarStore, ClipCaptioner) {
    let (mut store, captioner) = of_zeros(|_| (), &MAPPER);
    let checkpoint = Checkpoint::open(&fixture("prefix/model.safetensors")).unwrap();
    prefix::load(&mut store, &checkpoint).unwrap();
    (store, captioner)
}

/// Returns the reference's captions without padding.
fn rows(expected: &HashMap<String, Tensor>) -> Vec<Vec<i64>> {
    let lengths = Vec::<i64>::try_from(&expected["lengths"]).unwrap();
    lengths
        .iter()
        .zip(0..)
        .map(|(&length, row)| expected["tokens"].get(row).narrow(0, 0, length).try_into().unwrap())
        .collect()
}

fn greedy(
    captioner: &ClipCaptioner,
    embeddings: &Tensor,
    max_tokens: usize,
    stops: &[bool],
) -> Vec<Vec<i64>> {
    let options =
        Options { strategy: Strategy::Greedy {}, max_tokens, stops, ..Options::default() };
    let numbers: Vec<u64> = (0..embeddings.size()[0] as u64).collect();
    let prompt = captioner.prefix(embeddings);
    let written = generate(captioner.gpt2(), &prompt, &numbers, &options).unwrap();
    written.into_iter().flatten().map(|hypothesis| hypothesis.tokens).collect()
}

fn batch_of(rows: &[Vec<i64>]) -> TokenBatch {
    let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
    let images: Vec<i64> = (0..rows.len() as i64).collect();
    TokenBatch::new(&rows, &images, PREFIX, Device::Cpu)
}

#[test]
fn the_loss_and_every_gradient_equal_the_padded_references() {
    let expected = tensors("prefix/loss.safetensors");
    let (store, captioner) = loaded();
    let batch = batch_of(&rows(&expected));
    let loss = captioner.caption_loss(&expected["embeddings"], &batch, Pass::EVALUATION);
    let off = difference(&loss, &expected["loss"]);
    println!("loss differs by {off:.1e} of {:.3}", loss.double_value(&[]));
    assert!(off < TOLERANCE, "{off:e}");
    loss.backward();

    let gradients = expected.keys().filter(|key| key.starts_with("grad.")).count();
    assert_eq!(gradients, store.variables().len());
    let (mut largest, mut largest_relative) = (0_f64, 0_f64);
    for (name, variable) in store.variables() {
        let theirs = &expected[&format!("grad.{name}")];
        let off = difference(&variable.grad(), theirs);
        let norm = theirs.norm().double_value(&[]);
        let relative = (variable.grad() - theirs).norm().double_value(&[]) / norm;
        largest = largest.max(off);
        largest_relative = largest_relative.max(relative);
        assert!(off < TOLERANCE && relative < TOLERANCE, "{name}: {off:e}, relative {relative:e}");
    }
    println!(
        "{gradients} gradients differ by at most {largest:.1e} in a value, {largest_relative:.1e} \
         of the norm"
    );
}

#[test]
fn mistakes_in_the_layout_change_the_loss() {
    let expected = tensors("prefix/loss.safetensors");
    let (_store, captioner) = loaded();
    let right = rows(&expected);
    let off = |rows: &[Vec<i64>], embeddings: &Tensor| {
        let loss = captioner.caption_loss(embeddings, &batch_of(rows), Pass::EVALUATION);
        difference(&loss, &expected["loss"])
    };
    let embeddings = &expected["embeddings"];
    assert!(off(&right, embeddings) < TOLERANCE);
    assert!(off(&right, &embeddings.roll([1], [0])) > NOTICED, "rows of other images");

    // Token 0 is an input, so removing it differs from excluding it from the loss.
    let without: Vec<Vec<i64>> =
        right.iter().map(|row| row.iter().copied().filter(|&id| id != 0).collect()).collect();
    assert!(off(&without, embeddings) > NOTICED, "without the tokens 0");

    // The last token of the longest row is a target, though not an input.
    let mut shorter = right.clone();
    shorter[0].pop();
    assert!(off(&shorter, embeddings) > NOTICED, "without the last token");
}

#[test]
fn padding_further_changes_neither_the_loss_nor_the_targets() {
    let expected = tensors("prefix/loss.safetensors");
    let (_store, captioner) = loaded();
    let mut longer = rows(&expected);
    let targets = batch_of(&longer).targets();
    for row in &mut longer {
        row.resize(19, 0);
    }
    let batch = batch_of(&longer);
    assert_eq!(batch.targets(), targets);
    let loss = captioner.caption_loss(&expected["embeddings"], &batch, Pass::EVALUATION);
    assert!(difference(&loss, &expected["loss"]) < TOLERANCE);
}

#[test]
fn a_change_in_any_parameter_changes_the_loss() {
    let expected = tensors("prefix/loss.safetensors");
    let (store, captioner) = loaded();
    let batch = batch_of(&rows(&expected));
    for (name, variable) in store.variables() {
        let mut first = variable.detach().view(-1).narrow(0, 0, 1);
        let value = first.copy();
        let _ = first.g_add_scalar_(1.0);
        let loss = captioner.caption_loss(&expected["embeddings"], &batch, Pass::EVALUATION);
        let off = difference(&loss, &expected["loss"]);
        assert!(off > NOTICED, "{name} moved by 1: {off:e}");
        first.copy_(&value);
    }
}

#[test]
fn training_on_one_batch_lowers_its_loss() {
    let _alone = generator();
    let expected = tensors("prefix/loss.safetensors");
    let (store, captioner) = loaded();
    let batch = batch_of(&rows(&expected));
    for _ in 0..30 {
        let loss = captioner.caption_loss(&expected["embeddings"], &batch, Pass::TRAINING);
        loss.backward();
        tch::no_grad(|| {
            for mut variable in store.trainable_variables() {
                let step = variable.grad() * -0.05;
                let _ = variable.g_add_(&step);
                variable.zero_grad();
            }
        });
    }
    let loss = captioner.caption_loss(&expected["embeddings"], &batch, Pass::EVALUATION);
    assert!(loss.double_value(&[]) < 0.5 * expected["loss"].double_value(&[]), "{loss:?}");
}

#[test]
fn greedy_captions_equal_the_uncached_loops_in_every_batch_size() {
    let expected = tensors("prefix/captions.safetensors");
    let (_store, captioner) = loaded();
    let embeddings = &expected["embeddings"];
    let cut_at: Vec<bool> =
        Vec::<i64>::try_from(&expected["stops"]).unwrap().iter().map(|&stop| stop == 1).collect();
    let mut full_stop_only = vec![false; FULL_STOP + 1];
    full_stop_only[FULL_STOP] = true;

    let tokens: Vec<Vec<i64>> = (&expected["tokens"]).try_into().unwrap();
    let looped: Vec<Vec<i64>> = tokens
        .into_iter()
        .map(|row| row.into_iter().take_while(|&token| token >= 0).collect())
        .collect();
    for (stops, wanted) in [(&full_stop_only, &looped), (&cut_at, &rows(&expected))] {
        for batch in [1, 5, 32] {
            let captions: Vec<Vec<i64>> = embeddings
                .split(batch, 0)
                .iter()
                .flat_map(|part| greedy(&captioner, part, 67, stops))
                .collect();
            assert_eq!(&captions, wanted, "in batches of {batch}");
        }
    }
}

#[test]
fn captions_end_at_stop_tokens_max_tokens_or_the_last_position() {
    let expected = tensors("prefix/captions.safetensors");
    let embeddings = expected["embeddings"].narrow(0, 0, 4);
    let lengths = |captioner: &ClipCaptioner, max_tokens| {
        let captions = greedy(captioner, &embeddings, max_tokens, &[]);
        captions.iter().map(Vec::len).collect::<Vec<_>>()
    };
    let (_store, captioner) = loaded();
    for max_tokens in [0, 1, 2, 67] {
        assert_eq!(lengths(&captioner, max_tokens), [max_tokens; 4]);
    }
    let (_store, short) = short();
    assert_eq!(short.gpt2().config().tokens_after(short.prefix_length()), 8);
    assert_eq!(lengths(&short, 67), [8; 4]);
    assert!(greedy(&captioner, &embeddings.narrow(0, 0, 0), 67, &[]).is_empty());
}

#[test]
fn the_longest_caption_can_be_trained_on() {
    let (_store, captioner) = short();
    let longest = captioner.gpt2().config().tokens_after(captioner.prefix_length());
    let row = vec![1; longest];
    let embedding = Tensor::ones([1, MAPPER.clip_dim], (Kind::Float, Device::Cpu));
    let loss = captioner.caption_loss(&embedding, &batch_of(&[row]), Pass::EVALUATION);
    assert!(loss.double_value(&[]).is_finite());
}

#[test]
fn a_mapper_from_scratch_starts_as_pytorch_starts_it() {
    let _alone = generator();
    let store = nn::VarStore::new(Device::Cpu);
    let config =
        Gpt2Config { n_embd: 96, n_layer: 1, n_head: 4, vocab_size: 9, ..Gpt2Config::default() };
    let _ = ClipCaptioner::new(
        store.root(),
        &config,
        &MapperConfig { clip_dim: 256, prefix_length: 10, ..MAPPER },
    );
    let variables = store.variables();
    let shapes = [
        ("clip_project.model.0.weight", vec![480, 256], 256_f64),
        ("clip_project.model.0.bias", vec![480], 256.0),
        ("clip_project.model.2.weight", vec![960, 480], 480.0),
        ("clip_project.model.2.bias", vec![960], 480.0),
    ];
    for (name, shape, inputs) in shapes {
        let (variable, bound) = (&variables[name], 1.0 / inputs.sqrt());
        assert_eq!(variable.size(), shape, "{name}");
        let largest = variable.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.97 * bound, "{name}: {largest} of {bound}");
        let deviation = variable.std(true).double_value(&[]);
        let uniform = bound / 3_f64.sqrt();
        assert!((deviation / uniform - 1.0).abs() < 0.1, "{name}: {deviation}, not {uniform}");
    }
}

#[test]
fn mapper_initialization_is_independent_of_gpt2_and_zeros_are_loadable() {
    let _alone = generator();
    let built = |initial: CaptionerInitialWeights| {
        tch::manual_seed(4);
        let config = Gpt2Config::open(&fixture("prefix/config.json")).unwrap();
        let store = nn::VarStore::new(Device::Cpu);
        let _ = ClipCaptioner::with_initial(store.root(), &config, &MAPPER, initial);
        store
    };
    let random = built(CaptionerInitialWeights {
        mapper: InitialWeights::Random,
        gpt2: InitialWeights::Random,
    })
    .variables();
    let mapper =
        CaptionerInitialWeights { mapper: InitialWeights::Random, gpt2: InitialWeights::Zeros };
    for (name, variable) in built(mapper).variables() {
        if name.starts_with("clip_project.") {
            assert_eq!(variable, random[&name], "{name}");
        } else {
            assert!(
                variable.eq_tensor(&variable.zeros_like()).all().int64_value(&[]) == 1,
                "{name}"
            );
        }
    }
    let mut store = built(CaptionerInitialWeights::ZEROS);
    let checkpoint = Checkpoint::open(&fixture("prefix/model.safetensors")).unwrap();
    prefix::load(&mut store, &checkpoint).unwrap();
    let expected = loaded().0.variables();
    for (name, variable) in store.variables() {
        assert_eq!(variable, expected[&name], "{name}");
    }
}

#[test]
fn only_redundant_tensors_of_clipcaps_files_are_ignored() {
    let load_with = |extra: &str, tensor: Option<Tensor>| {
        let mut changed: BTreeMap<String, Tensor> =
            tensors("prefix/model.safetensors").into_iter().collect();
        let head = changed["gpt.transformer.wte.weight"].shallow_clone();
        changed.insert(extra.to_owned(), tensor.unwrap_or(head));
        let file = tempfile::NamedTempFile::new().unwrap();
        let changed: Vec<(String, Tensor)> = changed.into_iter().collect();
        weights::save(file.path(), &changed, &BTreeMap::new()).unwrap();
        let (mut store, _captioner) = of_zeros(|_| (), &MAPPER);
        prefix::load(&mut store, &Checkpoint::open(file.path()).unwrap())
    };
    load_with("gpt.lm_head.weight", None).unwrap();
    load_with("gpt.transformer.h.1.attn.bias", None).unwrap();
    load_with("gpt.transformer.h.0.attn.masked_bias", None).unwrap();
    let other = Tensor::zeros([97, 24], (Kind::Float, Device::Cpu));
    let error = load_with("gpt.lm_head.weight", Some(other)).unwrap_err();
    assert!(matches!(error, WeightsError::UntiedHead { .. }), "{error}");
    for extra in ["lm_head.weight", "clip_project.model.4.weight", "gpt.h.0.attn.bias"] {
        let error = load_with(extra, None).unwrap_err().to_string();
        assert!(error.contains("unexpected (1)") && error.contains(extra), "{error}");
    }
}

#[test]
fn dropout_of_the_mapper_drops_values_of_embeddings_in_training_only() {
    let _alone = generator();
    let expected = tensors("prefix/loss.safetensors");
    let batch = batch_of(&rows(&expected));
    let without_dropout = |config: &mut Gpt2Config| {
        (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) = (0.0, 0.0, 0.0);
    };
    let captioner = |dropout: f64| {
        let (mut store, captioner) = of_zeros(without_dropout, &MapperConfig { dropout, ..MAPPER });
        let checkpoint = Checkpoint::open(&fixture("prefix/model.safetensors")).unwrap();
        prefix::load(&mut store, &checkpoint).unwrap();
        captioner
    };
    let (plain, dropping) = (captioner(0.0), captioner(0.5));
    let embeddings = &expected["embeddings"];
    let loss = |captioner: &ClipCaptioner, embeddings: &Tensor, dropout| {
        tch::manual_seed(5);
        let pass = Pass { dropout, ..Pass::EVALUATION };
        captioner.caption_loss(embeddings, &batch, pass).double_value(&[])
    };
    let of_dropped = || {
        tch::manual_seed(5);
        loss(&plain, &embeddings.dropout(0.5, true), false)
    };
    assert_eq!(loss(&dropping, embeddings, true).to_bits(), of_dropped().to_bits());
    let of_all = loss(&plain, embeddings, false);
    assert_eq!(loss(&dropping, embeddings, false).to_bits(), of_all.to_bits());
    assert!((of_all - of_dropped()).abs() > NOTICED);
}

#[test]
fn a_standardised_captioner_is_the_plain_one_on_standardised_embeddings() {
    let expected = tensors("prefix/loss.safetensors");
    let (embeddings, batch) = (&expected["embeddings"], batch_of(&rows(&expected)));
    let (_store, plain) = loaded();
    let (mut store, standardised) = of_zeros(|_| (), &MapperConfig { standardize: true, ..MAPPER });
    let statistics = Standardization::of(embeddings);
    standardised.standardization().unwrap().set(&statistics);
    let kept = store.variables();
    let mut weights: Vec<(String, Tensor)> =
        tensors("prefix/model.safetensors").into_iter().collect();
    for name in ["standardization.mean", "standardization.deviation"] {
        assert!(!kept[name].requires_grad(), "{name}");
        weights.push((name.to_owned(), kept[name].copy()));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    weights::save(file.path(), &weights, &BTreeMap::new()).unwrap();
    prefix::load(&mut store, &Checkpoint::open(file.path()).unwrap()).unwrap();

    let moved = statistics.apply(embeddings);
    assert!(moved.mean(Kind::Float).abs().double_value(&[]) < TOLERANCE);
    assert!((moved.square().mean(Kind::Float).double_value(&[]) - 1.0).abs() < TOLERANCE);
    let loss = |captioner: &ClipCaptioner, rows: &Tensor| {
        captioner.caption_loss(rows, &batch, Pass::EVALUATION).double_value(&[])
    };
    assert_eq!(loss(&standardised, embeddings).to_bits(), loss(&plain, &moved).to_bits());
    assert!((loss(&standardised, embeddings) - loss(&plain, embeddings)).abs() > NOTICED);
    assert_eq!(standardised.prefix(embeddings), plain.prefix(&moved));
}

/// Statistics rounded to 16 bits would move embeddings by a part of their deviation.
#[test]
fn in_sixteen_bits_embeddings_are_standardised_in_f32() {
    let (store, captioner) = of_zeros(|_| (), &MapperConfig { standardize: true, ..MAPPER });
    let far = Tensor::full([MAPPER.clip_dim], 8.1, (Kind::Float, Device::Cpu));
    let near = Tensor::full([MAPPER.clip_dim], 0.5, (Kind::Float, Device::Cpu));
    captioner.standardization().unwrap().set(&Standardization::new(far, near));
    ClipCaptioner::convert_weights(&store, Kind::BFloat16);
    let variables = store.variables();
    assert_eq!(variables["standardization.mean"].kind(), Kind::Float);
    for (name, variable) in variables.iter().filter(|(name, _)| !name.starts_with("standard")) {
        assert_eq!(variable.kind(), Kind::BFloat16, "{name}");
    }
    let rows = Tensor::full([1, MAPPER.clip_dim], 8.6, (Kind::Float, Device::Cpu));
    let standardised = captioner.standardization().unwrap().apply(&rows);
    assert!((standardised.double_value(&[0, 0]) - 1.0).abs() < TOLERANCE);
    assert_eq!(captioner.prefix(&rows).kind(), Kind::BFloat16);
}

/// In 16 bits the chosen tokens are nearly as probable as the most probable ones in f32, and the
/// values are those of that type.
#[test]
fn captions_in_sixteen_bits_are_near_the_most_probable() {
    let expected = tensors("prefix/captions.safetensors");
    let embeddings = &expected["embeddings"];
    let ids: Vec<u64> = (0..embeddings.size()[0] as u64).collect();
    let options = Options { max_tokens: 12, ..Options::default() };
    let (_exact_store, exact) = loaded();
    for (kind, tolerance) in [(Kind::BFloat16, 0.08), (Kind::Half, 0.01)] {
        let (mut store, captioner) = loaded();
        store.freeze();
        ClipCaptioner::convert_weights(&store, kind);
        let prompt = tch::no_grad(|| captioner.prefix(embeddings));
        assert_eq!(prompt.kind(), kind);
        for strategy in [Strategy::Greedy {}, Strategy::Beam { num_beams: 3 }] {
            let options = Options { strategy, ..options };
            let written = generate(captioner.gpt2(), &prompt, &ids, &options).unwrap();
            let mut bits = 0;
            for (row, hypotheses) in written.iter().enumerate() {
                let hypothesis = &hypotheses[0];
                let tokens = Tensor::from_slice(&hypothesis.tokens);
                let prefix = exact.prefix(&embeddings.narrow(0, row as i64, 1));
                let inputs = Tensor::cat(&[prefix, exact.gpt2().embed(&tokens).unsqueeze(0)], 1);
                let states = exact.gpt2().forward(&inputs, None, Pass::EVALUATION);
                let states = states.narrow(1, PREFIX - 1, tokens.size()[0]).squeeze_dim(0);
                let logits = exact.gpt2().logits(&states).log_softmax(-1, Kind::Float);
                let chosen = logits.gather(1, &tokens.unsqueeze(1), false).squeeze_dim(1);
                if matches!(strategy, Strategy::Greedy {}) {
                    let worst = (logits.amax(1, false) - &chosen).max().double_value(&[]);
                    assert!(worst < tolerance, "{kind:?}, row {row}: {worst}");
                }
                let exact = chosen.sum(Kind::Double).double_value(&[]);
                let off = (exact - hypothesis.log_probability).abs() / tokens.size()[0] as f64;
                assert!(off < tolerance, "{kind:?}, {strategy:?}, row {row}: {off}");
                bits += u64::from(exact.to_bits() != hypothesis.log_probability.to_bits());
            }
            assert!(bits > 0, "{kind:?} computes as f32 does");
        }
    }
}

#[test]
fn packed_weights_write_the_same_captions() {
    let expected = tensors("prefix/captions.safetensors");
    let embeddings = &expected["embeddings"];
    let ids: Vec<u64> = (0..embeddings.size()[0] as u64).collect();
    let ((_store, plain), (store, mut packed)) = (loaded(), loaded());
    drop(store);
    packed.pack();
    let sampling = Sampling { num_return_sequences: 5, ..Sampling::default() };
    for strategy in
        [Strategy::Greedy {}, Strategy::Beam { num_beams: 4 }, Strategy::Sampling(sampling)]
    {
        let options = Options { strategy, max_tokens: 20, ..Options::default() };
        let captions = |captioner: &ClipCaptioner| {
            let prompt = tch::no_grad(|| captioner.prefix(embeddings));
            generate(captioner.gpt2(), &prompt, &ids, &options).unwrap().concat()
        };
        let (ours, theirs) = (captions(&packed), captions(&plain));
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert_eq!(ours.tokens, theirs.tokens, "{strategy:?}");
            let off = (ours.log_probability - theirs.log_probability).abs();
            assert!(off < TOLERANCE * ours.tokens.len() as f64, "{strategy:?}: {off:e}");
        }
    }
}
