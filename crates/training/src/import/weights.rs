//! The captioner's weights in a file, by ClipCap's names.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use foreign_text::printable_path;
use networks::prefix;
use tch::{Kind, Tensor};
use torch_files::{Dtype, StateDict};

use super::names::Parts;
use super::shapes::{self, Sizes};
use super::{EMBEDDING, HEAD};
use crate::error::Error;

/// Number of names that an error lists.
const LISTED: usize = 8;
const HINT: &str =
    "hint: in Python, save model.state_dict() of ClipCap's ClipCaptionModel by itself";

/// The weights of a captioner, without causal masks and an output head that repeats the embedding.
pub(super) struct Weights<'a> {
    file: &'a Path,
    stored: Vec<Stored>,
}

/// A tensor in the file.
struct Stored {
    name: String,
    /// Its name in the file.
    theirs: String,
    tensor: torch_files::Tensor,
}

impl<'a> Weights<'a> {
    /// Finds the captioner in a file, wherever in it and under whatever prefix it lies.
    pub(super) fn find(file: &'a Path) -> Result<Self, Error> {
        let fail = |reason: String| Error::Mismatch(format!("{}: {reason}", printable_path(file)));
        let (dict, parts) = captioner(StateDict::all(file)?).map_err(fail)?;
        let mut stored = Vec::with_capacity(dict.count());
        let (mut names, mut unknown) = (HashSet::new(), Vec::new());
        for (theirs, tensor) in dict.iter() {
            // No name of ours has any, and errors print names.
            let is_plain = !theirs.chars().any(char::is_control);
            let Some(name) = parts.ours(theirs).filter(|_| is_plain) else {
                // Integers beside the model are counters, such as that of averaged models.
                if tensor.dtype().is_floating() {
                    unknown.push(theirs);
                }
                continue;
            };
            if !names.insert(name.clone()) {
                return Err(fail(format!("{theirs} and another tensor are both {name}\n{HINT}")));
            }
            stored.push(Stored { name, theirs: theirs.to_owned(), tensor: tensor.clone() });
        }
        if !unknown.is_empty() {
            return Err(fail(format!(
                "{} of its tensors belong to no part of a captioner: {}\n{HINT}",
                unknown.len(),
                listed(&unknown)
            )));
        }
        let odd = dict
            .others()
            .iter()
            .find(|(theirs, _)| parts.ours(theirs).is_some() && !theirs.ends_with("_extra_state"));
        if let Some((theirs, kind)) = odd {
            return Err(fail(format!("{theirs} is a {kind}, which is no weight that is read")));
        }
        let mut weights = Self { file, stored };
        let has_own_head = weights.has_own_head();
        weights.stored.retain(|stored| {
            !prefix::is_ignored(&stored.name) || (has_own_head && stored.name == HEAD)
        });
        weights.check_length()?;
        Ok(weights)
    }

    /// Number of tensors.
    pub(super) fn count(&self) -> usize {
        self.stored.len()
    }

    /// Reads the model's sizes off the shapes.
    pub(super) fn sizes(&self, heads: Option<i64>) -> Result<Sizes, Error> {
        let names: Vec<&str> = self.stored.iter().map(|stored| stored.name.as_str()).collect();
        let shape = |name: &str| self.get(name).map(|stored| shape(&stored.tensor));
        let sizes = shapes::infer(&names, shape, heads).map_err(|reason| self.fail(&reason))?;
        let values: u128 = self.stored.iter().map(|stored| stored.tensor.len() as u128).sum();
        // Some slack, since a file that lacks a tensor is better told which one.
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
    /// Names the tensor that holds integers, or a value that is not finite.
    pub(super) fn read(&self) -> Result<Vec<(String, Tensor)>, Error> {
        let read = |stored: &Stored| Ok((stored.name.clone(), self.values(stored)?));
        self.stored.iter().map(read).collect()
    }

    fn values(&self, stored: &Stored) -> Result<Tensor, Error> {
        let Stored { theirs, tensor, .. } = stored;
        let shape = shape(tensor);
        let values = if tensor.dtype() == Dtype::F32 {
            Tensor::f_from_data_size(&tensor.bytes(), &shape, Kind::Float)?
        } else {
            let values = tensor.to_f32().ok_or_else(|| {
                self.fail(&format!(
                    "{theirs} is of type {}; weights are floating-point numbers",
                    tensor.dtype()
                ))
            })?;
            Tensor::f_from_slice(&values)?.f_view(shape.as_slice())?
        };
        let finite = values.f_isfinite()?.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        if finite != values.numel() as i64 {
            return Err(self.fail(&format!(
                "{} of the {} values of {theirs} are not finite (NaN or infinity), and no caption comes of such weights\n\
                 hint: the training that made them diverged; take a checkpoint of before",
                values.numel() as i64 - finite,
                values.numel()
            )));
        }
        Ok(values)
    }

    /// Returns true for an output head that is not the token embedding again.
    fn has_own_head(&self) -> bool {
        let (Some(head), Some(embedding)) = (self.get(HEAD), self.get(EMBEDDING)) else {
            return false;
        };
        let (head, embedding) = (&head.tensor, &embedding.tensor);
        head.dtype() != embedding.dtype()
            || head.shape() != embedding.shape()
            || head.bytes() != embedding.bytes()
    }

    /// Refuses tensors that are views of one storage, and would each get memory of their own, where
    /// that is more than a few.
    fn check_length(&self) -> Result<(), Error> {
        let size = fs::metadata(self.file).map_or(0, |attributes| attributes.len());
        let of = |stored: &Stored| (stored.tensor.len() * stored.tensor.dtype().size()) as u64;
        let bytes: u64 = self.stored.iter().map(of).sum();
        if bytes <= 2 * size {
            return Ok(());
        }
        Err(self.fail(&format!(
            "its tensors share their values ({bytes} bytes of weights in a file of {size}); in Python, call .clone() on each before saving"
        )))
    }

    fn get(&self, name: &str) -> Option<&Stored> {
        self.stored.iter().find(|stored| stored.name == name)
    }

    fn fail(&self, reason: &str) -> Error {
        Error::Mismatch(format!("{}: {reason}", printable_path(self.file)))
    }
}

/// The one state dict of a file that holds one captioner.
fn captioner(mut all: Vec<StateDict>) -> Result<(StateDict, Parts), String> {
    let parts = |dict: &StateDict| {
        let others = dict.others().iter().map(|(name, _)| name.as_str());
        Parts::of(dict.iter().map(|(name, _)| name).chain(others))
    };
    let whole: Vec<usize> = (0..all.len()).filter(|&at| parts(&all[at]).are_whole()).collect();
    if whole.len() > 1 {
        let places: Vec<&str> = whole.iter().map(|&at| all[at].key_path()).collect();
        return Err(format!(
            "holds several captioners: {}\n\
             hint: in Python, save the one that is meant by itself: torch.save(torch.load(FILE){}, NEW)",
            places
                .iter()
                .map(|place| if place.is_empty() { "the file itself" } else { place })
                .collect::<Vec<_>>()
                .join(", "),
            places.iter().find(|place| !place.is_empty()).unwrap_or(&"")
        ));
    }
    // Where there is none, most is said of what has the most tensors.
    let most = (0..all.len()).max_by_key(|&at| (all[at].count(), std::cmp::Reverse(at)));
    let Some(chosen) = whole.first().copied().or(most) else {
        return Err("holds no tensors by name".to_owned());
    };
    let dict = all.swap_remove(chosen);
    let parts = parts(&dict);
    let Some(fault) = parts.fault() else { return Ok((dict, parts)) };
    let names: Vec<&str> = dict.iter().map(|(name, _)| name).collect();
    let unknown: Vec<&str> =
        names.iter().copied().filter(|name| parts.ours(name).is_none()).collect();
    let names = if unknown.is_empty() { names } else { unknown };
    Err(format!(
        "is no ClipCap checkpoint that is understood here: {fault}; its tensors{} are called {}\n{HINT}",
        if dict.key_path().is_empty() {
            String::new()
        } else {
            format!(" under {}", dict.key_path())
        },
        listed(&names)
    ))
}

/// The first names, escaped.
fn listed(names: &[&str]) -> String {
    let mut listed: Vec<String> =
        names.iter().take(LISTED).map(|name| name.escape_debug().to_string()).collect();
    if names.len() > LISTED {
        listed.push("…".to_owned());
    }
    listed.join(", ")
}

fn shape(tensor: &torch_files::Tensor) -> Vec<i64> {
    tensor.shape().iter().map(|&size| size as i64).collect()
}
