//! Validation of caption requests against the served runs and limits.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use bytes::Bytes;
use recipes::{Constraints, Decoding, Strategy};
use serde_json::{Map, Value};

use crate::backend::{ServedModels, ServedRun, Task};
use crate::error::HttpError;
use crate::limits::Limits;

/// Decoding settings of a request that replace those of the run.
type DecodingOptions = Map<String, Value>;

/// Decoding settings by run name.
pub(crate) type DecodingByRun = BTreeMap<String, DecodingOptions>;

/// Encoded image file, or the reason why there is none.
pub(crate) type Picture = Result<Bytes, HttpError>;

/// Caption request as received.
#[derive(Debug, Default)]
pub(crate) struct CaptionRequest {
    /// Pictures, at least one.
    pub pictures: Vec<Picture>,
    /// True if the answer is a list: there are several pictures, or they were sent as `pictures`.
    pub is_list: bool,
    /// Names of the requested runs, or several of them with commas; empty for all.
    pub runs: Vec<String>,
    /// Decoding settings, if the request has any.
    pub decoding: Option<DecodingByRun>,
}

impl CaptionRequest {
    /// Creates a request for a picture by all runs.
    pub fn of(picture: Bytes) -> Self {
        Self { pictures: vec![Ok(picture)], ..Self::default() }
    }

    /// Checks the pictures as far as is possible without decoding them.
    ///
    /// # Errors
    /// Fails for a wrong number of pictures, and for an unreadable one that is no list's.
    pub fn check_pictures(&mut self, limits: &Limits) -> Result<(), HttpError> {
        let (count, most) = (self.pictures.len(), limits.pictures.min(limits.queue));
        if count == 0 {
            return Err(HttpError::bad_request("the request has no picture"));
        }
        if count > most {
            return Err(HttpError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the request has {count} pictures, but at most {most} are captioned at once"
                ),
            ));
        }
        for picture in &mut self.pictures {
            if picture.as_ref().is_ok_and(Bytes::is_empty) {
                *picture =
                    Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "the picture is empty"));
            }
        }
        if !self.is_list {
            let picture = self.pictures.remove(0)?;
            self.pictures.push(Ok(picture));
        }
        Ok(())
    }

    /// Validates the options against the served runs and limits, and returns the tasks.
    pub fn tasks(&self, served: &ServedModels, limits: &Limits) -> Result<Vec<Task>, HttpError> {
        let mut runs = Vec::new();
        for name in self.runs.iter().flat_map(|text| run_names(served, text)) {
            let run = find_run(served, name)?;
            if runs.contains(&run) {
                return Err(HttpError::bad_request(format!("the run {name} is requested twice")));
            }
            runs.push(run);
        }
        if runs.is_empty() {
            runs.extend(0..served.runs.len());
        }
        let by_run = self.decoding.iter().flatten();
        for (name, _) in by_run {
            if !runs.contains(&find_run(served, name)?) {
                return Err(HttpError::bad_request(format!(
                    "decoding names the run {name}, but runs does not"
                )));
            }
        }
        let task = |run: usize| {
            let options = self.decoding.as_ref().and_then(|all| all.get(&served.runs[run].name));
            let decoding = options.map_or_else(
                || Ok(served.runs[run].config.decoding.clone()),
                |options| decoding(&served.runs[run], options, limits),
            )?;
            Ok(Task { run, decoding })
        };
        runs.into_iter().map(task).collect()
    }
}

/// Splits a text at commas, unless the whole is a run's name.
fn run_names<'t>(served: &ServedModels, text: &'t str) -> Vec<&'t str> {
    if served.runs.iter().any(|run| run.name == text) {
        return vec![text];
    }
    text.split(',').map(str::trim).collect()
}

/// Returns the index of the run called `name`.
pub(crate) fn find_run(served: &ServedModels, name: &str) -> Result<usize, HttpError> {
    served.runs.iter().position(|run| run.name == name).ok_or_else(|| {
        let names: Vec<&str> = served.runs.iter().map(|run| run.name.as_str()).collect();
        HttpError::bad_request(format!(
            "there is no run {name:?}; the runs are {}",
            names.join(", ")
        ))
    })
}

/// Returns a run's decoding settings, updated by `options`.
///
/// A strategy of the run's kind may be given in part.
fn decoding(
    run: &ServedRun,
    options: &DecodingOptions,
    limits: &Limits,
) -> Result<Decoding, HttpError> {
    let invalid =
        |reason: String| HttpError::bad_request(format!("decoding of {}: {reason}", run.name));
    let mut decoding = run.config.decoding.clone();
    for (key, value) in options {
        match key.as_str() {
            // Version 0.1.0 had max_tokens.
            "max_new_tokens" | "max_tokens" => {
                decoding.max_new_tokens = serde_json::from_value(value.clone())
                    .map_err(|error| invalid(format!("{key}: {error}")))?;
            }
            "strategy" => {
                let strategy = complete_strategy(&run.config.decoding.strategy, value);
                decoding.strategy = serde_json::from_value(strategy)
                    .map_err(|error| invalid(format!("strategy: {error}")))?;
            }
            _ => set_constraint(&mut decoding.constraints, key, value).map_err(invalid)?,
        }
    }
    run.config.check_decoding(&decoding).map_err(|error| invalid(error.to_string()))?;
    let most = run.max_request_tokens(limits);
    if decoding.max_new_tokens > most {
        return Err(invalid(format!(
            "max_new_tokens is {}, but must be from 1 to {most}",
            decoding.max_new_tokens
        )));
    }
    let most = run.max_request_captions(limits);
    if decoding.strategy.continuations() > most {
        return Err(invalid(format!(
            "the number of beams or samples is {}, but must be from 1 to {most}",
            decoding.strategy.continuations()
        )));
    }
    Ok(decoding)
}

/// Sets the constraint called `key`.
fn set_constraint(constraints: &mut Constraints, key: &str, value: &Value) -> Result<(), String> {
    let mut all = serde_json::to_value(*constraints).map_err(|error| error.to_string())?;
    let Some(own) = all.get_mut(key) else {
        let names: Vec<&str> =
            all.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
        return Err(format!(
            "there is no option {key:?}; the options are max_new_tokens, strategy, {}",
            names.join(", ")
        ));
    };
    *own = value.clone();
    *constraints = serde_json::from_value(all).map_err(|error| format!("{key}: {error}"))?;
    Ok(())
}

/// Completes a strategy with the run's settings, if both are of the same kind.
fn complete_strategy(own: &Strategy, given: &Value) -> Value {
    let (Ok(Value::Object(mut own)), Value::Object(given)) = (serde_json::to_value(own), given)
    else {
        return given.clone();
    };
    if given.get("kind").is_some_and(|kind| Some(kind) != own.get("kind")) {
        return Value::Object(given.clone());
    }
    own.extend(given.clone());
    // The names of version 0.1.0.
    for (old, new) in [("beams", "num_beams"), ("samples", "num_return_sequences")] {
        if let Some(value) = own.remove(old) {
            own.insert(new.to_owned(), value);
        }
    }
    Value::Object(own)
}
