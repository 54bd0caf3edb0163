//! Errors inside a check; they fail the check, and the examination continues.

use std::any::Any;

use networks::memory::catch_panic;

/// Failure to carry out a check or measurement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// libtorch error.
    #[error(transparent)]
    Torch(#[from] tch::TchError),
    /// CLIP or BART error.
    #[error(transparent)]
    Model(#[from] networks::ModelError),
    /// Weights cannot be written or read.
    #[error(transparent)]
    Weights(#[from] networks::weights::WeightsError),
    /// Captions cannot be generated.
    #[error(transparent)]
    Decoding(#[from] networks::decode::StrategyError),
    /// A training step or checkpoint failed.
    #[error(transparent)]
    Training(#[from] training::Error),
    /// The temporary folder cannot be used.
    #[error("the temporary folder cannot be used: {0}; TMPDIR names another")]
    Temporary(#[from] std::io::Error),
    /// Panic, with its message.
    #[error("{0}")]
    Panic(String),
}

/// Runs `work`, and returns its panic as an error.
pub(crate) fn catch<T>(work: impl FnOnce() -> Result<T, CheckError>) -> Result<T, CheckError> {
    // Each check builds its own models, so a panic leaves nothing inconsistent.
    catch_panic(work).unwrap_or_else(|panic| Err(panic_error(&*panic)))
}

fn panic_error(panic: &(dyn Any + Send)) -> CheckError {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    CheckError::Panic(text.unwrap_or("a panic without words").to_owned())
}

/// Returns the first line of an error, without libtorch's stack trace and prefixes.
pub(crate) fn first_line(error: &CheckError) -> String {
    let text = error.to_string();
    let text = text.rsplit("Torch(\"").next().unwrap_or_default();
    let text = text.strip_prefix("Internal torch error: ").unwrap_or(text);
    // The text of an unwrapped error escapes line breaks.
    let text = text.split("\\n").next().unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
