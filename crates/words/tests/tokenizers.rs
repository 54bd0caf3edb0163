//! Compares the GPT-2 and CLIP tokenizers with transformers on 2,000 sentences.
//!
//! The fixtures come from `tests/reference/words_fixtures.py`.

#![allow(clippy::unwrap_used)] // clippy's exemption of tests leaves out their helpers

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use test_support::shared;
use words::{ClipTokenizer, Gpt2Tokenizer};

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/words")).join(name)
}

fn json<T: DeserializeOwned>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn captions() -> Vec<String> {
    json(&fixture("captions.json"))
}

/// Compares text by text, so that a failure names its sentence.
fn assert_same(texts: &[String], ours: &[Vec<u32>], golden: &str) {
    let theirs: Vec<Vec<u32>> = json(&fixture(golden));
    assert_eq!((texts.len(), ours.len(), theirs.len()), (2000, 2000, 2000));
    for ((text, ours), theirs) in texts.iter().zip(ours).zip(&theirs) {
        assert_eq!(ours, theirs, "{text:?}");
    }
}

/// Returns a folder with only the named files of a fixture.
fn folder_of(source: &str, files: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        fs::copy(fixture(source).join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn gpt2_gives_transformers_ids_for_2000_captions_from_either_kind_of_folder() {
    let texts = captions();
    let old = folder_of("gpt2", &["vocab.json", "merges.txt"]);
    let new = folder_of("gpt2", &["tokenizer.json"]);
    for folder in [old.path(), new.path()] {
        let tokenizer = Gpt2Tokenizer::from_folder(folder).unwrap();
        assert_eq!(tokenizer.vocab_size(), 1200);
        assert_same(&texts, &tokenizer.encode_batch(&texts).unwrap(), "gpt2_ids.json");
        let alone: Vec<_> = texts.iter().map(|text| tokenizer.encode(text).unwrap()).collect();
        assert_same(&texts, &alone, "gpt2_ids.json");
    }
}

#[test]
fn gpt2_decodes_every_caption_to_itself() {
    let tokenizer = Gpt2Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    for text in captions() {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()).unwrap(), text);
    }
}

#[test]
fn gpt2_decodes_cut_characters_and_special_tokens_as_transformers_does() {
    let tokenizer = Gpt2Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    let rows: Vec<(Vec<u32>, String)> = json(&fixture("gpt2_decode.json"));
    assert!(rows.iter().any(|(_, text)| text.contains('\u{FFFD}')));
    for (ids, text) in rows {
        assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{ids:?}");
    }
}

#[test]
fn decoded_text_is_cleaned_up_as_transformers_does() {
    let tokenizer = Gpt2Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    let rows: Vec<(Vec<u32>, String)> = json(&fixture("gpt2_clean_up.json"));
    let mut changed = 0;
    for (ids, cleaned) in &rows {
        let text = tokenizer.decode(ids).unwrap();
        assert_eq!(&words::clean_up_tokenization(&text), cleaned, "{text:?}");
        changed += usize::from(&text != cleaned);
    }
    assert!(rows.len() > 400 && changed > 200, "{changed} of {}", rows.len());
}

#[test]
fn ids_without_a_token_are_passed_over_as_transformers_does() {
    let tokenizer = Gpt2Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    let ids = tokenizer.encode("a dog").unwrap();
    let padded = [&[1200], ids.as_slice(), &[1201, u32::MAX]].concat();
    assert_eq!(tokenizer.decode(&padded).unwrap(), "a dog");
    assert_eq!(tokenizer.decode(&[1200]).unwrap(), "");
}

/// Tokenizer folder with added-token files, and the ids and texts that transformers gives.
#[derive(serde::Deserialize)]
struct AddedCase {
    model: String,
    /// Files from the model's fixture.
    kept: Vec<String>,
    /// Files of added tokens.
    files: std::collections::BTreeMap<String, Value>,
    vocab_size: usize,
    ids: Vec<(String, Vec<u32>)>,
    decoded: Vec<(Vec<u32>, String)>,
}

/// Compares with `tests/reference/added_tokens_goldens.py`.
#[test]
fn added_tokens_in_files_of_their_own_are_those_of_transformers() {
    let cases: Vec<AddedCase> = json(&fixture("added_tokens.json"));
    assert_eq!(cases.len(), 7);
    for case in cases {
        let kept: Vec<&str> = case.kept.iter().map(String::as_str).collect();
        let folder = folder_of(&case.model, &kept);
        for (name, contents) in &case.files {
            fs::write(folder.path().join(name), contents.to_string()).unwrap();
        }
        let (texts, expected): (Vec<_>, Vec<_>) = case.ids.into_iter().unzip();
        if case.model == "gpt2" {
            let tokenizer = Gpt2Tokenizer::from_folder(folder.path()).unwrap();
            assert_eq!(tokenizer.vocab_size(), case.vocab_size);
            for (text, ids) in texts.iter().zip(&expected) {
                assert_eq!(tokenizer.encode(text).unwrap(), *ids, "{text:?} with {:?}", case.files);
            }
            for (ids, text) in &case.decoded {
                assert_eq!(tokenizer.decode(ids).unwrap(), *text, "{ids:?}");
            }
            // The saved copy is the same tokenizer.
            let copy = tempfile::tempdir().unwrap();
            tokenizer.save(copy.path()).unwrap();
            let copy = Gpt2Tokenizer::from_folder(copy.path()).unwrap();
            assert_eq!(copy.encode_batch(&texts).unwrap(), expected);
        } else {
            let tokenizer = ClipTokenizer::from_folder(folder.path()).unwrap();
            assert_eq!(tokenizer.vocab_size(), case.vocab_size);
            assert_eq!(tokenizer.encode_batch(&texts).unwrap(), expected, "{:?}", case.files);
        }
    }
}

#[test]
fn added_tokens_that_are_none_are_named() {
    for (name, contents, words) in [
        ("added_tokens.json", r#"{"<pad>": 1201}"#, "no token has id 1200"),
        ("added_tokens.json", r#"{"<pad>": 7}"#, "both have id 7"),
        ("added_tokens.json", r#"{"<pad>": "x"}"#, r#"has "x" for an id"#),
        ("added_tokens.json", r#"["<pad>"]"#, "not an object"),
        ("tokenizer_config.json", r#"{"added_tokens_decoder": {"1200": 3}}"#, "not an id and a"),
        (
            "tokenizer_config.json",
            r#"{"added_tokens_decoder": {"x": {"content": "<pad>"}}}"#,
            "not an id",
        ),
    ] {
        let folder = folder_of("gpt2", &["vocab.json", "merges.txt"]);
        fs::write(folder.path().join(name), contents).unwrap();
        let error = Gpt2Tokenizer::from_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(words), "{contents}: {error}");
    }
}

#[test]
fn stop_tokens_are_those_whose_text_has_the_character() {
    let tokenizer = Gpt2Tokenizer::from_folder(&fixture("gpt2")).unwrap();
    let marked = |character| {
        let stops = tokenizer.stop_tokens(character);
        assert_eq!(stops.len(), tokenizer.vocab_size());
        (0..stops.len()).filter(|&id| stops[id]).collect::<Vec<usize>>()
    };
    let theirs: Vec<usize> = json(&fixture("gpt2_stop_tokens.json"));
    assert!(theirs.len() > 3);
    assert_eq!(marked('.'), theirs);
    // These differ in spelling: the vocabulary writes a space as Ġ, and Ġ itself as two bytes.
    let spaced = |id: &usize| tokenizer.decode(&[*id as u32]).unwrap().contains(' ');
    assert_eq!(marked(' '), (0..1200).filter(spaced).collect::<Vec<_>>());
    assert_eq!(marked('Ġ'), Vec::<usize>::new());
}

#[test]
fn training_gives_the_vocabulary_and_merges_of_train_new_from_iterator() {
    let texts = captions();
    let half = texts.iter().step_by(2);
    let tokenizer = Gpt2Tokenizer::train(half, 1200).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(&folder.path().join("new")).unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    let saved = |name: &str| folder.path().join("new").join(name);
    let theirs = |name: &str| fixture("gpt2").join(name);
    assert_eq!(read(saved("merges.txt")), read(theirs("merges.txt")));
    assert_eq!(json::<Value>(&saved("vocab.json")), json::<Value>(&theirs("vocab.json")));
    assert_eq!(json::<Value>(&saved("tokenizer.json")), json::<Value>(&theirs("tokenizer.json")));
    assert_same(&texts, &tokenizer.encode_batch(&texts).unwrap(), "gpt2_ids.json");
}

#[test]
fn training_on_little_text_ends_below_the_ceiling_and_too_low_a_ceiling_is_refused() {
    assert_eq!(Gpt2Tokenizer::train(["ab ab"], 50_257).unwrap().vocab_size(), 259);
    assert_eq!(Gpt2Tokenizer::train([""; 0], 257).unwrap().vocab_size(), 257);
    let error = Gpt2Tokenizer::train(["ab"], 256).unwrap_err().to_string();
    assert!(error.contains("256 tokens cannot be trained"), "{error}");
}

#[test]
fn clip_gives_transformers_ids_for_2000_captions_from_either_kind_of_folder() {
    let texts = captions();
    let old = folder_of("clip_slow", &["vocab.json", "merges.txt"]);
    let new = folder_of("clip_fast", &["tokenizer.json"]);
    for folder in [old.path(), new.path(), &fixture("clip_slow"), &fixture("clip_fast")] {
        let tokenizer = ClipTokenizer::from_folder(folder).unwrap();
        let rows = tokenizer.encode_batch(&texts).unwrap();
        assert_eq!(rows.iter().map(Vec::len).max(), Some(77), "a long caption must be cut");
        assert_same(&texts, &rows, "clip_ids.json");
    }
}

#[test]
fn clip_pads_as_transformers_does() {
    let tokenizer = ClipTokenizer::from_folder(&fixture("clip_fast")).unwrap();
    let padded = tokenizer.pad(&tokenizer.encode_batch(&captions()[3..11]).unwrap());
    let golden: Value = json(&fixture("clip_padded.json"));
    let rows = |key: &str| serde_json::from_value::<Vec<Vec<i64>>>(golden[key].clone()).unwrap();
    assert_eq!((padded.rows, padded.tokens), (8, rows("ids")[0].len()));
    assert_eq!(padded.ids, rows("ids").concat());
    assert_eq!(padded.attention_mask, rows("attention_mask").concat());
    assert!(padded.attention_mask.contains(&0));
    assert_eq!(tokenizer.pad::<Vec<u32>>(&[]).tokens, 0);
}

#[test]
fn a_saved_clip_tokenizer_reads_back_the_same_with_its_context_length() {
    let texts = captions();
    for tokenizer in [
        ClipTokenizer::from_folder(&fixture("clip_slow")).unwrap(),
        ClipTokenizer::byte_level().unwrap(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        let config = folder.path().join("tokenizer_config.json");
        let short = fs::read_to_string(&config).unwrap().replace("77", "9");
        let rows = tokenizer.encode_batch(&texts).unwrap();
        let again = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(again.encode_batch(&texts).unwrap(), rows);
        fs::write(&config, short).unwrap();
        let again = ClipTokenizer::from_folder(folder.path()).unwrap();
        assert_eq!(again.context_length(), 9);
        let cut = again.encode_batch(&["a man and a woman and a dog in the park"]).unwrap();
        assert_eq!((cut[0].len(), cut[0][8]), (9, again.end_of_text()));
    }
}

#[test]
fn the_byte_level_clip_writes_one_token_a_byte_and_ends_words() {
    let tokenizer = ClipTokenizer::byte_level().unwrap();
    assert_eq!((tokenizer.vocab_size(), tokenizer.end_of_text()), (514, 513));
    let rows = tokenizer.encode_batch(&["A dog é", ""]).unwrap();
    let byte = |byte: u8| u32::from(byte);
    let end = |byte: u8| u32::from(byte) + 256;
    let expected =
        vec![512, end(b'a'), byte(b'd'), byte(b'o'), end(b'g'), byte(0xC3), end(0xA9), 513];
    assert_eq!(rows, [expected, vec![512, 513]]);
}

#[test]
fn a_vocabulary_trained_on_flickr8k_decodes_all_its_captions() {
    let Some(path) = shared("flickr8k/Flickr8k.token.txt") else { return };
    let lines = fs::read_to_string(path).unwrap();
    let captions: Vec<String> =
        lines.lines().filter_map(|line| Some(line.split_once('\t')?.1.to_lowercase())).collect();
    assert_eq!(captions.len(), 40_460);
    let tokenizer = Gpt2Tokenizer::train(&captions, 50_257).unwrap();
    let rows = tokenizer.encode_batch(&captions).unwrap();
    for (caption, ids) in captions.iter().zip(&rows) {
        assert_eq!(&tokenizer.decode(ids).unwrap(), caption);
    }
    let clip = ClipTokenizer::byte_level().unwrap();
    assert!(clip.encode_batch(&captions).unwrap().iter().all(|row| (2..=77).contains(&row.len())));
}

/// Compares digests of `tests/reference/words_flickr8k.py`; captions are not redistributable.
#[test]
fn a_tokenizer_of_real_flickr8k_is_transformers_own() {
    let Some(path) = shared("flickr8k/captions.txt") else { return };
    let mut reader = csv::Reader::from_path(path).unwrap();
    let rows = reader.records().map(|row| row.unwrap()[1].to_lowercase());
    let mut captions: Vec<String> = rows.collect();
    let expected: Value = json(&fixture("flickr8k.json"));
    captions.truncate(captions.len() - 5000);
    assert_eq!(captions.len(), expected["captions"]);

    let tokenizer = Gpt2Tokenizer::train(&captions, 50_257).unwrap();
    assert_eq!(tokenizer.vocab_size(), expected["tokens"]);
    let folder = tempfile::tempdir().unwrap();
    tokenizer.save(folder.path()).unwrap();
    let merges = fs::read_to_string(folder.path().join("merges.txt")).unwrap();
    let merges = merges.strip_prefix("#version: 0.2\n").unwrap();
    assert_eq!(sha256(merges.as_bytes()), expected["merges_sha256"]);
    let ids = tokenizer.encode_batch(&captions).unwrap().concat();
    assert_eq!(ids.len(), expected["ids"]);
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    assert_eq!(sha256(&bytes), expected["ids_sha256"]);
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
