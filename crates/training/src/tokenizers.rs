//! Custom tokenizers that several runs share: trained once for the same captions, kept in a folder.
//!
//! ```text
//! KEPT/
//!   0f3a….lock       held while the tokenizer beside it is trained
//!   0f3a…/           tokenizer.json, vocab.json, merges.txt
//! ```
//!
//! The name is the SHA-256 of the captions and the size of the vocabulary, which decide the tokenizer:
//! a run ends the same with one from here and with one of its own.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use words::Gpt2Tokenizer;

use crate::error::Error;

/// The tokenizer of these captions in the folder `kept`, trained first where it is not there yet. A
/// process that finds another one training it waits.
///
/// # Errors
/// Names the file that cannot be read or written.
pub fn trained_once(
    kept: &Path,
    captions: &[String],
    vocab_size: usize,
) -> Result<Gpt2Tokenizer, Error> {
    let key = key(captions, vocab_size);
    let folder = kept.join(&key);
    durable::create_dir_all(kept)?;
    let _lock = durable::wait_for_lock(&kept.join(format!("{key}.lock")))?;
    if !folder.exists() {
        let partial = kept.join(format!("{key}.partial"));
        // Whatever a killed process left is written anew.
        let _ = fs::remove_dir_all(&partial);
        Gpt2Tokenizer::train(captions, vocab_size)?.save(&partial)?;
        durable::replace(&partial, &folder)?;
    }
    Ok(Gpt2Tokenizer::from_folder(&folder)?)
}

fn key(captions: &[String], vocab_size: usize) -> String {
    let mut digest = Sha256::new();
    digest.update((vocab_size as u64).to_le_bytes());
    for caption in captions {
        // With their lengths, so that no other division of the same text has this key.
        digest.update((caption.len() as u64).to_le_bytes());
        digest.update(caption);
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captions(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tokenizer_is_trained_once_and_is_that_of_its_captions() {
        let kept = tempfile::tempdir().unwrap();
        let texts = captions(&["a dog runs on the grass", "two dogs run"]);
        let first = trained_once(kept.path(), &texts, 270).unwrap();
        let own = Gpt2Tokenizer::train(&texts, 270).unwrap();
        assert_eq!(first.encode("a dog runs").unwrap(), own.encode("a dog runs").unwrap());

        // What lies there is taken as it is: nothing is trained again.
        let place = kept.path().join(key(&texts, 270));
        Gpt2Tokenizer::train(captions(&["zzzz"]), 258).unwrap().save(&place).unwrap();
        assert_eq!(trained_once(kept.path(), &texts, 270).unwrap().vocab_size(), 258);
        assert_eq!(trained_once(kept.path(), &texts, 271).unwrap().vocab_size(), 271);
    }

    #[test]
    fn processes_that_need_the_same_one_at_once_get_it() {
        let kept = tempfile::tempdir().unwrap();
        let texts = captions(&["a dog runs on the grass", "two dogs run"]);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| trained_once(kept.path(), &texts, 270).unwrap());
            }
        });
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 2, "one lock, one tokenizer");
    }

    #[test]
    fn other_captions_have_another_key() {
        let keys = [
            key(&captions(&["ab", "c"]), 300),
            key(&captions(&["a", "bc"]), 300),
            key(&captions(&["abc"]), 300),
            key(&captions(&["ab", "c"]), 301),
        ];
        for (index, one) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(one));
        }
    }
}
