//! Selection of an image's keywords from its similarities with texts. Uses no tensors.
//!
//! The rules are those of `SBG.ipynb`, which made the paper's training texts and test prompts. Step
//! a takes the most probable labels until they hold half of the probability. Step b walks through
//! the encyclopedia. Step c joins both, b first, and sorts them by similarity. A probability is
//! softmax(100 * similarity) over the texts of one choice.
//!
//! - Step a compares labels, and step c all words, without a template. Step b uses the template
//!   `picture of X.`; for clothes `wearing X.`, for time and weather `picture during X.`, for
//!   activities `activity is X.`.
//! - The object branch skips the sub-category "clothing and fashion".
//! - Weather is skipped if step b has already chosen the word "indoor", in any branch.
//! - Only the first 100 words of a category in the encyclopedia are compared.
//! - Among equally similar texts the first wins. A text that occurs twice in a choice counts twice
//!   in the softmax and is chosen once. A category without words adds nothing.
//!
//! The notebook's cell for a single image puts a before b, which changes the order of ties. It also
//! skips weather if "indoor" is among the labels of a. capsmith uses the rules above for single
//! images too, because the language model was trained on prompts made by them.
//!
//! A keyword's probability, which the prompt does not show, is that of the first choice that chose
//! it.

use std::collections::{HashMap, HashSet};

use runs::Keyword;
use words::{Label, PartOfSpeech};

use crate::encyclopedia::{Encyclopedia, Leaf};

/// Scale of similarities in the softmax, the same as in `OpenAI`'s CLIP models.
const SCALE: f64 = 100.0;
/// Maximum number of labels that step a chooses from.
const LABELS: usize = 1000;
/// Sum of probabilities at which step a ends.
const TOP_SHARE: f64 = 0.5;
/// Maximum number of words of a category that are compared.
const FIRST_WORDS: usize = 100;
/// Number of words chosen for scenery, plant and object; the next constant is for animal.
const WORDS: usize = 3;
const ANIMAL_WORDS: usize = 1;
/// Main subjects of an image, and their categories.
const PRIMES: [(&str, &str); 5] = [
    ("landscape", "scenery"),
    ("people", "human"),
    ("animal", "animal"),
    ("plant", "plant"),
    ("some object", "object"),
];
const DEFAULT_SUBJECTS: [&str; 2] = ["landscape", "some object"];
/// Sub-category of objects that is never compared, because clothes are chosen separately.
const SKIPPED_OBJECTS: &str = "clothing and fashion";
/// Keyword after which no weather keyword is chosen.
const INDOOR: &str = "indoor";
const PERSONS: [&str; 6] = ["a man", "a woman", "a boy", "a girl", "an old man", "an old woman"];
const SEVERAL: [&str; 6] = ["men", "women", "boys", "girls", "old men", "old women"];
const COUNTS: [&str; 3] = ["two", "three", "four"];
const COLOURS: [&str; 10] =
    ["red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "white", "black"];
const CLOTHES: [&str; 4] = ["shirt", "suit", "cloth", "jacket"];

/// Option of a choice: a keyword, and the number of the text that images are compared with.
#[derive(Debug, Clone)]
struct Candidate {
    keyword: String,
    text: usize,
}

/// Options of a choice among sub-categories.
#[derive(Debug)]
struct Branches {
    names: Vec<Candidate>,
    /// First words of each sub-category.
    words: Vec<Vec<Candidate>>,
}

/// Options of step b, the walk through the encyclopedia.
#[derive(Debug)]
struct Hierarchy {
    primes: Vec<Candidate>,
    /// Indices in [`PRIMES`] of the subjects in each of `primes`.
    named: Vec<Vec<usize>>,
    scenery: Branches,
    animal: Branches,
    plant: Branches,
    object: Branches,
    people: Vec<Candidate>,
    occupations: Vec<Candidate>,
    clothes: Vec<Candidate>,
    times: Vec<Candidate>,
    weathers: Vec<Candidate>,
    activity: Branches,
}

/// Selection rules, and all texts that images are compared with.
#[derive(Debug)]
pub struct Selector {
    texts: Vec<String>,
    labels: Vec<Candidate>,
    hierarchy: Option<Hierarchy>,
    /// Number of each text, including each keyword without a template.
    numbers: HashMap<String, usize>,
}

/// Distinct texts and their numbers.
#[derive(Default)]
struct Texts {
    numbers: HashMap<String, usize>,
    all: Vec<String>,
}

impl Texts {
    fn number(&mut self, text: String) -> usize {
        let next = self.all.len();
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.all.push(text.clone());
            next
        })
    }

    /// Returns the candidate for a keyword, compared by the template `form` with X as placeholder.
    fn candidate(&mut self, keyword: &str, form: &str) -> Candidate {
        let text = self.number(form.replacen('X', keyword, 1));
        // The keyword without a template, for the final sort.
        self.number(keyword.to_owned());
        Candidate { keyword: keyword.to_owned(), text }
    }

    fn candidates<S: AsRef<str>>(
        &mut self,
        keywords: impl IntoIterator<Item = S>,
        form: &str,
    ) -> Vec<Candidate> {
        keywords.into_iter().map(|keyword| self.candidate(keyword.as_ref(), form)).collect()
    }

    fn branches<'e>(&mut self, leaves: impl Iterator<Item = &'e Leaf>, form: &str) -> Branches {
        let leaves: Vec<&Leaf> = leaves.collect();
        let names = self.candidates(leaves.iter().map(|leaf| leaf.name), form);
        let words =
            leaves.iter().map(|leaf| self.candidates(leaf.words.iter().take(FIRST_WORDS), form));
        let words = words.collect();
        Branches { names, words }
    }
}

const PICTURE_OF: &str = "picture of X.";
const PICTURE_DURING: &str = "picture during X.";
const WEARING: &str = "wearing X.";
const ACTIVITY_IS: &str = "activity is X.";
const NO_TEMPLATE: &str = "X";

impl Selector {
    /// Builds the rules for `labels`, given most frequent first, and an encyclopedia.
    ///
    /// Without an encyclopedia, only step a applies: the variant without a hierarchy.
    #[must_use]
    pub fn new(labels: &[Label], encyclopedia: Option<&Encyclopedia>) -> Self {
        let mut texts = Texts::default();
        let is_compared = |label: &&Label| {
            matches!(
                label.part_of_speech,
                PartOfSpeech::Noun | PartOfSpeech::Adv | PartOfSpeech::Adj
            )
        };
        let first = labels.iter().filter(is_compared).take(LABELS).map(|label| &label.word);
        let labels = texts.candidates(first, NO_TEMPLATE);
        let hierarchy = encyclopedia.map(|encyclopedia| Hierarchy::new(encyclopedia, &mut texts));
        Self { texts: texts.all, labels, hierarchy, numbers: texts.numbers }
    }

    /// Returns the texts to compare an image with, in the order of [`Self::select`]'s similarities.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Returns the keywords of an image, most similar first.
    ///
    /// `similarities` are the image's cosines with [`Self::texts`].
    ///
    /// # Panics
    /// Panics if the number of similarities is not the number of texts.
    #[must_use]
    pub fn select(&self, similarities: &[f32]) -> Vec<Keyword> {
        assert_eq!(similarities.len(), self.texts.len(), "a similarity for each text");
        let mut found = Found { similarities, keywords: Vec::new() };
        if let Some(hierarchy) = &self.hierarchy {
            hierarchy.walk(&mut found);
        }
        found.add_until_enough(&self.labels);
        let mut keywords = found.keywords;
        let similarity = |keyword: &Keyword| similarities[self.numbers[&keyword.word]];
        keywords.sort_by(|a, b| similarity(b).total_cmp(&similarity(a)));
        keywords
    }
}

impl Hierarchy {
    fn new(encyclopedia: &Encyclopedia, texts: &mut Texts) -> Self {
        let named = subsets();
        let primes = named.iter().map(|primes| {
            let names: Vec<&str> = primes.iter().map(|&prime| PRIMES[prime].0).collect();
            let keyword = names.join(" and ");
            // Never a keyword of an image, so it is not compared without a template.
            Candidate { text: texts.number(PICTURE_OF.replacen('X', &keyword, 1)), keyword }
        });
        let primes = primes.collect();
        let clothes =
            CLOTHES.iter().flat_map(|piece| COLOURS.map(|colour| format!("{colour} {piece}")));
        let objects = encyclopedia.of("object").filter(|leaf| leaf.name != SKIPPED_OBJECTS);
        let names = |category| encyclopedia.of(category).map(|leaf| leaf.name);
        Self {
            primes,
            named,
            scenery: texts.branches(encyclopedia.of("scenery"), PICTURE_OF),
            animal: texts.branches(encyclopedia.of("animal"), PICTURE_OF),
            plant: texts.branches(encyclopedia.of("plant"), PICTURE_OF),
            object: texts.branches(objects, PICTURE_OF),
            people: texts.candidates(people(), PICTURE_OF),
            occupations: texts
                .candidates(encyclopedia.of("human").flat_map(|leaf| &leaf.words), PICTURE_OF),
            clothes: texts.candidates(clothes, WEARING),
            times: texts.candidates(names("time"), PICTURE_DURING),
            weathers: texts.candidates(names("weather"), PICTURE_DURING),
            activity: texts.branches(encyclopedia.of("activity"), ACTIVITY_IS),
        }
    }

    /// Runs step b.
    fn walk(&self, found: &mut Found) {
        let named: &[usize] =
            found.best_of(&self.primes).map_or(&[], |(best, _)| &self.named[best]);
        let is_named = |prime: &str| {
            DEFAULT_SUBJECTS.contains(&prime)
                || named.iter().any(|&number| PRIMES[number].0 == prime)
        };
        found.add_branch(&self.scenery, WORDS);
        if is_named("people") {
            found.add_best(&self.people, 1);
            found.add_best(&self.occupations, 1);
            found.add_best(&self.clothes, 1);
        }
        if is_named("animal") {
            found.add_branch(&self.animal, ANIMAL_WORDS);
        }
        if is_named("plant") {
            found.add_branch(&self.plant, WORDS);
        }
        found.add_branch(&self.object, WORDS);
        found.add_best(&self.times, 1);
        if !found.has(INDOOR) {
            found.add_best(&self.weathers, 1);
        }
        if is_named("people") || is_named("animal") {
            found.add_activity(&self.activity);
        }
    }
}

/// Returns all single primes, then pairs, then triples, as indices in [`PRIMES`].
fn subsets() -> Vec<Vec<usize>> {
    let count = PRIMES.len();
    let mut all: Vec<Vec<usize>> = (0..count).map(|first| vec![first]).collect();
    for size in 1..3 {
        let longer = all.iter().filter(|subset| subset.len() == size).flat_map(|subset| {
            let last = subset[size - 1];
            (last + 1..count).map(move |next| [&subset[..], &[next]].concat())
        });
        let longer: Vec<Vec<usize>> = longer.collect();
        all.extend(longer);
    }
    all
}

/// Returns phrases for one person, several of a kind, several people and a crowd.
fn people() -> Vec<String> {
    let one = PERSONS.map(str::to_owned).into_iter();
    let several =
        COUNTS.iter().flat_map(|count| SEVERAL.map(|several| format!("{count} {several}")));
    let people = COUNTS.iter().map(|count| format!("{count} people"));
    one.chain(several).chain(people).chain(["a crowd of people".to_owned()]).collect()
}

/// Keywords found so far.
struct Found<'s> {
    similarities: &'s [f32],
    keywords: Vec<Keyword>,
}

impl Found<'_> {
    fn similarity(&self, candidate: &Candidate) -> f32 {
        self.similarities[candidate.text]
    }

    fn probabilities(&self, among: &[Candidate]) -> Vec<f64> {
        let scaled: Vec<f64> =
            among.iter().map(|candidate| SCALE * f64::from(self.similarity(candidate))).collect();
        let largest = scaled.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let powers: Vec<f64> = scaled.iter().map(|value| (value - largest).exp()).collect();
        let sum: f64 = powers.iter().sum();
        powers.into_iter().map(|power| power / sum).collect()
    }

    /// Returns indices and probabilities, most probable first, and each text once.
    fn ranked(&self, among: &[Candidate]) -> impl Iterator<Item = (usize, f64)> {
        let mut ranked: Vec<(usize, f64)> =
            self.probabilities(among).into_iter().enumerate().collect();
        // Similarities sort like probabilities, and their ties stay ties.
        ranked
            .sort_by(|a, b| self.similarity(&among[b.0]).total_cmp(&self.similarity(&among[a.0])));
        let mut seen = HashSet::new();
        ranked.into_iter().filter(move |&(index, _)| seen.insert(among[index].text))
    }

    /// Returns the index and probability of the most probable candidate; `None` without candidates.
    fn best_of(&self, among: &[Candidate]) -> Option<(usize, f64)> {
        self.ranked(among).next()
    }

    /// Returns whether the word is among the keywords.
    fn has(&self, word: &str) -> bool {
        self.keywords.iter().any(|keyword| keyword.word == word)
    }

    fn add(&mut self, word: &str, probability: f64) {
        if !self.has(word) {
            self.keywords.push(Keyword { word: word.to_owned(), probability });
        }
    }

    fn add_best(&mut self, among: &[Candidate], count: usize) {
        let best: Vec<(usize, f64)> = self.ranked(among).take(count).collect();
        for (index, probability) in best {
            self.add(&among[index].keyword, probability);
        }
    }

    /// Adds the best sub-category and the best of its words.
    fn add_branch(&mut self, branches: &Branches, words: usize) {
        if let Some((best, probability)) = self.best_of(&branches.names) {
            self.add(&branches.names[best].keyword, probability);
            self.add_best(&branches.words[best], words);
        }
    }

    /// Adds the best verb of the best sub-category, but not the sub-category itself.
    fn add_activity(&mut self, activity: &Branches) {
        if let Some((best, _)) = self.best_of(&activity.names) {
            self.add_best(&activity.words[best], 1);
        }
    }

    /// Runs step a: adds the most probable labels until they hold more than half of the
    /// probability.
    fn add_until_enough(&mut self, labels: &[Candidate]) {
        let mut sum = 0.0;
        let is_needed = |&(_, probability): &(usize, f64)| {
            let is_needed = sum <= TOP_SHARE;
            sum += probability;
            is_needed
        };
        let best: Vec<(usize, f64)> = self.ranked(labels).take_while(is_needed).collect();
        for (index, probability) in best {
            self.add(&labels[index].keyword, probability);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_are_five_singles_ten_pairs_and_ten_triples() {
        let all = subsets();
        assert_eq!(
            [1, 2, 3].map(|size| all.iter().filter(|one| one.len() == size).count()),
            [5, 10, 10]
        );
        assert_eq!(all[5], [0, 1]);
        assert_eq!(all[24], [2, 3, 4]);
    }

    #[test]
    fn people_come_alone_in_twos_to_fours_and_in_crowds() {
        let people = people();
        assert_eq!(people.len(), 6 + 18 + 3 + 1);
        for one in ["an old woman", "two men", "four old women", "two people", "a crowd of people"]
        {
            assert!(people.iter().any(|known| known == one), "{one}");
        }
    }
}
