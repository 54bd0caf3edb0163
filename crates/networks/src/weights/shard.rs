//! One file of a checkpoint, in safetensors or `torch.save` format.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use foreign_text::open_regular;
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::Metadata;
use tch::Kind;
use torch_files::{Dtype, StateDict};

use super::dtype::kind_of;
use super::error::{WeightsError, io_error};

/// First bytes of a Git LFS pointer file.
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// File name extensions of PyTorch checkpoints.
const TORCH_EXTENSIONS: [&str; 4] = ["bin", "pt", "pth", "ckpt"];

/// Memory-mapped file with a validated header.
#[derive(Debug)]
pub(super) struct Shard {
    pub path: PathBuf,
    /// Bytes of the whole file.
    pub bytes: Mmap,
    format: Format,
}

#[derive(Debug)]
enum Format {
    /// Header, and offset of the values in bytes from the start of the file.
    Safetensors { header: Metadata, values: usize },
    /// Tensors by name. The pickle is parsed, not executed.
    Torch(BTreeMap<String, torch_files::Tensor>),
}

/// Shape, type and values of a tensor in a file.
pub(super) struct Stored<'a> {
    pub shape: Vec<i64>,
    /// `None` for an unsupported type.
    pub kind: Option<Kind>,
    /// Name of the type.
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
        // SAFETY: the map is read-only and private to this struct. `Checkpoint`'s documentation
        // requires that nobody truncates the file meanwhile.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io_error(path))?;
        if bytes.starts_with(LFS_POINTER) {
            return Err(WeightsError::LfsPointer(path.to_owned()));
        }
        let format = if is_torch(path, &bytes) {
            let dict = StateDict::load(path)?;
            let tensors = dict.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
            Format::Torch(tensors.collect())
        } else {
            // Validates every length and offset against the file size before anything is allocated.
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

    /// Returns the header's metadata.
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
    /// Returns the values in row-major order, little-endian.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        match self.tensor {
            Values::Bytes(bytes) => Cow::Borrowed(bytes),
            Values::Torch(tensor) => tensor.bytes(),
        }
    }
}

/// Detects `torch.save`'s format: a zip archive or a pickle.
///
/// In a safetensors file, `{` follows the eight bytes of the header's length.
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
