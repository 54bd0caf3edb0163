//! Conversion of a pickle's drafts to a tree.
//!
//! The tree holds only what the root reaches, with items before their containers.

use std::collections::HashSet;

use bytes::Bytes;

use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::pickle::{Draft, Global, Id, Pickle, Place, Storage};
use crate::tensor::Tensor;
use crate::tree::Node;

/// Greatest nesting depth of values. Code that walks a tree may therefore recurse.
pub const MAX_DEPTH: u8 = 100;

/// Turns `pickle` into a tree's nodes and root.
///
/// `find` returns the bytes of storages outside the pickle.
///
/// # Errors
/// Fails for values that contain themselves or nest too deep, repeated keys, keys that Python
/// cannot hash, parts of tensors in place of tensors, and whatever `find` refuses.
pub(crate) fn finish(
    pickle: Pickle,
    find: impl FnMut(&str, &Storage) -> Result<Bytes, Problem>,
) -> Result<(Vec<Node>, Id), Problem> {
    let root = pickle.root;
    let mut finisher = Finisher {
        storages: bytes_of(&pickle.storages, find)?,
        states: vec![State::New; pickle.values.len()],
        drafts: pickle.values,
        nodes: Vec::new(),
        depths: Vec::new(),
    };
    finisher.walk(root)?;
    let root = finisher.finished(root);
    Ok((finisher.nodes, root))
}

fn bytes_of(
    storages: &[Storage],
    mut find: impl FnMut(&str, &Storage) -> Result<Bytes, Problem>,
) -> Result<Vec<(Dtype, Bytes)>, Problem> {
    let mut all = Vec::with_capacity(storages.len());
    for storage in storages {
        let bytes = match &storage.place {
            Place::Here(bytes) => bytes.clone(),
            Place::Key(key) => find(key, storage)?,
        };
        if storage.dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
            return Err(Problem::storage("a bool that is neither 0 nor 1"));
        }
        all.push((storage.dtype, bytes));
    }
    Ok(all)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// Its items are being finished. Meeting it again means that it contains itself.
    Open,
    Finished(Id),
}

struct Finisher {
    storages: Vec<(Dtype, Bytes)>,
    drafts: Vec<Draft>,
    states: Vec<State>,
    nodes: Vec<Node>,
    /// Nesting depth of each node, 0 for values without items.
    depths: Vec<u8>,
}

impl Finisher {
    /// Walks depth first with an explicit stack of a value and the index of its next item.
    fn walk(&mut self, root: Id) -> Result<(), Problem> {
        let mut path = vec![(root, 0)];
        self.states[root as usize] = State::Open;
        while let Some((id, next)) = path.last_mut() {
            if let Some(item) = item(&self.drafts[*id as usize], *next) {
                *next += 1;
                match self.states[item as usize] {
                    State::New => {
                        self.states[item as usize] = State::Open;
                        path.push((item, 0));
                    }
                    State::Open => {
                        return Err(Problem::Limit("a value contains itself".to_owned()));
                    }
                    State::Finished(_) => {}
                }
                if path.len() > usize::from(MAX_DEPTH) + 1 {
                    return Err(too_deep());
                }
            } else {
                let id = *id;
                path.pop();
                self.close(id)?;
            }
        }
        Ok(())
    }

    /// Builds the node of a draft whose items are all finished.
    fn close(&mut self, id: Id) -> Result<(), Problem> {
        let draft = std::mem::replace(&mut self.drafts[id as usize], Draft::None);
        let all = |ids: &[Id]| ids.iter().map(|&id| self.finished(id)).collect();
        let node = match draft {
            Draft::None => Node::None,
            Draft::Bool(value) => Node::Bool(value),
            Draft::Int(value) => Node::Int(value),
            Draft::Float(value) => Node::Float(value),
            Draft::Str(text) => Node::Str(text),
            Draft::Bytes(bytes) => Node::Bytes(bytes),
            Draft::List(ids) => Node::List(all(&ids)),
            Draft::Tuple(ids) => Node::Tuple(all(&ids)),
            Draft::Set(ids) => Node::Set(all(&ids)),
            Draft::Dict(entries) => Node::Dict(
                entries
                    .iter()
                    .map(|&(key, value)| (self.finished(key), self.finished(value)))
                    .collect(),
            ),
            Draft::Tensor(draft) => {
                let (dtype, storage) = &self.storages[draft.storage];
                Node::Tensor(Box::new(Tensor::new(*dtype, draft.layout, storage.clone())))
            }
            Draft::Other(kind) => Node::Other(kind),
            Draft::Global(Global::Type(name, _)) => Node::Str(name.into()),
            Draft::Storage(_) | Draft::Global(_) | Draft::ArrayType(_) | Draft::ArrayToBuild => {
                let kind = draft.kind();
                return Err(Problem::Content(format!(
                    "holds a {kind} where a value is expected; only tensors, arrays and plain data \
                     are read"
                )));
            }
        };
        self.depths.push(self.depth(&node)?);
        if let Node::Dict(entries) = &node {
            self.check_keys(entries)?;
        }
        self.states[id as usize] = State::Finished(self.nodes.len() as Id);
        self.nodes.push(node);
        Ok(())
    }

    fn finished(&self, id: Id) -> Id {
        match self.states[id as usize] {
            State::Finished(node) => node,
            // Unreachable, because the walk has left the value by then.
            State::New | State::Open => 0,
        }
    }

    fn depth(&self, node: &Node) -> Result<u8, Problem> {
        let depth_of = |id: &Id| self.depths[*id as usize];
        let deepest = match node {
            Node::List(ids) | Node::Tuple(ids) | Node::Set(ids) => ids.iter().map(depth_of).max(),
            Node::Dict(entries) => {
                entries.iter().map(|(key, value)| depth_of(key).max(depth_of(value))).max()
            }
            _ => return Ok(0),
        };
        match deepest.map_or(1, |deepest| deepest + 1) {
            depth if depth > MAX_DEPTH => Err(too_deep()),
            depth => Ok(depth),
        }
    }

    /// Checks that Python can hash the keys and that no key is repeated.
    ///
    /// It checks repetition only of texts, integers and booleans.
    fn check_keys(&self, entries: &[(Id, Id)]) -> Result<(), Problem> {
        let mut texts = HashSet::new();
        let mut numbers = HashSet::new();
        for &(key, _) in entries {
            let (new, name) = match &self.nodes[key as usize] {
                Node::Str(text) => (texts.insert(&**text), shown(text)),
                Node::Int(value) => (numbers.insert(*value), value.to_string()),
                Node::Bool(value) => (numbers.insert((*value).into()), value.to_string()),
                Node::None
                | Node::Float(_)
                | Node::Bytes(_)
                | Node::Tuple(_)
                | Node::Set(_)
                | Node::Other(_) => continue,
                Node::List(_) | Node::Dict(_) | Node::Tensor(_) => {
                    let reason = "a dict has a list, dict or tensor as a key";
                    return Err(Problem::Content(reason.to_owned()));
                }
            };
            if !new {
                return Err(Problem::Content(format!("a dict has the key {name} twice")));
            }
        }
        Ok(())
    }
}

/// Returns the item of a draft at `place`; a dict's keys and values alternate.
fn item(draft: &Draft, place: usize) -> Option<Id> {
    match draft {
        Draft::List(ids) | Draft::Set(ids) => ids.get(place).copied(),
        Draft::Tuple(ids) => ids.get(place).copied(),
        Draft::Dict(entries) => {
            let &(key, value) = entries.get(place / 2)?;
            Some(if place.is_multiple_of(2) { key } else { value })
        }
        _ => None,
    }
}

fn too_deep() -> Problem {
    Problem::Limit(format!("its values nest deeper than {MAX_DEPTH}"))
}
