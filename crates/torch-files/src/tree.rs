//! Plain values of a pickle as a tree.

use std::path::{Path, PathBuf};

use crate::check::{EXPANSION, check};
use crate::dtype::Dtype;
use crate::error::Problem;
use crate::pickle::{Global, Id, Node, Pickle};
use crate::tensor::Tensor;

/// All values of a file; walking starts at [`Tree::root`].
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    /// Values without cycles below the root. A value that the pickle shares is stored once.
    nodes: Vec<Node>,
    tensors: Vec<Tensor>,
    root: Id,
    /// True if copying all shared values would take far more memory than the file justifies.
    outgrows_file: bool,
}

impl Tree {
    /// Builds the tree of a pickle, whose storages the container has found.
    ///
    /// # Errors
    /// Fails for missing storages, bools other than 0 and 1, and values that [`check`] refuses.
    pub(crate) fn new(path: &Path, pickle: Pickle) -> Result<Self, Problem> {
        let Pickle { nodes, root, storages, tensors, .. } = pickle;
        let mut found = Vec::with_capacity(storages.len());
        for storage in storages {
            let Some(bytes) = storage.bytes else {
                let reason = format_args!("storage {} is missing", storage.key);
                return Err(Problem::storage(reason));
            };
            if storage.dtype == Dtype::Bool && bytes.iter().any(|&byte| byte > 1) {
                return Err(Problem::storage("a bool that is neither 0 nor 1"));
            }
            found.push((storage.dtype, bytes));
        }
        let tensors = tensors.into_iter().map(|(storage, layout)| {
            let (dtype, bytes) = &found[storage];
            Tensor::new(*dtype, layout, bytes.clone())
        });
        let tensors = tensors.collect();
        let outgrows_file = check(&nodes, root)?;
        Ok(Self { path: path.to_owned(), nodes, tensors, root, outgrows_file })
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

    /// Fails if copying all shared values would take far more memory than the file justifies.
    pub(crate) fn check_expansion(&self) -> Result<(), Problem> {
        if !self.outgrows_file {
            return Ok(());
        }
        Err(Problem::limit(format_args!(
            "it shares values so often that, written out, it would be more than {EXPANSION} times \
             as large"
        )))
    }

    fn value(&self, id: Id) -> Value<'_> {
        match &self.nodes[id as usize] {
            Node::None => Value::None,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Float(value) => Value::Float(*value),
            Node::Str(text) => Value::Str(text),
            Node::Global(Global::TensorType(name)) => {
                Value::Str(name.trim_start_matches("tensor of "))
            }
            Node::Bytes(bytes) => Value::Bytes(bytes),
            Node::List(ids) => Value::List(Items { tree: self, ids }),
            Node::Tuple(ids) => Value::Tuple(Items { tree: self, ids }),
            Node::Set(ids) => Value::Set(Items { tree: self, ids }),
            Node::Dict(ids) => Value::Dict(Dict(Items { tree: self, ids })),
            Node::Tensor(index) => Value::Tensor(&self.tensors[*index]),
            // The check refuses all others but the first.
            Node::Other(_)
            | Node::Storage(_)
            | Node::Global(_)
            | Node::ArrayType(_)
            | Node::UnfinishedArray => Value::Other(self.nodes[id as usize].kind()),
        }
    }
}

/// Value of a [`Tree`].
///
/// Values nest at most 100 deep, so that walking may recurse. A small file can share one list a
/// million times, so code that copies values must limit their number.
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

    /// Returns the value of a dict's text key, with a linear search.
    ///
    /// Returns `None` if this is no dict or lacks the key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let Self::Dict(dict) = self else { return None };
        dict.iter().find_map(|(name, value)| match name {
            Value::Str(name) if name == key => Some(value),
            _ => None,
        })
    }
}

/// Items of a list, tuple or set.
#[derive(Debug, Clone, Copy)]
pub struct Items<'a> {
    tree: &'a Tree,
    pub(crate) ids: &'a [Id],
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

    /// Returns the item at `index`, counted from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<Value<'a>> {
        self.ids.get(index).map(|&id| self.tree.value(id))
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
pub struct Dict<'a>(pub(crate) Items<'a>);

impl<'a> Dict<'a> {
    /// Iterates over all keys and values in order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Value<'a>, Value<'a>)> + use<'a> {
        let Items { tree, ids } = self.0;
        ids.as_chunks().0.iter().map(|&[key, value]| (tree.value(key), tree.value(value)))
    }
}
