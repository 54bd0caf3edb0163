//! From a pickle's values to embeddings and captions.

use std::collections::{HashMap, HashSet};

use super::{Caption, Embeddings};
use crate::error::Problem;
use crate::tensor::Tensor;
use crate::tree::{Items, Value};

const EMBEDDING: &str = "clip_embedding";

pub(super) fn read(root: Value) -> Result<Embeddings, Problem> {
    match root {
        Value::Dict(_) => one_tensor(root),
        Value::List(items) => tensor_each(items),
        other => Err(Problem::Content(format!(
            "holds a {}, not embeddings with captions\n\
             hint: {{\"clip_embedding\": tensor, \"captions\": [...]}} is what ClipCap's scripts write",
            other.kind()
        ))),
    }
}

/// All embeddings in one tensor, the captions in a list beside it.
fn one_tensor(root: Value) -> Result<Embeddings, Problem> {
    let Some(Value::Tensor(tensor)) = root.get(EMBEDDING) else {
        return Err(missing(&format!("there is no tensor or array \"{EMBEDDING}\"")));
    };
    let &[rows, dim] = tensor.shape() else {
        return Err(Problem::Content(format!(
            "the embeddings have shape {:?}, not [rows, dim]",
            tensor.shape()
        )));
    };
    let Some(Value::List(items)) = root.get("captions").or_else(|| root.get("caption")) else {
        return Err(missing("there is no list \"captions\""));
    };
    let values = floats(tensor, EMBEDDING)?;
    let mut captions = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let row = match item.get(EMBEDDING) {
            Some(Value::Int(row)) => usize::try_from(row).unwrap_or(usize::MAX),
            // Captions that do not say their row are one for each.
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

/// A list of dicts, each with its own embedding. Captions that share a tensor share a row.
fn tensor_each(items: Items) -> Result<Embeddings, Problem> {
    let mut dim = None;
    let mut values = Vec::new();
    let mut captions = Vec::with_capacity(items.len());
    let mut rows = HashMap::new();
    let mut memory = Memory::default();
    for (place, item) in items.iter().enumerate() {
        let Some(Value::Tensor(tensor)) = item.get(EMBEDDING) else {
            return Err(missing(&format!("item {place} has no tensor or array \"{EMBEDDING}\"")));
        };
        let (&[size] | &[1, size]) = tensor.shape() else {
            return Err(Problem::Content(format!(
                "the embedding of item {place} has shape {:?}, not [dim]",
                tensor.shape()
            )));
        };
        if *dim.get_or_insert(size) != size {
            return Err(Problem::Content(format!(
                "the embedding of item {place} has {size} values, others have another number"
            )));
        }
        let next = rows.len();
        let row = *rows.entry(tensor.identity()).or_insert(next);
        if row == next {
            memory.take(tensor)?;
            values.extend(floats(tensor, &format!("embedding of item {place}"))?);
        }
        captions.push(caption(item, place, row)?);
    }
    let Some(dim) = dim else {
        return Err(missing("the list is empty"));
    };
    Embeddings::new(values, dim, captions)
}

/// Refuses views that overlap so much that a small file would fill the memory.
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
        Problem::Content(format!(
            "the {name} has type {}, not a floating-point one",
            tensor.dtype()
        ))
    })
}

/// A caption that is a text, or a dict with one and perhaps an `image_id`.
fn caption(item: Value, place: usize, row: usize) -> Result<Caption, Problem> {
    let text = match item {
        Value::Str(text) => Some(Value::Str(text)),
        _ => item.get("caption"),
    };
    let Some(Value::Str(text)) = text else {
        return Err(missing(&format!("caption {place} is neither a text nor a dict with one")));
    };
    let image = match item.get("image_id") {
        None | Some(Value::None) => None,
        Some(Value::Str(name)) => Some(name.to_owned()),
        Some(Value::Int(number)) => Some(number.to_string()),
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
