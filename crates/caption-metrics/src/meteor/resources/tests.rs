//! Small resources, made and read back.

use std::io::Cursor;

use super::build::{Material, pack};
use super::layout::assemble;
use super::{Error, Resources};
use crate::meteor::{Segment, score};

const PARAPHRASES: [(&str, &str); 6] = [
    ("a great deal of", "a lot of"),
    ("a lot of", "many"),
    ("before a", "in front of a"),
    ("in", "inside"),
    ("many", "a lot of"),
    ("zebra", "in front"),
];

fn bytes() -> Vec<u8> {
    let lines = PARAPHRASES.iter().flat_map(|(source, target)| ["0.5", source, target]);
    let paraphrases = lines.collect::<Vec<&str>>().join("\n");
    let material = Material {
        function_words: "a\nthe\nof\n".to_owned(),
        prefixes: "# comment\nmr\n".to_owned(),
        synsets: "able\n5 9\nbox\n7\nbreathe\n9\ncar\n3\nhot_dog\n3\nleaf\n8\nfoliage\n8\n"
            .to_owned(),
        exceptions: "leaf\nleaves\nable\nleaves abler\n".to_owned(),
        paraphrases: Cursor::new(paraphrases),
    };
    assemble(&pack(material).unwrap().sections)
}

fn open(bytes: &[u8]) -> Result<Resources, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.resources");
    std::fs::write(&path, bytes).unwrap();
    Resources::open(&path)
}

#[test]
fn synonyms_are_those_of_the_word_its_irregular_bases_or_its_first_known_base() {
    let resources = open(&bytes()).unwrap();
    let of = |word| resources.synonyms().of(word);
    assert_eq!(of("able"), [5, 9]);
    assert_eq!(of("leaves"), [5, 8, 9], "a form of two bases");
    assert_eq!(of("boxes"), [7], "boxe is no word, box is");
    assert_eq!(of("cars"), [3]);
    assert_eq!(of("hot_dog"), [0_u32; 0], "no word of a caption has an underscore");
    assert_eq!(of("cargoes"), [0_u32; 0]);
}

#[test]
fn every_paraphrase_is_found_and_no_other() {
    let resources = open(&bytes()).unwrap();
    let table = resources.paraphrases();
    let phrase = |text: &str| {
        text.split(' ').try_fold(None, |phrase: Option<u32>, word| {
            let word = table.word(word)?;
            phrase.map_or_else(|| table.start(word), |phrase| table.extend(phrase, word)).map(Some)
        })
    };
    let all: Vec<&str> = PARAPHRASES.iter().flat_map(|(a, b)| [*a, *b]).collect();
    for source in &all {
        for target in &all {
            let (s, t) = (phrase(source).flatten().unwrap(), phrase(target).flatten().unwrap());
            let listed = table.targets(s).is_some_and(|targets| targets.contains(t));
            assert_eq!(listed, PARAPHRASES.contains(&(*source, *target)), "{source} ~ {target}");
        }
    }
    assert_eq!(phrase("a great lot"), None);
    assert_eq!(phrase("dog"), None);
    assert!(phrase("in front of").is_some(), "the start of a phrase");
}

/// The counts are those of METEOR's rules worked by hand: `of`, which is exact, is worth more than
/// the longer paraphrase that would take it.
#[test]
fn a_paraphrase_of_other_length_counts_on_both_sides() {
    let resources = open(&bytes()).unwrap();
    let references = ["he sat before a house"];
    let hypothesis = "he sat in front of a house";
    let segment = Segment { id: "1", hypothesis, references: &references };
    let statistics = score(&resources, &[segment]).unwrap()[0];
    assert_eq!(statistics.content_matches, [[3, 3], [0, 0], [0, 0], [2, 1]]);
    assert_eq!(statistics.function_matches, [[0, 0], [0, 0], [0, 0], [2, 1]]);
    assert_eq!((statistics.chunks, statistics.matches), (1, [7, 5]));
}

#[test]
fn a_missing_or_damaged_file_is_named_with_what_to_run() {
    let error = Resources::open("/nowhere/r.resources".as_ref()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/r.resources") && error.contains("fetch meteor"), "{error}");
    let good = bytes();
    for at in [0, 33, 60, 200, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(matches!(open(&bad), Err(Error::Damaged { .. })), "byte {at}");
    }
    for length in [0, 20, 36, 100, good.len() - 1] {
        assert!(matches!(open(&good[..length]), Err(Error::Damaged { .. })), "{length} bytes");
    }
    assert!(open(&good).is_ok());
}

#[test]
fn a_package_that_is_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let destination = folder.path().join("r.resources");
    let message =
        |package: &std::path::Path| super::build(package, &destination).unwrap_err().to_string();
    assert!(message(folder.path()).contains("there is no meteor/meteor-1.5.jar"));
    let file = folder.path().join("a.whl");
    std::fs::write(&file, b"PK\x05\x06 not a wheel").unwrap();
    assert!(message(&file).contains("not a zip archive"));
    let meteor = folder.path().join("meteor");
    std::fs::create_dir_all(meteor.join("data")).unwrap();
    std::fs::write(meteor.join("meteor-1.5.jar"), b"x").unwrap();
    std::fs::write(meteor.join("data/paraphrase-en.gz"), b"x").unwrap();
    assert!(message(folder.path()).contains("is another file or damaged"));
    assert!(!destination.exists());
}
