//! Plain values of a pickle as a tree.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::container::Contents;
use crate::error::{Error, Problem};
use crate::tensor::Tensor;
use crate::{container, pickle};

/// All values of a file; walking starts at [`Tree::root`].
#[derive(Debug)]
pub struct Tree {
    pub(crate) path: PathBuf,
    /// Nodes, with items before their containers, so that there are no cycles.
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: pickle::Id,
}

/// Value with its items by index. A value that the pickle shares is stored once.
#[derive(Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Box<str>),
    Bytes(Box<Bytes>),
    List(Box<[pickle::Id]>),
    Tuple(Box<[pickle::Id]>),
    Set(Box<[pickle::Id]>),
    Dict(Box<[(pickle::Id, pickle::Id)]>),
    Tensor(Box<Tensor>),
    Other(&'static str),
}

impl Tree {
    /// Reads a file that `torch.save` (either format) or `pickle.dump` wrote.
    ///
    /// The file is mapped into memory and must not change while the tree or one of its tensors is
    /// in use. Checksums, lengths and views are checked here, once.
    ///
    /// # Errors
    /// Names the file and the problem; for a hostile file also the function that it asks for.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match container::open(path) {
            Ok(Contents::Tree(tree)) => Ok(tree),
            Ok(Contents::Tensors(_)) => Err(Problem::UnsupportedKind(
                "a safetensors file; a pickle or a PyTorch file is expected here",
            )
            .at(path)),
            Err(problem) => Err(problem.at(path)),
        }
    }

    /// Returns the value that was saved.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        self.value(self.root)
    }

    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn value(&self, id: pickle::Id) -> Value<'_> {
        match &self.nodes[id as usize] {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Str(text) => Value::Str(text),
            Node::Bytes(bytes) => Value::Bytes(bytes),
            Node::List(ids) => Value::List(Items { tree: self, ids }),
            Node::Tuple(ids) => Value::Tuple(Items { tree: self, ids }),
            Node::Set(ids) => Value::Set(Items { tree: self, ids }),
            Node::Dict(ids) => Value::Dict(Dict { tree: self, ids }),
            Node::Tensor(tensor) => Value::Tensor(tensor),
            Node::Other(kind) => Value::Other(kind),
        }
    }
}

/// Value of a [`Tree`].
///
/// Values nest at most [`MAX_DEPTH`](crate::MAX_DEPTH) deep, so that walking may recurse. A small
/// file can share one list a million times, so code that copies values must limit their number.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Python's None.
    None,
    /// Bool of Python or numpy.
    Bool(bool),
    /// Integer of Python or numpy.
    Int(i128),
    /// Float of Python or numpy.
    Float(f64),
    /// Text; includes `torch.device` and `torch.dtype`.
    Str(&'a str),
    /// Bytes or bytearray.
    Bytes(&'a [u8]),
    /// List.
    List(Items<'a>),
    /// Tuple; includes `torch.Size`.
    Tuple(Items<'a>),
    /// Set or frozenset, in the order of the file.
    Set(Items<'a>),
    /// Dict of any kind.
    Dict(Dict<'a>),
    /// Tensor, parameter or numpy array.
    Tensor(&'a Tensor),
    /// Value that only `torch.load(weights_only=True)` reads; holds its description.
    ///
    /// These are tensors of other types or kinds, complex numbers, and texts with lone surrogates.
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// Returns Python's name of this kind of value; arrays count as "tensor".
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Str(_) => "str",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Tuple(_) => "tuple",
            Self::Set(_) => "set",
            Self::Dict(_) => "dict",
            Self::Tensor(_) => "tensor",
            Self::Other(kind) => kind,
        }
    }

    /// Returns the value of a dict's key, or `None` if this is no dict or lacks the key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Dict(dict) => dict.get(key),
            _ => None,
        }
    }
}

/// Items of a list, tuple or set.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    tree: &'a Tree,
    pub(crate) ids: &'a [pickle::Id],
}

impl<'a> Items<'a> {
    /// Returns the number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the item at `place`, counted from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Value<'a>> {
        self.ids.get(place).map(|&id| self.tree.value(id))
    }

    /// Iterates over all items in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'a>> + use<'a> {
        let tree = self.tree;
        self.ids.iter().map(|&id| tree.value(id))
    }
}

/// Entries of a dict, in insertion order.
#[derive(Debug, Clone, Copy)]
pub struct Dict<'a> {
    tree: &'a Tree,
    pub(crate) ids: &'a [(pickle::Id, pickle::Id)],
}

impl<'a> Dict<'a> {
    /// Returns the number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Returns whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Returns the value of a text key, with a linear search.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter().find_map(|(name, value)| match name {
            Value::Str(name) if name == key => Some(value),
            _ => None,
        })
    }

    /// Iterates over all keys and values in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let tree = self.tree;
        self.ids.iter().map(|&(key, value)| (tree.value(key), tree.value(value)))
    }
}
