//! A checkpoint: one file, or a Hugging Face folder of one or several.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use foreign_text::{python_json, read_text};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tch::{Device, Kind, Tensor};

use super::shard::{Shard, Stored};
use super::{WeightsError, finite, io_error};
use crate::transfer;

/// The files that may hold a folder's weights, in the order in which transformers looks for them.
const WHOLE_OR_INDEX: [(&str, bool); 4] = [
    ("model.safetensors", false),
    ("model.safetensors.index.json", true),
    ("pytorch_model.bin", false),
    ("pytorch_model.bin.index.json", true),
];

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
    /// Names of tensors that are stored under another name.
    aliases: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a file of safetensors or of PyTorch, or a folder that holds `model.safetensors` or
    /// `pytorch_model.bin`, or one of both in shards with their index. Headers are checked, values
    /// are not read, and no pickle is executed.
    ///
    /// # Errors
    /// Names the file that is missing, damaged, cut short, or not what the index says.
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
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
                return Err(wrong(format!("tensor {name} is not in {file}, where it should be")));
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
                    let reason = format!("tensor {name} is in another shard too");
                    return Err(WeightsError::Index { path: shard.path.clone(), reason });
                }
            }
        }
        let aliases = aliases(&names, &metadata);
        Ok(Self { path: path.to_owned(), shards, names, aliases, metadata })
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
        Some(self.find(name)?.1.shape)
    }

    /// The type of a tensor; none where there is no such tensor or its type is not supported.
    #[must_use]
    pub fn kind(&self, name: &str) -> Option<Kind> {
        self.find(name)?.1.kind
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
        let (shard, stored, kind) = self.stored(name)?;
        Self::read(shard, name, &stored.bytes(), &stored.shape, kind, device)
    }

    /// Reads one tensor as [`Self::tensor`], to be converted to the type `to`.
    ///
    /// # Errors
    /// As [`Self::tensor`]; also where a value is infinite or not a number, or would be as `to`.
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
        // A GPU copies in its own time, and the host goes on with the next tensor.
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

    fn find(&self, name: &str) -> Option<(&Shard, Stored<'_>)> {
        let name = self.aliases.get(name).map_or(name, String::as_str);
        let shard = self.shards.get(*self.names.get(name)?)?;
        Some((shard, shard.find(name)?))
    }
}

/// Returns the other names of tensors by a safetensors header: `safetensors.torch.save_model` writes one of
/// several tensors that share their values, and notes the names of the others in the metadata.
fn aliases(
    names: &BTreeMap<String, usize>,
    metadata: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let is_alias = |(alias, kept): &(&String, &String)| {
        names.contains_key(*kept) && !names.contains_key(*alias)
    };
    metadata.iter().filter(is_alias).map(|(alias, kept)| (alias.clone(), kept.clone())).collect()
}

/// An index of shards: which tensor lies in which file.
#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// Whether `name` is a file of the folder itself: no way up, no way down, no root.
fn is_plain_name(name: &str) -> bool {
    let mut components = Path::new(name).components();
    matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.ends_with('/')
}
