//! CLIP that scores captions by their images: the model of [`caption_metrics::clip_score`].

use std::collections::HashMap;
use std::error::Error as StdError;
use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use caption_metrics::clip_score::{ClipModel, Cosines};
use caption_metrics::meteor::Segment;
use foreign_text::{first_of, printable, printable_path};
use keywords::TextEncoder;
use networks::{normalized, transfer};
use precompute::Embeddings;
use tch::{Device, Kind, TchError, Tensor};

use crate::error::Error;

/// Text tower of a CLIP, and the embeddings of images that its vision tower computed.
pub struct ClipScorer {
    /// Row of each image by its names; `None` for a name of several images.
    rows: HashMap<String, Option<i64>>,
    sha256: String,
    context_length: usize,
    /// Encoder, and unit vectors `[images, dim]`.
    tensors: Mutex<(TextEncoder, Tensor)>,
}

impl ClipScorer {
    /// Loads the CLIP at `clip`, and the embeddings of images that it computed.
    ///
    /// # Errors
    /// Names the file that cannot be read. Fails if another model computed the embeddings.
    pub fn load(clip: &Path, embeddings: &Path, device: Device) -> Result<Self, Error> {
        let encoder = TextEncoder::load(clip, device, Kind::Float)?;
        let file = Embeddings::open(embeddings)?;
        if file.identity().model_sha256 != encoder.identity() {
            let (clip, embeddings) = (printable_path(clip), printable_path(embeddings));
            return Err(Error::Mismatch(format!(
                "{embeddings} holds embeddings by {}, not by {clip}: its weights have another SHA-256\nhint: capsmith precompute --clip {clip} computes the embeddings that CLIPScore needs",
                printable(&file.identity().model),
            )));
        }
        Ok(Self {
            rows: rows(file.names()),
            sha256: encoder.identity().to_owned(),
            context_length: encoder.context_length(),
            tensors: Mutex::new((encoder, normalized(&file.tensor(device)?)?)),
        })
    }

    fn compare(
        &self,
        images: &[Segment<'_, String>],
        prompt: &str,
        with_references: bool,
    ) -> Result<Cosines, Error> {
        let found = |image: &Segment<_>| self.rows.get(image.id).copied().flatten();
        let rows: Vec<i64> = images.iter().filter_map(found).collect();
        if rows.len() < images.len() {
            let missing = images.iter().filter(|image| found(image).is_none());
            let missing: Vec<&str> = missing.map(|image| image.id).collect();
            return Err(Error::Mismatch(format!(
                "the embeddings have no picture called {}\nhint: images are found by their file names, with or without ending, or by COCO's numbers",
                first_of(&missing),
            )));
        }
        let guard = self.tensors.lock().unwrap_or_else(PoisonError::into_inner);
        let (encoder, embeddings) = &*guard;
        let predictions: Vec<&str> = images.iter().map(|image| image.hypothesis).collect();
        let (predictions, cut_predictions) = encode(encoder, prompt, &predictions)?;
        let mut cosines = Cosines {
            images: dot_products(&predictions, embeddings, &rows)?,
            cut_predictions,
            ..Cosines::default()
        };
        if with_references {
            let texts: Vec<&String> = images.iter().flat_map(|image| image.references).collect();
            let (references, cut_references) = encode(encoder, prompt, &texts)?;
            let owners = (0_i64..).zip(images);
            let owners = owners.flat_map(|(row, image)| image.references.iter().map(move |_| row));
            let owners: Vec<i64> = owners.collect();
            cosines.references = vec![f64::NEG_INFINITY; images.len()];
            for (&image, cosine) in
                owners.iter().zip(dot_products(&references, &predictions, &owners)?)
            {
                let largest = &mut cosines.references[image as usize];
                *largest = largest.max(cosine);
            }
            cosines.cut_references = cut_references;
        }
        Ok(cosines)
    }
}

impl fmt::Debug for ClipScorer {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("ClipScorer").field("sha256", &self.sha256).finish_non_exhaustive()
    }
}

impl ClipModel for ClipScorer {
    fn cosines(
        &self,
        images: &[Segment<'_, String>],
        prompt: &str,
        with_references: bool,
    ) -> Result<Cosines, Box<dyn StdError + Send + Sync>> {
        Ok(self.compare(images, prompt, with_references)?)
    }

    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn context_length(&self) -> usize {
        self.context_length
    }
}

/// Returns unit vectors `[texts, dim]` of texts after a prompt, and the number of texts cut.
///
/// A space stands between prompt and text, as in the program of CLIPScore's authors.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn encode<S: AsRef<str>>(
    encoder: &TextEncoder,
    prompt: &str,
    texts: &[S],
) -> Result<(Tensor, usize), keywords::Error> {
    if prompt.is_empty() {
        return encoder.encode_counting_cut(texts);
    }
    let prompt = prompt.strip_suffix(' ').unwrap_or(prompt);
    let texts: Vec<String> =
        texts.iter().map(|text| format!("{prompt} {}", text.as_ref())).collect();
    encoder.encode_counting_cut(&texts)
}

/// Returns the dot product of each row of `texts` and the row of `others` that `rows` names.
fn dot_products(texts: &Tensor, others: &Tensor, rows: &[i64]) -> Result<Vec<f64>, Error> {
    let rows = transfer::to_device(&Tensor::f_from_slice(rows)?, others.device())?;
    Ok(row_products(texts, &others.f_index_select(0, &rows)?)?)
}

/// Returns the dot product of each row of `a` and the same row of `b`, both `[rows, dim]`.
///
/// # Errors
/// Fails if memory is exhausted.
pub fn row_products(a: &Tensor, b: &Tensor) -> Result<Vec<f64>, TchError> {
    Vec::try_from(a.f_mul(b)?.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Double)?)
}

/// Returns the rows of images by file name, by name without ending, and by COCO's number.
///
/// COCO's files are called `COCO_val2014_000000391895.jpg` or `000000391895.jpg`.
fn rows(names: &[String]) -> HashMap<String, Option<i64>> {
    let mut rows: HashMap<String, Option<i64>> = HashMap::new();
    for (row, name) in (0..).zip(names) {
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        let last = stem.rsplit('_').next().unwrap_or_default();
        let number = last.parse::<u64>().ok().filter(|_| last.len() == 12);
        let number = number.map(|number| number.to_string());
        for key in [stem.into_owned()].into_iter().chain(number) {
            let found = rows.entry(key).or_insert(Some(row));
            if *found != Some(row) {
                *found = None;
            }
        }
    }
    // Whole names are unique, and come before names without ending.
    rows.extend((0..).zip(names).map(|(row, name)| (name.clone(), Some(row))));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_by_each_of_their_names() {
        let names = [
            "COCO_val2014_000000000042.jpg",
            "a.jpg",
            "a.png",
            "b.c.jpg",
            "a",
            "7_1.jpg",
            "202401151230.jpg",
        ];
        let rows = rows(&names.map(str::to_owned));
        assert_eq!(rows["202401151230"], Some(6), "a file may be called by its number");
        let row = |name: &str| rows.get(name).copied().flatten();
        assert_eq!([row("42"), row("COCO_val2014_000000000042")], [Some(0), Some(0)]);
        assert_eq!([row("a.jpg"), row("a.png"), row("a")], [Some(1), Some(2), Some(4)]);
        assert_eq!([row("b.c"), row("b"), row("1"), row("7_1")], [Some(3), None, None, Some(5)]);
        let twice = ["x/a.jpg", "y/a.jpg"].map(str::to_owned);
        assert_eq!(super::rows(&twice)["a"], None);
    }
}
