//! Atomic writing of safetensors files.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};
use tch::{Device, TchError, Tensor};

use super::dtype::dtype_of;
use super::error::WeightsError;

const METADATA: &str = "__metadata__";

/// Writes `tensors` and `metadata` to `path` durably and atomically.
///
/// Tensors may be on any device; they are copied to the host one at a time. The bytes do not depend
/// on the order of tensors and metadata.
///
/// # Errors
/// Fails for a name used twice, an unsupported type, or an I/O error. A previous file at `path` is
/// then unchanged.
pub fn save(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), WeightsError> {
    let entries = entries(path, tensors)?;
    let header = header(path, &entries, metadata)?;
    durable::write_with(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        entries.iter().try_for_each(|entry| {
            let bytes = bytes_of(entry.tensor)
                .map_err(|error| io::Error::other(format!("tensor {}: {error}", entry.name)))?;
            file.write_all(&bytes)
        })
    })?;
    Ok(())
}

/// Writes tensors atomically as a safetensors file that transformers can read too.
///
/// # Errors
/// Same as [`save`].
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), WeightsError> {
    save(path, tensors, &metadata_of_transformers())
}

/// Returns the metadata without which transformers rejects a file.
#[must_use]
pub fn metadata_of_transformers() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_owned(), "pt".to_owned())])
}

struct Entry<'a> {
    name: &'a str,
    tensor: &'a Tensor,
    dtype: Dtype,
}

impl Entry<'_> {
    fn bytes(&self) -> usize {
        self.tensor.numel() * self.dtype.bitsize() / 8
    }
}

/// Returns the tensors in file order: widest type first, for alignment, then by name.
fn entries<'a>(
    path: &Path,
    tensors: &'a [(String, Tensor)],
) -> Result<Vec<Entry<'a>>, WeightsError> {
    let mut entries = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let unsupported = |dtype: String| WeightsError::Dtype {
            path: path.to_owned(),
            name: name.clone(),
            dtype,
        };
        let kind = tensor.f_kind().map_err(|error| unsupported(error.to_string()))?;
        let dtype = dtype_of(kind).ok_or_else(|| unsupported(format!("{kind:?}")))?;
        entries.push(Entry { name: name.as_str(), tensor, dtype });
    }
    entries.sort_by(|a, b| b.dtype.cmp(&a.dtype).then(a.name.cmp(b.name)));
    Ok(entries)
}

/// Returns the header's JSON, padded with spaces to a multiple of eight bytes.
///
/// The `safetensors` crate's writer is not used because its order of metadata is random.
fn header(
    path: &Path,
    entries: &[Entry],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let mut fields = Map::new();
    let texts = metadata.iter().map(|(key, text)| (key.clone(), Value::from(text.as_str())));
    fields.insert(METADATA.to_owned(), Value::Object(texts.collect()));
    let mut offset = 0;
    for entry in entries {
        let info = TensorInfo {
            dtype: entry.dtype,
            shape: entry.tensor.size().iter().map(|&size| size as usize).collect(),
            data_offsets: (offset, offset + entry.bytes()),
        };
        offset += entry.bytes();
        let info = serde_json::to_value(info)
            .map_err(|error| WeightsError::Io { path: path.to_owned(), source: error.into() })?;
        if fields.insert(entry.name.to_owned(), info).is_some() {
            let name = entry.name.to_owned();
            return Err(WeightsError::Name { path: path.to_owned(), name });
        }
    }
    let mut text = Value::Object(fields).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(size_of::<u64>()), b' ');
    Ok(text)
}

/// Returns a tensor's values in row-major order, in the host's byte order (little-endian).
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let count = tensor.numel();
    let mut bytes = vec![0; count * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, count)?;
    Ok(bytes)
}
