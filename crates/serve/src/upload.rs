//! Reading of caption requests: forms, JSON, or the bytes of a picture.

use std::fmt;

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyDataStream, Full};
use multer::Multipart;
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use utoipa::ToSchema;

use crate::error::HttpError;
use crate::request::{CaptionRequest, DecodingByRun, Picture};
use crate::schemas;

/// Maximum length of an array of texts; an array takes more memory than its JSON.
const MAX_TEXTS: usize = 64;

/// Pictures as base64 or `data:` URLs, and options.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JsonUpload {
    /// Picture as base64 or as a `data:` URL; `image` and `file` are other names of the field.
    #[serde(alias = "image", alias = "file")]
    picture: Option<String>,
    /// Several pictures; the answer is then a list, even of one.
    #[schema(value_type = Option<Vec<String>>)]
    pictures: Option<Texts>,
    /// Names of runs, as an array or as a text with commas; all runs if absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    runs: Texts,
    #[schema(schema_with = schemas::decoding_by_run)]
    decoding: Option<DecodingByRun>,
}

/// Picture in Hugging Face's form of a request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageToTextUpload {
    /// Picture as base64 or as a `data:` URL.
    inputs: String,
    #[serde(default)]
    parameters: ImageToTextParameters,
}

/// Parameters in Hugging Face's form of a request.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImageToTextParameters {
    /// Maximum number of tokens of the caption.
    max_new_tokens: Option<usize>,
}

/// Reads the body of a request for captions, and the options in its query.
pub(crate) async fn read(
    content_type: Option<&str>,
    query: Option<&str>,
    body: Bytes,
) -> Result<CaptionRequest, HttpError> {
    let content_type = content_type.unwrap_or_default();
    let essence = essence(content_type);
    let mut request = match essence.as_str() {
        "multipart/form-data" => read_form(content_type, body).await?,
        "application/json" => read_json(&body)?,
        _ if essence.starts_with("image/") => CaptionRequest::of(body),
        _ => {
            return Err(HttpError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!(
                    "the content type is {:?}; send multipart/form-data with a file named picture, application/json, or a picture as image/jpeg or alike",
                    content_type.split(';').next().unwrap_or_default().trim()
                ),
            ));
        }
    };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "runs" => request.runs.push(value.into_owned()),
            "decoding" => set_decoding(&mut request.decoding, &value, "the request")?,
            _ => {
                return Err(HttpError::bad_request(format!(
                    "there is no parameter {name:?}; the parameters are runs and decoding"
                )));
            }
        }
    }
    Ok(request)
}

/// Reads a request in Hugging Face's form, for one run.
///
/// Its clients send a picture of any content type, or of none.
pub(crate) fn read_image_to_text(
    content_type: Option<&str>,
    run: &str,
    body: Bytes,
) -> Result<CaptionRequest, HttpError> {
    let mut request = match essence(content_type.unwrap_or_default()).as_str() {
        "application/json" => {
            let ImageToTextUpload { inputs, parameters } = from_json(&body)?;
            let mut request =
                CaptionRequest { pictures: vec![decode(&inputs)], ..CaptionRequest::default() };
            if let Some(tokens) = parameters.max_new_tokens {
                let settings = [("max_new_tokens".to_owned(), json!(tokens))];
                let by_run = [(run.to_owned(), settings.into_iter().collect())];
                request.decoding = Some(by_run.into_iter().collect());
            }
            request
        }
        _ => CaptionRequest::of(body),
    };
    request.runs.push(run.to_owned());
    Ok(request)
}

/// Returns a content type in lower case, without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn from_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, HttpError> {
    // A derived parser would take a list for the fields in their order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(HttpError::bad_request("the request is a JSON list; send an object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| HttpError::bad_request(format!("the request: {error}")))
}

fn read_json(body: &[u8]) -> Result<CaptionRequest, HttpError> {
    let JsonUpload { picture, pictures, runs, decoding } = from_json(body)?;
    let (texts, is_list) = match (picture, pictures) {
        (Some(picture), None) => (vec![picture], false),
        (None, Some(Texts(pictures))) => (pictures, true),
        (None, None) => {
            return Err(HttpError::bad_request(
                "the request has no picture: add the field picture, or pictures for several",
            ));
        }
        (Some(_), Some(_)) => {
            return Err(HttpError::bad_request("the request has both picture and pictures"));
        }
    };
    let pictures = texts.iter().map(|text| decode(text)).collect();
    Ok(CaptionRequest { pictures, is_list, runs: runs.0, decoding })
}

/// Decodes a picture from base64 or from a `data:` URL.
fn decode(text: &str) -> Picture {
    let base64 = match text.split_once(',') {
        Some((head, base64)) if head.starts_with("data:") && head.ends_with(";base64") => base64,
        _ if text.starts_with("data:") => {
            return Err(HttpError::bad_request(
                "the picture's data: URL does not begin as data:image/jpeg;base64, does",
            ));
        }
        _ => text,
    };
    // `base64` and Python's `encodebytes` break lines.
    let bytes = if base64.contains(char::is_whitespace) {
        STANDARD.decode(base64.replace(char::is_whitespace, ""))
    } else {
        STANDARD.decode(base64)
    };
    bytes
        .map(Bytes::from)
        .map_err(|error| HttpError::bad_request(format!("the picture is not base64: {error}")))
}

async fn read_form(content_type: &str, body: Bytes) -> Result<CaptionRequest, HttpError> {
    let malformed =
        |error: multer::Error| HttpError::bad_request(format!("the form is malformed: {error}"));
    let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
    let mut form = Multipart::new(BodyDataStream::new(Full::new(body)), boundary);
    let mut request = CaptionRequest::default();
    while let Some(field) = form.next_field().await.map_err(malformed)? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "picture" | "image" | "file" | "pictures" => {
                request.is_list |= name == "pictures" || !request.pictures.is_empty();
                request.pictures.push(Ok(field.bytes().await.map_err(malformed)?));
            }
            "runs" => request.runs.push(field.text().await.map_err(malformed)?),
            "decoding" => {
                let text = field.text().await.map_err(malformed)?;
                set_decoding(&mut request.decoding, &text, "the form")?;
            }
            _ => {
                return Err(HttpError::bad_request(format!(
                    "there is no field {name:?}; the fields are image, file, pictures, picture, runs and decoding"
                )));
            }
        }
    }
    if request.pictures.is_empty() {
        return Err(HttpError::bad_request("the form has no file named picture, image or file"));
    }
    Ok(request)
}

/// Sets decoding settings from JSON text, once.
fn set_decoding(
    decoding: &mut Option<DecodingByRun>,
    text: &str,
    whole: &str,
) -> Result<(), HttpError> {
    let options = serde_json::from_str(text)
        .map_err(|error| HttpError::bad_request(format!("decoding is invalid: {error}")))?;
    match decoding.replace(options) {
        None => Ok(()),
        Some(_) => Err(HttpError::bad_request(format!("{whole} has two fields decoding"))),
    }
}

/// Texts of a JSON array, or a single text.
#[derive(Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a text or an array of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Texts, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = array.next_element()? {
            if texts.len() == MAX_TEXTS {
                return Err(de::Error::custom(format!("an array has more than {MAX_TEXTS} texts")));
            }
            texts.push(text);
        }
        Ok(Texts(texts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_may_have_line_breaks_and_a_head() {
        for text in ["cGljdHVyZQ==", "cGlj\ndHVy\r\nZQ==\n", "data:image/png;base64,cGljdHVyZQ=="] {
            assert_eq!(&decode(text).unwrap()[..], b"picture", "{text}");
        }
        for text in ["cGlj-HVyZQ==", "data:image/png,cGljdHVyZQ=="] {
            assert!(decode(text).is_err(), "{text}");
        }
    }
}
