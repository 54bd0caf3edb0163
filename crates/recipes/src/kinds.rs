//! Sections that have several kinds, and the keys of each kind.

use serde::Serialize;
use toml::{Table, Value};

use crate::{Mapper, Strategy, Tokenizer};

/// Sections that have several kinds, each kind with its default values.
pub(crate) fn kinds() -> [(&'static str, Vec<Table>); 3] {
    [
        ("tokenizer", tables(&Tokenizer::kinds())),
        ("mapper", tables(&Mapper::kinds())),
        ("decoding.strategy", tables(&Strategy::kinds())),
    ]
}

fn tables<T: Serialize>(kinds: &[T]) -> Vec<Table> {
    kinds.iter().filter_map(|kind| Table::try_from(kind).ok()).collect()
}

/// Returns the keys that a section of that kind has.
pub(crate) fn keys_of_kind(section: &str, kind: &Value) -> Vec<String> {
    defaults_of_kind(section, kind).map_or_else(Vec::new, |table| table.keys().cloned().collect())
}

pub(crate) fn defaults_of_kind(section: &str, kind: &Value) -> Option<Table> {
    let (_, kinds) = kinds().into_iter().find(|(name, _)| *name == section)?;
    kinds.into_iter().find(|table| table.get("kind") == Some(kind))
}
