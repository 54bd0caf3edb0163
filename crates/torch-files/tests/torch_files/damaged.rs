//! Checks files truncated at every byte and files with single changed bytes.
//!
//! They are refused or read, without a panic and without more memory than the file can justify.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use torch_files::{Embeddings, Error, StateDict, Tree};

use crate::fixture;
use crate::memory::{bound, peak};

/// Number of changes to each file.
const FLIPS: u32 = 2000;

fn small_files() -> Vec<std::path::PathBuf> {
    [
        "sound/protocol_4_zip.pt",
        "sound/beside.pt",
        "sound/parameters_with_attributes.pt",
        "sound/views_zip.pt",
        "sound/views_legacy.pt",
        "sound/protocol_5_legacy.pt",
        "embeddings/clipcap_4.pkl",
        "embeddings/list.pkl",
        "embeddings/numpy_0.pkl",
        "embeddings/numpy_columns_5.pkl",
        "plain/words_0.pkl",
        "plain/words_4.pkl",
        "values_2.pkl",
        "values_5.pkl",
    ]
    .map(fixture)
    .to_vec()
}

/// Names and values of all tensors.
type Weights = Vec<(String, Vec<u8>)>;

/// Reads a file in every possible way, and checks the memory that this takes.
fn read(path: &Path) -> Result<Option<Weights>, Error> {
    let length = std::fs::metadata(path).unwrap().len() as usize;
    let (result, taken) = peak(|| Tree::load(path));
    assert!(taken <= bound(length), "{taken} bytes of memory for {length}");
    let tree = result?;
    let (_, taken) = peak(|| tree.to_json().is_ok());
    assert!(taken <= 64 * bound(length), "{taken} bytes of memory for JSON of {length}");
    let (_, taken) = peak(|| Embeddings::load(path).is_ok());
    assert!(taken <= 2 * bound(length), "{taken} bytes of memory for embeddings of {length}");
    let (state, taken) = peak(|| StateDict::load(path));
    assert!(taken <= 2 * bound(length), "{taken} bytes of memory for weights of {length}");
    let Ok(state) = state else { return Ok(None) };
    let weights = state.iter().map(|(name, tensor)| {
        let (bytes, taken) = peak(|| tensor.bytes().into_owned());
        assert!(taken <= bound(length), "{taken} bytes of memory for {name} of {length}");
        (name.to_owned(), bytes)
    });
    Ok(Some(weights.collect()))
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for file in small_files() {
        let whole = std::fs::read(&file).unwrap();
        let path = folder.path().join("cut");
        std::fs::write(&path, &whole).unwrap();
        read(&path).unwrap();
        let cut = File::options().write(true).open(&path).unwrap();
        for length in (0..whole.len()).rev() {
            cut.set_len(length as u64).unwrap();
            assert!(read(&path).is_err(), "{} cut at {length}", file.display());
        }
    }
}

#[test]
fn changed_bytes_are_refused_or_read_without_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed");
    let (refused, read_on) = (Cell::new(0), Cell::new(0));
    for file in small_files() {
        let whole = std::fs::read(&file).unwrap();
        std::fs::write(&path, &whole).unwrap();
        let sound = read(&path).unwrap();
        let changed = File::options().write(true).open(&path).unwrap();
        let zip = whole.starts_with(b"PK");
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
        let config = Config { cases: FLIPS, failure_persistence: None, ..Config::default() };
        let changes = (0..whole.len(), 1..=u8::MAX);
        TestRunner::new_with_rng(config, rng)
            .run(&changes, |(offset, change)| {
                changed.write_all_at(&[whole[offset] ^ change], offset as u64).unwrap();
                let found = read(&path);
                changed.write_all_at(&[whole[offset]], offset as u64).unwrap();
                match found {
                    Err(_) => refused.set(refused.get() + 1),
                    Ok(found) => {
                        read_on.set(read_on.get() + 1);
                        // Checksums cover everything relevant in an archive.
                        prop_assert!(!zip || found == sound, "{offset} ^ {change}");
                    }
                }
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let (refused, read_on) = (refused.get(), read_on.get());
    println!("{refused} changed files refused, {read_on} read");
    assert!(refused > 1000 && read_on > 100);
}

#[test]
fn a_safetensors_file_that_is_cut_or_changed_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    let whole = std::fs::read(fixture("expected/views.safetensors")).unwrap();
    let load = || {
        let (result, taken) = peak(|| StateDict::load(&path));
        assert!(taken <= bound(whole.len()), "{taken} bytes of memory for {}", whole.len());
        result.map(|dict| dict.iter().map(|(_, tensor)| tensor.bytes().len()).sum::<usize>())
    };
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        load().unwrap_err();
    }
    for offset in 0..whole.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[offset] ^= change;
            std::fs::write(&path, &changed).unwrap();
            let _ = load();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Runs opcodes in random order, most with sensible arguments.
    #[test]
    fn random_programs_do_no_harm(parts in prop::collection::vec(part(), 1..60)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("random.pkl");
        let mut pickle = b"\x80\x04".to_vec();
        pickle.extend(parts.concat());
        pickle.push(b'.');
        std::fs::write(&path, &pickle).unwrap();
        let _ = read(&path);
    }
}

fn part() -> impl Strategy<Value = Vec<u8>> {
    let simple = prop::sample::select(
        b"(012Nabe)]}stuldR\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x93\x94Q".to_vec(),
    )
    .prop_map(|opcode| vec![opcode]);
    let argument = (prop::sample::select(b"hqK".to_vec()), 0_u8..8)
        .prop_map(|(opcode, argument)| vec![opcode, argument]);
    let fixed = prop::sample::select(vec![
        b"ccollections\nOrderedDict\n".to_vec(),
        b"c_codecs\nencode\n".to_vec(),
        b"cbuiltins\nset\n".to_vec(),
        b"ctorch\nSize\n".to_vec(),
        b"ctorch\nFloatStorage\n".to_vec(),
        b"ctorch._utils\n_rebuild_tensor_v2\n".to_vec(),
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n\x85R".to_vec(),
        b"cnumpy\ndtype\nX\x02\0\0\0f4\x85R".to_vec(),
        b"cnumpy.core.multiarray\nscalar\n".to_vec(),
        b"X\x06\0\0\0latin1".to_vec(),
        b"C\x04abcd".to_vec(),
        b"J\xff\xff\xff\xff".to_vec(),
        b"G\x7f\xf8\0\0\0\0\0\0".to_vec(),
    ]);
    prop_oneof![4 => simple, 2 => argument, 2 => fixed, 1 => any::<u8>().prop_map(|byte| vec![byte])]
}
