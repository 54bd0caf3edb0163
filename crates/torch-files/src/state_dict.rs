//! Weights of a model: named tensors, anywhere in the file.

use std::collections::HashSet;
use std::path::Path;

use crate::container::{self, Contents};
use crate::error::{Error, Problem, shown};
use crate::tensor::Tensor;
use crate::tree::{Dict, Tree, Value};

/// Keys under which training scripts store the model beside other entries with tensors.
const WRAPPERS: [&str; 3] = ["model", "state_dict", "model_state_dict"];

/// Named tensors, in the order of the file.
#[derive(Debug)]
pub struct StateDict {
    place: String,
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

    /// Reads every state dict of a file, anywhere in it; returns at least one.
    ///
    /// # Errors
    /// Fails as [`Tree::load`] does, and for a file without a state dict.
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

    /// Returns the position in the file as Python writes it, `["net"]`; empty for the whole file.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
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

/// Lists the positions of state dicts for an error.
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

/// Search for dicts with named tensors, in dicts under text keys and in lists.
///
/// The dicts of an optimizer do not count, because it numbers parameters.
#[derive(Default)]
struct Search {
    found: Vec<StateDict>,
    /// Visited containers; a shared one is visited once.
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
