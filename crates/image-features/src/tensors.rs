//! Features in a safetensors file, capsmith's own embeddings files included.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use crate::{Rows, listed};

/// Tensors that hold features, if there are several tensors.
const FEATURES: [&str; 2] = ["features", "embeddings"];

/// Reads the features, and the names in the metadata unless a text file has them.
pub(crate) fn read(bytes: &[u8], named_elsewhere: bool) -> Result<(Rows, Vec<String>), String> {
    let damaged = |error| format!("is not a complete safetensors file: {error}");
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut found = file.names();
    found.sort_unstable();
    let name = match *found {
        [only] => only,
        _ => *FEATURES.iter().find(|name| found.contains(name)).ok_or_else(|| {
            format!("has no tensor \"features\"; it holds {}", listed(found.iter().copied()))
        })?,
    };
    let tensor = file.tensor(name).map_err(damaged)?;
    let [_, dimension] = *tensor.shape() else {
        return Err(format!(
            "the tensor {name} has the shape {:?}, not [pictures, values]",
            tensor.shape()
        ));
    };
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F64 => {
            data.as_chunks().0.iter().map(|all| f64::from_le_bytes(*all) as f32).collect()
        }
        Dtype::F32 => data.as_chunks().0.iter().map(|all| f32::from_le_bytes(*all)).collect(),
        Dtype::F16 => {
            data.as_chunks().0.iter().map(|all| f16::from_le_bytes(*all).to_f32()).collect()
        }
        Dtype::BF16 => {
            data.as_chunks().0.iter().map(|all| bf16::from_le_bytes(*all).to_f32()).collect()
        }
        other => return Err(format!("the tensor {name} is of type {other}, not a float")),
    };
    let rows = Rows { dimension, values };
    if named_elsewhere {
        return Ok((rows, Vec::new()));
    }
    let names = header.metadata().as_ref().and_then(|metadata| metadata.get("names"));
    let names = names.ok_or("has no names in its metadata\nhint: name a text file with one name a line (--names NAMES.txt), or save_file({\"features\": features}, file, metadata={\"names\": json.dumps(names)})")?;
    let names = serde_json::from_str(names)
        .map_err(|error| format!("its metadata \"names\" is not a JSON array of texts: {error}"))?;
    Ok((rows, names))
}
