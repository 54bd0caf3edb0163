//! Import of image features that another program computed, as an embeddings file of a data set.
//!
//! Names of rows are matched with the data set's images: as whole names, then by their last path
//! components, then without extension.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use datasets::{Corpus, Source};
use durable::digests;
use durable::kept::Key;
use foreign_text::{first_of, printable_path};
use image_features::Features;
use precompute::{Dtype, Embeddings, Identity, Network, Skipped};
use tch::Device;

use crate::error::Error;
use crate::import::{refuse_existing, staged};
use crate::pickle::{self, NamedRows};

/// Largest difference of a row's L2 norm from 1 in a file of normalised embeddings.
const NORM_TOLERANCE: f32 = 1e-3;
/// Largest relative distance between two embeddings of one image: ClipCap computes one per caption.
const SAME_IMAGE: f32 = 1e-2;

/// Result of an import.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// Number of images with an embedding.
    pub pictures: usize,
    /// Images without one.
    pub skipped: Vec<Skipped>,
    /// Names in the files that are none of the data set's images.
    pub unknown: Vec<String>,
    /// Origin of the embeddings.
    pub identity: Identity,
}

/// Writes the features in `files` as capsmith's embeddings file for `data_set`.
///
/// Files are those of [`Features::load`], with the text file `names` if they have no names, or one
/// ClipCap pickle. `encoder` names the program or model that computed them. Rows of zeros are left
/// out.
///
/// # Errors
/// Fails if `out` exists, and names the file for a row that fits several images, two rows of one
/// image that differ, values that are not finite or all zero, and files that name no image of the
/// data set.
pub fn import(
    files: &[PathBuf],
    names: Option<&Path>,
    data_set: &Source,
    encoder: &str,
    out: &Path,
) -> Result<Imported, Error> {
    refuse_existing(out)?;
    let corpus = data_set.load()?;
    let (rows, sources, unknown) = match files {
        [file] if !Features::is_format_of(file) && names.is_none() => {
            (pickle::rows(file, &corpus)?, vec![file.clone()], Vec::new())
        }
        _ => named_rows(Features::load(files, names)?, &corpus, &data_set.dataset)?,
    };
    let paths: Vec<String> = files.iter().map(|file| printable_path(file).to_string()).collect();
    let row_of = row_of_images(&rows, &corpus)
        .map_err(|reason| Error::Mismatch(format!("{}: {reason}", paths.join(", "))))?;

    let NamedRows { dimension, .. } = rows;
    let (mut written_names, mut skipped, mut values) = (Vec::new(), Vec::new(), Vec::new());
    let file = files.first().and_then(|file| file.file_name()).unwrap_or_default();
    for (index, image) in corpus.images.iter().enumerate() {
        let row = row_of.get(&index).map(|&row| row_values(&rows, row));
        let reason = match row {
            Some(row) if row.iter().any(|value| *value != 0.0) => {
                written_names.push(image.file_name.as_str());
                values.extend_from_slice(row);
                continue;
            }
            // Programs write them for pictures that they cannot read.
            Some(_) => "all values are zero",
            None => "no embedding",
        };
        let reason = format!("{reason} in {}", file.to_string_lossy());
        skipped.push(Skipped { name: image.file_name.clone(), reason });
    }
    if written_names.is_empty() {
        return Err(Error::Mismatch(format!("{}: all values are zero", paths.join(", "))));
    }
    let identity = Identity {
        network: Network::Imported,
        model: encoder.to_owned(),
        model_sha256: digest(&sources)?,
        preprocessing: None,
        upright: false,
        normalize: values.chunks(dimension).all(|row| (norm(row) - 1.0).abs() < NORM_TOLERANCE),
        dtype: Dtype::F32,
        dataset_fingerprint: corpus.fingerprint(),
        dimension,
    };
    let staging = staged(out)?;
    let written = staging.path().join("embeddings.safetensors");
    Embeddings::save(&written, &identity, &written_names, &skipped, &values)?;
    staging.keep_file(&written, out)?;
    Ok(Imported { pictures: written_names.len(), skipped, unknown, identity })
}

/// Writes the values of an embeddings file as `.npy`, and the names to a text file beside it.
///
/// Returns the number of rows and the path of the text file.
///
/// # Errors
/// Fails if one of the two exists or cannot be written.
pub fn export(embeddings: &Path, out: &Path) -> Result<(usize, PathBuf), Error> {
    let file = Embeddings::open(embeddings)?;
    let features = Features {
        names: file.names().to_vec(),
        dimension: file.dimension(),
        values: Vec::try_from(&file.tensor(Device::Cpu)?.f_flatten(0, -1)?)?,
        files: Vec::new(),
    };
    let names = features.save(out)?;
    Ok((features.names.len(), names))
}

/// Finds the images of rows by name; returns the files and the unknown names too.
fn named_rows(
    features: Features,
    corpus: &Corpus,
    dataset: &Path,
) -> Result<(NamedRows, Vec<PathBuf>, Vec<String>), Error> {
    let Features { names, dimension, values, files } = features;
    let last = files.last().map_or(dataset, PathBuf::as_path);
    let fail = |reason: String| Error::Mismatch(format!("{}: {reason}", printable_path(last)));
    let index = ImageNames::new(corpus);
    let images: Vec<Option<usize>> =
        names.iter().map(|name| index.find(name)).collect::<Result<_, _>>().map_err(fail)?;
    let is_unknown = |(name, image): (String, &Option<usize>)| image.is_none().then_some(name);
    let unknown: Vec<String> = names.into_iter().zip(&images).filter_map(is_unknown).collect();
    if unknown.len() == images.len() {
        let known: Vec<&str> = corpus.images.iter().map(|image| image.file_name.as_str()).collect();
        return Err(fail(format!(
            "names no picture of {}: it names {}\nhint: use the file names of the pictures, which are {}",
            printable_path(dataset),
            first_of(&unknown),
            first_of(&known)
        )));
    }
    Ok((NamedRows { dimension, values, images }, files, unknown))
}

/// Images of a corpus by name.
struct ImageNames<'a> {
    whole: HashMap<&'a str, usize>,
    /// By name without folders, without extension and without both; `None` if several have it.
    shortened: HashMap<&'a str, Option<usize>>,
}

impl<'a> ImageNames<'a> {
    fn new(corpus: &'a Corpus) -> Self {
        let (mut whole, mut shortened) = (HashMap::new(), HashMap::new());
        for (index, image) in corpus.images.iter().enumerate() {
            let name = image.file_name.as_str();
            let file = name.rsplit('/').next().unwrap_or(name);
            whole.insert(name, index);
            for short in [file, without_extension(name), without_extension(file)] {
                let found = shortened.entry(short).or_insert(Some(index));
                if *found != Some(index) {
                    *found = None;
                }
            }
        }
        Self { whole, shortened }
    }

    /// Returns the image of a name or path; `None` if there is none.
    fn find(&self, name: &str) -> Result<Option<usize>, String> {
        let path = name.replace('\\', "/");
        // The longest end of the path that is a name decides.
        let ends =
            || std::iter::successors(Some(path.as_str()), |end| Some(end.split_once('/')?.1));
        if let Some(&image) = ends().find_map(|end| self.whole.get(end)) {
            return Ok(Some(image));
        }
        let mut short = ends().flat_map(|end| [end, without_extension(end)]);
        match short.find_map(|end| self.shortened.get(end)) {
            Some(None) => Err(format!(
                "the name {name:?} fits several pictures of the data set\nhint: name pictures with their folder and extension"
            )),
            found => Ok(found.copied().flatten()),
        }
    }
}

/// Returns a path without the extension of its last component.
fn without_extension(path: &str) -> &str {
    match path.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('/') => stem,
        _ => path,
    }
}

/// Returns the first row of each image, having compared it with the others.
fn row_of_images(rows: &NamedRows, corpus: &Corpus) -> Result<HashMap<usize, usize>, String> {
    let mut row_of: HashMap<usize, usize> = HashMap::new();
    for (row, image) in rows.images.iter().enumerate() {
        let Some(image) = *image else { continue };
        let (values, name) = (row_values(rows, row), &corpus.images[image].file_name);
        if !values.iter().all(|value| value.is_finite()) {
            return Err(format!(
                "row {row} of the embeddings, of the picture {name}, holds values that are not finite in 32 bits (NaN, infinity or too large)\n\
                 hint: compute this picture's embedding again, or take the picture out of the file"
            ));
        }
        let first = *row_of.entry(image).or_insert(row);
        if distance(row_values(rows, first), values) > SAME_IMAGE * norm(row_values(rows, first)) {
            return Err(format!(
                "rows {first} and {row} are different embeddings of the same picture, {name}"
            ));
        }
    }
    Ok(row_of)
}

fn row_values(rows: &NamedRows, row: usize) -> &[f32] {
    &rows.values[row * rows.dimension..(row + 1) * rows.dimension]
}

/// Returns the SHA-256 of a file; of several files, that of their digests in order.
fn digest(files: &[PathBuf]) -> Result<String, Error> {
    let digests: Vec<String> =
        files.iter().map(|file| digests::of_file(file)).collect::<Result<_, _>>()?;
    Ok(match digests.as_slice() {
        [only] => only.clone(),
        several => {
            Key::new(several.iter().enumerate().map(|(n, one)| (n.to_string(), one))).sha256()
        }
    })
}

fn norm(row: &[f32]) -> f32 {
    row.iter().map(|value| value * value).sum::<f32>().sqrt()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Imports features of one value a row of a set with x-a.jpg, x-a.png, b.jpg and c.jpg.
    fn imported(names: &str, values: &[f32]) -> Result<Imported, String> {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let features = Features {
            names: names.split_whitespace().map(str::to_owned).collect(),
            dimension: 1,
            values: values.to_vec(),
            files: Vec::new(),
        };
        let text = features.save(&place("f.npy")).unwrap();
        let entry = |name: &str| {
            format!(
                r#"{{"filename": "{name}", "split": "train", "sentences": [{{"raw": "A dog ."}}]}}"#
            )
        };
        let entries = ["x-a.jpg", "x-a.png", "b.jpg", "c.jpg"].map(entry).join(", ");
        let set = place("set");
        fs::create_dir_all(set.join("Images")).unwrap();
        for name in ["x-a.jpg", "x-a.png", "b.jpg", "c.jpg"] {
            fs::write(set.join("Images").join(name), "picture").unwrap();
        }
        fs::write(set.join("dataset_flickr8k.json"), format!(r#"{{"images": [{entries}]}}"#))
            .unwrap();
        import(&[place("f.npy")], Some(&text), &Source::new(&set, None), "mine", &place("out"))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_paths_find_pictures_and_the_rest_is_told() {
        let found = imported("/data/b.jpg x-a.png c z.jpg b", &[1.0, 2.0, 3.0, 4.0, 1.0]).unwrap();
        let skipped: Vec<&str> = found.skipped.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(
            (found.pictures, skipped, found.unknown),
            (3, vec!["x-a.jpg"], vec!["z.jpg".to_owned()])
        );
        let Identity { network, model, preprocessing, .. } = found.identity;
        assert_eq!((network, model.as_str(), preprocessing), (Network::Imported, "mine", None));
    }

    #[test]
    fn rows_of_zeros_are_left_out() {
        let found = imported("b c x-a.jpg", &[1.0, 0.0, -0.0]).unwrap();
        let skipped: Vec<(&str, &str)> =
            found.skipped.iter().map(|one| (one.name.as_str(), one.reason.as_str())).collect();
        let (zero, none) = ("all values are zero in f.npy", "no embedding in f.npy");
        assert_eq!(skipped, [("x-a.jpg", zero), ("x-a.png", none), ("c.jpg", zero)]);
        assert!(found.pictures == 1 && found.identity.normalize);
    }

    #[test]
    fn rows_that_cannot_be_meant_are_refused() {
        for (names, values, words) in [
            ("x-a", &[1.0][..], "several pictures"),
            ("b b.jpg", &[1.0, 2.0], "rows 0 and 1 are different"),
            ("b", &[f32::NAN], "not finite"),
            ("y z", &[1.0, 2.0], "names no picture"),
            ("b c", &[0.0, 0.0], "all values are zero"),
        ] {
            let error = imported(names, values).unwrap_err();
            assert!(error.contains("f.") && error.contains(words), "{error}");
        }
    }
}
