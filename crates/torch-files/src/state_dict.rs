//! A model's weights: names and tensors, wherever in the file the training script put them.

use std::collections::HashSet;
use std::path::Path;

use crate::container::{self, Contents};
use crate::error::{Error, Problem, shown};
use crate::tensor::Tensor;
use crate::tree::{Dict, Tree, Value};

/// Keys under which training scripts keep the model beside other things with tensors.
const WRAPPERS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Tensors by name, in the file's order.
#[derive(Debug)]
pub struct StateDict {
    place: String,
    tensors: Vec<(String, Tensor)>,
    others: Vec<(String, &'static str)>,
}

impl StateDict {
    /// Reads the one state dict of a checkpoint: all of it, or under any key. Of several it is the
    /// one under `"model"`, `"state_dict"` or `"model_state_dict"`, else the outermost. Reads a
    /// safetensors file too.
    ///
    /// # Errors
    /// Refuses as [`Tree::load`], and a file without a state dict or with several.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let fail = |reason: String| Problem::Content(reason).at(path);
        let mut all = Self::all(path)?;
        if all.len() == 1 {
            return Ok(all.remove(0));
        }
        let named: Vec<usize> = WRAPPERS
            .iter()
            .filter_map(|name| all.iter().position(|dict| dict.place == key(name)))
            .collect();
        let found = match named.as_slice() {
            &[only] => Some(only),
            [] => all.iter().position(|dict| dict.place.is_empty()),
            _ => None,
        };
        match found {
            Some(found) => Ok(all.swap_remove(found)),
            None => Err(fail(format!(
                "holds several state dicts: {}\n\
                 hint: in Python, save the one that is meant by itself",
                places(&all)
            ))),
        }
    }

    /// Reads every state dict of a file, wherever it lies; at least one.
    ///
    /// # Errors
    /// Refuses as [`Tree::load`], and a file without a state dict.
    pub fn all(path: &Path) -> Result<Vec<Self>, Error> {
        let found = match container::open(path) {
            Ok(Contents::Tree(tree)) => of_tree(&tree),
            Ok(Contents::Tensors(entries)) => {
                let mut dict = Self::at(String::new());
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

    fn at(place: String) -> Self {
        Self { place, tensors: Vec::new(), others: Vec::new() }
    }

    fn take(&mut self, dict: Dict) {
        for (key, value) in dict.iter() {
            match (key, value) {
                (Value::Str(name), Value::Tensor(tensor)) => {
                    self.tensors.push((name.to_owned(), tensor.clone()));
                }
                _ => self.others.push((name_of(key), value.kind())),
            }
        }
    }

    /// Its place in the file, as Python would write it: `["net"]`; empty for all of the file.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Names and tensors, in the file's order; no name comes twice.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Number of tensors.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tensors.len()
    }

    /// A tensor by its name. Looks through all of them.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.iter().find(|&(known, _)| known == name).map(|(_, tensor)| tensor)
    }

    /// Other entries of the state dict: name, and the kind of value as [`Value::kind`] has it.
    #[must_use]
    pub fn others(&self) -> &[(String, &'static str)] {
        &self.others
    }
}

/// Lists where state dicts lie, for an error.
fn places(all: &[StateDict]) -> String {
    let mut places: Vec<&str> = all
        .iter()
        .take(8)
        .map(|dict| if dict.place.is_empty() { "the file itself" } else { &dict.place })
        .collect();
    if all.len() > places.len() {
        places.push("…");
    }
    places.join(", ")
}

fn of_tree(tree: &Tree) -> Result<Vec<StateDict>, Problem> {
    tree.check_expansion()?;
    let mut search = Search::default();
    search.look(tree.root(), &mut Vec::new());
    if !search.found.is_empty() {
        return Ok(search.found);
    }
    Err(Problem::Content(match tree.root() {
        Value::Dict(root) => format!("holds no tensors by name; its keys are {}", keys(root)),
        root => format!(
            "holds a {}, not a dict of tensors\nhint: in Python, save model.state_dict() instead",
            root.kind()
        ),
    }))
}

/// Dicts with tensors, found in dicts by texts and in lists. An optimizer's are not: it numbers
/// parameters.
#[derive(Default)]
struct Search {
    found: Vec<StateDict>,
    /// Containers that were looked into: one that is shared is met once.
    seen: HashSet<usize>,
}

impl Search {
    /// Recurses no deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    fn look<'a>(&mut self, value: Value<'a>, path: &mut Vec<Value<'a>>) {
        match value {
            Value::Dict(dict) if self.is_new(dict.ids) => {
                let is_weight = |entry| matches!(entry, (Value::Str(_), Value::Tensor(_)));
                if dict.iter().any(is_weight) {
                    let mut found = StateDict::at(path.iter().copied().map(step).collect());
                    found.take(dict);
                    self.found.push(found);
                }
                for (key, value) in dict.iter() {
                    if matches!(key, Value::Str(_)) {
                        self.look_at(key, value, path);
                    }
                }
            }
            Value::List(items) | Value::Tuple(items) if self.is_new(items.ids) => {
                for (place, item) in items.iter().enumerate() {
                    self.look_at(Value::Int(place as i128), item, path);
                }
            }
            _ => {}
        }
    }

    fn look_at<'a>(&mut self, key: Value<'a>, value: Value<'a>, path: &mut Vec<Value<'a>>) {
        path.push(key);
        self.look(value, path);
        path.pop();
    }

    fn is_new<T>(&mut self, items: &[T]) -> bool {
        !items.is_empty() && self.seen.insert(items.as_ptr().addr())
    }
}

fn step(key: Value) -> String {
    match key {
        Value::Str(name) => self::key(name),
        other => format!("[{}]", name_of(other)),
    }
}

fn key(name: &str) -> String {
    format!("[\"{}\"]", shown(name))
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
