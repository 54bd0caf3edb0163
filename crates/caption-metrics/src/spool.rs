//! Captions by image as a file says them, in a temporary file.
//!
//! In memory is where an image's captions are, 8 bytes an image, and until [`Spool::forget_ids`] which images
//! there are, some 25 bytes each. What is said of one image may be anywhere in a file (COCO's annotations are in
//! no order of images), so each record leads to the one before it of the same image.

use std::cell::RefCell;

use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::records::{Reader, Writer};

/// What stands for an identifier: so much of its SHA-256 that no two are taken for one.
type Key = [u32; 3];

fn key(id: &str) -> Key {
    let digest = Sha256::digest(id.as_bytes());
    let (words, _) = digest.as_chunks();
    std::array::from_fn(|at| words.get(at).copied().map_or(0, u32::from_le_bytes))
}

/// There is no record before this one.
const NONE: u64 = u64::MAX;

/// Captions that are being collected.
pub(crate) struct Collecting {
    records: Writer,
    numbers: FxHashMap<Key, u32>,
    /// Of each image, where its last record is.
    last: Vec<u64>,
    states: Vec<State>,
    /// The images that a list of images names, in its order.
    listed: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Named, with no caption so far.
    Named,
    /// With captions, and perhaps more to come.
    Open,
    /// All its captions were given at once.
    Whole,
    /// The same, and they were none.
    WholeAndEmpty,
}

impl Collecting {
    pub(crate) fn new() -> Self {
        Self {
            records: Writer::new(),
            numbers: FxHashMap::default(),
            last: Vec::new(),
            states: Vec::new(),
            listed: Vec::new(),
        }
    }

    /// An image in a list of images, which gives their order.
    pub(crate) fn name(&mut self, id: &str) -> Result<(), Error> {
        let key = key(id);
        let number = match self.numbers.get(&key) {
            Some(&number) => number,
            None => self.record::<&str>(key, id, &[], State::Named)?,
        };
        self.listed.push(number);
        Ok(())
    }

    /// One caption of an image that may have others.
    pub(crate) fn one(&mut self, id: &str, caption: &str) -> Result<(), Error> {
        let key = key(id);
        let known = self.numbers.get(&key).map(|&number| self.states[number as usize]);
        if matches!(known, Some(State::Whole | State::WholeAndEmpty)) {
            return Err(Error::DuplicateId { id: id.to_owned() });
        }
        self.record(key, id, &[caption], State::Open)?;
        Ok(())
    }

    /// All captions of an image.
    pub(crate) fn all<S: AsRef<str>>(&mut self, id: &str, captions: &[S]) -> Result<(), Error> {
        let key = key(id);
        if self.numbers.contains_key(&key) {
            return Err(Error::DuplicateId { id: id.to_owned() });
        }
        let state = if captions.is_empty() { State::WholeAndEmpty } else { State::Whole };
        self.record(key, id, captions, state)?;
        Ok(())
    }

    fn record<S: AsRef<str>>(
        &mut self,
        key: Key,
        id: &str,
        captions: &[S],
        state: State,
    ) -> Result<u32, Error> {
        let next = self.last.len() as u32;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.last.push(NONE);
            self.states.push(state);
        }
        let position = self.records.position();
        self.records.number(self.last[number as usize])?;
        self.last[number as usize] = position;
        self.states[number as usize] = state;
        self.records.text(id)?;
        self.records.number(captions.len() as u64)?;
        captions.iter().try_for_each(|caption| self.records.text(caption.as_ref()))?;
        Ok(number)
    }

    /// The captions, to be read.
    ///
    /// # Errors
    /// [`Error::NoReferences`] for the first image without any.
    pub(crate) fn finish(mut self) -> Result<Spool, Error> {
        self.order_as_listed();
        let empty = |state: &State| matches!(state, State::Named | State::WholeAndEmpty);
        let first_empty = self.states.iter().position(empty);
        let records = RefCell::new(self.records.finish()?);
        let spool = Spool { records, last: self.last, numbers: self.numbers };
        match first_empty {
            Some(number) => Err(Error::NoReferences { id: spool.id(number)? }),
            None => Ok(spool),
        }
    }

    /// Puts the images that are in a list of images first.
    fn order_as_listed(&mut self) {
        let unplaced = u32::MAX;
        let mut places = vec![unplaced; if self.listed.is_empty() { 0 } else { self.last.len() }];
        let mut next = 0;
        let all = 0..places.len() as u32;
        for number in self.listed.drain(..).chain(all) {
            let place = &mut places[number as usize];
            if *place == unplaced {
                *place = next;
                next += 1;
            }
        }
        if places.is_sorted() {
            return;
        }
        let (last, states) = (self.last.clone(), self.states.clone());
        for (number, &place) in places.iter().enumerate() {
            self.last[place as usize] = last[number];
            self.states[place as usize] = states[number];
        }
        self.numbers.values_mut().for_each(|number| *number = places[*number as usize]);
    }
}

/// Captions by image, by the images' numbers from 0.
pub(crate) struct Spool {
    records: RefCell<Reader>,
    last: Vec<u64>,
    numbers: FxHashMap<Key, u32>,
}

impl Spool {
    /// The number of images.
    pub(crate) fn len(&self) -> usize {
        self.last.len()
    }

    /// The number of the image of this identifier.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.numbers.get(&key(id)).copied()
    }

    /// Frees what [`find`](Self::find) needs.
    pub(crate) fn forget_ids(&mut self) {
        self.numbers = FxHashMap::default();
    }

    /// The identifier of image `number`.
    pub(crate) fn id(&self, number: usize) -> Result<String, Error> {
        let mut records = self.records.borrow_mut();
        records.go_to(self.last[number])?;
        records.number()?;
        records.text()
    }

    /// The identifier and the captions of image `number`, in the file's order.
    pub(crate) fn image(&self, number: usize) -> Result<(String, Vec<String>), Error> {
        let mut records = self.records.borrow_mut();
        let mut position = self.last[number];
        let (mut id, mut captions) = (String::new(), Vec::new());
        while position != NONE {
            records.go_to(position)?;
            position = records.number()?;
            id = records.text()?;
            let before = captions.len();
            for _ in 0..records.number()? {
                captions.push(records.text()?);
            }
            // Records come last to first.
            captions[before..].reverse();
        }
        captions.reverse();
        Ok((id, captions))
    }

    /// All images, in order.
    pub(crate) fn images(&self) -> impl Iterator<Item = Result<(String, Vec<String>), Error>> {
        (0..self.len()).map(|number| self.image(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &Spool) -> Vec<(String, Vec<String>)> {
        spool.images().collect::<Result<_, _>>().unwrap_or_default()
    }

    fn image(id: &str, captions: &[&str]) -> (String, Vec<String>) {
        (id.to_owned(), captions.iter().map(|&caption| caption.to_owned()).collect())
    }

    #[test]
    fn captions_that_are_scattered_come_together_in_their_order() -> Result<(), Error> {
        let mut collecting = Collecting::new();
        // Enough that the file is on disk, and that what is looked for is far from what was read before.
        for round in ["one", "two", "three"] {
            for id in 0..40_000 {
                collecting.one(&id.to_string(), &format!("{round} {id}"))?;
            }
        }
        let spool = collecting.finish()?;
        assert_eq!(spool.len(), 40_000);
        for number in [0, 39_999, 20_000, 1] {
            let expected = ["one", "two", "three"].map(|round| format!("{round} {number}"));
            assert_eq!(spool.image(number)?, (number.to_string(), expected.to_vec()));
            assert_eq!(spool.find(&number.to_string()), Some(number as u32));
        }
        Ok(())
    }

    #[test]
    fn a_list_of_images_gives_the_order_wherever_it_stands() -> Result<(), Error> {
        for listed_first in [true, false] {
            let mut collecting = Collecting::new();
            let list = |collecting: &mut Collecting| {
                ["b", "a", "b"].iter().try_for_each(|id| collecting.name(id))
            };
            if listed_first {
                list(&mut collecting)?;
            }
            for id in ["x", "a", "b", "a"] {
                collecting.one(id, &format!("of {id}"))?;
            }
            if !listed_first {
                list(&mut collecting)?;
            }
            let spool = collecting.finish()?;
            let expected =
                [image("b", &["of b"]), image("a", &["of a", "of a"]), image("x", &["of x"])];
            assert_eq!(all(&spool), expected);
            assert_eq!(["b", "a", "x"].map(|id| spool.find(id)), [Some(0), Some(1), Some(2)]);
        }
        Ok(())
    }
}
