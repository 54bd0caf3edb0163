//! Weights of the captioner in a file, by ClipCap's names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use foreign_text::{first_of, printable_path};
use networks::gpt2::Gpt2Config;
use networks::prefix;
use tch::{Kind, Tensor};
use torch_files::{Dtype, StateDict};

use super::names::{EMBEDDING, HEAD, PartPrefixes};
use super::shapes::{self, Sizes};
use crate::error::Error;
const HINT: &str =
    "hint: in Python, save model.state_dict() of ClipCap's ClipCaptionModel by itself";

/// Weights of a captioner, without causal masks and a tied output head.
pub(super) struct Weights<'a> {
    file: &'a Path,
    tensors: Vec<NamedTensor>,
}

struct NamedTensor {
    name: String,
    name_in_file: String,
    tensor: torch_files::Tensor,
}

impl<'a> Weights<'a> {
    /// Finds the only captioner in a file, at any key and under any prefix.
    pub(super) fn find(file: &'a Path) -> Result<Self, Error> {
        let mut weights = Self { file, tensors: Vec::new() };
        let (dict, parts) =
            choose_captioner(StateDict::all(file)?).map_err(|reason| weights.fail(&reason))?;
        let (mut names, mut unknown) = (HashSet::new(), Vec::new());
        for (name_in_file, tensor) in dict.iter() {
            // ClipCap's names have no control characters, and errors print names.
            let is_plain = !name_in_file.chars().any(char::is_control);
            let Some(name) = parts.clipcap_name(name_in_file).filter(|_| is_plain) else {
                // Other integers are counters, such as that of averaged models.
                if tensor.dtype().is_floating() {
                    unknown.push(name_in_file);
                }
                continue;
            };
            if !names.insert(name.clone()) {
                return Err(weights
                    .fail(&format!("{name_in_file} and another tensor are both {name}\n{HINT}")));
            }
            let (name_in_file, tensor) = (name_in_file.to_owned(), tensor.clone());
            weights.tensors.push(NamedTensor { name, name_in_file, tensor });
        }
        if !unknown.is_empty() {
            return Err(weights.fail(&format!(
                "{} of its tensors belong to no part of a captioner: {}\n{HINT}",
                unknown.len(),
                first_of(&unknown)
            )));
        }
        let unread = dict.others().iter().find(|(name, _)| {
            parts.clipcap_name(name).is_some() && !name.ends_with("_extra_state")
        });
        if let Some((name, kind)) = unread {
            return Err(weights.fail(&format!("{name} is a {kind}, which cannot be imported")));
        }
        let has_own_head = weights.has_own_head();
        weights.tensors.retain(|NamedTensor { name, .. }| {
            !prefix::is_ignored(name) || (has_own_head && name == HEAD)
        });
        weights.refuse_views()?;
        Ok(weights)
    }

    /// Returns the number of tensors.
    pub(super) fn count(&self) -> usize {
        self.tensors.len()
    }

    /// Infers the model's sizes from the shapes; other settings are those of `gpt2`.
    pub(super) fn sizes(&self, heads: Option<i64>, gpt2: &Gpt2Config) -> Result<Sizes, Error> {
        let names: Vec<&str> = self.tensors.iter().map(|named| named.name.as_str()).collect();
        let shape = |name: &str| self.get(name).map(shape);
        let sizes =
            shapes::infer(&names, shape, heads, gpt2).map_err(|reason| self.fail(&reason))?;
        let values: u128 = self.tensors.iter().map(|named| named.tensor.len() as u128).sum();
        // Some slack, since for a file that lacks a tensor a later error names it.
        let (needed, allowed) = (sizes.parameters(), 2 * values + 1_000_000);
        if needed > allowed {
            return Err(self.fail(&format!(
                "its shapes are those of a model with {needed} weights, but it has {values}; weights are missing or of wrong shapes"
            )));
        }
        Ok(sizes)
    }

    /// Reads all values as f32.
    ///
    /// # Errors
    /// Names a tensor that holds integers or values that are not finite.
    pub(super) fn read(&self) -> Result<Vec<(String, Tensor)>, Error> {
        self.tensors.iter().map(|named| Ok((named.name.clone(), self.values(named)?))).collect()
    }

    fn values(&self, named: &NamedTensor) -> Result<Tensor, Error> {
        let NamedTensor { name_in_file: name, tensor, .. } = named;
        let shape = shape(tensor);
        let values = if tensor.dtype() == Dtype::F32 {
            Tensor::f_from_data_size(&tensor.bytes(), &shape, Kind::Float)?
        } else {
            let values = tensor.to_f32().ok_or_else(|| {
                let dtype = tensor.dtype();
                self.fail(&format!("{name} is of type {dtype}; weights are floating-point numbers"))
            })?;
            Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?
        };
        let finite = values.f_isfinite()?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        let all = values.numel() as i64;
        if finite != all {
            return Err(self.fail(&format!(
                "{} of the {all} values of {name} are not finite (NaN or infinity), so it cannot caption\n\
                 hint: its training diverged; take an earlier checkpoint",
                all - finite
            )));
        }
        Ok(values)
    }

    /// Returns true if the output head differs from the token embedding.
    fn has_own_head(&self) -> bool {
        let (Some(head), Some(embedding)) = (self.get(HEAD), self.get(EMBEDDING)) else {
            return false;
        };
        head.dtype() != embedding.dtype()
            || head.shape() != embedding.shape()
            || head.bytes() != embedding.bytes()
    }

    /// Fails if many tensors are views of one storage, since each would get memory of its own.
    fn refuse_views(&self) -> Result<(), Error> {
        let size = fs::metadata(self.file).map_or(0, |attributes| attributes.len());
        let tensors = self.tensors.iter().map(|named| &named.tensor);
        let bytes: usize = tensors.map(|tensor| tensor.len() * tensor.dtype().size()).sum();
        if bytes as u64 <= 2 * size {
            return Ok(());
        }
        Err(self.fail(&format!(
            "its tensors share their values ({bytes} bytes of weights in a file of {size}); in Python, call .clone() on each before saving"
        )))
    }

    fn get(&self, name: &str) -> Option<&torch_files::Tensor> {
        self.tensors.iter().find(|named| named.name == name).map(|named| &named.tensor)
    }

    fn fail(&self, reason: &str) -> Error {
        Error::Mismatch(format!("{}: {reason}", printable_path(self.file)))
    }
}

/// Returns the only state dict that holds a whole captioner.
fn choose_captioner(mut all: Vec<StateDict>) -> Result<(StateDict, PartPrefixes), String> {
    let parts = |dict: &StateDict| {
        let others = dict.others().iter().map(|(name, _)| name.as_str());
        PartPrefixes::find(dict.iter().map(|(name, _)| name).chain(others))
    };
    let whole: Vec<usize> =
        (0..all.len()).filter(|&index| parts(&all[index]).are_complete()).collect();
    if whole.len() > 1 {
        let key_paths: Vec<&str> = whole.iter().map(|&index| all[index].key_path()).collect();
        let named =
            key_paths.iter().map(|path| if path.is_empty() { "the file itself" } else { path });
        return Err(format!(
            "holds several captioners: {}\n\
             hint: in Python, save the one that is meant by itself: torch.save(torch.load(FILE){}, NEW)",
            named.collect::<Vec<_>>().join(", "),
            key_paths.iter().find(|path| !path.is_empty()).unwrap_or(&"")
        ));
    }
    // Without a whole captioner, the error is about the dict with the most tensors.
    let largest =
        (0..all.len()).max_by_key(|&index| (all[index].count(), std::cmp::Reverse(index)));
    let Some(chosen) = whole.first().copied().or(largest) else {
        return Err("holds no tensors by name".to_owned());
    };
    let dict = all.swap_remove(chosen);
    let parts = parts(&dict);
    let Some(fault) = parts.fault() else { return Ok((dict, parts)) };
    let names: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
    let unknown: Vec<&str> =
        names.iter().copied().filter(|name| parts.clipcap_name(name).is_none()).collect();
    let names = if unknown.is_empty() { names } else { unknown };
    Err(format!(
        "is not a ClipCap checkpoint that can be imported: {fault}; its tensors{} are called {}\n{HINT}",
        if dict.key_path().is_empty() {
            String::new()
        } else {
            format!(" under {}", dict.key_path())
        },
        first_of(&names)
    ))
}

fn shape(tensor: &torch_files::Tensor) -> Vec<i64> {
    tensor.shape().iter().map(|&size| size as i64).collect()
}
