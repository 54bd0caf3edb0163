//! Restricted pickle machine: builds plain values, imports nothing and calls nothing.
//!
//! A pickle is a program for a stack machine. Here its GLOBAL opcodes can only name the entries of
//! `globals`, and REDUCE and BUILD only do what those stand for: build a tensor, an array or a dict
//! from parts that the pickle holds. Any other name is an error that names it.
//!
//! Values lie in one list and refer to each other by number. Sharing therefore costs nothing,
//! however often it is repeated, and dropping values never recurses. Memory is bounded by the
//! pickle's own length: each new value and each copied reference is charged.
//!
//! The crate `pytorch-reader` 0.23.0-pre.1 was tried on this crate's fixtures and is not used:
//! - It opens and reads 59 of the 155 hostile files that must be refused. A forbidden call becomes
//!   an opaque value instead of an error that names it.
//! - It reads 26 of the 29 sound checkpoints, and loses the order of tensors.
//! - It finds the embeddings in 1 of ClipCap's 42 pickles, since it reads neither numpy's arrays nor
//!   `_load_from_bytes`. This machine and the legacy format would stay; only `container::zip` goes.
//! - It copies each tensor, and so unties tied weights: all values of 528 MB take 1.3 s (zip) and
//!   1.1 s (legacy) instead of 0.6 s and 0.5 s.

mod array;
mod globals;
mod literals;
mod machine;
mod opcodes;
mod reader;
mod rebuild;
mod stack;

use std::collections::HashMap;

use bytes::Bytes;

use crate::dtype::Dtype;
use crate::error::Problem;
use crate::tensor::Layout;
use array::ArrayType;
pub(crate) use globals::Global;
use machine::Machine;
pub(crate) use reader::Reader;

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
    /// Alternating keys and values.
    Dict(Vec<Id>),
    /// Index in [`Pickle::tensors`].
    Tensor(usize),
    /// Known value that is not read; holds its name.
    Other(&'static str),
    /// Function or class. Element types are texts instead.
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

    /// Returns the items of a container, those of a dict as alternating keys and values.
    pub(crate) fn items(&self) -> Option<&[Id]> {
        match self {
            Self::List(ids) | Self::Tuple(ids) | Self::Set(ids) | Self::Dict(ids) => Some(ids),
            _ => None,
        }
    }
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
    /// Separate file; storages are inside, as `_load_from_bytes` reads them.
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
    /// Runs the pickle that begins at byte `start`.
    pub(crate) fn read(input: &Bytes, start: usize, container: Container) -> Result<Self, Problem> {
        Machine::new(input, start, container).run()
    }

    /// Returns the value that STOP left.
    pub(crate) fn root(&self) -> &Node {
        self.node(self.root)
    }

    /// Returns the value of an id; the machine only creates ids of existing values.
    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id as usize]
    }
}
