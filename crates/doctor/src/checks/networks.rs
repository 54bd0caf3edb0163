//! Results of each network, and gradients of the trained ones, compared with the CPU.

use Arithmetic::{Bf16, F16, F32, Tf32};
use networks::Pass;
use networks::clip::{ClipConfig, ClipModel, TextConfig, VisionConfig};
use networks::gpt2::Gpt2;
use networks::libtorch::Tf32Scope;
use networks::merge_rnn::{Architecture, MergeRnn, MergeRnnConfig, WordBatch};
use networks::prefix::{ClipCaptioner, MapperConfig, MapperKind, TokenBatch};
use tch::{Device, Kind, Tensor, no_grad};
use training::named_variables;

use super::files::{BART_END, BART_VOCABULARY, bart, vgg};
use super::models::{IMAGE_DIM, caption, model_on, random_tensor, small_gpt2};
use crate::compare::{Arithmetic, compare_all};
use crate::error::CheckError;
use crate::examination::Examination;
use crate::finding::{Group, Verdict};

/// Function that builds a model and computes tensors with it.
type Compute = fn(Device, Arithmetic) -> Result<Vec<Tensor>, CheckError>;

/// Network and its computation.
struct Case {
    name: &'static str,
    /// Arithmetics that capsmith supports for it.
    arithmetics: &'static [Arithmetic],
    /// Factor on the tolerance.
    slack: f64,
    compute: Compute,
}

const ALL: &[Arithmetic] = &[F32, Tf32, Bf16, F16];
const MIXED: &[Arithmetic] = &[F32, Tf32, Bf16];
const SINGLE: &[Arithmetic] = &[F32, Tf32];

/// Tolerance factor for gradients: the backward pass of a softmax subtracts nearly equal sums,
/// which amplifies rounding errors.
const GRADIENTS: f64 = 3.0;
/// Tolerance factor for VGG's 13 convolutions: cuDNN may use Winograd or FFT algorithms, which
/// round more.
const CONVOLUTIONS: f64 = 5.0;

const fn case(
    name: &'static str,
    arithmetics: &'static [Arithmetic],
    slack: f64,
    compute: Compute,
) -> Case {
    Case { name, arithmetics, slack, compute }
}

const CASES: [Case; 13] = [
    case("attention", ALL, 1.0, |on, by| attention(on, by, Mask::None)),
    case("causal attention", ALL, 1.0, |on, by| attention(on, by, Mask::Causal)),
    case("masked attention", ALL, 1.0, |on, by| attention(on, by, Mask::Some)),
    case("CLIP, pictures", ALL, 1.0, clip_pictures),
    case("CLIP, texts", ALL, 1.0, clip_texts),
    case("VGG-16", ALL, CONVOLUTIONS, vgg_features),
    case("GPT-2", MIXED, 1.0, |on, by| gpt2(on, by, false)),
    case("GPT-2, masked", MIXED, 1.0, |on, by| gpt2(on, by, true)),
    case("captioner with MLP mapper, gradients", MIXED, GRADIENTS, |on, by| {
        captioner_gradients(on, by, MapperKind::Mlp)
    }),
    case("captioner with transformer mapper, gradients", MIXED, GRADIENTS, |on, by| {
        captioner_gradients(on, by, MapperKind::Transformer { clip_length: 4, layers: 2 })
    }),
    case("BART", SINGLE, 1.0, bart_logits),
    case("Merge-RNN, gradients", SINGLE, GRADIENTS, |on, by| {
        rnn_gradients(on, by, Architecture::Merge)
    }),
    case("inject-RNN, gradients", SINGLE, GRADIENTS, |on, by| {
        rnn_gradients(on, by, Architecture::Inject)
    }),
];

pub(crate) fn check(examination: &mut Examination, device: Device) {
    for (kind, name) in [(Kind::Float, "f32"), (Kind::BFloat16, "bf16")] {
        let name = format!("dropout of attention, {name}");
        examination.check(Group::Networks, name, || attention_dropout(device, kind));
    }
    for Case { name, arithmetics, slack, compute } in CASES {
        for &arithmetic in arithmetics {
            let name = format!("{name}, {}", arithmetic.name());
            examination.check(Group::Networks, name, || {
                if arithmetic == Tf32 && device == Device::Cpu {
                    return Ok(Verdict::skipped("processors have no TF32"));
                }
                let expected = compute(Device::Cpu, F32)?;
                let _tf32 = Tf32Scope::new(arithmetic == Tf32);
                let found = compute(device, arithmetic)?;
                Ok(compare_all(&found, &expected, slack * arithmetic.tolerance()))
            });
        }
    }
}

/// Compares the share of probabilities that training's dropout sets to 0 with the one asked for,
/// which some kernels round.
fn attention_dropout(device: Device, kind: Kind) -> Result<Verdict, CheckError> {
    const PROBABILITY: f64 = 0.1;
    const SHAPE: [i64; 4] = [64, 8, 64, 64];
    // Equal scores and the identity as values, so that the result is the probabilities.
    let scores = Tensor::f_zeros(SHAPE, (kind, device))?;
    let identity = Tensor::f_eye(64, (Kind::Float, device))?.f_to_kind(kind)?;
    let values = identity.f_expand(SHAPE, false)?.f_contiguous()?;
    let none = None::<Tensor>;
    tch::manual_seed(1);
    let attended = Tensor::f_scaled_dot_product_attention(
        &scores,
        &scores,
        &values,
        none,
        PROBABILITY,
        false,
        None,
        false,
    )?;
    let share = attended.f_eq(0.0)?.f_to_kind(Kind::Double)?.f_mean(None::<Kind>)?;
    // Of two million draws.
    Ok(compare_all(&[share], &[Tensor::from(PROBABILITY)], 0.03))
}

/// Mask of attention.
#[derive(Clone, Copy, PartialEq)]
enum Mask {
    None,
    Causal,
    /// A fixed subset of the keys for each query, which always includes the query's own position.
    Some,
}

fn attention(
    device: Device,
    arithmetic: Arithmetic,
    mask: Mask,
) -> Result<Vec<Tensor>, CheckError> {
    let tensor = |seed| random_tensor(seed, &[3, 4, 21, 16], device).f_to_kind(arithmetic.kind());
    let seen: Vec<bool> = (0..21 * 21).map(|place| place % 22 == 0 || place % 5 != 2).collect();
    let seen = Tensor::f_from_slice(&seen)?.f_view([1, 1, 21, 21])?.f_to_device(device)?;
    Ok(vec![Tensor::f_scaled_dot_product_attention(
        &tensor(1)?,
        &tensor(2)?,
        &tensor(3)?,
        (mask == Mask::Some).then_some(seen),
        0.0,
        mask == Mask::Causal,
        None,
        false,
    )?])
}

fn clip(device: Device, kind: Kind) -> Result<ClipModel, CheckError> {
    let config = ClipConfig {
        vision_config: VisionConfig {
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            image_size: 32,
            patch_size: 8,
            ..VisionConfig::default()
        },
        text_config: TextConfig {
            vocab_size: 99,
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            max_position_embeddings: 16,
            eos_token_id: vec![98],
            ..TextConfig::default()
        },
        projection_dim: 48,
        ..ClipConfig::default()
    };
    let (mut store, model) = model_on(device, kind, |root| Ok(ClipModel::new(root, &config)?))?;
    store.freeze();
    Ok(model)
}

fn clip_pictures(device: Device, arithmetic: Arithmetic) -> Result<Vec<Tensor>, CheckError> {
    let pixels = random_tensor(4, &[5, 3, 32, 32], Device::Cpu);
    Ok(vec![clip(device, arithmetic.kind())?.encode_image(&pixels)?])
}

fn clip_texts(device: Device, arithmetic: Arithmetic) -> Result<Vec<Tensor>, CheckError> {
    const TOKENS: usize = 12;
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for (text, length) in [12, 3, 7].into_iter().enumerate() {
        let mut row = caption(text, length - 1, 98);
        row.resize(TOKENS, 98);
        ids.extend(row);
        mask.extend((0..TOKENS).map(|place| i64::from(place < length)));
    }
    let rows = |values: &[i64]| Tensor::from_slice(values).view([3, TOKENS as i64]);
    Ok(vec![clip(device, arithmetic.kind())?.encode_text(&rows(&ids), Some(&rows(&mask)))?])
}

fn vgg_features(device: Device, arithmetic: Arithmetic) -> Result<Vec<Tensor>, CheckError> {
    let pixels = random_tensor(5, &[2, 3, 64, 64], device).f_to_kind(arithmetic.kind())?;
    Ok(vec![vgg(device, arithmetic.kind())?.encode(&pixels)?])
}

/// Returns logits of rows of 10, 7 and 4 tokens; those at padding are 0 if `masked`.
fn gpt2(device: Device, arithmetic: Arithmetic, masked: bool) -> Result<Vec<Tensor>, CheckError> {
    let config = small_gpt2();
    let (_store, model) = model_on(device, Kind::Float, |root| Ok(Gpt2::new(root, &config)))?;
    let ids = caption(6, 30, config.vocab_size as usize);
    let ids = Tensor::f_from_slice(&ids)?.f_view([3, 10])?.f_to_device(device)?;
    let real: Vec<i64> = [10, 7, 4]
        .iter()
        .flat_map(|&length| (0..10).map(move |place| i64::from(place < length)))
        .collect();
    let real = Tensor::f_from_slice(&real)?.f_view([3, 10])?.f_to_device(device)?;
    Ok(vec![no_grad(|| {
        let mask = masked.then_some(&real);
        let logits = model.logits(&model.forward(&model.embed(&ids), mask, arithmetic.pass()));
        if masked { logits * real.unsqueeze(2) } else { logits }
    })])
}

fn captioner_gradients(
    device: Device,
    arithmetic: Arithmetic,
    kind: MapperKind,
) -> Result<Vec<Tensor>, CheckError> {
    let config = small_gpt2();
    let mapper = MapperConfig::plain(kind, IMAGE_DIM, 5);
    let (store, model) =
        model_on(device, Kind::Float, |root| Ok(ClipCaptioner::new(root, &config, &mapper)))?;
    let captions: Vec<Vec<i64>> =
        (0..6).map(|number| caption(number, 3 + number * 2, 211)).collect();
    let rows: Vec<&[i64]> = captions.iter().map(Vec::as_slice).collect();
    let images: Vec<i64> = (0..6).collect();
    let batch = TokenBatch::new(&rows, &images, mapper.prefix_length, device);
    let embeddings = random_tensor(7, &[6, IMAGE_DIM], device);
    let loss = model.caption_loss(&embeddings, &batch, arithmetic.pass());
    gradients(&loss, &named_variables(&store))
}

fn bart_logits(device: Device, _: Arithmetic) -> Result<Vec<Tensor>, CheckError> {
    let row = |length: usize| {
        let mut row = caption(length, length, BART_VOCABULARY);
        row.push(BART_END);
        row
    };
    Ok(vec![bart(device)?.logits(&[row(11), row(4), row(17)], 3)?])
}

fn rnn_gradients(
    device: Device,
    _: Arithmetic,
    architecture: Architecture,
) -> Result<Vec<Tensor>, CheckError> {
    let config = MergeRnnConfig::plain(architecture, 120, 32, IMAGE_DIM);
    let (store, model) = model_on(device, Kind::Float, |root| Ok(MergeRnn::new(root, &config)))?;
    let captions: Vec<Vec<i64>> = (0..6).map(|number| caption(number, 2 + number, 120)).collect();
    let rows: Vec<&[i64]> = captions.iter().map(Vec::as_slice).collect();
    let images: Vec<i64> = (0..6).collect();
    let batch = WordBatch::new(&rows, &images, device);
    let images = random_tensor(8, &[6, IMAGE_DIM], device);
    let loss = model.loss(&images, &batch, Pass::TRAINING);
    gradients(&loss, &named_variables(&store))
}

/// Returns the loss and its gradients with respect to all variables.
fn gradients(loss: &Tensor, variables: &[(String, Tensor)]) -> Result<Vec<Tensor>, CheckError> {
    let variables: Vec<&Tensor> = variables.iter().map(|(_, variable)| variable).collect();
    let mut all = Tensor::f_run_backward(&[loss], &variables, false, false)?;
    all.push(loss.f_detach()?);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::Outcome;

    #[test]
    fn half_precision_is_told_from_f32_by_every_case_that_has_it() {
        let _turn = crate::checks::lock_generator();
        for Case { name, arithmetics, slack, compute } in CASES {
            let expected = compute(Device::Cpu, F32).unwrap();
            for &arithmetic in arithmetics.iter().filter(|one| [Bf16, F16].contains(one)) {
                let found = compute(Device::Cpu, arithmetic).unwrap();
                let by = |tolerance| compare_all(&found, &expected, tolerance);
                let verdict = by(slack * arithmetic.tolerance());
                assert_eq!(verdict.outcome, Outcome::Ok, "{name}, {arithmetic:?}: {verdict:?}");
                let strict = by(slack * F32.tolerance());
                assert_eq!(strict.outcome, Outcome::Failed, "{name}, {arithmetic:?}: {strict:?}");
            }
        }
    }
}
