//! Reader of the format that `torch.save` wrote before PyTorch 1.6.
//!
//! Pickled tensors still contain this format. Five pickles follow one another: a magic number, the
//! protocol's version, facts about the machine, the object, and the keys of its storages. Then
//! comes each storage: its length in elements as 64 bits, and its values.

use bytes::Bytes;

use super::nothing_after;
use crate::error::Problem;
use crate::pickle::{Container, Node, Pickle, Reader, Storage};

/// Value of the first pickle.
pub(super) const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Value of the second pickle.
const VERSION: i128 = 1001;

/// Reads the object's pickle and finds its storages.
pub(super) fn read(input: &Bytes) -> Result<Pickle, Problem> {
    let next = |start| Pickle::read(input, start, Container::Legacy);
    let magic = next(0)?;
    let version = next(magic.end)?;
    let machine = next(version.end)?;
    if !matches!((magic.root(), version.root()), (Node::Int(MAGIC), Node::Int(VERSION))) {
        return Err(Problem::storage("not the magic number and version of torch.save"));
    }
    if !is_little_endian(&machine) {
        return Err(Problem::content(
            "is from a big-endian machine, or does not say\n\
             hint: load it in PyTorch and save it again on an ordinary computer",
        ));
    }
    let mut object = next(machine.end)?;
    let keys = next(object.end)?;
    let Node::List(ids) = keys.root() else {
        return Err(Problem::storage("no list of storages"));
    };
    let mut reader = Reader::new(input, keys.end);
    for &id in ids {
        let Node::Str(key) = keys.node(id) else {
            return Err(Problem::storage("a storage key that is not a str"));
        };
        let Some(&index) = object.storage_of_key.get(key) else {
            return Err(Problem::storage(format_args!("storage {key:.20} belongs to no tensor")));
        };
        let storage = &mut object.storages[index];
        let elements = reader.u64()?;
        if elements != storage.elements as u64 {
            return Err(Problem::storage(format_args!(
                "storage {key:.20} has {elements} elements, but should have {}",
                storage.elements
            )));
        }
        storage.bytes = Some(reader.share(storage.byte_length() as u64)?);
    }
    nothing_after(reader.offset(), input)?;
    Ok(object)
}

/// Reads the storage of a file that holds nothing else.
pub(crate) fn read_storage(input: &Bytes) -> Result<Storage, Problem> {
    let mut object = read(input)?;
    let &Node::Storage(index) = object.root() else {
        return Err(Problem::storage("something other than a storage"));
    };
    let storage = object.storages.swap_remove(index);
    if storage.bytes.is_none() {
        return Err(Problem::storage("a storage without values"));
    }
    Ok(storage)
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Node::Dict(entries) = machine.root() else { return false };
    entries.as_chunks().0.iter().any(|&[key, value]| {
        matches!(
            (machine.node(key), machine.node(value)),
            (Node::Str(key), Node::Bool(true)) if **key == *"little_endian"
        )
    })
}
