//! ClipCap's pickles of CLIP embeddings to capsmith's file of them, and back.
//!
//! A pickle's rows belong to captions, capsmith's to pictures. Where the pickle names pictures of the
//! data set, names decide. Elsewhere captions do, and where several pictures have the same caption
//! the captions' order.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use datasets::Corpus;
use durable::digests;
use foreign_text::printable_path;
use pictures::Preprocessing;
use precompute::{Dtype, Embeddings, Identity, Skipped};
use tch::Device;
use torch_files::Caption;

use crate::error::Error;
use crate::import::{refuse_existing, staged};
use crate::inputs::check_pictures;

/// How far a row's L2 norm may be from 1 in a file of normalised embeddings.
const NORM_TOLERANCE: f32 = 1e-3;
/// How far two embeddings of one picture may be apart, as a part of the first one's norm: ClipCap
/// computes one for each caption.
const SAME_PICTURE: f32 = 1e-2;

/// What was imported.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Pictures with an embedding.
    pub pictures: usize,
    /// Pictures without one.
    pub skipped: Vec<Skipped>,
    /// Where the embeddings come from.
    pub identity: Identity,
}

/// Writes the embeddings of a pickle as capsmith's file for `dataset`.
///
/// # Errors
/// `out` exists; a row that fits no picture or two, by its caption; two embeddings of one picture
/// that differ; values that are not finite.
pub fn import(file: &Path, dataset: &Path, out: &Path) -> Result<Imported, Error> {
    refuse_existing(out)?;
    let pickle = torch_files::Embeddings::load(file)?;
    let corpus = Corpus::load(dataset, None)?;
    let fail = |reason: String| Error::Mismatch(format!("{}: {reason}", printable_path(file)));
    let dim = pickle.dim();
    let row = |row: usize| pickle.values().get(row * dim..(row + 1) * dim).unwrap_or_default();

    let mut row_of: HashMap<usize, usize> = HashMap::new();
    for (at, image) in pictures_of(&pickle, &corpus).map_err(fail)?.into_iter().enumerate() {
        if !row(at).iter().all(|value| value.is_finite()) {
            return Err(fail(format!(
                "row {at} of the embeddings, of the picture {}, holds values that are not finite (NaN or infinity)\n\
                 hint: compute this picture's embedding again, or take the picture out of the file",
                corpus.images[image].file_name
            )));
        }
        let first = *row_of.entry(image).or_insert(at);
        if distance(row(first), row(at)) > SAME_PICTURE * norm(row(first)) {
            return Err(fail(format!(
                "rows {first} and {at} are different embeddings of the same picture, {}",
                corpus.images[image].file_name
            )));
        }
    }
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let (mut names, mut skipped, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (index, image) in corpus.images.iter().enumerate() {
        if let Some(&at) = row_of.get(&index) {
            names.push(image.file_name.as_str());
            values.extend_from_slice(row(at));
        } else {
            let reason = format!("no embedding in {name}");
            skipped.push(Skipped { name: image.file_name.clone(), reason });
        }
    }
    let identity = Identity {
        model: format!("imported from {name}"),
        model_sha256: digests::of_file(file)?,
        preprocessing: Preprocessing::clip(224),
        normalize: values.chunks(dim).all(|row| (norm(row) - 1.0).abs() < NORM_TOLERANCE),
        dtype: Dtype::F32,
        dataset_fingerprint: corpus.fingerprint(),
        dimension: dim,
    };
    let staging = staged(out)?;
    let written = staging.path().join("embeddings.safetensors");
    Embeddings::save(&written, &identity, &names, &skipped, &values)?;
    staging.keep_file(&written, out)?;
    Ok(Imported { pictures: names.len(), skipped, identity })
}

/// Writes capsmith's embeddings of `dataset` and its captions as ClipCap's pickle; returns how many
/// rows and captions there are.
///
/// # Errors
/// `out` exists; the embeddings are of another data set.
pub fn export(embeddings: &Path, dataset: &Path, out: &Path) -> Result<(usize, usize), Error> {
    refuse_existing(out)?;
    let corpus = Corpus::load(dataset, None)?;
    let file = Embeddings::open(embeddings)?;
    if file.identity().dataset_fingerprint != corpus.fingerprint() {
        return Err(Error::Mismatch(format!(
            "{} was made from other captions or pictures than {}; name the data set that it was made from",
            printable_path(embeddings),
            printable_path(dataset)
        )));
    }
    check_pictures(&file, &corpus)?;
    let captions: Vec<Caption> = corpus
        .images
        .iter()
        .filter_map(|image| Some((image, file.row_of(&image.file_name)?)))
        .flat_map(|(image, row)| {
            image.captions.iter().map(move |caption| Caption {
                caption: caption.clone(),
                row,
                image: Some(image.file_name.clone()),
            })
        })
        .collect();
    let values = Vec::<f32>::try_from(&file.tensor(Device::Cpu)?.f_flatten(0, -1)?)?;
    let counts = (file.names().len(), captions.len());
    let pickle = torch_files::Embeddings::new(values, file.dimension(), captions)
        .map_err(|problem| torch_files::Error { path: embeddings.to_owned(), problem })?;
    let staging = staged(out)?;
    let written = staging.path().join("embeddings.pkl");
    pickle.save(&written)?;
    staging.keep_file(&written, out)?;
    Ok(counts)
}

/// The picture of each row, as a place in the corpus.
fn pictures_of(pickle: &torch_files::Embeddings, corpus: &Corpus) -> Result<Vec<usize>, String> {
    let by_name: HashMap<&str, usize> = corpus
        .images
        .iter()
        .enumerate()
        .map(|(index, image)| (stem(&image.file_name), index))
        .collect();
    let named = |caption: &Caption| by_name.get(stem(caption.image.as_deref()?)).copied();
    let has_names = pickle.captions().iter().any(|caption| named(caption).is_some());
    let texts = Texts::new(pickle.captions(), corpus);

    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); pickle.rows()];
    for (place, caption) in pickle.captions().iter().enumerate() {
        rows[caption.row].push(place);
    }
    rows.iter()
        .enumerate()
        .map(|(row, places)| {
            let Some(&first) = places.first() else {
                return Err(format!("row {row} of the embeddings has no caption"));
            };
            let found: BTreeSet<usize> = if has_names {
                let all = places.iter().map(|&place| named(&pickle.captions()[place]));
                all.collect::<Option<_>>().unwrap_or_default()
            } else {
                texts.pictures(places)
            };
            match (found.len(), found.first()) {
                (1, Some(&image)) => Ok(image),
                (0, _) => Err(format!(
                    "row {row} fits no picture of the data set; {}",
                    described(&pickle.captions()[first])
                )),
                _ => Err(format!(
                    "row {row} fits several pictures of the data set; {}",
                    described(&pickle.captions()[first])
                )),
            }
        })
        .collect()
}

fn described(caption: &Caption) -> String {
    let image = caption.image.as_deref().map(|image| format!(" of {image:?}"));
    format!("its caption{} is {:?}", image.unwrap_or_default(), caption.caption)
}

/// Captions of pickle and corpus, by their text.
struct Texts {
    /// The pictures with each of the pickle's captions, in the corpus's order, as often as each has it.
    candidates: Vec<Vec<usize>>,
    /// The one of those that has the same place among equal captions, where there are as many of them
    /// in the pickle.
    by_order: Vec<Option<usize>>,
}

impl Texts {
    fn new(captions: &[Caption], corpus: &Corpus) -> Self {
        let mut known: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, image) in corpus.images.iter().enumerate() {
            for caption in &image.captions {
                known.entry(plain(caption)).or_default().push(index);
            }
        }
        let texts: Vec<String> = captions.iter().map(|caption| plain(&caption.caption)).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let places: Vec<usize> = texts
            .iter()
            .map(|text| {
                let count = counts.entry(text).or_default();
                *count += 1;
                *count - 1
            })
            .collect();
        let candidates: Vec<Vec<usize>> =
            texts.iter().map(|text| known.get(text).cloned().unwrap_or_default()).collect();
        let by_order = texts
            .iter()
            .zip(places)
            .zip(&candidates)
            .map(|((text, place), images)| {
                (counts.get(text.as_str()) == Some(&images.len()))
                    .then(|| images.get(place).copied())?
            })
            .collect();
        Self { candidates, by_order }
    }

    /// The pictures that the captions at `places` may be of.
    fn pictures(&self, places: &[usize]) -> BTreeSet<usize> {
        let sets = places.iter().map(|&place| self.candidates[place].iter().copied().collect());
        let common: BTreeSet<usize> =
            sets.reduce(|all: BTreeSet<usize>, one| &all & &one).unwrap_or_default();
        if common.len() < 2 {
            return common;
        }
        let ordered: BTreeSet<usize> =
            places.iter().filter_map(|&place| self.by_order[place]).collect();
        if ordered.is_empty() { common } else { ordered }
    }
}

fn plain(caption: &str) -> String {
    caption.trim().to_lowercase()
}

/// A picture's name without `.jpg`.
fn stem(name: &str) -> &str {
    name.strip_suffix(".jpg").unwrap_or(name)
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum::<f32>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(images: &[&[&str]]) -> Corpus {
        let images = images.iter().enumerate().map(|(index, captions)| datasets::Image {
            file_name: format!("{index}.jpg"),
            captions: captions.iter().map(ToString::to_string).collect(),
            words: Vec::new(),
            karpathy_split: None,
        });
        Corpus {
            root: "set".into(),
            layout: datasets::Layout::Kaggle,
            images: images.collect(),
            warnings: Vec::new(),
            locations: datasets::ImageLocations {
                folder: "set/Images".into(),
                members: Vec::new(),
            },
        }
    }

    /// Rows of captions, which come in the order of the rows.
    fn found(rows: &[&[&str]], image: Option<&str>) -> Result<Vec<usize>, String> {
        let captions = rows.iter().enumerate().flat_map(|(row, texts)| {
            texts.iter().map(move |text| Caption {
                caption: (*text).to_owned(),
                row,
                image: image.map(ToOwned::to_owned),
            })
        });
        let values = vec![0.0; rows.len()];
        let pickle = torch_files::Embeddings::new(values, 1, captions.collect()).unwrap();
        pictures_of(
            &pickle,
            &corpus(&[&["A dog .", "A dog runs ."], &["A dog .", "A cat ."], &["A hen ."]]),
        )
    }

    #[test]
    fn captions_decide_and_order_among_equal_ones() {
        assert_eq!(found(&[&["a dog .", " A cat . "], &["a hen ."]], None), Ok(vec![1, 2]));
        assert_eq!(found(&[&["a cat ."], &["a dog ."], &["a dog ."]], None), Ok(vec![1, 0, 1]));
        let error = found(&[&["a dog ."]], None).unwrap_err();
        assert!(error.contains("several") && error.contains("\"a dog .\""), "{error}");
        let error = found(&[&["a hen .", "a cat ."]], None).unwrap_err();
        assert!(error.contains("no picture") && error.contains("\"a hen .\""), "{error}");
        assert!(found(&[&["a cat ."], &[]], None).unwrap_err().contains("row 1"));
    }

    #[test]
    fn names_decide_where_they_are_the_sets_own() {
        assert_eq!(found(&[&["a dog ."]], Some("2")), Ok(vec![2]));
        assert_eq!(found(&[&["a dog ."]], Some("1.jpg")), Ok(vec![1]));
        assert_eq!(found(&[&["a cat ."]], Some("391895")), Ok(vec![1]));
    }
}
