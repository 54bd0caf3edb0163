//! Memory checks before a run, and advice when memory is exhausted.

use networks::device;
use networks::memory::{OutOfMemory, catch_out_of_memory};
use recipes::System;
use tch::Device;

use crate::error::Error;

/// Refuses logits of `rows` x `vocabulary` floats that exceed the machine's memory.
///
/// The memory of a GPU is unknown here. `advice` names the keys to change.
///
/// # Errors
/// Names the needed memory and the machine's.
pub fn check_logits(
    rows: usize,
    vocabulary: usize,
    device: Device,
    advice: &str,
) -> Result<(), Error> {
    let values = (rows as u128) * (vocabulary as u128);
    let needed = values.saturating_mul(size_of::<f32>() as u128);
    let Some(memory) = device::memory().filter(|_| device == Device::Cpu) else { return Ok(()) };
    if needed <= u128::from(memory) {
        return Ok(());
    }
    Err(Error::Mismatch(format!(
        "the logits of {rows} tokens over a vocabulary of {vocabulary} tokens take at least {} GiB, but this machine has {} GiB; {advice}",
        gib(needed),
        gib(memory.into()),
    )))
}

/// Refuses a model if the machine's memory does not hold `copies` of it.
///
/// Training needs weights, gradients and two moments.
///
/// # Errors
/// Names the needed memory and the machine's.
pub fn check_model(parameters: u128, copies: u128) -> Result<(), Error> {
    let needed = parameters.saturating_mul(copies * size_of::<f32>() as u128);
    match device::memory() {
        Some(memory) if needed > u128::from(memory) => Err(Error::Mismatch(format!(
            "a model of {parameters} weights takes at least {} GiB, but this machine has {} GiB; use a smaller model",
            gib(needed),
            gib(memory.into()),
        ))),
        _ => Ok(()),
    }
}

/// Runs `work` and turns exhausted memory into an error with `advice`.
///
/// Exhausted memory is an error of libtorch or a panic of tch.
///
/// # Errors
/// Fails as `work` does, or if memory is exhausted.
pub fn within<T>(advice: &str, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let source = match catch_out_of_memory(work) {
        Err(source) => source,
        Ok(Err(error)) if !matches!(error, Error::OutOfMemory { .. }) => {
            OutOfMemory::in_error(&error).ok_or(error)?
        }
        Ok(result) => return result,
    };
    Err(Error::OutOfMemory { source, hint: advice.to_owned() })
}

/// Returns advice for captioning in less memory than a batch of this many images takes.
pub(crate) fn smaller_batch_advice(pictures: usize) -> String {
    if pictures > 1 {
        return format!(
            "{pictures} pictures were captioned together: lower decoding.batch_size, such as with \
             --set decoding.batch_size={}",
            pictures / 2
        );
    }
    "one picture was captioned at a time, which no decoding.batch_size lowers: lower the beams or \
     samples of decoding.strategy, or use another --device"
        .to_owned()
}

/// Advice for captioning after an epoch in less memory.
pub(crate) const DECODING: &str = "lower decoding.batch_size, or set training.scored_pictures=0, in a new run; --resume --set training.device=cpu continues this one";

/// Returns advice for training in less memory.
pub(crate) fn advice(system: &System) -> &'static str {
    match system {
        System::ClipPrefix(_) | System::Sbg(_) => {
            "lower training.batch_size, raise training.gradient_accumulation_steps, or set training.gradient_checkpointing=true, in a new run; checkpoints that were written are complete"
        }
        System::MergeRnn(_) => {
            "lower training.batch_size or raise training.gradient_accumulation_steps, in a new run; checkpoints that were written are complete"
        }
    }
}

fn gib(bytes: u128) -> u128 {
    bytes.div_ceil(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_pictures_together_are_the_way_out_of_exhausted_memory_unless_it_is_one() {
        assert!(smaller_batch_advice(40).contains("--set decoding.batch_size=20"));
        assert!(smaller_batch_advice(1).contains("beams"));
    }

    #[test]
    fn exhausted_memory_is_an_error_with_advice_and_other_errors_stay_as_they_are() {
        let refused = || Error::Torch(tch::TchError::Torch("CUDA out of memory.".to_owned()));
        let error = within("first", || within("second", || Err::<(), _>(refused()))).unwrap_err();
        assert_eq!(error.to_string(), "out of memory: the GPU has no memory left\nhint: second");
        let too_much = || Ok(tch::Tensor::zeros([1 << 52], (tch::Kind::Float, Device::Cpu)));
        let text = within("first", too_much).unwrap_err().to_string();
        assert!(text.contains("18014398509481984 bytes") && text.contains("first"), "{text}");
        let other = within("first", || Err::<(), _>(Error::Mismatch("other".to_owned())));
        assert_eq!(other.unwrap_err().to_string(), "other");
    }

    #[test]
    fn what_no_memory_holds_is_refused_with_the_keys_to_change() {
        assert!(check_logits(64, 50_257, Device::Cpu, "").is_ok());
        assert!(check_logits(usize::MAX, usize::MAX, Device::Cuda(0), "").is_ok());
        for rows in [1_000_000_000_000, usize::MAX] {
            let error = check_logits(rows, 50_257, Device::Cpu, "lower some.key").unwrap_err();
            let text = error.to_string();
            assert!(text.contains("GiB") && text.contains("some.key"), "{text}");
        }
        assert!(check_model(1_500_000, 4).is_ok());
        for parameters in [1 << 50, u128::MAX] {
            let text = check_model(parameters, 1).unwrap_err().to_string();
            assert!(text.contains("GiB") && text.contains("smaller"), "{text}");
        }
    }
}
