//! The restricted pickle machine: bytes in, plain values out, nothing imported and nothing called.
//!
//! A pickle is a program for a stack machine. Here its GLOBAL opcodes can only name the entries of
//! `globals`, and REDUCE and BUILD only do what those stand for: put a tensor, an array or a
//! dict together from parts that the pickle holds. Any other name is an error that says which.
//!
//! Values lie in one list and refer to each other by number, so that sharing costs nothing, however
//! often it is repeated, and dropping them never recurses. Memory is bounded by the pickle's own
//! length: each value made and each reference copied is paid for.

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

/// A value's place among a pickle's values.
pub(crate) type Id = u32;

/// A value while the pickle runs; containers may still grow.
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
    /// A value that is known and not read, by its name.
    Other(&'static str),
    /// What follows is parts of tensors and arrays, which mean nothing by themselves.
    Storage(usize),
    Global(Global),
    ArrayType(ArrayType),
    ArrayToBuild,
}

impl Draft {
    /// What a person would call it.
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

/// A tensor whose storage may not have been found yet.
#[derive(Debug)]
pub(crate) struct TensorDraft {
    /// Place in [`Pickle::storages`].
    pub(crate) storage: usize,
    pub(crate) layout: Layout,
}

/// The memory that tensors are views of.
#[derive(Debug)]
pub(crate) struct Storage {
    pub(crate) dtype: Dtype,
    pub(crate) elements: usize,
    pub(crate) place: Place,
}

impl Storage {
    /// Its length in bytes, which fits an address: checked where the machine makes a storage.
    pub(crate) fn byte_length(&self) -> usize {
        self.elements * self.dtype.size()
    }
}

/// Where a storage's bytes are.
#[derive(Debug)]
pub(crate) enum Place {
    /// In the pickle itself.
    Here(Bytes),
    /// Elsewhere in the file, under this name.
    Key(Box<str>),
}

/// What surrounds a pickle, and so which storages it may speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file of its own; storages are inside, saved by `_load_from_bytes`'s counterpart.
    Plain,
    /// Numbers and lists around the legacy format's main pickle; no storages.
    Bare,
    /// A zip archive's `data.pkl`; storages are entries.
    Zip,
    /// The legacy format's main pickle; storages follow it.
    Legacy,
}

/// What a pickle held.
#[derive(Debug)]
pub(crate) struct Pickle {
    pub(crate) values: Vec<Draft>,
    pub(crate) root: Id,
    pub(crate) storages: Vec<Storage>,
    /// Where the next byte after STOP is.
    pub(crate) end: usize,
}

impl Pickle {
    /// Runs the pickle that begins at byte `at`.
    pub(crate) fn read(input: &Bytes, at: usize, source: Source) -> Result<Self, Problem> {
        Machine::new(input, at, source).run()
    }

    /// The value that STOP left.
    pub(crate) fn root(&self) -> &Draft {
        self.value(self.root)
    }

    /// The value with this number; the machine hands out numbers of values that exist.
    pub(crate) fn value(&self, id: Id) -> &Draft {
        &self.values[id as usize]
    }
}
