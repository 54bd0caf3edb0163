//! Categories of words by WordNet's hypernyms.
//!
//! A word belongs to the category that it is a kind of, or else to the one that is the fewest steps
//! away.

use std::collections::HashMap;

use words::{Label, Part, PartOfSpeech, WordNet};

/// WordNet words for categories whose own names are no suitable WordNet entries.
const HEADS: [(&str, &str); 28] = [
    ("city landscape", "city"),
    ("rural landscape", "countryside"),
    ("volcanic", "volcano"),
    ("arctic", "ice"),
    ("indoor", "room"),
    ("human", "person"),
    ("fungi", "fungus"),
    ("algae", "alga"),
    ("clothing and fashion", "clothing"),
    ("mechanicals", "machine"),
    ("mid day", "noon"),
    ("looking", "look"),
    ("socializing", "socialize"),
    ("eating", "eat"),
    ("sleeping", "sleep"),
    ("standing", "stand"),
    ("wearing", "wear"),
    ("holding", "hold"),
    ("moving", "move"),
    ("working", "work"),
    ("leisure activity", "play"),
    ("sport activity", "compete"),
    ("rainy", "rain"),
    ("snowy", "snow"),
    ("foggy", "fog"),
    ("stormy", "storm"),
    ("sunny", "shine"),
    ("cloudy", "cloud"),
];
/// Default categories: that of most nouns, and that of most verbs.
const DEFAULT_CATEGORIES: [&str; 2] = ["artifact", "moving"];

/// Returns, for each label, the index of its category by WordNet.
///
/// It is the nearest of the categories that the label is a kind of. Otherwise it is the category
/// that is the fewest steps up and down away. Steps are counted from the most frequent sense of the
/// label to that of the category. The first of equally near categories wins. Labels that WordNet
/// does not know go to `artifact`, verbs to `moving`.
#[must_use]
pub fn nearest_by_wordnet(labels: &[&Label], categories: &[&str]) -> Vec<usize> {
    let net = WordNet::embedded();
    let above = |part| -> Vec<HashMap<u32, u32>> {
        categories.iter().map(|category| ancestors(net, head(category), part)).collect()
    };
    let (above_nouns, above_verbs) = (above(Part::Noun), above(Part::Verb));
    labels
        .iter()
        .map(|label| {
            let (part, above) = match label.part_of_speech {
                PartOfSpeech::Verb => (Part::Verb, &above_verbs),
                _ => (Part::Noun, &above_nouns),
            };
            let own = ancestors(net, &label.word, part);
            // Paths without steps down come first, then shorter paths.
            let distance = |theirs: &HashMap<u32, u32>| {
                let ways = own.iter().filter_map(|(synset, up)| Some((up, theirs.get(synset)?)));
                ways.map(|(up, down)| (*down > 0, up + down)).min()
            };
            let distances: Vec<Option<(bool, u32)>> = above.iter().map(distance).collect();
            let nearest = distances.iter().flatten().min();
            let position = distances
                .iter()
                .position(|distance| nearest.is_some() && distance.as_ref() == nearest);
            position
                .or_else(|| categories.iter().position(|name| DEFAULT_CATEGORIES.contains(name)))
                .unwrap_or(0)
        })
        .collect()
}

fn head(category: &str) -> &str {
    HEADS.iter().find(|(name, _)| *name == category).map_or(category, |(_, head)| head)
}

/// Returns the hypernyms of a word's most frequent sense, and the steps up to each.
fn ancestors(net: &WordNet, word: &str, part: Part) -> HashMap<u32, u32> {
    let senses = net.senses(word, part);
    net.ancestors(&senses[..senses.len().min(1)], part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encyclopedia::TREE;

    fn nearest(word: &str, part_of_speech: PartOfSpeech, categories: &[&str]) -> String {
        let label = Label { word: word.to_owned(), part_of_speech, frequency: 1 };
        categories[nearest_by_wordnet(&[&label], categories)[0]].to_owned()
    }

    #[test]
    fn words_go_to_what_they_are_kinds_of() {
        let named = |name: &str| TREE.iter().find(|(category, _)| *category == name).unwrap().1;
        let nouns: Vec<&str> = ["scenery", "animal", "plant", "object", "time"]
            .into_iter()
            .flat_map(named)
            .copied()
            .collect();
        // `human` comes first, as in the encyclopedia: a dog must not become one by an equal
        // distance.
        let nouns = [vec!["human"], nouns].concat();
        let verbs: Vec<&str> =
            ["activity", "weather"].into_iter().flat_map(named).copied().collect();
        for (word, category) in [
            ("dog", "mammal"),
            ("duck", "bird"),
            ("boy", "human"),
            ("car", "vehicle"),
            ("daisy", "flower"),
            ("bench", "furniture"),
            ("shirt", "clothing and fashion"),
            ("thorugh", "artifact"),
        ] {
            assert_eq!(nearest(word, PartOfSpeech::Noun, &nouns), category, "{word}");
        }
        for (word, category) in
            [("run", "moving"), ("dine", "eating"), ("drizzle", "rainy"), ("stare", "looking")]
        {
            assert_eq!(nearest(word, PartOfSpeech::Verb, &verbs), category, "{word}");
        }
    }

    #[test]
    fn every_category_is_known_to_wordnet() {
        let net = WordNet::embedded();
        for (category, names) in TREE {
            let part = match category {
                "activity" | "weather" => Part::Verb,
                _ => Part::Noun,
            };
            let unknown: Vec<&&str> =
                names.iter().filter(|name| !net.has(head(name), part)).collect();
            println!("{category}: {unknown:?}");
            assert!(category == "weather" || unknown.is_empty(), "{category}: {unknown:?}");
        }
    }
}
