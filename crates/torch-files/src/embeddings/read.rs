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
    let (values, dim) = match root.get(EMBEDDING) {
        Some(Value::Tensor(tensor)) => {
            let (&[_, dim] | &[_, 1, dim]) = tensor.shape() else {
                return Err(Problem::Content(format!(
                    "the embeddings have shape {:?}, not [rows, dim]",
                    tensor.shape()
                )));
            };
            (floats(tensor, EMBEDDING)?, dim)
        }
        Some(Value::List(items) | Value::Tuple(items)) => {
            let mut rows = Rows::default();
            for (place, item) in items.iter().enumerate() {
                rows.add(item, &format!("row {place} of the embeddings"))?;
            }
            (rows.values, rows.dim.unwrap_or_default())
        }
        _ => return Err(missing(&format!("there is no tensor, array or list \"{EMBEDDING}\""))),
    };
    let rows = values.len().checked_div(dim).unwrap_or_default();
    let items = match root.get("captions").or_else(|| root.get("caption")) {
        Some(Value::List(items) | Value::Tuple(items)) => items,
        Some(other) => {
            return Err(missing(&format!("the captions are a {}, not a list", other.kind())));
        }
        None => return Err(missing("there is no list \"captions\"")),
    };
    let mut captions = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let row = match item.get(EMBEDDING) {
            Some(Value::Int(row)) => usize::try_from(row).unwrap_or(usize::MAX),
            // Captions without a row number belong to the rows in order.
            None if items.len() == rows => place,
            None => {
                return Err(Problem::Content(format!(
                    "{} captions for {rows} rows of embeddings, and caption {place} does not say \
                     which is its own",
                    items.len()
                )));
            }
            Some(other) => {
                let kind = other.kind();
                return Err(Problem::Content(format!(
                    "the row of caption {place} is a {kind}, not an int"
                )));
            }
        };
        captions.push(caption(item, place, row)?);
    }
    Embeddings::new(values, dim, captions)
}

/// Reads a list of dicts, each with its own embedding. Captions that share a tensor share a row.
fn tensor_each(items: Items) -> Result<Embeddings, Problem> {
    let mut captions = Vec::with_capacity(items.len());
    let (mut rows, mut seen) = (Rows::default(), HashMap::new());
    for (place, item) in items.iter().enumerate() {
        let Some(embedding) = item.get(EMBEDDING) else {
            return Err(missing(&format!("item {place} has no \"{EMBEDDING}\"")));
        };
        let known = match embedding {
            Value::Tensor(tensor) => Some(*seen.entry(tensor.identity()).or_insert(rows.count)),
            _ => None,
        };
        let row = known.unwrap_or(rows.count);
        if row == rows.count {
            rows.add(embedding, &format!("the embedding of item {place}"))?;
        }
        captions.push(caption(item, place, row)?);
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
    memory: Memory,
}

impl Rows {
    /// Adds a tensor `[dim]` or `[1, dim]`, or a list of numbers.
    fn add(&mut self, value: Value, name: &str) -> Result<(), Problem> {
        let before = self.values.len();
        match value {
            Value::Tensor(tensor) => {
                let (&[_] | &[1, _]) = tensor.shape() else {
                    return Err(Problem::Content(format!(
                        "{name} has shape {:?}, not [dim]",
                        tensor.shape()
                    )));
                };
                self.memory.take(tensor)?;
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
}

/// Memory check that refuses overlapping views with which a small file would fill the memory.
#[derive(Default)]
struct Memory {
    storages: HashSet<*const u8>,
    there: usize,
    taken: usize,
}

impl Memory {
    fn take(&mut self, tensor: &Tensor) -> Result<(), Problem> {
        if self.storages.insert(tensor.storage().as_ptr()) {
            self.there += tensor.storage().len();
        }
        self.taken += tensor.len() * tensor.dtype().size();
        if self.taken > self.there {
            let reason = "the embeddings are views of one another, which is not read";
            return Err(Problem::Limit(reason.to_owned()));
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
fn caption(item: Value, place: usize, row: usize) -> Result<Caption, Problem> {
    let text = match item {
        Value::Str(text) => Some(Value::Str(text)),
        _ => item.get("caption"),
    };
    let text = match text {
        Some(Value::Str(text)) => text,
        Some(Value::Other(kind)) => {
            return Err(Problem::Content(format!("caption {place} is a {kind}")));
        }
        _ => {
            return Err(missing(&format!("caption {place} is neither a text nor a dict with one")));
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
            return Err(Problem::Content(format!("the image_id of caption {place} is a {kind}")));
        }
    };
    Ok(Caption { caption: text.to_owned(), row, image })
}

fn missing(what: &str) -> Problem {
    Problem::Content(format!("is not a pickle of embeddings with captions: {what}"))
}
