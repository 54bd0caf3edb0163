//! One-word lemmas of WordNet 3.0 (Miller, "WordNet: A Lexical Database for English", 1995).
//!
//! The data covers parts of speech, senses, hypernyms, and morphy, the rules for base forms. It is
//! embedded in the crate; `data/README.md` describes how it was made.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

static FILE: &[u8] = include_bytes!("../data/wordnet-3.0.txt.gz");

static EMBEDDED: LazyLock<WordNet> = LazyLock::new(|| WordNet::parse(&unpacked(FILE)));

/// Decompresses the text of a file embedded in the crate.
pub(crate) fn unpacked(file: &[u8]) -> String {
    let mut text = String::new();
    // The file is embedded, and a test reads all of it.
    let _ = GzDecoder::new(file).read_to_string(&mut text);
    text
}

/// Part of speech in WordNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Nouns.
    Noun,
    /// Verbs.
    Verb,
    /// Adjectives.
    Adjective,
    /// Adverbs.
    Adverb,
}

impl Part {
    fn of(letter: &str) -> Self {
        match letter {
            "n" => Self::Noun,
            "v" => Self::Verb,
            "a" => Self::Adjective,
            _ => Self::Adverb,
        }
    }

    /// Returns pairs of an ending and its replacement in the base form, in morphy's order.
    fn endings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Noun => &[
                ("s", ""),
                ("ses", "s"),
                ("ves", "f"),
                ("xes", "x"),
                ("zes", "z"),
                ("ches", "ch"),
                ("shes", "sh"),
                ("men", "man"),
                ("ies", "y"),
            ],
            Self::Verb => &[
                ("s", ""),
                ("ies", "y"),
                ("es", "e"),
                ("es", ""),
                ("ed", "e"),
                ("ed", ""),
                ("ing", "e"),
                ("ing", ""),
            ],
            Self::Adjective => &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
            Self::Adverb => &[],
        }
    }
}

/// One part of speech of a word.
#[derive(Debug)]
struct Use {
    part: Part,
    /// Number of occurrences in WordNet's tagged texts.
    tagged: u32,
    /// Ids of synsets, most frequent sense first.
    senses: Vec<u32>,
}

/// Dictionary of one-word lemmas.
#[derive(Debug)]
pub struct WordNet {
    words: HashMap<String, Vec<Use>>,
    exceptions: HashMap<(Part, String), String>,
    /// For each synset, the ids of those directly above it.
    nouns: Vec<Vec<u32>>,
    verbs: Vec<Vec<u32>>,
}

impl WordNet {
    /// Returns the dictionary embedded in the crate, which is parsed once.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    fn parse(text: &str) -> Self {
        let mut found = Self {
            words: HashMap::new(),
            exceptions: HashMap::new(),
            nouns: Vec::new(),
            verbs: Vec::new(),
        };
        let mut lines = text.lines();
        while let Some(header) = lines.next() {
            let mut fields = header.split(' ');
            let section = fields.next().unwrap_or_default();
            let last = fields.next_back().and_then(|count| count.parse().ok()).unwrap_or(0);
            let part = fields.next().map(Part::of);
            let rows = lines.by_ref().take(last);
            match (section, part) {
                ("hypernyms", Some(Part::Noun)) => found.nouns = rows.map(numbers).collect(),
                ("hypernyms", _) => found.verbs = rows.map(numbers).collect(),
                ("words", _) => found.words = rows.filter_map(word).collect(),
                (_, Some(part)) => {
                    // Of several base forms the first wins, as in morphy.
                    for (form, base) in rows.filter_map(|row| row.split_once(' ')) {
                        let key = (part, form.to_owned());
                        found.exceptions.entry(key).or_insert_with(|| base.to_owned());
                    }
                }
                (_, None) => {}
            }
        }
        found
    }

    /// Returns whether the word, in its base form, has this part of speech.
    #[must_use]
    pub fn has(&self, word: &str, part: Part) -> bool {
        self.one_use(word, part).is_some()
    }

    /// Returns the most frequent part of speech of the word in WordNet's tagged texts.
    ///
    /// The first of noun, verb, adjective, adverb wins among equally frequent ones.
    #[must_use]
    pub fn usual_part(&self, word: &str) -> Option<Part> {
        let uses = self.words.get(word)?;
        let most = uses.iter().map(|one| one.tagged).max()?;
        uses.iter().find(|one| one.tagged == most).map(|one| one.part)
    }

    fn one_use(&self, word: &str, part: Part) -> Option<&Use> {
        self.words.get(word)?.iter().find(|one| one.part == part)
    }

    /// Returns the ids of the word's synsets, most frequent sense first.
    ///
    /// The list is empty if the word is unknown. Two words with a common id are synonyms.
    #[must_use]
    pub fn senses(&self, word: &str, part: Part) -> &[u32] {
        self.one_use(word, part).map_or(&[], |one| &one.senses)
    }

    /// Returns the base form of a word, by the list of irregular forms and WordNet's rules.
    ///
    /// Returns `None` if neither leads to another known word. Of several candidates, the first that
    /// occurs in WordNet's tagged texts wins, or else the first.
    #[must_use]
    pub fn base_form(&self, form: &str, part: Part) -> Option<&str> {
        if let Some(base) = self.exceptions.get(&(part, form.to_owned())) {
            return Some(base);
        }
        let bases = part.endings().iter().filter_map(|(ending, replacement)| {
            let stem = form.strip_suffix(ending)?;
            // "gas" is not "ga" + s, and "pass" is not "pas" + s.
            if *ending == "s" && (stem.len() < 3 || stem.ends_with('s')) {
                return None;
            }
            let (known, _) = self.words.get_key_value(&format!("{stem}{replacement}"))?;
            let used = self.one_use(known, part)?;
            (known != form).then_some((used.tagged, known.as_str()))
        });
        // "swinging" becomes "swing", because "swinge" does not occur in tagged texts.
        bases
            .reduce(|first, next| if first.0 == 0 && next.0 > 0 { next } else { first })
            .map(|(_, base)| base)
    }

    /// Returns the given synsets and all above them, with the number of steps up.
    ///
    /// The given ones have 0 steps. Only nouns and verbs have synsets above them.
    #[must_use]
    pub fn ancestors(&self, senses: &[u32], part: Part) -> HashMap<u32, u32> {
        let above = match part {
            Part::Noun => &self.nouns[..],
            Part::Verb => &self.verbs[..],
            Part::Adjective | Part::Adverb => &[],
        };
        let mut found: HashMap<u32, u32> = HashMap::new();
        let mut level: Vec<u32> = senses.to_vec();
        for steps in 0.. {
            let mut next = Vec::new();
            for synset in level {
                if let Entry::Vacant(place) = found.entry(synset) {
                    place.insert(steps);
                    next.extend(above.get(synset as usize).into_iter().flatten());
                }
            }
            if next.is_empty() {
                break;
            }
            level = next;
        }
        found
    }

    /// All parts of speech.
    pub(crate) const PARTS: [Part; 4] = [Part::Noun, Part::Verb, Part::Adjective, Part::Adverb];
}

fn numbers(row: &str) -> Vec<u32> {
    row.split([' ', ',']).filter_map(|number| number.parse().ok()).collect()
}

/// Parses a line such as `dog n 42 10815,54562 v 2 9969`.
fn word(row: &str) -> Option<(String, Vec<Use>)> {
    let mut fields = row.split(' ');
    let word = fields.next()?.to_owned();
    let mut uses = Vec::new();
    while let Some(part) = fields.next() {
        let (tagged, senses) = (fields.next()?.parse().ok()?, numbers(fields.next()?));
        uses.push(Use { part: Part::of(part), tagged, senses });
    }
    Some((word, uses))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_dictionary_is_whole() {
        let start = std::time::Instant::now();
        let net = WordNet::embedded();
        println!("read in {:.0?}", start.elapsed());
        assert_eq!((net.nouns.len(), net.verbs.len(), net.words.len()), (82_115, 13_767, 83_118));
        assert_eq!(net.exceptions.len(), 5827);
    }

    #[test]
    fn parts_of_speech_and_synonyms_are_wordnets() {
        let net = WordNet::embedded();
        let parts = |word| WordNet::PARTS.map(|part| net.has(word, part));
        assert_eq!(parts("dog"), [true, true, false, false]);
        assert_eq!(parts("in"), [true, false, true, true]);
        assert_eq!(parts("the"), [false; 4]);
        assert_eq!(net.usual_part("run"), Some(Part::Verb));
        assert_eq!(net.senses("auto", Part::Noun)[0], net.senses("car", Part::Noun)[0]);
        assert_eq!(net.senses("auto", Part::Verb), [0_u32; 0]);
    }

    #[test]
    fn base_forms_are_morphys() {
        let net = WordNet::embedded();
        for (form, part, base) in [
            ("dogs", Part::Noun, Some("dog")),
            ("children", Part::Noun, Some("child")),
            ("leaves", Part::Noun, Some("leaf")),
            ("bushes", Part::Noun, Some("bush")),
            ("puppies", Part::Noun, Some("puppy")),
            ("firemen", Part::Noun, Some("fireman")),
            ("dog", Part::Noun, None),
            ("running", Part::Verb, Some("run")),
            ("riding", Part::Verb, Some("ride")),
            ("jumps", Part::Verb, Some("jump")),
            ("swinging", Part::Verb, Some("swing")),
            ("baring", Part::Verb, Some("bare")),
            ("was", Part::Verb, Some("be")),
            ("largest", Part::Adjective, Some("large")),
            ("blorps", Part::Noun, None),
        ] {
            assert_eq!(net.base_form(form, part), base, "{form}");
        }
    }

    #[test]
    fn ancestors_of_a_dog_are_animals_and_not_plants() {
        let net = WordNet::embedded();
        let above = net.ancestors(&net.senses("dog", Part::Noun)[..1], Part::Noun);
        let steps = |word| {
            net.senses(word, Part::Noun).iter().filter_map(|sense| above.get(sense)).min().copied()
        };
        assert_eq!(
            [steps("dog"), steps("canine"), steps("carnivore")],
            [Some(0), Some(1), Some(2)]
        );
        assert!(steps("animal").is_some() && steps("mammal").is_some());
        assert_eq!(steps("tree"), None);
    }
}
