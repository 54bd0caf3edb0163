//! Custom tokenizers that several runs share: trained once for the same captions, kept in a folder.
//!
//! ```text
//! KEPT/
//!   0f3a….lock       held while the tokenizer beside it is trained
//!   0f3a…/           tokenizer.json, vocab.json, merges.txt; digests.json with their SHA-256
//! ```
//!
//! The name is the SHA-256 of the captions and the size of the vocabulary, which decide the tokenizer:
//! a run ends the same with one from here and with one of its own.

use std::path::Path;

use durable::digests::{self, Digests};
use durable::sealed;
use sha2::{Digest, Sha256};
use words::Gpt2Tokenizer;

use crate::error::Error;

const DIGESTS: &str = "digests.json";

/// Returns the tokenizer of these captions in the folder `kept`, trained first where it is not there yet
/// or damaged. A process that finds another one training it waits.
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
    if !is_whole(&folder) {
        durable::remove(&folder)?;
        let partial = kept.join(format!("{key}.partial"));
        // A killed process may have left it.
        durable::remove(&partial)?;
        Gpt2Tokenizer::train(captions, vocab_size)?.save(&partial)?;
        let mut digests = Digests::new();
        digests::add(&mut digests, &partial, &partial)?;
        sealed::write_json(&partial.join(DIGESTS), &digests)?;
        durable::replace(&partial, &folder)?;
    }
    Ok(Gpt2Tokenizer::from_folder(&folder)?)
}

/// Returns whether a tokenizer is there as it was written.
fn is_whole(folder: &Path) -> bool {
    sealed::read_json::<Digests>(&folder.join(DIGESTS))
        .is_ok_and(|digests| digests::first_changed(&digests, folder).is_none())
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
    use std::fs;

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

        // What lies there is not trained again, unless it is damaged.
        let file = kept.path().join(key(&texts, 270)).join("tokenizer.json");
        let written = || fs::metadata(&file).unwrap().modified().unwrap();
        let before = written();
        trained_once(kept.path(), &texts, 270).unwrap();
        assert_eq!(written(), before);
        let bytes = fs::read(&file).unwrap();
        let mut damaged = bytes.clone();
        damaged[bytes.len() / 2] ^= 1;
        fs::write(&file, damaged).unwrap();
        trained_once(kept.path(), &texts, 270).unwrap();
        assert_eq!(fs::read(&file).unwrap(), bytes);
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
