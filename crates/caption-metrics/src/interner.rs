//! Distinct values, each stored once and numbered from 0 in the order of their arrival.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;

/// Strings one after the other in one allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Strings {
    text: String,
    ends: Vec<usize>,
}

impl Strings {
    pub(crate) fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.text[start..self.ends[index]]
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Numbers distinct strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interner {
    strings: Strings,
    numbers: HashTable<u32>,
}

impl Interner {
    /// Returns the number of a string, a new one if the string is new.
    pub(crate) fn intern(&mut self, string: &str) -> u32 {
        let Self { strings, numbers } = self;
        let next = strings.len() as u32;
        let number = intern(numbers, next, &string, |number| strings.get(number as usize));
        if number == next {
            strings.push(string);
        }
        number
    }

    /// Returns the number of a string that is known.
    pub(crate) fn find(&self, string: &str) -> Option<u32> {
        let equals = |&number: &u32| self.strings.get(number as usize) == string;
        self.numbers.find(hash(&string), equals).copied()
    }

    /// Returns the strings in the order of their numbers.
    pub(crate) fn strings(&self) -> &Strings {
        &self.strings
    }
}

/// Numbers distinct pairs of integers.
#[derive(Default)]
pub(crate) struct PairInterner {
    pairs: Vec<(u32, u32)>,
    numbers: HashTable<u32>,
}

impl PairInterner {
    /// Returns the number of a pair, a new one if the pair is new.
    pub(crate) fn intern(&mut self, pair: (u32, u32)) -> u32 {
        let Self { pairs, numbers } = self;
        let next = pairs.len() as u32;
        let number = intern(numbers, next, &pair, |number| pairs[number as usize]);
        if number == next {
            pairs.push(pair);
        }
        number
    }

    /// Returns the number of a pair that is known.
    pub(crate) fn find(&self, pair: (u32, u32)) -> Option<u32> {
        let equals = |&number: &u32| self.pairs[number as usize] == pair;
        self.numbers.find(hash(&pair), equals).copied()
    }

    /// Returns the pairs in the order of their numbers.
    pub(crate) fn pairs(&self) -> &[(u32, u32)] {
        &self.pairs
    }
}

/// Returns the number of `value` in a table whose values `get` looks up, or enters `next` for it.
fn intern<T: Hash + PartialEq>(
    numbers: &mut HashTable<u32>,
    next: u32,
    value: &T,
    get: impl Fn(u32) -> T,
) -> u32 {
    let equals = |&number: &u32| get(number) == *value;
    match numbers.entry(hash(value), equals, |&number| hash(&get(number))) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(place) => *place.insert(next).get(),
    }
}

fn hash<T: Hash>(value: &T) -> u64 {
    FxBuildHasher.hash_one(value)
}
