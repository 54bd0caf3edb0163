//! Reader of safetensors files, as `safetensors.torch` writes them.
//!
//! A file holds named tensors; of tensors that share their values it holds only one.

use bytes::Bytes;
use safetensors::SafeTensors;

use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::tensor::{Layout, Tensor, contiguous_strides};

/// Size of the JSON header's length, which precedes the header.
const HEADER: usize = size_of::<u64>();

/// Longest header that safetensors allows.
const MAX_HEADER: u64 = 100_000_000;

/// Returns whether the file begins with a header's length and a JSON header.
///
/// No pickle and no archive begins like this.
pub(crate) fn is_one(input: &[u8]) -> bool {
    let Some((length, header)) = input.split_first_chunk::<HEADER>() else { return false };
    header.first() == Some(&b'{') && u64::from_le_bytes(*length) <= MAX_HEADER
}

/// Tensor with its name, or a description if its type is not supported.
pub(crate) type Entry = (String, Result<Tensor, &'static str>);

/// Reads tensors in the order of their values.
///
/// `safetensors.torch.save_model` omits a tensor that shares the values of another one and names
/// both in the header. This function returns both.
pub(crate) fn read(input: &Bytes) -> Result<Vec<Entry>, Problem> {
    let (length, header) = SafeTensors::read_metadata(input).map_err(|error| {
        Problem::Content(format!(
            "is not a complete safetensors file: {error}\n\
             hint: fetch or copy the file again; it may be truncated"
        ))
    })?;
    let values = HEADER + length;
    let mut entries = Vec::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else { continue };
        let (start, end) = info.data_offsets;
        let storage = input.slice(values + start..values + end);
        let tensor = match Dtype::of_name(&info.dtype.to_string().to_lowercase()) {
            Some(dtype) => Ok(tensor(dtype, &info.shape, storage).map_err(|reason| {
                Problem::Content(format!("tensor {}: {reason}", shown(&name)))
            })?),
            None => Err("tensor of a type that is not read"),
        };
        entries.push((name, tensor));
    }
    let mut copies: Vec<Entry> = Vec::new();
    for (removed, kept) in header.metadata().iter().flatten() {
        let find = |key: &String| entries.iter().find(|(name, _)| name == key);
        if let (None, Some((_, tensor))) = (find(removed), find(kept)) {
            copies.push((removed.clone(), tensor.clone()));
        }
    }
    copies.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.append(&mut copies);
    Ok(entries)
}

fn tensor(dtype: Dtype, shape: &[usize], storage: Bytes) -> Result<Tensor, String> {
    let elements = storage.len() / dtype.size();
    let shape: Vec<i128> = shape.iter().map(|&size| size as i128).collect();
    let layout = Layout::new(0, &shape, &contiguous_strides(&shape, false), elements)?;
    Ok(Tensor::new(dtype, layout, storage))
}
