//! Plain values: what a pickle held, as a tree that can be walked.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::container::Contents;
use crate::error::{Error, Problem};
use crate::tensor::Tensor;
use crate::{container, pickle};

/// Everything a file holds. [`Tree::root`] is where to start.
#[derive(Debug)]
pub struct Tree {
    pub(crate) path: PathBuf,
    /// Items come before what contains them, so there are no cycles.
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: pickle::Id,
}

/// A value with its items by number: a value that the pickle shares is here once.
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
    /// The file is mapped into memory and must not change while the tree or a tensor of it is in
    /// use. Checksums, lengths and views are checked here, once.
    ///
    /// # Errors
    /// Names the file and what is wrong; for hostile ones also what they ask for.
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

    /// The value that was saved.
    #[must_use]
    pub fn root(&self) -> Value<'_> {
        self.value(self.root)
    }

    /// The file it came from.
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

/// A value of a [`Tree`].
///
/// Nested at most [`MAX_DEPTH`](crate::MAX_DEPTH) deep, so that walking may recurse. But a small file
/// can share one list a million times: whoever copies must count.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// Python's None.
    None,
    /// A bool, numpy's too.
    Bool(bool),
    /// An integer, numpy's too.
    Int(i128),
    /// A float, numpy's too.
    Float(f64),
    /// A text; a `torch.device` or `torch.dtype` is one.
    Str(&'a str),
    /// Bytes or a bytearray.
    Bytes(&'a [u8]),
    /// A list.
    List(Items<'a>),
    /// A tuple; a `torch.Size` is one.
    Tuple(Items<'a>),
    /// A set or frozenset, in the file's order.
    Set(Items<'a>),
    /// A dict of any kind.
    Dict(Dict<'a>),
    /// A tensor, a parameter or a numpy array.
    Tensor(&'a Tensor),
    /// A value that only `torch.load(weights_only=True)` reads, by its name: tensors of other types
    /// or kinds, complex numbers, texts with lone surrogates.
    Other(&'static str),
}

impl<'a> Value<'a> {
    /// What Python calls this kind of value, "tensor" standing for arrays too.
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

    /// The value of a dict's key; none where this is no dict or has no such key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Self::Dict(dict) => dict.get(key),
            _ => None,
        }
    }
}

/// The items of a list, tuple or set.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    tree: &'a Tree,
    pub(crate) ids: &'a [pickle::Id],
}

impl<'a> Items<'a> {
    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The item at `place`, from 0.
    #[must_use]
    pub fn get(&self, place: usize) -> Option<Value<'a>> {
        self.ids.get(place).map(|&id| self.tree.value(id))
    }

    /// All of them in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Value<'a>> + use<'a> {
        let tree = self.tree;
        self.ids.iter().map(|&id| tree.value(id))
    }
}

/// The entries of a dict, in the order in which they were set.
#[derive(Debug, Clone, Copy)]
pub struct Dict<'a> {
    tree: &'a Tree,
    pub(crate) ids: &'a [(pickle::Id, pickle::Id)],
}

impl<'a> Dict<'a> {
    /// Number of tensors.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The value of a key that is a text. Looks through all entries.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.iter().find_map(|(name, value)| match name {
            Value::Str(name) if name == key => Some(value),
            _ => None,
        })
    }

    /// All keys and values in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let tree = self.tree;
        self.ids.iter().map(|&(key, value)| (tree.value(key), tree.value(value)))
    }
}
