//! Errors inside a check. None of them ends the examination.

use std::any::Any;

use networks::memory::catch_panic;

/// Why a check or measurement could not be carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// libtorch refused.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// CLIP refused.
    #[error(transparent)]
    Clip(#[from] networks::clip::ClipError),
    /// BART refused.
    #[error(transparent)]
    Bart(#[from] networks::bart::BartError),
    /// Weights could not be written or read.
    #[error(transparent)]
    Weights(#[from] networks::weights::WeightsError),
    /// Captions could not be written.
    #[error(transparent)]
    Decoding(#[from] networks::decode::StrategyError),
    /// A training step or checkpoint failed.
    #[error(transparent)]
    Training(#[from] training::Error),
    /// The temporary folder cannot be used.
    #[error("the temporary folder cannot be used: {0}; TMPDIR names another")]
    Temporary(#[from] std::io::Error),
    /// The message of a panic.
    #[error("{0}")]
    Panic(String),
}

/// Returns what `work` returns, or its panic as an error.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T, CheckError>) -> Result<T, CheckError> {
    // Each piece of work makes its own models, so a panic leaves nothing half-changed behind.
    catch_panic(work).unwrap_or_else(|panic| Err(words(&*panic)))
}

fn words(panic: &(dyn Any + Send)) -> CheckError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    CheckError::Panic(text.unwrap_or("a panic without words").to_owned())
}

/// Returns an error's first line, without the stack that libtorch adds and what unwrapping puts
/// before.
pub(crate) fn first_line(error: &CheckError) -> String {
    let text = error.to_string();
    let text = text.rsplit("Torch(\"").next().unwrap_or_default();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(text);
    // In an unwrapped error's text a line feed is an escape.
    let text = text.split("\\n").next().unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
