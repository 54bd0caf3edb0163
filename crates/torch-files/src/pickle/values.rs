//! Values and storages of a pickle.

use std::collections::HashMap;

use bytes::Bytes;

use super::globals::Global;
use crate::dtype::Dtype;
use crate::tensor::Layout;

/// Index of a value among a pickle's values.
pub(crate) type Id = u32;

/// Value of a pickle; containers hold the indexes of their items.
#[derive(Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Box<str>),
    Bytes(Box<Bytes>),
    List(Vec<Id>),
    Tuple(Vec<Id>),
    Set(Vec<Id>),
    /// Keys and values in turn.
    Dict(Vec<Id>),
    /// Index in [`Pickle::tensors`].
    Tensor(usize),
    /// Known value that is not read; holds its name.
    Other(&'static str),
    /// Function or class. Element types have a meaning of their own, as texts.
    Global(Global),
    /// Index in [`Pickle::storages`]. This and the rest are parts of tensors and arrays.
    Storage(usize),
    ArrayType(ArrayType),
    UnfinishedArray,
}

impl Node {
    /// Returns a name of the kind of value for messages.
    pub(crate) fn kind(&self) -> &'static str {
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
            Self::Global(_) => "function or class",
            Self::Storage(_) => "storage",
            Self::ArrayType(_) => "array type",
            Self::UnfinishedArray => "unfinished array",
        }
    }

    /// Returns the items of a container, those of a dict as keys and values in turn.
    pub(crate) fn items(&self) -> Option<&[Id]> {
        match self {
            Self::List(ids) | Self::Tuple(ids) | Self::Set(ids) | Self::Dict(ids) => Some(ids),
            _ => None,
        }
    }
}

/// Element type of a `numpy.dtype`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ArrayType {
    Number(Dtype),
    /// Refused on use.
    BigEndianNumber,
    /// Letters of four bytes each, padded with zeros. Only scalars are read.
    Text,
    /// Objects, dates and other types that are not read.
    Other,
}

/// Memory that tensors are views of.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) dtype: Dtype,
    pub(crate) elements: usize,
    /// Name in the file; empty if the pickle itself holds the bytes.
    pub(crate) key: Box<str>,
    /// `None` until the container has found them.
    pub(crate) bytes: Option<Bytes>,
}

impl Storage {
    /// Returns the length in bytes. It cannot overflow: the machine checks each new storage.
    pub(crate) fn byte_length(&self) -> usize {
        self.elements * self.dtype.size()
    }
}

/// Container of a pickle, which determines where its storages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    /// File of its own; storages are inside, as `_load_from_bytes` reads them.
    Plain,
    /// `data.pkl` of a zip archive; storages are entries.
    Zip,
    /// Legacy format; storages follow the pickles.
    Legacy,
}

/// Values and storages of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Pickle {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: Id,
    pub(crate) storages: Vec<Storage>,
    /// Indexes of the storages outside the pickle, by name.
    pub(crate) storage_of_key: HashMap<Box<str>, usize>,
    /// Index of the storage, and the view of it.
    pub(crate) tensors: Vec<(usize, Layout)>,
    /// Position of the next byte after STOP.
    pub(crate) end: usize,
}

impl Pickle {
    /// Returns the value that STOP left.
    pub(crate) fn root(&self) -> &Node {
        self.node(self.root)
    }

    /// Returns the value of an id; the machine only creates ids of existing values.
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}
