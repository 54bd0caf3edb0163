//! Captions by every decoding strategy: the device must generate the CPU's tokens.

use networks::decode::{self, Options, Sampling, Strategy};
use networks::merge_rnn::{MergeRnn, beam_search};
use networks::prefix::ClipCaptioner;
use tch::{Device, Kind, no_grad};

use super::largest;
use super::models::{IMAGE_DIM, PREFIX, RNN, model_on, random_tensor, small_gpt2};
use crate::compare::judge;
use crate::error::CheckError;
use crate::examination::Examination;
use crate::finding::{Group, Outcome, Verdict};

const PICTURES: usize = 6;
const MAX_TOKENS: usize = 16;
/// Tolerance for a sum of up to sixteen log-probabilities, each accurate to about 1e-6.
const TOLERANCE: f64 = 1e-4;

const SAMPLING: Sampling =
    Sampling { temperature: 1.0, top_k: 0, top_p: 1.0, num_return_sequences: 3, seed: 16 };

const STRATEGIES: [(&str, Strategy); 5] = [
    ("greedy", Strategy::Greedy {}),
    ("sampling", Strategy::Sampling(SAMPLING)),
    ("sampling, top-k 20", Strategy::Sampling(Sampling { top_k: 20, ..SAMPLING })),
    (
        "sampling, top-k 50 and top-p 0.9",
        Strategy::Sampling(Sampling { top_k: 50, top_p: 0.9, ..SAMPLING }),
    ),
    ("beams of 5", Strategy::Beam { num_beams: 5 }),
];

pub(crate) fn check(examination: &mut Examination, device: Device) {
    for (name, strategy) in STRATEGIES {
        examination.check(Group::Decoding, name, || {
            Ok(compare_captions(
                &generate_captions(device, strategy)?,
                &generate_captions(Device::Cpu, strategy)?,
            ))
        });
    }
    examination.check(Group::Decoding, "Merge-RNN, beams of 5", || {
        Ok(compare_captions(&generate_sentences(device)?, &generate_sentences(Device::Cpu)?))
    });
}

/// Token ids and their total log-probability.
type Caption = (Vec<i64>, f64);

fn generate_captions(device: Device, strategy: Strategy) -> Result<Vec<Caption>, CheckError> {
    let config = small_gpt2();
    let (_store, model) =
        model_on(device, Kind::Float, |root| Ok(ClipCaptioner::new(root, &config, &PREFIX)))?;
    let numbers: Vec<u64> = (0..PICTURES as u64).collect();
    // Every sixteenth token is a stop token, so that captions differ in length.
    let stops: Vec<bool> = (0..config.vocab_size).map(|id| id % 16 == 3).collect();
    let options = Options { strategy, max_tokens: MAX_TOKENS, stops: &stops, ..Options::default() };
    let prompt = no_grad(|| model.prefix(&random_tensor(9, &[PICTURES as i64, IMAGE_DIM], device)));
    let all = decode::generate(model.gpt2(), &prompt, &numbers, &options)?;
    Ok(all.into_iter().flatten().map(|one| (one.tokens, one.log_probability)).collect())
}

fn generate_sentences(device: Device) -> Result<Vec<Caption>, CheckError> {
    let (_store, model) = model_on(device, Kind::Float, |root| Ok(MergeRnn::new(root, &RNN)))?;
    let images = random_tensor(9, &[PICTURES as i64, IMAGE_DIM], device);
    let all = beam_search(&model, &images, 5, MAX_TOKENS);
    Ok(all.into_iter().map(|one| (one.words, one.log_probability)).collect())
}

/// Compares tokens, which must be equal, and log-probabilities.
fn compare_captions(found: &[Caption], expected: &[Caption]) -> Verdict {
    let captions = expected.len();
    let tokens: usize = expected.iter().map(|(tokens, _)| tokens.len()).sum();
    if tokens == 0 {
        return Verdict::failed("the processor wrote no token: nothing to compare with");
    }
    let same = found.iter().zip(expected).filter(|(a, b)| a.0 == b.0).count();
    if found.len() != captions || same != captions {
        return Verdict::failed(format!(
            "{same} of {captions} captions have the processor's tokens"
        ));
    }
    let differences = found.iter().zip(expected).map(|(a, b)| (a.1 - b.1).abs());
    let verdict = judge(largest(differences), TOLERANCE);
    let detail = format!(
        "{captions} captions, {tokens} tokens, the same; log-probabilities {}",
        verdict.detail
    );
    match verdict.outcome {
        Outcome::Ok => Verdict::ok(detail),
        _ => Verdict { detail, ..verdict },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_token_or_probability_fails() {
        let expected = vec![(vec![5, 6], -1.0), (vec![7], -2.0)];
        let changed = |change: &dyn Fn(&mut Vec<Caption>)| {
            let mut found = expected.clone();
            change(&mut found);
            compare_captions(&found, &expected).outcome
        };
        assert_eq!(changed(&|_| ()), Outcome::Ok);
        assert_eq!(changed(&|found| found[0].0[1] = 9), Outcome::Failed);
        assert_eq!(changed(&|found| found[1].0.clear()), Outcome::Failed);
        assert_eq!(changed(&|found| drop(found.pop())), Outcome::Failed);
        assert_eq!(changed(&|found| found[1].1 += 9.9e-5), Outcome::Ok);
        assert_eq!(changed(&|found| found[1].1 += 1.01e-4), Outcome::Failed);
        assert_eq!(changed(&|found| found[0].1 = f64::NAN), Outcome::Failed);
        assert_eq!(compare_captions(&[], &[]).outcome, Outcome::Failed);
    }

    #[test]
    fn captions_differ_between_pictures_and_in_length() {
        let _turn = crate::checks::lock_generator();
        for (name, strategy) in STRATEGIES {
            let all = generate_captions(Device::Cpu, strategy).unwrap();
            let mut tokens: Vec<&Vec<i64>> = all.iter().map(|(tokens, _)| tokens).collect();
            tokens.sort();
            tokens.dedup();
            assert!(tokens.len() >= PICTURES - 1, "{name}: {tokens:?}");
            let longest = tokens.iter().map(|tokens| tokens.len()).max();
            assert!(longest >= Some(4), "{name}: {tokens:?}");
        }
    }
}
