//! Captions by image, in memory: scoring one million images with five references each needs 697 MiB
//! at its peak, of which these captions are the smaller part.
//!
//! Every distinct word is stored once. A caption is the number of its words and then each word's
//! number, where numbers are LEB128, which gives early words one byte and nearly all others two.

use crate::Error;
use crate::interner::{Interner, Strings};

/// The captions of every image, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Captions {
    ids: Interner,
    words: Interner,
    /// The captions, image by image.
    codes: Vec<u8>,
    /// The byte offset in `codes` of each image's captions, and at the end the length of `codes`.
    starts: Vec<usize>,
}

impl Captions {
    /// Returns the identifiers of all images.
    pub(crate) fn ids(&self) -> &Strings {
        self.ids.strings()
    }

    /// Returns the number of the image with this identifier.
    pub(crate) fn find(&self, id: &str) -> Option<u32> {
        self.ids.find(id)
    }

    /// Returns the number of images whose captions have no words.
    pub(crate) fn empty(&self) -> usize {
        let has_words = |image: &usize| self.of(*image).any(|caption| !caption.trim().is_empty());
        (0..self.ids().len()).filter(|image| !has_words(image)).count()
    }

    /// Returns the captions of image `number`.
    pub(crate) fn of(&self, number: usize) -> impl Iterator<Item = String> {
        let mut codes = &self.codes[self.starts[number]..self.starts[number + 1]];
        std::iter::from_fn(move || {
            if codes.is_empty() {
                return None;
            }
            let mut text = String::with_capacity(64);
            for position in 0..take(&mut codes) {
                if position > 0 {
                    text.push(' ');
                }
                text.push_str(self.words.strings().get(take(&mut codes) as usize));
            }
            Some(text)
        })
    }
}

impl PartialEq for Captions {
    fn eq(&self, other: &Self) -> bool {
        let images = 0..self.ids().len();
        self.ids() == other.ids()
            && images.into_iter().all(|image| self.of(image).eq(other.of(image)))
    }
}

/// Collects captions in any order of images.
#[derive(Default)]
pub(crate) struct Builder {
    ids: Interner,
    /// For each image, whether its captions were given all at once, so that none may follow.
    is_complete: Vec<bool>,
    /// Images that a list of images names, in its order.
    listed: Vec<u32>,
    words: Interner,
    codes: Vec<u8>,
    /// The image of each caption, and the end of the caption in `codes`.
    captions: Vec<(u32, usize)>,
}

impl Builder {
    /// Enters an image of a list of images, which decides their order.
    pub(crate) fn name(&mut self, id: &str) {
        let image = self.image(id);
        self.listed.push(image);
    }

    /// Adds one caption of an image that may have others.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] if all captions of the image are known.
    pub(crate) fn one(&mut self, id: &str, caption: &str) -> Result<(), Error> {
        let image = self.image(id);
        if self.is_complete[image as usize] {
            return Err(Error::DuplicateId { id: id.to_owned() });
        }
        self.push(image, caption);
        Ok(())
    }

    /// Adds all captions of an image.
    ///
    /// # Errors
    /// [`Error::DuplicateId`] if the image is known.
    pub(crate) fn all<S: AsRef<str>>(
        &mut self,
        id: &str,
        captions: impl IntoIterator<Item = S>,
    ) -> Result<(), Error> {
        let known = self.is_complete.len();
        let image = self.image(id);
        if self.is_complete.len() == known {
            return Err(Error::DuplicateId { id: id.to_owned() });
        }
        self.is_complete[image as usize] = true;
        captions.into_iter().for_each(|caption| self.push(image, caption.as_ref()));
        Ok(())
    }

    fn image(&mut self, id: &str) -> u32 {
        let image = self.ids.intern(id);
        if image as usize == self.is_complete.len() {
            self.is_complete.push(false);
        }
        image
    }

    fn push(&mut self, image: u32, caption: &str) {
        let words = caption.split(' ');
        put(words.clone().count() as u32, &mut self.codes);
        for word in words {
            put(self.words.intern(word), &mut self.codes);
        }
        self.captions.push((image, self.codes.len()));
    }

    /// Puts the captions of each image together.
    ///
    /// # Errors
    /// [`Error::NoReferences`] for the first image without any.
    pub(crate) fn finish(mut self) -> Result<Captions, Error> {
        self.order_as_listed();
        let Self { ids, words, mut codes, captions, .. } = self;
        let mut starts = vec![0; ids.strings().len() + 1];
        let mut start = 0;
        for &(image, end) in &captions {
            starts[image as usize + 1] += end - start;
            start = end;
        }
        if let Some(image) = starts[1..].iter().position(|&length| length == 0) {
            return Err(Error::NoReferences { id: ids.strings().get(image).to_owned() });
        }
        let mut end = 0;
        for start in &mut starts {
            end += *start;
            *start = end;
        }
        if !captions.is_sorted_by_key(|&(image, _)| image) {
            let (mut next, mut sorted) = (starts.clone(), vec![0; codes.len()]);
            let mut start = 0;
            for (image, end) in captions {
                let to = &mut next[image as usize];
                sorted[*to..*to + end - start].copy_from_slice(&codes[start..end]);
                *to += end - start;
                start = end;
            }
            codes = sorted;
        }
        Ok(Captions { ids, words, codes, starts })
    }

    /// Puts the images of a list of images first.
    fn order_as_listed(&mut self) {
        let all = 0..self.ids.strings().len() as u32;
        if self.listed.iter().copied().eq(0..self.listed.len() as u32) {
            return;
        }
        let mut ordered = Interner::default();
        for image in self.listed.iter().copied().chain(all.clone()) {
            ordered.intern(self.ids.strings().get(image as usize));
        }
        let places: Vec<u32> =
            self.ids.strings().iter().filter_map(|id| ordered.find(id)).collect();
        self.captions.iter_mut().for_each(|(image, _)| *image = places[*image as usize]);
        self.ids = ordered;
    }
}

/// Appends a number as LEB128: seven bits a byte, the lowest first, all bytes but the last marked.
fn put(mut number: u32, codes: &mut Vec<u8>) {
    while number >= 0x80 {
        codes.push(number as u8 | 0x80);
        number >>= 7;
    }
    codes.push(number as u8);
}

/// Takes a number off the front.
fn take(codes: &mut &[u8]) -> u32 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let Some((&byte, rest)) = codes.split_first() else { break };
        *codes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_back() {
        let mut codes = Vec::new();
        let numbers = [0, 1, 127, 128, 16_383, 16_384, 1 << 21, u32::MAX];
        for number in numbers {
            put(number, &mut codes);
        }
        assert_eq!(codes.len(), 1 + 1 + 1 + 2 + 2 + 3 + 4 + 5);
        let mut codes = codes.as_slice();
        assert_eq!(numbers.map(|_| take(&mut codes)), numbers);
        assert!(codes.is_empty());
    }

    #[test]
    fn captions_that_are_scattered_come_together_in_their_order_and_with_every_space() {
        let mut builder = Builder::default();
        for round in ["one ", "  two", "", "three\u{2028}\n"] {
            for id in 0..300 {
                builder.one(&id.to_string(), &format!("{round} {id}")).unwrap();
            }
        }
        let captions = builder.finish().unwrap();
        for number in [0, 299, 150, 1] {
            let expected =
                ["one ", "  two", "", "three\u{2028}\n"].map(|round| format!("{round} {number}"));
            assert_eq!(captions.of(number).collect::<Vec<_>>(), expected);
            assert_eq!(captions.find(&number.to_string()), Some(number as u32));
        }
    }

    #[test]
    fn a_list_of_images_gives_the_order_wherever_it_stands() {
        for listed_first in [true, false] {
            let mut builder = Builder::default();
            if listed_first {
                for id in ["b", "a", "b"] {
                    builder.name(id);
                }
            }
            for id in ["x", "a", "b", "a"] {
                builder.one(id, &format!("of {id}")).unwrap();
            }
            if !listed_first {
                for id in ["b", "a", "b"] {
                    builder.name(id);
                }
            }
            let captions = builder.finish().unwrap();
            assert_eq!(captions.ids().iter().collect::<Vec<_>>(), ["b", "a", "x"]);
            let all: Vec<Vec<String>> = (0..3).map(|image| captions.of(image).collect()).collect();
            assert_eq!(all, [vec!["of b"], vec!["of a", "of a"], vec!["of x"]]);
        }
    }
}
