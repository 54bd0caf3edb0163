//! ClipCap's pickles of CLIP embeddings and captions.
//!
//! A pickle's rows belong to captions, capsmith's to images. If the pickle names images of the data
//! set, names decide which image a row belongs to, otherwise captions do. Among images with the
//! same caption, the order of the captions decides.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use datasets::{Corpus, Source};
use foreign_text::printable_path;
use precompute::Embeddings;
use tch::Device;
use torch_files::Caption;

use crate::error::Error;
use crate::import::{refuse_existing, staged};
use crate::inputs::check_pictures;

/// Rows of features, each with its image.
pub(crate) struct NamedRows {
    pub(crate) dimension: usize,
    /// `[rows, dimension]`, row by row.
    pub(crate) values: Vec<f32>,
    /// Image of each row as an index into the corpus; `None` if it has no such image.
    pub(crate) images: Vec<Option<usize>>,
}

/// Reads a pickle's rows, and the image of each as an index into the corpus.
///
/// # Errors
/// Fails for a row whose captions fit no image or several.
pub(crate) fn rows(file: &Path, corpus: &Corpus) -> Result<NamedRows, Error> {
    let pickle = torch_files::Embeddings::load(file)?;
    let images = images_of_rows(&pickle, corpus)
        .map_err(|reason| Error::Mismatch(format!("{}: {reason}", printable_path(file))))?;
    let images = images.into_iter().map(Some).collect();
    Ok(NamedRows { dimension: pickle.dim(), values: pickle.values().to_vec(), images })
}

/// Writes capsmith's embeddings of `data_set` with its captions as ClipCap's pickle.
///
/// Returns the numbers of rows and captions.
///
/// # Errors
/// Fails if `out` exists or the embeddings are of another data set.
pub fn export(embeddings: &Path, data_set: &Source, out: &Path) -> Result<(usize, usize), Error> {
    refuse_existing(out)?;
    let corpus = data_set.load()?;
    let file = Embeddings::open(embeddings)?;
    if file.identity().dataset_fingerprint != corpus.fingerprint() {
        return Err(Error::Mismatch(format!(
            "{} was computed from other captions or pictures than {}; name the data set that it was computed from",
            printable_path(embeddings),
            printable_path(&data_set.dataset)
        )));
    }
    check_pictures(&file, &corpus)?;
    let mut captions = Vec::new();
    for image in &corpus.images {
        let Some(row) = file.row_of(&image.file_name) else { continue };
        captions.extend(image.captions.iter().map(|caption| Caption {
            caption: caption.clone(),
            row,
            image: Some(image.file_name.clone()),
        }));
    }
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

/// Returns the image of each row, as an index into the corpus.
fn images_of_rows(pickle: &torch_files::Embeddings, corpus: &Corpus) -> Result<Vec<usize>, String> {
    let images = corpus.images.iter().enumerate();
    let by_name: HashMap<&str, usize> =
        images.map(|(index, image)| (stem(&image.file_name), index)).collect();
    let named = |caption: &Caption| by_name.get(stem(caption.image.as_deref()?)).copied();
    let has_names = pickle.captions().iter().any(|caption| named(caption).is_some());
    let by_caption = CaptionMatches::new(pickle.captions(), corpus);

    let mut captions_of_row: Vec<Vec<usize>> = vec![Vec::new(); pickle.rows()];
    for (index, caption) in pickle.captions().iter().enumerate() {
        captions_of_row[caption.row].push(index);
    }
    let image_of = |(row, captions): (usize, Vec<usize>)| {
        let Some(&first) = captions.first() else {
            return Err(format!("row {row} of the embeddings has no caption"));
        };
        let found: BTreeSet<usize> = if has_names {
            let images = captions.iter().map(|&index| named(&pickle.captions()[index]));
            images.collect::<Option<_>>().unwrap_or_default()
        } else {
            by_caption.images(&captions)
        };
        if let (1, Some(&image)) = (found.len(), found.first()) {
            return Ok(image);
        }
        let count = if found.is_empty() { "no picture" } else { "several pictures" };
        let Caption { caption, image, .. } = &pickle.captions()[first];
        let of = image.as_deref().map_or(String::new(), |image| format!(" of {image:?}"));
        Err(format!("row {row} fits {count} of the data set; its caption{of} is {caption:?}"))
    };
    captions_of_row.into_iter().enumerate().map(image_of).collect()
}

/// Images of the corpus that have each caption of a pickle.
struct CaptionMatches {
    /// Images with the same caption, in the corpus's order, repeated if an image repeats it.
    images: Vec<Vec<usize>>,
    /// The image at the same position among equal captions, if both sides have equally many.
    by_order: Vec<Option<usize>>,
}

impl CaptionMatches {
    fn new(captions: &[Caption], corpus: &Corpus) -> Self {
        let mut known: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, image) in corpus.images.iter().enumerate() {
            for caption in &image.captions {
                known.entry(normalised(caption)).or_default().push(index);
            }
        }
        let texts: Vec<String> =
            captions.iter().map(|caption| normalised(&caption.caption)).collect();
        let images: Vec<Vec<usize>> =
            texts.iter().map(|text| known.get(text).cloned().unwrap_or_default()).collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for text in &texts {
            *counts.entry(text).or_default() += 1;
        }
        let mut ranks: HashMap<&str, usize> = HashMap::new();
        let by_order = texts.iter().zip(&images).map(|(text, images)| {
            let rank = ranks.entry(text).or_default();
            *rank += 1;
            images.get(*rank - 1).copied().filter(|_| counts[text.as_str()] == images.len())
        });
        let by_order = by_order.collect();
        Self { images, by_order }
    }

    /// Returns the images that all `captions` may belong to.
    fn images(&self, captions: &[usize]) -> BTreeSet<usize> {
        let sets = captions.iter().map(|&index| self.images[index].iter().copied().collect());
        let common: BTreeSet<usize> =
            sets.reduce(|all: BTreeSet<usize>, one| &all & &one).unwrap_or_default();
        if common.len() < 2 {
            return common;
        }
        let ordered: BTreeSet<usize> =
            captions.iter().filter_map(|&index| self.by_order[index]).collect();
        if ordered.is_empty() { common } else { ordered }
    }
}

fn normalised(caption: &str) -> String {
    caption.trim().to_lowercase()
}

/// Returns an image's file name without `.jpg`.
fn stem(name: &str) -> &str {
    name.strip_suffix(".jpg").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(images: &[&[&str]]) -> Corpus {
        let images = images.iter().enumerate().map(|(index, captions)| datasets::Image {
            file_name: format!("{index}.jpg"),
            captions: captions.iter().map(ToString::to_string).collect(),
            words: Vec::new(),
            part: None,
        });
        Corpus {
            root: "set".into(),
            layout: datasets::Layout::Kaggle,
            caption_files: Vec::new(),
            images: images.collect(),
            warnings: Vec::new(),
            locations: datasets::ImageLocations {
                folder: "set/Images".into(),
                members: Vec::new(),
            },
        }
    }

    /// Returns the images of rows, given the captions of each row.
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
        images_of_rows(
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
