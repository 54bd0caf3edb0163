//! File of embeddings: a safetensors file with metadata.
//!
//! It holds the tensor `embeddings`, f32 `[images, dimension]`, and in its metadata
//! - `format`: `capsmith-embeddings`, and `version`: `1`,
//! - `names`: the images' names as a JSON array, in the order of the rows,
//! - `skipped`: the images without a row, as JSON, each with the reason,
//! - `identity`: [`Identity`] as JSON,
//! - `sha256`: the digest of these three texts (each after its length, 8 bytes little-endian) and
//!   the rows.
//!
//! Files of [`crate::run`] also hold the tensor `pictures`, u8 `[names + skipped, 48]`: for the
//! file of each image its size, its modification time in nanoseconds since 1970 (both 8 bytes
//! little-endian) and the SHA-256 of its contents; zeros if it could not be read. The digest of
//! this tensor is `pictures_sha256`. The embeddings' own digest does not depend on it.
//!
//! The same embeddings of the same files give the same bytes.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use foreign_text::open_regular;
use memmap2::Mmap;
use pictures::PictureFile;
use runs::Identity;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tch::{Device, Kind, Tensor};

use crate::contents::{Contents, EncodedBatch};
use crate::error::Error;
use crate::file_writer::{
    Blocks, FORMAT, PICTURES, PICTURES_SHA256, TENSOR, Texts, VERSION, check_finite, write,
};
use crate::plan::Plan;
use crate::skipped::Skipped;
use crate::sources::{self, RECORD, Source, Verdict};

/// Returns why a finished file is not what the plan would make, one difference per line.
pub(crate) fn differences(plan: &Plan, found: &Embeddings) -> Vec<String> {
    let mut differences = plan.identity.differences(found.identity());
    let skipped: HashSet<&str> = found.skipped().iter().map(|one| one.name.as_str()).collect();
    let names = plan.names.iter().filter(|name| !skipped.contains(name.as_str()));
    if !names.eq(found.names()) {
        let (there, here) = (found.names().len() + found.skipped().len(), plan.names.len());
        differences.push(if there == here {
            "pictures: other names, or another order".to_owned()
        } else {
            format!("pictures: {there} there, {here} here")
        });
    }
    differences
}

/// Result of comparing a file's images with their present state.
pub(crate) struct Compared {
    /// Changed images, as indices in the plan's list.
    pub(crate) changed: Vec<usize>,
    /// True if the file of an unchanged image has another modification time.
    pub(crate) touched: bool,
}

/// File of embeddings, checked and in memory.
#[derive(Debug)]
pub struct Embeddings {
    path: PathBuf,
    contents: Contents,
    /// Index of each image in `contents.names` and then `contents.skipped`.
    indices: HashMap<String, usize>,
    identity: Identity,
    sha256: String,
    /// f32 `[images, dimension]` on the CPU.
    rows: Tensor,
}

impl Embeddings {
    /// Reads a file that [`crate::run`] finished, and checks it against its digest.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what cannot be read, is cut short or altered, of another version, or
    /// no file of embeddings at all.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::Damaged {
            path: path.to_owned(),
            reason: format!("cannot be read: {error}"),
            hint: "`capsmith precompute` and `import-features` make such files",
        };
        let file = open_regular(path).map_err(unreadable)?;
        // SAFETY: a finished file is replaced by renaming, never written to in place.
        let bytes = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Self::parse(path, &bytes).map_err(|reason| damaged(path, reason))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let not_whole = |error| format!("is not a complete safetensors file: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_whole)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err("is a safetensors file, but not one of embeddings".to_owned());
        }
        let version = text(&metadata, "version")?;
        if version != VERSION {
            return Err(format!(
                "is of version {version}, and this capsmith reads version {VERSION}"
            ));
        }
        let file = SafeTensors::deserialize(bytes).map_err(not_whole)?;
        let rows = file.tensor(TENSOR).map_err(|error| format!("is damaged: {error}"))?;
        let texts = Texts {
            names: text(&metadata, "names")?,
            skipped: text(&metadata, "skipped")?,
            identity: text(&metadata, "identity")?,
        };
        let mut sha256 = texts.digest();
        sha256.update(rows.data());
        let sha256 = hex::encode(sha256.finalize());
        if sha256 != text(&metadata, "sha256")? {
            return Err("is damaged: its contents do not match its digest".to_owned());
        }
        let is_finite = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_finite();
        if !rows.data().as_chunks().0.iter().all(is_finite) {
            return Err("has values that are infinite or no numbers".to_owned());
        }
        let names: Vec<String> = from_json(&texts.names, "names")?;
        let identity: Identity = from_json(&texts.identity, "identity")?;
        let skipped: Vec<Skipped> = from_json(&texts.skipped, "skipped")?;
        let sources = sources_of(&file, &metadata, names.len() + skipped.len())?;
        Ok(Self {
            path: path.to_owned(),
            indices: indices(&names, &skipped)?,
            rows: to_tensor(&rows, &[names.len(), identity.dimension])?,
            contents: Contents { names, skipped, sources },
            identity,
            sha256,
        })
    }

    /// Writes embeddings that were not made by [`crate::run`], all or nothing: `rows`, f32
    /// `[names, identity.dimension]` row by row, of the pictures called `names`.
    ///
    /// # Errors
    /// [`Error::Plan`] if numbers and names do not match or a name is repeated;
    /// [`Error::NotFinite`]; a file that cannot be written.
    pub fn save(
        path: &Path,
        identity: &Identity,
        names: &[&str],
        skipped: &[Skipped],
        rows: &[f32],
    ) -> Result<(), Error> {
        let dimension = identity.dimension;
        if dimension == 0 || Some(rows.len()) != names.len().checked_mul(dimension) {
            let (values, names) = (rows.len(), names.len());
            return Err(Error::Plan(format!(
                "{values} values are not the embeddings of {names} pictures, {dimension} each"
            )));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            return Err(Error::Plan(format!("there are two embeddings of {twice}")));
        }
        check_finite(names, rows, dimension)?;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let contents = Contents { names, skipped: skipped.to_vec(), sources: Vec::new() };
        let rows = || Blocks::new(std::iter::once(Ok(rows.to_vec())));
        Ok(write(path, identity, &contents, rows)?)
    }

    /// Writes other embeddings of the same pictures, all or nothing: `rows` `[images, dimension]`.
    ///
    /// # Errors
    /// [`Error::NotFinite`], or the file that cannot be written.
    pub(crate) fn with_rows(
        &self,
        path: &Path,
        identity: &Identity,
        rows: &Tensor,
    ) -> Result<(), Error> {
        let mut values = vec![0.0_f32; rows.numel()];
        rows.f_copy_data(&mut values, rows.numel())?;
        check_finite(&self.contents.names, &values, identity.dimension)?;
        let rows = || Blocks::new(std::iter::once(Ok(values.clone())));
        Ok(write(path, identity, &self.contents, rows)?)
    }

    /// Returns true if the file records the files of its images, so that changes are noticed.
    pub(crate) fn is_recorded(&self) -> bool {
        !self.contents.sources.is_empty()
    }

    /// Writes the file again with the present modification times of its images.
    pub(crate) fn rewrite(&self) -> Result<(), Error> {
        let all: Vec<usize> = (0..self.contents.names.len()).collect();
        let rows = || Blocks::new(all.chunks(ROWS_AT_ONCE).map(|rows| self.values(rows)));
        Ok(write(&self.path, &self.identity, &self.contents, rows)?)
    }

    /// Compares images of the plan with the files that they were made from.
    ///
    /// Forgets the images that have changed and renews the records of touched ones. Returns `None`
    /// if `stop` was raised meanwhile.
    pub(crate) fn compare(
        &mut self,
        plan: &Plan,
        images: Range<usize>,
        progress: impl FnMut(usize, usize),
        stop: &AtomicBool,
    ) -> Option<Compared> {
        let index = |image: usize| self.indices.get(&plan.names[image]);
        let record = |image| Some((image, *self.contents.sources.get(*index(image)?)?));
        let records: Vec<_> = images.filter_map(record).collect();
        let verdicts = sources::compare(&records, |image| plan.file(image), progress, stop)?;
        let mut compared = Compared { changed: Vec::new(), touched: false };
        for ((image, _), verdict) in records.into_iter().zip(verdicts) {
            match verdict {
                Verdict::Same => {}
                Verdict::Touched(record) => {
                    self.contents.sources[self.indices[&plan.names[image]]] = Some(record);
                    compared.touched = true;
                }
                Verdict::Changed => {
                    self.indices.remove(&plan.names[image]);
                    compared.changed.push(image);
                }
            }
        }
        Some(compared)
    }

    /// Returns a batch of the plan; `None` if one of its images is missing or was forgotten.
    pub(crate) fn batch(&self, plan: &Plan, batch: usize) -> Result<Option<EncodedBatch>, Error> {
        let index = |name: &String| self.indices.get(name).copied();
        let images = plan.names[plan.batch(batch)].iter().map(index);
        let Some(images) = images.collect::<Option<Vec<usize>>>() else { return Ok(None) };
        let Contents { names, skipped, sources } = &self.contents;
        let (rows, without): (Vec<_>, Vec<_>) =
            images.into_iter().partition(|&image| image < names.len());
        let contents = Contents {
            names: rows.iter().map(|&row| names[row].clone()).collect(),
            skipped: without.iter().map(|&image| skipped[image - names.len()].clone()).collect(),
            sources: rows.iter().chain(&without).map(|&image| sources[image]).collect(),
        };
        Ok(Some(EncodedBatch { contents, rows: self.values(&rows)? }))
    }

    /// Returns the skipped images that were not forgotten.
    pub(crate) fn still_skipped(&self) -> Vec<Skipped> {
        let is_known = |one: &&Skipped| self.indices.contains_key(&one.name);
        self.contents.skipped.iter().filter(is_known).cloned().collect()
    }

    /// Returns the values of all rows.
    pub(crate) fn all_values(&self) -> Result<Vec<f32>, Error> {
        self.values(&(0..self.contents.names.len()).collect::<Vec<_>>())
    }

    /// Fails if an image has changed since its embedding was made.
    ///
    /// `find` returns the file of each of the images `names`. If only the modification time of a
    /// file differs, its contents are compared, but of no more than a few thousand files.
    ///
    /// # Errors
    /// [`Error::PicturesChanged`] names the pictures.
    pub fn check_pictures<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        find: impl Fn(usize) -> PictureFile + Sync,
    ) -> Result<(), Error> {
        let names: Vec<&str> = names.collect();
        let source = |name: &&str| self.contents.sources.get(self.row_of(name)?).copied();
        let with_row = |(index, name)| Some((index, source(name)?));
        let records: Vec<_> = names.iter().enumerate().filter_map(with_row).collect();
        let changed = sources::sampled_changes(&records, find);
        if changed.is_empty() {
            return Ok(());
        }
        let pictures = changed.into_iter().map(|index| names[index].to_owned()).collect();
        Err(Error::PicturesChanged { path: self.path.clone(), pictures })
    }

    /// Returns the values of some rows, one row after the other.
    fn values(&self, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let rows = self.rows.f_index_select(0, &Tensor::f_from_slice(&rows)?)?;
        let mut values = vec![0.0; rows.numel()];
        rows.f_copy_data(&mut values, rows.numel())?;
        Ok(values)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of the images in the order of the rows.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.contents.names
    }

    /// Returns the row of an image; `None` if it has no embedding.
    #[must_use]
    pub fn row_of(&self, name: &str) -> Option<usize> {
        self.indices.get(name).copied().filter(|&index| index < self.contents.names.len())
    }

    /// Returns the images that were left out, with the reasons.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.contents.skipped
    }

    /// Returns the model, preprocessing and data set of the embeddings.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the number of values in one embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.identity.dimension
    }

    /// Returns the SHA-256 of names, identity and values, in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns all embeddings on `device`, f32 `[images, dimension]`.
    ///
    /// On the CPU the tensor shares the memory of this value: do not change it in place.
    ///
    /// # Errors
    /// [`Error::Torch`] when the device has no memory for it.
    pub fn tensor(&self, device: Device) -> Result<Tensor, Error> {
        Ok(self.rows.f_to_device(device)?)
    }
}

/// Number of rows that are copied at once.
const ROWS_AT_ONCE: usize = 1024;

fn damaged(path: &Path, reason: String) -> Error {
    let hint = "`capsmith precompute` and `import-features` make such files; they overwrite none, so name another or move this one away";
    Error::Damaged { path: path.to_owned(), reason, hint }
}

fn text(metadata: &HashMap<String, String>, key: &str) -> Result<String, String> {
    metadata.get(key).cloned().ok_or_else(|| format!("is damaged: its metadata has no {key}"))
}

fn from_json<T: DeserializeOwned>(text: &str, key: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("is damaged: in its {key}, {error}"))
}

fn sources_of(
    file: &SafeTensors,
    metadata: &HashMap<String, String>,
    pictures: usize,
) -> Result<Vec<Source>, String> {
    // The tensor and its digest are both there, or neither is.
    if !metadata.contains_key(PICTURES_SHA256) && !file.names().contains(&PICTURES) {
        return Ok(Vec::new());
    }
    let digest = text(metadata, PICTURES_SHA256)?;
    let tensor = file.tensor(PICTURES).map_err(|error| format!("is damaged: {error}"))?;
    let (records, rest) = tensor.data().as_chunks::<RECORD>();
    if tensor.dtype() != Dtype::U8 || records.len() != pictures || !rest.is_empty() {
        return Err(format!("is damaged: it does not tell the files of {pictures} pictures"));
    }
    if hex::encode(Sha256::digest(tensor.data())) != digest {
        return Err("is damaged: the files of its pictures do not match their digest".to_owned());
    }
    Ok(records.iter().map(sources::parse).collect())
}

fn indices(names: &[String], skipped: &[Skipped]) -> Result<HashMap<String, usize>, String> {
    let mut indices = HashMap::with_capacity(names.len() + skipped.len());
    let all = names.iter().chain(skipped.iter().map(|skipped| &skipped.name));
    for (index, name) in all.enumerate() {
        if indices.insert(name.clone(), index).is_some() {
            return Err(format!("has two embeddings of {name}"));
        }
    }
    Ok(indices)
}

fn to_tensor(rows: &TensorView, shape: &[usize; 2]) -> Result<Tensor, String> {
    if rows.dtype() != Dtype::F32 || rows.shape() != shape {
        let (dtype, found) = (rows.dtype(), rows.shape());
        return Err(format!("holds {dtype} {found:?} where its metadata says F32 {shape:?}"));
    }
    let shape = shape.map(|size| size as i64);
    Tensor::f_from_data_size(rows.data(), &shape, Kind::Float).map_err(|error| error.to_string())
}
