//! What a request for captions asks for, from `multipart/form-data` or JSON.

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

use crate::backend::{Served, ServedRun, Task};
use crate::error::Refusal;
use crate::limits::Limits;

/// Values that differ from a run's own, as JSON has them.
type Options = Map<String, Value>;

/// A request for captions.
#[derive(Debug)]
pub(crate) struct CaptionRequest {
    /// The picture's file.
    pub picture: Bytes,
    /// Names of runs; all where there are none.
    runs: Vec<String>,
    /// By run how it is to decode.
    decoding: BTreeMap<String, Options>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequest {
    picture: String,
    #[serde(default)]
    runs: Vec<String>,
    #[serde(default)]
    decoding: BTreeMap<String, Options>,
}

impl CaptionRequest {
    /// Reads a body of this content type.
    pub async fn read(content_type: Option<&str>, body: Bytes) -> Result<Self, Refusal> {
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let request = match essence.to_ascii_lowercase().as_str() {
            "multipart/form-data" => Self::of_form(content_type, body).await?,
            "application/json" => Self::of_json(&body)?,
            _ => {
                return Err(Refusal::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    format!(
                        "the content type is {essence:?}; send multipart/form-data with a file named picture, or application/json"
                    ),
                ));
            }
        };
        if request.picture.is_empty() {
            return Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "the picture is empty"));
        }
        Ok(request)
    }

    fn of_json(body: &[u8]) -> Result<Self, Refusal> {
        let JsonRequest { picture, runs, decoding } = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("the request: {error}")))?;
        let picture = STANDARD
            .decode(picture)
            .map_err(|error| Refusal::bad_request(format!("the picture is not base64: {error}")))?;
        Ok(Self { picture: picture.into(), runs, decoding })
    }

    async fn of_form(content_type: &str, body: Bytes) -> Result<Self, Refusal> {
        let malformed =
            |error: multer::Error| Refusal::bad_request(format!("the form is malformed: {error}"));
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
                        Refusal::bad_request(format!("decoding is not as it should be: {error}"))
                    })?;
                    decoding.replace(options).is_some()
                }
                _ => {
                    return Err(Refusal::bad_request(format!(
                        "there is no field {name:?}; the fields are picture, runs and decoding"
                    )));
                }
            };
            if is_repeated {
                return Err(Refusal::bad_request(format!("the field {name} is there twice")));
            }
        }
        let picture =
            picture.ok_or_else(|| Refusal::bad_request("the form has no file named picture"))?;
        Ok(Self { picture, runs, decoding: decoding.unwrap_or_default() })
    }

    /// What is to be done, checked against what is served.
    pub fn tasks(&self, served: &Served, limits: &Limits) -> Result<Vec<Task>, Refusal> {
        let mut runs = Vec::new();
        for name in &self.runs {
            let run = numbered(served, name)?;
            if runs.contains(&run) {
                return Err(Refusal::bad_request(format!("the run {name} is asked for twice")));
            }
            runs.push(run);
        }
        if runs.is_empty() {
            runs.extend(0..served.runs.len());
        }
        for name in self.decoding.keys() {
            if !runs.contains(&numbered(served, name)?) {
                return Err(Refusal::bad_request(format!(
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

/// The number of the run of this name.
fn numbered(served: &Served, name: &str) -> Result<usize, Refusal> {
    served.runs.iter().position(|run| run.name == name).ok_or_else(|| {
        let names: Vec<&str> = served.runs.iter().map(|run| run.name.as_str()).collect();
        Refusal::bad_request(format!("there is no run {name:?}; served are {}", names.join(", ")))
    })
}

/// A run's decoding with other values. A strategy of the run's own kind may be named in part.
fn decoding(run: &ServedRun, options: &Options, limits: &Limits) -> Result<Decoding, Refusal> {
    let refused =
        |reason: String| Refusal::bad_request(format!("decoding of {}: {reason}", run.name));
    let mut decoding = run.config.decoding.clone();
    for (key, value) in options {
        match key.as_str() {
            // Version 0.1.0 had max_tokens.
            "max_new_tokens" | "max_tokens" => {
                decoding.max_new_tokens = serde_json::from_value(value.clone())
                    .map_err(|error| refused(format!("{key}: {error}")))?;
            }
            "strategy" => {
                let strategy = completed(&run.config.decoding.strategy, value);
                decoding.strategy = serde_json::from_value(strategy)
                    .map_err(|error| refused(format!("strategy: {error}")))?;
            }
            _ => {
                return Err(refused(format!(
                    "there is no option {key:?}; the options are max_new_tokens and strategy"
                )));
            }
        }
    }
    run.config.check_decoding(&decoding).map_err(|error| refused(error.to_string()))?;
    let most = run.longest(limits);
    if decoding.max_new_tokens > most {
        return Err(refused(format!(
            "max_new_tokens is {}, but must be from 1 to {most}",
            decoding.max_new_tokens
        )));
    }
    let most = run.most_captions(limits);
    if decoding.strategy.continuations() > most {
        return Err(refused(format!(
            "{} beams or samples are asked for, but must be from 1 to {most}",
            decoding.strategy.continuations()
        )));
    }
    Ok(decoding)
}

/// A strategy as it is given, with the run's values for what it leaves out if both are of one kind.
fn completed(own: &Strategy, given: &Value) -> Value {
    let (Ok(Value::Object(mut own)), Value::Object(given)) = (serde_json::to_value(own), given)
    else {
        return given.clone();
    };
    if given.get("kind").is_some_and(|kind| Some(kind) != own.get("kind")) {
        return Value::Object(given.clone());
    }
    own.extend(given.clone());
    Value::Object(own)
}
