//! A model's weights: names and tensors, wherever in the file the training script put them.

use std::path::Path;

use crate::error::{Error, Problem, shown};
use crate::tensor::Tensor;
use crate::tree::{Dict, Tree, Value};

/// Keys under which training scripts keep the state dict beside other things.
const WRAPPERS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Tensors by name, in the file's order.
#[derive(Debug)]
pub struct StateDict {
    tensors: Vec<(String, Tensor)>,
    others: Vec<(String, &'static str)>,
}

impl StateDict {
    /// Reads a checkpoint whose state dict is all of it, or under `"model"`, `"state_dict"`
    /// or `"model_state_dict"`.
    ///
    /// # Errors
    /// What [`Tree::load`] refuses, and a file without a state dict or with two.
    pub fn load(path: &Path) -> Result<Self, Error> {
        Self::from_tree(&Tree::load(path)?)
    }

    /// [`StateDict::load`] for a file that has been read.
    ///
    /// # Errors
    /// A file without a state dict or with two.
    pub fn from_tree(tree: &Tree) -> Result<Self, Error> {
        Self::find(tree.root()).map_err(|problem| problem.at(tree.path()))
    }

    fn find(root: Value) -> Result<Self, Problem> {
        let Value::Dict(root) = root else {
            return Err(Problem::Content(format!(
                "holds a {}, not a dict of tensors\n\
                 hint: in Python, save model.state_dict() instead",
                root.kind()
            )));
        };
        let wrapped: Vec<(&str, Dict)> = WRAPPERS
            .iter()
            .filter_map(|&name| match root.get(name) {
                Some(Value::Dict(dict)) if has_tensors(dict) => Some((name, dict)),
                _ => None,
            })
            .collect();
        let mut found = Self { tensors: Vec::new(), others: Vec::new() };
        match wrapped.as_slice() {
            [] if has_tensors(root) => found.take(root)?,
            [] => {
                return Err(Problem::Content(format!(
                    "holds no tensors by name, neither as they are nor under {}; its keys are {}",
                    WRAPPERS.join(", "),
                    keys(root)
                )));
            }
            &[(wrapper, dict)] => {
                found.take(dict)?;
                for (key, value) in root.iter() {
                    if !matches!(key, Value::Str(key) if key == wrapper) {
                        found.others.push((name_of(key), value.kind()));
                    }
                }
            }
            several => {
                let names: Vec<&str> = several.iter().map(|&(name, _)| name).collect();
                return Err(Problem::Content(format!(
                    "holds several state dicts: {}\n\
                     hint: in Python, save the one that is meant by itself",
                    names.join(", ")
                )));
            }
        }
        Ok(found)
    }

    fn take(&mut self, dict: Dict) -> Result<(), Problem> {
        for (key, value) in dict.iter() {
            match (key, value) {
                (Value::Str(name), Value::Tensor(tensor)) => {
                    self.tensors.push((name.to_owned(), tensor.clone()));
                }
                (_, Value::Tensor(_)) => {
                    return Err(Problem::Content(format!(
                        "has a tensor whose name is not a text: {}",
                        name_of(key)
                    )));
                }
                _ => self.others.push((name_of(key), value.kind())),
            }
        }
        Ok(())
    }

    /// Names and tensors, in the file's order; no name comes twice.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// How many tensors there are, at least 1.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    /// A tensor by its name. Looks through all of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.iter().find(|&(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// What else lies in or beside the state dict: key, and the kind of value as
    /// [`Value::kind`] has it.
    #[must_use]
    pub fn others(&self) -> &[(String, &'static str)] {
        &self.others
    }
}

fn has_tensors(dict: Dict) -> bool {
    dict.iter().any(|(_, value)| matches!(value, Value::Tensor(_)))
}

fn keys(dict: Dict) -> String {
    let mut names: Vec<String> = dict.iter().take(8).map(|(key, _)| name_of(key)).collect();
    if dict.len() > names.len() {
        names.push("…".to_owned());
    }
    names.join(", ")
}

fn name_of(key: Value) -> String {
    match key {
        Value::Str(name) => shown(name),
        Value::Int(number) => number.to_string(),
        other => format!("a {}", other.kind()),
    }
}
