//! One file of a checkpoint: safetensors, or what `torch.save` wrote.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foreign_text::open_regular;
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use tch::Kind;
use torch_files::{Dtype, StateDict};

use super::{WeightsError, io_error, kind_of};

/// First bytes of a Git LFS pointer, in a file whose contents were not fetched.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// The names that PyTorch's own files end in.
const TORCH_EXTENSIONS: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// One mapped file with its checked header.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    /// The whole file.
    pub bytes: Mmap,
    format: Format,
}

#[derive(Debug)]
enum Format {
    /// The header, and where the values begin, in bytes from the start of the file.
    Safetensors { header: Metadata, values: usize },
    /// Tensors by name. Nothing of the pickle is executed.
    Torch(BTreeMap<String, torch_files::Tensor>),
}

/// Shape, type and values of a tensor in a file.
pub(super) struct Stored<'a> {
    pub shape: Vec<i64>,
    /// None for a type that is not supported.
    pub kind: Option<Kind>,
    /// The type's name.
    pub dtype: String,
    tensor: Values<'a>,
}

enum Values<'a> {
    Bytes(&'a [u8]),
    Torch(&'a torch_files::Tensor),
}

impl Shard {
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        let file = open_regular(path).map_err(io_error(path))?;
        // SAFETY: the map is read-only and private to this struct; that nobody cuts the file short
        // meanwhile is asked of the caller in the documentation of `Checkpoint`.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io_error(path))?;
        if bytes.starts_with(LFS_POINTER) {
            return Err(WeightsError::LfsPointer(path.to_owned()));
        }
        let format = if is_torch(path, &bytes) {
            let dict = StateDict::load(path)?;
            let tensors = dict.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
            Format::Torch(tensors.collect())
        } else {
            // Bounds every length and offset by the file, before anything is allocated from them.
            let (length, header) = SafeTensors::read_metadata(&bytes)
                .map_err(|source| WeightsError::Damaged { path: path.to_owned(), source })?;
            Format::Safetensors { header, values: size_of::<u64>() + length }
        };
        Ok(Self { path: path.to_owned(), bytes, format })
    }

    /// Returns the names of all tensors.
    pub fn names(&self) -> Vec<String> {
        match &self.format {
            Format::Safetensors { header, .. } => header.offset_keys(),
            Format::Torch(tensors) => tensors.keys().cloned().collect(),
        }
    }

    /// Returns the free text of the header.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        match &self.format {
            Format::Safetensors { header, .. } => {
                header.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
            }
            Format::Torch(_) => BTreeMap::new(),
        }
    }

    pub fn find(&self, name: &str) -> Option<Stored<'_>> {
        Some(match &self.format {
            Format::Safetensors { header, values } => {
                let info = header.info(name)?;
                let (start, end) = info.data_offsets;
                Stored {
                    shape: info.shape.iter().map(|&size| size as i64).collect(),
                    kind: kind_of(info.dtype),
                    dtype: info.dtype.to_string(),
                    tensor: Values::Bytes(&self.bytes[values + start..values + end]),
                }
            }
            Format::Torch(tensors) => {
                let tensor = tensors.get(name)?;
                Stored {
                    shape: tensor.shape().iter().map(|&size| size as i64).collect(),
                    kind: torch_kind(tensor.dtype()),
                    dtype: tensor.dtype().to_string(),
                    tensor: Values::Torch(tensor),
                }
            }
        })
    }
}

impl<'a> Stored<'a> {
    /// Returns the values in row order, little-endian.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match self.tensor {
            Values::Bytes(bytes) => Cow::Borrowed(bytes),
            Values::Torch(tensor) => tensor.bytes(),
        }
    }
}

/// Recognises what `torch.save` writes: a zip archive or a pickle. A safetensors file has the `{` of
/// its header behind the header's length of eight bytes.
fn is_torch(path: &Path, bytes: &[u8]) -> bool {
    if bytes.get(size_of::<u64>()) == Some(&b'{') {
        return false;
    }
    let is_named_so = || {
        path.extension().is_some_and(|extension| TORCH_EXTENSIONS.iter().any(|e| extension == *e))
    };
    bytes.starts_with(b"PK\x03\x04") || bytes.first() == Some(&0x80) || is_named_so()
}

fn torch_kind(dtype: Dtype) -> Option<Kind> {
    Some(match dtype {
        Dtype::F16 => Kind::Half,
        Dtype::BF16 => Kind::BFloat16,
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I32 => Kind::Int,
        Dtype::I64 => Kind::Int64,
        Dtype::U8 => Kind::Uint8,
        Dtype::Bool => Kind::Bool,
        Dtype::I8 | Dtype::I16 => return None,
    })
}
