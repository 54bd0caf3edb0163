//! Restricted pickle machine: turns bytes into plain values, imports nothing and calls nothing.
//!
//! A pickle is a program for a stack machine. Here its GLOBAL opcodes can only name the entries of
//! `globals`, and REDUCE and BUILD only do what those stand for: build a tensor, an array or a dict
//! from parts that the pickle holds. Any other name is an error that names it.
//!
//! Values lie in one list and refer to each other by number. Sharing therefore costs nothing,
//! however often it is repeated, and dropping values never recurses. Memory is bounded by the
//! pickle's own length: each new value and each copied reference is charged.

mod array;
mod globals;
mod literals;
mod machine;
mod opcodes;
mod reader;
mod rebuild;
mod stack;

use bytes::Bytes;

use crate::dtype::Dtype;
use crate::error::Problem;
use crate::tensor::Layout;
use array::ArrayType;
pub(crate) use globals::Global;
use machine::Machine;

/// Index of a value among a pickle's values.
pub(crate) type Id = u32;

/// Value while the pickle runs; containers may still grow.
#[derive(Debug)]
pub(crate) enum Draft {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(Box<str>),
    Bytes(Box<Bytes>),
    List(Vec<Id>),
    Tuple(Box<[Id]>),
    Set(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Tensor(Box<TensorDraft>),
    /// Known value that is not read; holds its name.
    Other(&'static str),
    /// The variants from here on are parts of tensors and arrays, without a meaning of their own.
    Storage(usize),
    Global(Global),
    ArrayType(ArrayType),
    ArrayToBuild,
}

impl Draft {
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
            Self::Storage(_) => "storage",
            Self::Global(_) => "function or class",
            Self::ArrayType(_) => "array type",
            Self::ArrayToBuild => "unfinished array",
        }
    }
}

/// Tensor whose storage may not have been found yet.
#[derive(Debug)]
pub(crate) struct TensorDraft {
    /// Index in [`Pickle::storages`].
    pub(crate) storage: usize,
    pub(crate) layout: Layout,
}

/// Memory that tensors are views of.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) dtype: Dtype,
    pub(crate) elements: usize,
    pub(crate) place: Place,
}

impl Storage {
    /// Returns the length in bytes. It cannot overflow: the machine checks each new storage.
    pub(crate) fn byte_length(&self) -> usize {
        self.elements * self.dtype.size()
    }
}

/// Location of a storage's bytes.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the pickle itself.
    Here(Bytes),
    /// Elsewhere in the file, under this name.
    Key(Box<str>),
}

/// Container of a pickle, which determines the storages that it may refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// File of its own; storages are inside, as `_load_from_bytes` reads them.
    Plain,
    /// Numbers and lists around the legacy format's main pickle; no storages.
    Bare,
    /// `data.pkl` of a zip archive; storages are entries.
    Zip,
    /// Main pickle of the legacy format; storages follow it.
    Legacy,
}

/// Values and storages of a pickle.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) values: Vec<Draft>,
    pub(crate) root: Id,
    pub(crate) storages: Vec<Storage>,
    /// Position of the next byte after STOP.
    pub(crate) end: usize,
}

impl Pickle {
    /// Runs the pickle that begins at byte `at`.
    pub(crate) fn read(input: &Bytes, at: usize, source: Source) -> Result<Self, Problem> {
        Machine::new(input, at, source).run()
    }

    /// Returns the value that STOP left.
    pub(crate) fn root(&self) -> &Draft {
        self.value(self.root)
    }

    /// Returns the value of an id; the machine only creates ids of existing values.
    pub(crate) fn value(&self, id: Id) -> &Draft {
        &self.values[id as usize]
    }
}
