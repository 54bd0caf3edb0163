//! Checkpoint on disk: a single file, or a Hugging Face folder with one or more files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use foreign_text::{printable_path, python_json, read_text};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::error::{WeightsError, io_error};
use super::finite;
use super::shard::{Shard, Stored};
use crate::transfer;

/// File names of a folder's weights, in transformers' order of preference, each with true if the
/// file is an index of shards.
const WHOLE_OR_INDEX: [(&str, bool); 4] = [
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

/// Memory-mapped checkpoint that reads one tensor at a time.
///
/// The files must not change while the checkpoint is open. [`super::save`] is safe: it replaces a
/// file atomically.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    /// Index into `shards` by tensor name.
    names: BTreeMap<String, usize>,
    /// Stored name by alias.
    aliases: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a safetensors or PyTorch file, or a folder with `model.safetensors` or
    /// `pytorch_model.bin`, single or sharded with an index.
    ///
    /// Checks headers, but reads no values and executes no pickle.
    ///
    /// # Errors
    /// Fails if a file is missing, damaged, truncated, or contradicts the index.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        tracing::debug!("weights {}", printable_path(path));
        let attributes = fs::metadata(path).map_err(io_error(path))?;
        if !attributes.is_dir() {
            return Self::from_shards(path, vec![Shard::open(path)?]);
        }
        for (name, is_index) in WHOLE_OR_INDEX {
            let file = path.join(name);
            if file.exists() {
                return if is_index {
                    Self::open_index(path, &file)
                } else {
                    Self::from_shards(path, vec![Shard::open(&file)?])
                };
            }
        }
        Err(WeightsError::NoWeights(path.to_owned()))
    }

    fn open_index(folder: &Path, path: &Path) -> Result<Self, WeightsError> {
        let wrong = |reason: String| WeightsError::Index { path: path.to_owned(), reason };
        let text = read_text(path).map_err(io_error(path))?;
        let index: ShardIndex = serde_json::from_str(&python_json(&text))
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
            if shard.is_none_or(|shard| shard.find(name).is_none()) {
                return Err(wrong(format!(
                    "tensor {name} is not in {file}, contrary to the index"
                )));
            }
        }
        Self::from_shards(folder, shards)
    }

    fn from_shards(path: &Path, shards: Vec<Shard>) -> Result<Self, WeightsError> {
        let mut names = BTreeMap::new();
        let mut metadata = BTreeMap::new();
        for (place, shard) in shards.iter().enumerate() {
            metadata.extend(shard.metadata());
            for name in shard.names() {
                if names.insert(name.clone(), place).is_some() {
                    let reason = format!("tensor {name} is in two shards");
                    return Err(WeightsError::Index { path: shard.path.clone(), reason });
                }
            }
        }
        let aliases = aliases(&names, &metadata);
        Ok(Self { path: path.to_owned(), shards, names, aliases, metadata })
    }

    /// Returns the path of the file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of all tensors in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Returns the shape of a tensor; `None` if it does not exist.
    #[must_use]
    pub fn shape(&self, name: &str) -> Option<Vec<i64>> {
        Some(self.find(name)?.1.shape)
    }

    /// Returns the type of a tensor; `None` if it does not exist or its type is unsupported.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.find(name)?.1.kind
    }

    /// Returns the header's metadata (`__metadata__`), merged over all shards.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Reads one tensor onto `device`, in the file's own type.
    ///
    /// # Errors
    /// Fails if the tensor is absent, of an unsupported type, or exhausts memory.
    pub fn tensor(&self, name: &str, device: Device) -> Result<Tensor, WeightsError> {
        let (shard, stored, kind) = self.stored(name)?;
        Self::read(shard, name, &stored.bytes(), &stored.shape, kind, device)
    }

    /// Reads one tensor as [`Self::tensor`] does and checks that it can be converted to `to`.
    ///
    /// # Errors
    /// Same as [`Self::tensor`], and if a value is NaN or infinite, in the file or as `to`.
    pub(crate) fn finite_tensor(
        &self,
        name: &str,
        device: Device,
        to: Kind,
    ) -> Result<Tensor, WeightsError> {
        let (shard, stored, kind) = self.stored(name)?;
        let bytes = stored.bytes();
        finite::check(&shard.path, name, &bytes, kind, to)?;
        Self::read(shard, name, &bytes, &stored.shape, kind, device)
    }

    fn read(
        shard: &Shard,
        name: &str,
        bytes: &[u8],
        shape: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<Tensor, WeightsError> {
        // The copy to a GPU is asynchronous; the host continues with the next tensor.
        let tensor = Tensor::f_from_data_size(bytes, shape, kind)
            .and_then(|tensor| transfer::to_device(&tensor, device));
        tensor.map_err(|source| WeightsError::Tensor {
            path: shard.path.clone(),
            name: name.to_owned(),
            source,
        })
    }

    fn stored(&self, name: &str) -> Result<(&Shard, Stored<'_>, Kind), WeightsError> {
        let (shard, stored) = self.find(name).ok_or_else(|| WeightsError::NoSuchTensor {
            path: self.path.clone(),
            name: name.to_owned(),
        })?;
        let kind = stored.kind.ok_or_else(|| WeightsError::Dtype {
            path: shard.path.clone(),
            name: name.to_owned(),
            dtype: stored.dtype.clone(),
        })?;
        Ok((shard, stored, kind))
    }

    /// Returns the SHA-256 of the checkpoint's bytes in hexadecimal, independent of file names.
    ///
    /// For a single file this is `sha256sum`'s output; for shards the hash of their concatenation
    /// in the order of file names. Reads everything.
    #[must_use]
    pub fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        for shard in &self.shards {
            hasher.update(&shard.bytes);
        }
        hex::encode(hasher.finalize())
    }

    fn find(&self, name: &str) -> Option<(&Shard, Stored<'_>)> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        let shard = self.shards.get(*self.names.get(name)?)?;
        Some((shard, shard.find(name)?))
    }
}

/// Returns stored names by alias, as listed in a safetensors header.
///
/// `safetensors.torch.save_model` stores one of several tensors that share their values, and lists
/// the names of the others in the metadata.
fn aliases(
    names: &BTreeMap<String, usize>,
    metadata: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let is_alias = |(alias, kept): &(&String, &String)| {
        names.contains_key(*kept) && !names.contains_key(*alias)
    };
    metadata.iter().filter(is_alias).map(|(alias, kept)| (alias.clone(), kept.clone())).collect()
}

/// Index of shards: file name by tensor name.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Returns true if `name` is a plain file name without path separators or `..`.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.ends_with('/')
}
