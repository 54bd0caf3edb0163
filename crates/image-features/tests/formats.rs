//! Features that `tests/fixtures/features/make.py` wrote, read in every format.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::fs;
use std::path::{Path, PathBuf};

use image_features::Features;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/features").join(name)
}

fn load(name: &str, names: bool) -> Result<Features, String> {
    let names = names.then(|| fixture("names.txt"));
    Features::load(&[fixture(name)], names.as_deref()).map_err(|error| error.to_string())
}

const ROWS: [f32; 6] = [1.0, 2.0, 3.0, 4.5, -5.0, 0.25];

#[test]
fn all_formats_have_the_same_rows_and_names() {
    for (name, names) in [
        ("f2.npy", true),
        ("f4.npy", true),
        ("f8.npy", true),
        ("big-f4.npy", true),
        ("fortran.npy", true),
        ("features.npz", false),
        ("features.npz", true),
        ("embeddings.npz", false),
        ("objects.npz", true),
        ("named.safetensors", false),
        ("named.safetensors", true),
    ] {
        let features = load(name, names).unwrap();
        assert_eq!((features.dimension, &features.values[..]), (2, &ROWS[..]), "{name}");
        assert_eq!(features.names, ["a.jpg", "b.jpg", "c.jpg"], "{name}");
    }
    for name in ["clip-retrieval", "clip-retrieval-json"] {
        let features = load(name, false).unwrap();
        assert_eq!((features.dimension, &features.values[..]), (2, &ROWS[..]), "{name}");
        assert_eq!(features.names, ["a", "b", "c"].map(|n| format!("/data/pictures/{n}.jpg")));
        assert_eq!(features.files.len(), 4);
    }
}

#[test]
fn bad_files_are_named_with_what_to_do() {
    for (name, names, words) in [
        ("f4.npy", false, "--names"),
        ("integers.npy", true, "astype"),
        ("one-dimension.npy", true, "reshape"),
        ("objects.npy", true, "Python objects"),
        ("objects.npz", false, "dtype=str"),
        ("clip-retrieval-zstd", false, "pandas.read_parquet("),
        ("clip-retrieval", true, "--names"),
        ("clip-retrieval/metadata", false, "img_emb"),
        ("none.npy", true, "cannot be read"),
    ] {
        let error = load(name, names).unwrap_err();
        assert!(error.contains(name) && error.contains(words), "{name}: {error}");
    }
    let files = [fixture("f4.npy"), fixture("f4.npy")];
    let error = Features::load(&files, Some(&fixture("names.txt"))).unwrap_err().to_string();
    assert!(error.contains("names.txt") && error.contains("3 names for 6 rows"), "{error}");
}

#[test]
fn a_device_is_refused_before_it_is_read() {
    let error = Features::load(&["/dev/zero".into()], Some(&fixture("names.txt"))).unwrap_err();
    assert!(error.to_string().contains("is not a regular file"), "{error}");
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f4.npy", "features.npz", "named.safetensors"] {
        let whole = fs::read(fixture(name)).unwrap();
        let cut = folder.path().join(name);
        for length in 0..whole.len() {
            fs::write(&cut, &whole[..length]).unwrap();
            let names = fixture("names.txt");
            let error = Features::load(&[&cut].map(Clone::clone), Some(&names)).unwrap_err();
            assert!(error.to_string().contains(name), "{length}: {error}");
        }
    }
}

#[test]
fn saved_features_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npy");
    let features = load("features.npz", false).unwrap();
    let names = features.save(&out).unwrap();
    assert_eq!(names, folder.path().join("out.txt"));
    // numpy writes the same bytes.
    assert_eq!(fs::read(&out).unwrap(), fs::read(fixture("f4.npy")).unwrap());
    let again = Features::load(std::slice::from_ref(&out), Some(&names)).unwrap();
    assert_eq!((again.names, again.values), (features.names.clone(), features.values.clone()));
    assert!(features.save(&out).unwrap_err().to_string().contains("exists"));
    // Names must not be written over values, nor values under another format's name.
    for name in ["out.txt", "new.txt", "new", "new.npz"] {
        let error = features.save(&folder.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(".npy"), "{name}: {error}");
        assert!(name == "out.txt" || !folder.path().join(name).exists());
    }
}
