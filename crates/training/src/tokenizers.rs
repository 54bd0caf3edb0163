//! Custom tokenizers that runs share, each trained once and cached in a folder.
//!
//! ```text
//! KEPT/
//!   0f3a….lock       held during the training of the tokenizer
//!   0f3a…/           tokenizer.json, vocab.json, merges.txt; digests.json with their SHA-256
//! ```
//!
//! The name is the SHA-256 of the captions and the vocabulary size, which determine the tokenizer,
//! so that sharing changes no result.

use std::path::Path;

use durable::kept::{self, Key};
use words::Gpt2Tokenizer;

use crate::error::Error;

/// Returns the tokenizer of these captions from the folder `root`.
///
/// Trains it first if it is missing or damaged. While one process trains it, the others wait.
///
/// # Errors
/// Names the file that cannot be read or written.
pub fn trained_once(
    root: &Path,
    captions: &[String],
    vocab_size: usize,
) -> Result<Gpt2Tokenizer, Error> {
    let folder = root.join(key(captions, vocab_size).sha256());
    kept::folder(&folder, |partial| {
        Ok::<_, Error>(Gpt2Tokenizer::train(captions, vocab_size)?.save(partial)?)
    })?;
    Ok(Gpt2Tokenizer::from_folder(&folder)?)
}

fn key(captions: &[String], vocab_size: usize) -> Key {
    Key::new([("vocab_size", vocab_size)]).with_digest("captions", &captions)
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

        // An existing tokenizer is not retrained unless it is damaged.
        let file = kept.path().join(key(&texts, 270).sha256()).join("tokenizer.json");
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
}
