//! Weights of a model: named tensors, anywhere in the file.

use std::collections::HashSet;
use std::path::Path;

use foreign_text::first_of;

use crate::container::{self, Contents};
use crate::error::{Error, Problem, key_step, shown};
use crate::tensor::Tensor;
use crate::tree::{Items, Tree, Value};

/// Keys under which training scripts store the model, next to other entries with tensors.
const WRAPPERS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Named tensors, in the order of the file.
#[derive(Debug, Default)]
pub struct StateDict {
    key_path: String,
    tensors: Vec<(String, Tensor)>,
    others: Vec<(String, &'static str)>,
}

impl StateDict {
    /// Reads the only state dict of a checkpoint or safetensors file.
    ///
    /// It may be the whole file or lie under any key. Of several, it is the one under `"model"`,
    /// `"state_dict"` or `"model_state_dict"`, else the outermost.
    ///
    /// # Errors
    /// Fails as [`Tree::load`] does, and for a file without a state dict or with several
    /// candidates.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let mut all = Self::all(path)?;
        let wrapped = WRAPPERS.map(key_step);
        let wrapped: Vec<usize> =
            (0..all.len()).filter(|&index| wrapped.contains(&all[index].key_path)).collect();
        let found = match *wrapped {
            _ if all.len() == 1 => Some(0),
            [only] => Some(only),
            [] => all.iter().position(|dict| dict.key_path.is_empty()),
            _ => None,
        };
        found.map(|found| all.swap_remove(found)).ok_or_else(|| {
            let names = all.iter().map(|dict| match dict.key_path.as_str() {
                "" => "the file itself".to_owned(),
                key_path => key_path.to_owned(),
            });
            Problem::Content(format!(
                "holds several state dicts: {}\n\
                 hint: in Python, save the one that is meant by itself",
                first_of(names)
            ))
            .at(path)
        })
    }

    /// Reads every state dict of a file, anywhere in it; returns at least one.
    ///
    /// # Errors
    /// Fails as [`Tree::load`] does, and for a file without a state dict.
    pub fn all(path: &Path) -> Result<Vec<Self>, Error> {
        let found = match container::open(path) {
            Ok(Contents::Tree(tree)) => state_dicts_of(&tree),
            Ok(Contents::Tensors(entries)) => {
                let mut dict = Self::default();
                for (name, tensor) in entries {
                    match tensor {
                        Ok(tensor) => dict.tensors.push((name, tensor)),
                        Err(kind) => dict.others.push((shown(&name), kind)),
                    }
                }
                Ok(vec![dict])
            }
            Err(problem) => Err(problem),
        };
        found.map_err(|problem| problem.at(path))
    }

    /// Returns the position in the file as Python writes it, `["net"]`; empty for the whole file.
    #[must_use]
    pub fn key_path(&self) -> &str {
        &self.key_path
    }

    /// Iterates over names and tensors in the order of the file; names are unique.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Returns the number of tensors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    /// Returns a tensor by its name, with a linear search.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.iter().find(|&(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Returns the other entries of the state dict: name, and kind as in [`Value::kind`].
    #[must_use]
    pub fn others(&self) -> &[(String, &'static str)] {
        &self.others
    }
}

fn state_dicts_of(tree: &Tree) -> Result<Vec<StateDict>, Problem> {
    tree.check_expansion()?;
    let mut search = Search::default();
    search.visit(tree.root(), "");
    if !search.found.is_empty() {
        return Ok(search.found);
    }
    Err(Problem::Content(match tree.root() {
        Value::Dict(root) => {
            let keys = first_of(root.iter().map(|(key, _)| name_of(key)));
            format!("holds no tensors by name; its keys are {keys}")
        }
        root => format!(
            "holds a {}, not a dict of tensors\nhint: in Python, save model.state_dict() instead",
            root.kind()
        ),
    }))
}

/// Search for dicts with named tensors, in dicts under text keys and in lists.
///
/// The dicts of an optimizer do not count, because it numbers parameters.
#[derive(Default)]
struct Search {
    found: Vec<StateDict>,
    /// Visited containers; a shared one is visited once.
    visited: HashSet<usize>,
}

impl Search {
    /// Collects the dicts of named tensors in `value`, whose path of keys is `key_path`.
    ///
    /// [`Tree::load`] limits how deep values nest, and so the recursion.
    fn visit(&mut self, value: Value, key_path: &str) {
        match value {
            Value::Dict(dict) if self.is_new(dict.0) => {
                let mut found = StateDict { key_path: key_path.to_owned(), ..StateDict::default() };
                for (key, value) in dict.iter() {
                    match (key, value) {
                        (Value::Str(name), Value::Tensor(tensor)) => {
                            found.tensors.push((name.to_owned(), tensor.clone()));
                        }
                        _ => found.others.push((name_of(key), value.kind())),
                    }
                }
                if !found.tensors.is_empty() {
                    self.found.push(found);
                }
                for (key, value) in dict.iter() {
                    if let Value::Str(name) = key {
                        self.visit_item(value, key_path, || key_step(name));
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) if self.is_new(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.visit_item(item, key_path, || format!("[{index}]"));
                }
            }
            _ => {}
        }
    }

    fn visit_item(&mut self, item: Value, key_path: &str, step: impl FnOnce() -> String) {
        if matches!(item, Value::Dict(_) | Value::List(_) | Value::Tuple(_)) {
            self.visit(item, &format!("{key_path}{}", step()));
        }
    }

    fn is_new(&mut self, items: Items) -> bool {
        !items.is_empty() && self.visited.insert(items.ids.as_ptr().addr())
    }
}

fn name_of(key: Value) -> String {
    match key {
        Value::Str(name) => shown(name),
        Value::Int(number) => number.to_string(),
        other => format!("a {}", other.kind()),
    }
}
