//! Writing tensors as one safetensors file, all or nothing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value};
use tch::{Device, TchError, Tensor};

use super::{WeightsError, dtype_of};

const METADATA: &str = "__metadata__";

/// Writes `tensors` and `metadata` to `path`, durably and all or nothing.
///
/// Tensors may lie on any device; one at a time is copied to the processor. The same tensors and
/// metadata give the same bytes, whatever the order they come in.
///
/// # Errors
/// Names the file: a name used twice, a type the format does not hold here, no space. Whatever was
/// at `path` before is then still there.
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

/// Writes tensors as a safetensors file that transformers reads too, all or nothing.
///
/// # Errors
/// Names the file.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<(), WeightsError> {
    // transformers refuses a file that does not say which framework wrote it.
    save(path, tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())]))
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

/// The tensors in the order of the file: widest type first, so that every tensor is aligned, then
/// by name.
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

/// The header's JSON, padded with spaces to eight bytes as the format asks. Not the `safetensors`
/// crate's own, which puts the metadata in another order each time.
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

/// A tensor's values in row order, little-endian as the machine's own.
fn bytes_of(tensor: &Tensor) -> Result<Vec<u8>, TchError> {
    let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
    let count = tensor.numel();
    let mut bytes = vec![0; count * tensor.f_kind()?.elt_size_in_bytes()];
    tensor.f_copy_data_u8(&mut bytes, count)?;
    Ok(bytes)
}
