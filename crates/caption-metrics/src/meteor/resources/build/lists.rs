//! The words of `WordNet` and irregular forms, as METEOR's jar lists them.

use std::collections::BTreeMap;

use super::super::layout::{Numbers, Strings};

/// Synset numbers by word, in text order.
#[derive(Debug, Default)]
pub(super) struct Synsets<'a>(BTreeMap<&'a str, Vec<u32>>);

impl<'a> Synsets<'a> {
    /// Parses pairs of lines: a word, then its synset numbers.
    ///
    /// Words with `_` cannot match a word of a caption and are left out.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        let mut synsets = BTreeMap::new();
        for (number, (word, ids)) in pairs(text).enumerate() {
            let ids: Result<Vec<u32>, _> = ids.split_whitespace().map(str::parse).collect();
            let ids = ids.map_err(|_| {
                format!("the synsets, line {}: {word:?} has no list of numbers", 2 * number + 2)
            })?;
            if !word.contains('_') {
                synsets.insert(word, ids);
            }
        }
        Ok(Self(synsets))
    }

    /// Returns the synsets of irregular forms, each the union over its base forms.
    ///
    /// `text` has pairs of lines: a base form, then its irregular forms.
    pub(super) fn of_irregular_forms(&self, text: &'a str) -> Result<Self, String> {
        let mut forms: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (base, irregular) in pairs(text) {
            for form in irregular.split_whitespace() {
                forms.entry(form).or_default().extend(self.0.get(base).into_iter().flatten());
            }
        }
        if forms.is_empty() {
            return Err("the list of irregular forms is empty".to_owned());
        }
        for synsets in forms.values_mut() {
            synsets.sort_unstable();
            synsets.dedup();
        }
        Ok(Self(forms))
    }

    /// Encodes words (two sections), the start of each word's synsets, and synsets.
    pub(super) fn sections(&self) -> [Vec<u8>; 4] {
        let [ends, text] = Strings::sections_of(self.0.keys());
        let mut starts = vec![0];
        let mut all = Vec::new();
        for synsets in self.0.values() {
            all.extend(synsets);
            starts.push(all.len() as u32);
        }
        [ends, text, Numbers::<4>::bytes_of(starts), Numbers::<4>::bytes_of(all)]
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut lines = text.lines();
    std::iter::from_fn(move || Some((lines.next()?, lines.next()?)))
}
