//! Reader of the format that `torch.save` wrote before PyTorch 1.6.
//!
//! Pickled tensors still contain this format. Five pickles follow one another: a magic number, the
//! protocol's version, facts about the machine, the object, and the keys of its storages. Then
//! comes each storage: its length in elements as 64 bits, and its values.

use std::collections::HashMap;

use bytes::Bytes;

use super::nothing_after;
use crate::error::Problem;
use crate::finish::finish;
use crate::pickle::{Draft, Id, Pickle, Place, Source, Storage};
use crate::tree::Node;

/// Value of the first pickle.
pub(crate) const MAGIC: i128 = 0x1950_a86a_20f9_469c_fc6c;
/// Value of the second pickle.
pub(crate) const VERSION: i128 = 1001;

pub(super) fn read(input: &Bytes) -> Result<(Vec<Node>, Id), Problem> {
    let Parts { object, mut storages } = parts(input)?;
    finish(object, |key, _| {
        storages.remove(key).ok_or_else(|| Problem::storage(format!("storage {key} is missing")))
    })
}

/// Reads the storage of a file that holds nothing else.
pub(crate) fn lone_storage(input: &Bytes) -> Result<Storage, Problem> {
    let Parts { mut object, mut storages } = parts(input)?;
    let storage = match *object.root() {
        Draft::Storage(place) => object.storages.swap_remove(place),
        _ => return Err(Problem::storage("something other than a storage")),
    };
    let bytes = match &storage.place {
        Place::Key(key) => storages.remove(key),
        Place::Here(_) => None,
    };
    let bytes = bytes.ok_or_else(|| Problem::storage("a storage without values"))?;
    Ok(Storage { place: Place::Here(bytes), ..storage })
}

struct Parts {
    object: Pickle,
    storages: HashMap<Box<str>, Bytes>,
}

fn parts(input: &Bytes) -> Result<Parts, Problem> {
    let magic = Pickle::read(input, 0, Source::Bare)?;
    let version = Pickle::read(input, magic.end, Source::Bare)?;
    let machine = Pickle::read(input, version.end, Source::Bare)?;
    if !matches!((magic.root(), version.root()), (Draft::Int(MAGIC), Draft::Int(VERSION))) {
        return Err(Problem::storage("not the magic number and version of torch.save"));
    }
    if !is_little_endian(&machine) {
        return Err(Problem::UnsupportedKind(
            "from a big-endian machine, or does not say\n\
             hint: load it in PyTorch and save it again on an ordinary computer",
        ));
    }
    let object = Pickle::read(input, machine.end, Source::Legacy)?;
    let keys = Pickle::read(input, object.end, Source::Bare)?;
    let storages = storages(input, &object, &keys)?;
    Ok(Parts { object, storages })
}

fn is_little_endian(machine: &Pickle) -> bool {
    let Draft::Dict(entries) = machine.root() else { return false };
    entries.iter().any(|&(key, value)| {
        matches!(
            (machine.value(key), machine.value(value)),
            (Draft::Str(key), Draft::Bool(true)) if **key == *"little_endian"
        )
    })
}

fn storages(
    input: &Bytes,
    object: &Pickle,
    keys: &Pickle,
) -> Result<HashMap<Box<str>, Bytes>, Problem> {
    let declared: HashMap<&str, &Storage> = object
        .storages
        .iter()
        .filter_map(|storage| match &storage.place {
            Place::Key(key) => Some((&**key, storage)),
            Place::Here(_) => None,
        })
        .collect();
    let Draft::List(ids) = keys.root() else {
        return Err(Problem::storage("no list of storages"));
    };
    let mut found = HashMap::with_capacity(declared.len());
    let mut at = keys.end;
    for &id in ids {
        let Draft::Str(key) = keys.value(id) else {
            return Err(Problem::storage("a storage key that is not a str"));
        };
        let Some(storage) = declared.get(&**key) else {
            return Err(Problem::storage(format!("storage {key:.20} belongs to no tensor")));
        };
        let elements = u64::from_le_bytes(
            slice(input, at, size_of::<u64>())?.as_ref().try_into().unwrap_or_default(),
        );
        if elements != storage.elements as u64 {
            return Err(Problem::storage(format!(
                "storage {key:.20} has {elements} elements, but should have {}",
                storage.elements
            )));
        }
        at += size_of::<u64>();
        let bytes = slice(input, at, storage.byte_length())?;
        at += bytes.len();
        found.insert(key.clone(), bytes);
    }
    nothing_after(at, input)?;
    Ok(found)
}

fn slice(input: &Bytes, at: usize, wanted: usize) -> Result<Bytes, Problem> {
    match at.checked_add(wanted) {
        Some(end) if end <= input.len() => Ok(input.slice(at..end)),
        _ => {
            let end = input.len() as u64;
            Err(Problem::CutShort { at: at as u64, wanted: wanted as u64, end })
        }
    }
}
