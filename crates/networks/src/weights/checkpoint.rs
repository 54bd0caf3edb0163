//! A safetensors checkpoint: one file, or a Hugging Face folder of one or several.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::{WeightsError, kind_of};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Tensors on disk, mapped into memory and read one at a time.
///
/// The files must not change while the checkpoint is open. Files written by [`super::save`] never
/// do: a later save puts a new file in their place.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    /// Tensor name to its shard's place in `shards`.
    names: BTreeMap<String, usize>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a safetensors file, or a folder that holds `model.safetensors` or
    /// `model.safetensors.index.json` with its shards. Headers are checked, values are not read.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, cut short, or not what the index says.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let attributes = fs::metadata(path).map_err(io_error(path))?;
        if !attributes.is_dir() {
            return Self::from_shards(path, vec![Shard::open(path)?]);
        }
        if path.join(WHOLE).exists() {
            return Self::from_shards(path, vec![Shard::open(&path.join(WHOLE))?]);
        }
        if path.join(INDEX).exists() {
            return Self::open_index(path);
        }
        Err(WeightsError::NoWeights(path.to_owned()))
    }

    fn open_index(folder: &Path) -> Result<Self, WeightsError> {
        let path = folder.join(INDEX);
        let wrong = |reason: String| WeightsError::Index { path: path.clone(), reason };
        let text = fs::read(&path).map_err(io_error(&path))?;
        let index: ShardIndex = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("not an index of shards: {error}")))?;
        let files: BTreeSet<&String> = index.weight_map.values().collect();
        let mut shards = Vec::with_capacity(files.len());
        for file in files {
            if !is_plain_name(file) {
                return Err(wrong(format!("shard {file:?} is not a file name in this folder")));
            }
            shards.push(Shard::open(&folder.join(file))?);
        }
        for (name, file) in &index.weight_map {
            let shard = shards.iter().find(|shard| shard.path.ends_with(file));
            if shard.is_none_or(|shard| shard.header.info(name).is_none()) {
                return Err(wrong(format!("tensor {name} is not in {file}, where it should be")));
            }
        }
        Self::from_shards(folder, shards)
    }

    fn from_shards(path: &Path, shards: Vec<Shard>) -> Result<Self, WeightsError> {
        let mut names = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (place, shard) in shards.iter().enumerate() {
            metadata.extend(shard.header.metadata().clone().unwrap_or_default());
            for name in shard.header.offset_keys() {
                if names.insert(name.clone(), place).is_some() {
                    let reason = format!("tensor {name} is in another shard too");
                    return Err(WeightsError::Index { path: shard.path.clone(), reason });
                }
            }
        }
        Ok(Self { path: path.to_owned(), shards, names, metadata })
    }

    /// The file or folder that was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// The shape of a tensor; none where there is no such tensor.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.find(name)?.1.shape.iter().map(|&size| size as i64).collect())
    }

    /// The type of a tensor; none where there is no such tensor or its type is not supported.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<Kind> {
        kind_of(self.find(name)?.1.dtype)
    }

    /// The header's free text (`__metadata__`), of all shards together.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor onto `device`, in the file's own type.
    ///
    /// # Errors
    /// Names the file and the tensor where it is absent, of an unsupported type, or too large.
    pub fn tensor(&self, name: &str, device: Device) -> Result<Tensor, WeightsError> {
        let (shard, info) = self.find(name).ok_or_else(|| WeightsError::NoSuchTensor {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        let kind = kind_of(info.dtype).ok_or_else(|| WeightsError::Dtype {
            path: shard.path.clone(),
            name: name.to_owned(),
            dtype: info.dtype.to_string(),
        })?;
        let refused = |source| WeightsError::Tensor {
            path: shard.path.clone(),
            name: name.to_owned(),
            source,
        };
        let shape: Vec<i64> = info.shape.iter().map(|&size| size as i64).collect();
        Tensor::f_from_data_size(shard.bytes_of(info), &shape, kind)
            .and_then(|tensor| tensor.f_to_device(device))
            .map_err(refused)
    }

    /// What these weights are, whatever they are called: the SHA-256 of the file's bytes in
    /// hexadecimal, as `sha256sum` prints it; for several shards, of their bytes one after another
    /// in the order of their file names. Reads everything.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        for shard in &self.shards {
            hasher.update(&shard.bytes);
        }
        hex::encode(hasher.finalize())
    }

    fn find(&self, name: &str) -> Option<(&Shard, &TensorInfo)> {
        let shard = self.shards.get(*self.names.get(name)?)?;
        Some((shard, shard.header.info(name)?))
    }
}

/// `model.safetensors.index.json`: which tensor lies in which file.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// One mapped file with its checked header.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    bytes: Mmap,
    header: Metadata,
    /// Where the values begin, in bytes from the start of the file.
    values: usize,
}

impl Shard {
    fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = File::open(path).map_err(io_error(path))?;
        // A folder or a pipe can be opened, but not mapped.
        if !file.metadata().map_err(io_error(path))?.is_file() {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
            return Err(WeightsError::Io { path: path.to_owned(), source });
        }
        // SAFETY: the map is read-only and private to this struct; that nobody cuts the file short
        // meanwhile is asked of the caller in the type's documentation.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io_error(path))?;
        // Bounds every length and offset by the file, before anything is allocated from them.
        let (length, header) = SafeTensors::read_metadata(&bytes)
            .map_err(|source| WeightsError::Damaged { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), bytes, header, values: size_of::<u64>() + length })
    }

    fn bytes_of(&self, info: &TensorInfo) -> &[u8] {
        let (start, end) = info.data_offsets;
        &self.bytes[self.values + start..self.values + end]
    }
}

/// Whether `name` is a file of the folder itself: no way up, no way down, no root.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.ends_with('/')
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> WeightsError {
    let path = path.to_owned();
    move |source| WeightsError::Io { path, source }
}
