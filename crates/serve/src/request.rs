//! Parsing and validation of caption requests, as `multipart/form-data` or JSON.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use multer::Multipart;
use recipes::{Decoding, Strategy};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::backend::{ServedModels, ServedRun, Task};
use crate::error::HttpError;
use crate::limits::Limits;

/// Decoding settings of a request that replace those of the run.
type DecodingOptions = Map<String, Value>;

/// Parsed caption request.
#[derive(Debug)]
pub(crate) struct CaptionRequest {
    /// Encoded image file.
    pub picture: Bytes,
    /// Names of the requested runs; empty for all.
    runs: Vec<String>,
    /// Decoding settings by run name.
    decoding: BTreeMap<String, DecodingOptions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequest {
    picture: String,
    #[serde(default)]
    runs: Vec<String>,
    #[serde(default)]
    decoding: BTreeMap<String, DecodingOptions>,
}

impl CaptionRequest {
    /// Parses a body of the given content type.
    pub async fn read(content_type: Option<&str>, body: Bytes) -> Result<Self, HttpError> {
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let request = match essence.to_ascii_lowercase().as_str() {
            "multipart/form-data" => Self::from_form(content_type, body).await?,
            "application/json" => Self::from_json(&body)?,
            _ => {
                return Err(HttpError::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!(
                        "the content type is {essence:?}; send multipart/form-data with a file named picture, or application/json"
                    ),
                ));
            }
        };
        if request.picture.is_empty() {
            return Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "the picture is empty"));
        }
        Ok(request)
    }

    fn from_json(body: &[u8]) -> Result<Self, HttpError> {
        let JsonRequest { picture, runs, decoding } = serde_json::from_slice(body)
            .map_err(|error| HttpError::bad_request(format!("the request: {error}")))?;
        let picture = STANDARD.decode(picture).map_err(|error| {
            HttpError::bad_request(format!("the picture is not base64: {error}"))
        })?;
        Ok(Self { picture: picture.into(), runs, decoding })
    }

    async fn from_form(content_type: &str, body: Bytes) -> Result<Self, HttpError> {
        let malformed = |error: multer::Error| {
            HttpError::bad_request(format!("the form is malformed: {error}"))
        };
        let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
        let mut form = Multipart::new(BodyDataStream::new(Full::new(body)), boundary);
        let (mut picture, mut runs, mut decoding) = (None, Vec::new(), None);
        while let Some(field) = form.next_field().await.map_err(malformed)? {
            let name = field.name().unwrap_or_default().to_owned();
            let is_repeated = match name.as_str() {
                "picture" => picture.replace(field.bytes().await.map_err(malformed)?).is_some(),
                "runs" => {
                    runs.push(field.text().await.map_err(malformed)?);
                    false
                }
                "decoding" => {
                    let text = field.text().await.map_err(malformed)?;
                    let options = serde_json::from_str(&text).map_err(|error| {
                        HttpError::bad_request(format!("decoding is invalid: {error}"))
                    })?;
                    decoding.replace(options).is_some()
                }
                _ => {
                    return Err(HttpError::bad_request(format!(
                        "there is no field {name:?}; the fields are picture, runs and decoding"
                    )));
                }
            };
            if is_repeated {
                return Err(HttpError::bad_request(format!("the form has two fields {name}")));
            }
        }
        let picture =
            picture.ok_or_else(|| HttpError::bad_request("the form has no file named picture"))?;
        Ok(Self { picture, runs, decoding: decoding.unwrap_or_default() })
    }

    /// Validates the request against the served runs and limits, and returns its tasks.
    pub fn tasks(&self, served: &ServedModels, limits: &Limits) -> Result<Vec<Task>, HttpError> {
        let mut runs = Vec::new();
        for name in &self.runs {
            let run = find_run(served, name)?;
            if runs.contains(&run) {
                return Err(HttpError::bad_request(format!("the run {name} is requested twice")));
            }
            runs.push(run);
        }
        if runs.is_empty() {
            runs.extend(0..served.runs.len());
        }
        for name in self.decoding.keys() {
            if !runs.contains(&find_run(served, name)?) {
                return Err(HttpError::bad_request(format!(
                    "decoding names the run {name}, but runs does not"
                )));
            }
        }
        let task = |run: usize| {
            let options = self.decoding.get(&served.runs[run].name);
            let decoding = options.map_or_else(
                || Ok(served.runs[run].config.decoding.clone()),
                |options| decoding(&served.runs[run], options, limits),
            )?;
            Ok(Task { run, decoding })
        };
        runs.into_iter().map(task).collect()
    }
}

/// Returns the index of the run called `name`.
fn find_run(served: &ServedModels, name: &str) -> Result<usize, HttpError> {
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
            _ => {
                return Err(invalid(format!(
                    "there is no option {key:?}; the options are max_new_tokens and strategy"
                )));
            }
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
