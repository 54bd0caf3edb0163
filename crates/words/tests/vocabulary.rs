//! Checks Merge-RNN's vocabulary on real Flickr8k. Skipped if `../shared` is absent.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashSet;
use std::fs;

use sha2::{Digest, Sha256};
use words::{Vocabulary, karpathy_tokens};

/// Minimum frequency, size and digest of each vocabulary.
///
/// The sizes are those of the authors' `results.txt` (mtanti/rnn-role). The digests are of the
/// words, one per line, ordered as by `sorted(counts, key=lambda word: (-counts[word], word))` in
/// Python.
const VOCABULARIES: [(u64, usize, &str); 3] = [
    (3, 3478, "325b74af41d7f4c8b3cdff11aeeb3f16035d62186caa48e75c91a760f5c17ac0"),
    (4, 2918, "100433426521d4d79755b2f47226c0b494828c2a4815f0c89f4eccc8892702cc"),
    (5, 2539, "1d6cf77780da0ac1e290bff9633d4bf53ac1e71408bc206923981b9a7e682d12"),
];

#[test]
fn vocabularies_of_flickr8ks_training_split_are_the_authors() {
    let Some(folder) = test_support::shared("flickr8k") else { return };
    let lines = fs::read_to_string(folder.join("Flickr8k.token.txt")).unwrap();
    let train = fs::read_to_string(folder.join("Flickr_8k.trainImages.txt")).unwrap();
    let train: HashSet<&str> = train.split_whitespace().collect();
    let captions: Vec<Vec<String>> = lines
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter(|(id, _)| train.contains(id.split('#').next().unwrap()))
        .map(|(_, caption)| karpathy_tokens(caption))
        .collect();
    assert_eq!(captions.len(), 30_000);
    let saved = tempfile::tempdir().unwrap();
    let path = saved.path().join("words.json");
    for (threshold, size, digest) in VOCABULARIES {
        let vocabulary = Vocabulary::new(&captions, threshold);
        assert_eq!(vocabulary.size(), size);
        vocabulary.save(&path).unwrap();
        let words: Vec<String> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert_eq!(hex::encode(Sha256::digest(words.join("\n"))), digest, "threshold {threshold}");
    }
}
