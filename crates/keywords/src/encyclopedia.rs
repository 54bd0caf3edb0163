//! The encyclopedia: a two-level tree of categories, with each label under one of them.

use std::collections::BTreeMap;
use std::path::Path;

use durable::kept::Key;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;
use words::{Label, PartOfSpeech};

use crate::error::Error;
use crate::files::{self, Derived};

/// The paper's tree: categories and their sub-categories, if any.
pub const TREE: [(&str, &[&str]); 11] = [
    (
        "scenery",
        &[
            "sky",
            "mountain",
            "beach",
            "forest",
            "desert",
            "grassland",
            "tundra",
            "wetland",
            "city landscape",
            "rural landscape",
            "volcanic",
            "cave",
            "arctic",
            "ocean",
            "indoor",
        ],
    ),
    ("human", &[]),
    ("animal", &["mammal", "fish", "bird", "reptile", "worm", "arthropod", "mollusc"]),
    (
        "plant",
        &[
            "fungi",
            "seed",
            "sprout",
            "flower",
            "fruit",
            "vegetable",
            "leaf",
            "root",
            "tree",
            "grass",
            "moss",
            "algae",
        ],
    ),
    (
        "object",
        &[
            "tool",
            "decoration",
            "appliance",
            "utensil",
            "furniture",
            "vehicle",
            "clothing and fashion",
            "instrument",
            "artifact",
            "mechanicals",
            "device",
            "fire",
            "liquid",
            "food",
        ],
    ),
    (
        "activity",
        &[
            "looking",
            "socializing",
            "eating",
            "sleeping",
            "standing",
            "wearing",
            "holding",
            "moving",
            "working",
            "leisure activity",
            "sport activity",
        ],
    ),
    (
        "weather",
        &[
            "rainy",
            "snowy",
            "foggy",
            "stormy",
            "sunny",
            "overcast",
            "rainbow",
            "cloudy",
            "thunder",
            "lightning",
            "autumn",
            "sunset",
            "starry",
        ],
    ),
    ("time", &["morning", "mid day", "afternoon", "evening", "night"]),
    ("number", &[]),
    ("adverb", &[]),
    ("adjective", &[]),
];

/// Sub-category and the word that `SBG.ipynb` puts into it before it files any label.
///
/// The published encyclopedia has the word there and where it was filed.
const PREFILED: (&str, &str) = ("city landscape", "building");

/// A sub-category, or a category without sub-categories, and its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Category.
    pub category: &'static str,
    /// Name of the sub-category, or of the category if it has none.
    pub name: &'static str,
    /// Words, most frequent first.
    pub words: Vec<String>,
}

/// Tree of categories with each label under one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encyclopedia {
    leaves: Vec<Leaf>,
}

impl Encyclopedia {
    /// Returns an encyclopedia of [`TREE`] without words.
    fn empty() -> Self {
        let leaf = |category, name| Leaf { category, name, words: Vec::new() };
        let leaves = TREE.iter().flat_map(|&(category, names)| match names {
            [] => vec![leaf(category, category)],
            names => names.iter().map(|name| leaf(category, name)).collect(),
        });
        Self { leaves: leaves.collect() }
    }

    /// Files labels, given most frequent first, under categories.
    ///
    /// Numbers, adverbs and adjectives have separate categories. Verbs go to activity or
    /// weather, nouns to the others. `nearest` receives words and category names, and returns the
    /// index of each word's category.
    ///
    /// # Errors
    /// Returns errors of `nearest`. Also fails for an empty list of labels.
    pub fn file<E: From<Error>>(
        labels: &[Label],
        mut nearest: impl FnMut(&[&Label], &[&'static str]) -> Result<Vec<usize>, E>,
    ) -> Result<Self, E> {
        if labels.is_empty() {
            return Err(Error::Mismatch("there are no labels to file".to_owned()).into());
        }
        let mut filed = Self::empty();
        for leaf in filed.leaves.iter_mut().filter(|leaf| leaf.name == PREFILED.0) {
            leaf.words.push(PREFILED.1.to_owned());
        }
        let mut leaf_of_label = vec![0; labels.len()];
        for (is_of_group, categories) in GROUPS {
            let leaves: Vec<usize> = (0..filed.leaves.len())
                .filter(|&leaf| categories.contains(&filed.leaves[leaf].category))
                .collect();
            let (numbers, group): (Vec<usize>, Vec<&Label>) = labels
                .iter()
                .enumerate()
                .filter(|(_, label)| is_of_group(label.part_of_speech))
                .unzip();
            let names: Vec<&'static str> =
                leaves.iter().map(|&leaf| filed.leaves[leaf].name).collect();
            let chosen = match leaves[..] {
                [only] => vec![only; numbers.len()],
                _ if group.is_empty() => Vec::new(),
                _ => nearest(&group, &names)?.into_iter().map(|choice| leaves[choice]).collect(),
            };
            for (number, leaf) in numbers.into_iter().zip(chosen) {
                leaf_of_label[number] = leaf;
            }
        }
        for (label, leaf) in labels.iter().zip(leaf_of_label) {
            filed.leaves[leaf].words.push(label.word.clone());
        }
        Ok(filed)
    }

    /// Reads an encyclopedia from a file of [`Self::save`], or from one in the paper's format.
    ///
    /// The paper's format is a JSON object of categories, each a list of words or an object of
    /// sub-categories, or a pickle of it.
    ///
    /// # Errors
    /// Names the damaged file, and the category that is missing, unknown or not a list of words.
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::parse(path, &files::read(path, files::ENCYCLOPEDIA)?)
    }

    /// Parses an encyclopedia in the paper's format; `path` is for error messages.
    pub(crate) fn parse(path: &Path, value: &Value) -> Result<Self, Error> {
        Self::of_tree(value).map_err(|reason| Error::file(path, reason))
    }

    fn of_tree(value: &Value) -> Result<Self, String> {
        let tree = value.as_object().ok_or("is no encyclopedia: not an object of categories")?;
        let mut found = Self::empty();
        for leaf in &mut found.leaves {
            let lacks = |what: &str| {
                format!("lacks the category {what}; rebuild it: capsmith keywords build")
            };
            let category = tree.get(leaf.category).ok_or_else(|| lacks(leaf.category))?;
            let is_whole = leaf.category == leaf.name;
            let full = if is_whole {
                leaf.name.to_owned()
            } else {
                format!("{}/{}", leaf.category, leaf.name)
            };
            let list = if is_whole { Some(category) } else { category.get(leaf.name) };
            let list = list.ok_or_else(|| lacks(&full))?;
            leaf.words = serde_json::from_value(list.clone())
                .map_err(|error| format!("{full} is no list of words: {error}"))?;
        }
        check_known(tree)?;
        Ok(found)
    }

    /// Writes the encyclopedia in the paper's format, with its sources `from` and a digest.
    ///
    /// # Errors
    /// Names the file.
    pub fn save(&self, path: &Path, from: &Key) -> Result<(), Error> {
        let contents = BTreeMap::from([(files::ENCYCLOPEDIA.to_owned(), self)]);
        let derived = Derived { from: from.clone(), contents };
        Ok(durable::sealed::write_json(path, &derived)?)
    }

    /// Returns the SHA-256 of the encyclopedia's JSON.
    #[must_use]
    pub fn sha256(&self) -> String {
        files::digest(self)
    }

    /// Returns all leaves, in the order of [`TREE`].
    #[must_use]
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Returns the leaves of one category.
    pub(crate) fn of(&self, category: &str) -> impl Iterator<Item = &Leaf> {
        self.leaves.iter().filter(move |leaf| leaf.category == category)
    }
}

/// Parts of speech, and the categories that they are filed under.
type Group = (fn(PartOfSpeech) -> bool, &'static [&'static str]);

const GROUPS: [Group; 5] = [
    (|part| part == PartOfSpeech::Num, &["number"]),
    (|part| part == PartOfSpeech::Adv, &["adverb"]),
    (|part| part == PartOfSpeech::Adj, &["adjective"]),
    (|part| part == PartOfSpeech::Verb, &["activity", "weather"]),
    (|part| part == PartOfSpeech::Noun, &["scenery", "human", "animal", "plant", "object", "time"]),
];

/// Refuses categories outside the tree, because their words would silently be dropped.
fn check_known(tree: &serde_json::Map<String, Value>) -> Result<(), String> {
    for (category, value) in tree {
        let Some((_, names)) = TREE.iter().find(|(known, _)| known == category) else {
            return Err(format!("has a category that is not known: {category}"));
        };
        let subs = value.as_object().into_iter().flatten();
        if let Some((name, _)) = subs.into_iter().find(|(name, _)| !names.contains(&name.as_str()))
        {
            return Err(format!("has a category that is not known: {category}/{name}"));
        }
    }
    Ok(())
}

impl Serialize for Encyclopedia {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tree = serializer.serialize_map(Some(TREE.len()))?;
        for (category, names) in TREE {
            let words: serde_json::Map<String, Value> = self
                .of(category)
                .map(|leaf| (leaf.name.to_owned(), leaf.words.clone().into()))
                .collect();
            match names {
                [] => tree.serialize_entry(category, &words[category])?,
                _ => tree.serialize_entry(category, &words)?,
            }
        }
        tree.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(word: &str, part_of_speech: PartOfSpeech) -> Label {
        Label { word: word.to_owned(), part_of_speech, frequency: 1 }
    }

    /// Files each word under the category of the same name, or else under the first one.
    fn filed() -> Encyclopedia {
        let labels = [
            label("sky", PartOfSpeech::Noun),
            label("raining", PartOfSpeech::Verb),
            label("two", PartOfSpeech::Num),
            label("fast", PartOfSpeech::Adv),
            label("red", PartOfSpeech::Adj),
            label("human", PartOfSpeech::Noun),
            label("looking", PartOfSpeech::Verb),
            label("night", PartOfSpeech::Noun),
        ];
        Encyclopedia::file::<Error>(&labels, |labels, names| {
            let position = |label: &&Label| names.iter().position(|name| *name == label.word);
            Ok(labels.iter().map(|label| position(label).unwrap_or(0)).collect())
        })
        .unwrap()
    }

    #[test]
    fn parts_of_speech_go_to_their_own_branches() {
        let filed = filed();
        let words = |category: &str| -> Vec<&str> {
            filed.of(category).flat_map(|leaf| &leaf.words).map(String::as_str).collect()
        };
        assert_eq!(words("scenery"), ["sky", "building"]);
        assert_eq!(words("human"), ["human"]);
        assert_eq!(words("time"), ["night"]);
        assert_eq!(words("activity"), ["raining", "looking"]);
        assert_eq!(
            [words("number"), words("adverb"), words("adjective")],
            [["two"], ["fast"], ["red"]]
        );
        assert!(Encyclopedia::file::<Error>(&[], |_, _| Ok(Vec::new())).is_err());
    }

    #[test]
    fn what_is_saved_is_read_back_and_gaps_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encyclopedia.json");
        filed().save(&path, &Key::new([("labels", "1")])).unwrap();
        assert_eq!(Encyclopedia::open(&path).unwrap(), filed());
        let whole: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(whole["from"]["labels"], "1");
        // The tree alone, like the paper's published file, has no digest.
        let whole = &whole["encyclopedia"];
        std::fs::write(&path, whole.to_string()).unwrap();
        assert_eq!(Encyclopedia::open(&path).unwrap(), filed());
        let refused = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut tree = whole.as_object().unwrap().clone();
            change(&mut tree);
            std::fs::write(&path, serde_json::to_string(&tree).unwrap()).unwrap();
            let error = Encyclopedia::open(&path).unwrap_err().to_string();
            assert!(error.contains("encyclopedia.json"), "{error}");
            error
        };
        assert!(
            refused(&|tree| drop(tree.remove("weather"))).contains("lacks the category weather")
        );
        let without = refused(&|tree| drop(tree["animal"].as_object_mut().unwrap().remove("fish")));
        assert!(without.contains("lacks the category animal/fish"), "{without}");
        assert!(refused(&|tree| tree["human"] = 3.into()).contains("no list of words"));
        assert!(refused(&|tree| drop(tree.insert("x".into(), 3.into()))).contains("not known: x"));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encyclopedia.json");
        filed().save(&path, &Key::new([("labels", "1")])).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for bit in (0..whole.len() * 8).step_by(29) {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, bytes).unwrap();
            assert!(Encyclopedia::open(&path).is_err(), "bit {bit}");
        }
    }
}
