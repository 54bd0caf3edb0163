//! Conversion of a pickle's values to embeddings and captions.

use std::collections::{HashMap, HashSet};

use super::{Caption, Embeddings};
use crate::error::Problem;
use crate::tensor::Tensor;
use crate::tree::{Items, Value};

const EMBEDDING: &str = "clip_embedding";

pub(super) fn read(root: Value) -> Result<Embeddings, Problem> {
    match root {
        Value::Dict(_) => one_tensor(root),
        Value::List(items) | Value::Tuple(items) => tensor_each(items),
        other => Err(Problem::Content(format!(
            "holds a {}, not embeddings with captions\n\
             hint: {{\"clip_embedding\": tensor, \"captions\": [...]}} is what ClipCap's scripts write",
            other.kind()
        ))),
    }
}

/// Reads embeddings from one tensor or list, with the captions in a separate list.
fn one_tensor(root: Value) -> Result<Embeddings, Problem> {
    let mut rows = Rows::default();
    match root.get(EMBEDDING) {
        Some(Value::Tensor(tensor)) => {
            let (&[count, dim] | &[count, 1, dim]) = tensor.shape() else {
                let shape = tensor.shape();
                return Err(Problem::Content(format!(
                    "the embeddings have shape {shape:?}, not [rows, dim]"
                )));
            };
            rows.values = floats(tensor, EMBEDDING)?;
            (rows.count, rows.dim) = (count, Some(dim));
        }
        Some(Value::List(items) | Value::Tuple(items)) => {
            for (index, item) in items.iter().enumerate() {
                rows.add(item, &format!("row {index} of the embeddings"))?;
            }
        }
        _ => return Err(missing(&format!("there is no tensor, array or list \"{EMBEDDING}\""))),
    }
    let items = match root.get("captions").or_else(|| root.get("caption")) {
        Some(Value::List(items) | Value::Tuple(items)) => items,
        Some(other) => {
            return Err(missing(&format!("the captions are a {}, not a list", other.kind())));
        }
        None => return Err(missing("there is no list \"captions\"")),
    };
    let row_of = |index: usize, item: Value| match item.get(EMBEDDING) {
        Some(Value::Int(row)) => Ok(usize::try_from(row).unwrap_or(usize::MAX)),
        // Captions without a row number belong to the rows in order.
        None if items.len() == rows.count => Ok(index),
        None => Err(Problem::Content(format!(
            "{} captions for {} rows of embeddings, and caption {index} does not say which is its \
             own",
            items.len(),
            rows.count
        ))),
        Some(other) => Err(Problem::Content(format!(
            "the row of caption {index} is a {}, not an int",
            other.kind()
        ))),
    };
    let captions = items
        .iter()
        .enumerate()
        .map(|(index, item)| caption(item, index, row_of(index, item)?))
        .collect::<Result<_, _>>()?;
    Embeddings::new(rows.values, rows.dim.unwrap_or_default(), captions)
}

/// Reads a list of dicts, each with an embedding. Captions that share a tensor share a row.
fn tensor_each(items: Items) -> Result<Embeddings, Problem> {
    let mut captions = Vec::with_capacity(items.len());
    let (mut rows, mut row_of_tensor) = (Rows::default(), HashMap::new());
    for (index, item) in items.iter().enumerate() {
        let Some(embedding) = item.get(EMBEDDING) else {
            return Err(missing(&format!("item {index} has no \"{EMBEDDING}\"")));
        };
        let row = match embedding {
            Value::Tensor(tensor) => *row_of_tensor.entry(tensor.identity()).or_insert(rows.count),
            _ => rows.count,
        };
        if row == rows.count {
            rows.add(embedding, &format!("the embedding of item {index}"))?;
        }
        captions.push(caption(item, index, row)?);
    }
    let Some(dim) = rows.dim else {
        return Err(missing("the list is empty"));
    };
    Embeddings::new(rows.values, dim, captions)
}

/// Embeddings of equal length, one per image.
#[derive(Default)]
struct Rows {
    dim: Option<usize>,
    count: usize,
    values: Vec<f32>,
    storages: HashSet<*const u8>,
    /// Bytes of all storages.
    stored: usize,
    /// Bytes of all tensors.
    copied: usize,
}

impl Rows {
    /// Adds a tensor `[dim]` or `[1, dim]`, or a list of numbers.
    fn add(&mut self, value: Value, name: &str) -> Result<(), Problem> {
        let before = self.values.len();
        match value {
            Value::Tensor(tensor) => {
                let (&[_] | &[1, _]) = tensor.shape() else {
                    let shape = tensor.shape();
                    return Err(Problem::Content(format!("{name} has shape {shape:?}, not [dim]")));
                };
                self.count_memory(tensor)?;
                self.values.extend(floats(tensor, name)?);
            }
            Value::List(items) | Value::Tuple(items) => {
                for item in items.iter() {
                    self.values.push(match item {
                        Value::Float(value) => value as f32,
                        Value::Int(value) => value as f32,
                        other => {
                            let kind = other.kind();
                            return Err(Problem::Content(format!("{name} has a {kind} in it")));
                        }
                    });
                }
            }
            other => {
                return Err(Problem::Content(format!(
                    "{name} is a {}, not a tensor, array or list",
                    other.kind()
                )));
            }
        }
        let size = self.values.len() - before;
        if *self.dim.get_or_insert(size) != size {
            return Err(Problem::Content(format!(
                "{name} has {size} values, others have another number"
            )));
        }
        self.count += 1;
        Ok(())
    }

    /// Refuses overlapping views, with which a small file would fill the memory.
    fn count_memory(&mut self, tensor: &Tensor) -> Result<(), Problem> {
        if self.storages.insert(tensor.storage().as_ptr()) {
            self.stored += tensor.storage().len();
        }
        self.copied += tensor.len() * tensor.dtype().size();
        if self.copied > self.stored {
            return Err(Problem::limit(
                "the embeddings are views of one another, which is not read",
            ));
        }
        Ok(())
    }
}

fn floats(tensor: &Tensor, name: &str) -> Result<Vec<f32>, Problem> {
    tensor.to_f32().ok_or_else(|| {
        Problem::Content(format!("{name} has type {}, not a floating-point one", tensor.dtype()))
    })
}

/// Reads a caption, which is a text or a dict with one and an optional `image_id`.
fn caption(item: Value, index: usize, row: usize) -> Result<Caption, Problem> {
    let text = match item {
        Value::Str(_) => Some(item),
        _ => item.get("caption"),
    };
    let caption = match text {
        Some(Value::Str(text)) => text.to_owned(),
        Some(Value::Other(kind)) => {
            return Err(Problem::Content(format!("caption {index} is a {kind}")));
        }
        _ => {
            return Err(missing(&format!("caption {index} is neither a text nor a dict with one")));
        }
    };
    let image = match item.get("image_id") {
        None | Some(Value::None) => None,
        Some(Value::Str(name)) => Some(name.to_owned()),
        Some(Value::Int(number)) => Some(number.to_string()),
        // pandas writes whole numbers as floats if one of them is missing.
        Some(Value::Float(number)) if number.fract() == 0.0 => Some(format!("{number:.0}")),
        Some(other) => {
            let kind = other.kind();
            return Err(Problem::Content(format!("the image_id of caption {index} is a {kind}")));
        }
    };
    Ok(Caption { caption, row, image })
}

fn missing(reason: &str) -> Problem {
    Problem::Content(format!("is not a pickle of embeddings with captions: {reason}"))
}
