//! Weight files: strict reading, atomic writing, and hostile files.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use networks::weights::{self, Checkpoint, WeightsError};
use tch::nn::{self, Init};
use tch::{Device, Kind, Tensor};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// System allocator that records the largest request of each thread.
struct Watching;

// SAFETY: hands every call on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.with(|largest| largest.set(largest.get().max(layout.size())));
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// Reads every tensor of a file, and returns the error if there is one.
fn read_all(path: &Path) -> Result<(), WeightsError> {
    let checkpoint = Checkpoint::open(path)?;
    for name in checkpoint.names() {
        let _ = checkpoint.tensor(name, Device::Cpu)?;
    }
    Ok(())
}

fn counting(count: i64, kind: Kind) -> Tensor {
    Tensor::arange(count, (Kind::Float, Device::Cpu)).to_kind(kind)
}

fn sample() -> Vec<(String, Tensor)> {
    vec![
        ("half".to_owned(), counting(3, Kind::Half)),
        ("b.weight".to_owned(), counting(6, Kind::Float).view([2, 3])),
        ("brain".to_owned(), counting(5, Kind::BFloat16)),
        ("ids".to_owned(), counting(4, Kind::Int64) - 2),
        ("empty".to_owned(), Tensor::zeros([0, 4], (Kind::Float, Device::Cpu))),
        ("scalar".to_owned(), Tensor::from(0.1_f64)),
        // Not in row order in memory, as a transposed weight is.
        ("turned".to_owned(), counting(6, Kind::Float).view([2, 3]).tr()),
    ]
}

fn save_sample(folder: &Path) -> PathBuf {
    let path = folder.join("sample.safetensors");
    let metadata = BTreeMap::from([("step".to_owned(), "7".to_owned())]);
    weights::save(&path, &sample(), &metadata).unwrap();
    path
}

/// Returns a safetensors file with this header and these values.
fn file_with(path: &Path, header: &str, values: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(values);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_saved_is_read_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&save_sample(folder.path())).unwrap();
    assert_eq!(checkpoint.names().count(), sample().len());
    for (name, tensor) in sample() {
        let read = checkpoint.tensor(&name, Device::Cpu).unwrap();
        assert_eq!(read.kind(), tensor.kind(), "{name}");
        assert_eq!(checkpoint.shape(&name), Some(tensor.size()), "{name}");
        assert_eq!(read, tensor, "{name}");
    }
    assert_eq!(checkpoint.metadata().get("step").map(String::as_str), Some("7"));
}

#[test]
fn the_same_tensors_give_the_same_bytes_in_any_order() {
    let folder = tempfile::tempdir().unwrap();
    let metadata: BTreeMap<String, String> =
        (0..20).map(|i| (format!("key{i}"), i.to_string())).collect();
    let (first, second) = (folder.path().join("1"), folder.path().join("2"));
    let mut tensors = sample();
    weights::save(&first, &tensors, &metadata).unwrap();
    tensors.reverse();
    weights::save(&second, &tensors, &metadata).unwrap();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    let (first, second) = (Checkpoint::open(&first).unwrap(), Checkpoint::open(&second).unwrap());
    assert_eq!(first.identity(), second.identity());
}

#[test]
fn the_identity_is_the_sha256_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    file_with(&path, "{}      ", b"");
    // printf '\x08\0\0\0\0\0\0\0{}      ' | sha256sum
    let expected = "9bbcbf73561f6bc5d0a17ea6a2081feed2d1304e87602d8c502d9a5c4bd85576";
    assert_eq!(Checkpoint::open(&path).unwrap().identity(), expected);
}

#[test]
fn a_file_cut_anywhere_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(save_sample(folder.path())).unwrap();
    let path = folder.path().join("cut.safetensors");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let error = Checkpoint::open(&path).unwrap_err();
        assert!(matches!(error, WeightsError::Damaged { .. }), "{length}: {error}");
        assert!(error.to_string().contains("cut.safetensors"), "{error}");
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(Checkpoint::open(&path), Err(WeightsError::Damaged { .. })), "too long");
}

#[test]
fn hostile_headers_are_refused_without_memory_for_what_they_claim() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hostile.safetensors");
    let headers = [
        r#"{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"a":{"dtype":"F32","shape":[1]}}"#,
        r#"{"__metadata__":7}"#,
        "[]",
        "",
        "not json",
    ];
    for header in headers {
        file_with(&path, header, &[0; 4]);
        LARGEST.set(0);
        let error = read_all(&path).unwrap_err();
        assert!(error.to_string().contains("hostile.safetensors"), "{header}: {error}");
        assert!(LARGEST.get() < 4096, "{header}: {} bytes at once", LARGEST.get());
    }
    for length in [1 << 20, 99_999_999, 1 << 40, u64::MAX - 8, u64::MAX] {
        fs::write(&path, [length.to_le_bytes().as_slice(), b"{}"].concat()).unwrap();
        LARGEST.set(0);
        assert!(matches!(read_all(&path), Err(WeightsError::Damaged { .. })), "{length}");
        assert!(LARGEST.get() < 4096, "{length}: {} bytes at once", LARGEST.get());
    }
}

/// Random generator with the same mutations on every machine.
fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn a_thousand_mutated_headers_neither_panic_nor_reach_beyond_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(save_sample(folder.path())).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let path = folder.path().join("mutated.safetensors");
    let (mut state, mut refused) = (2024, 0);
    for _ in 0..1000 {
        let mut bytes = whole.clone();
        for _ in 0..=next(&mut state) % 3 {
            let place = next(&mut state) % header;
            // Half the time a digit or a bracket, which keeps more of the JSON readable.
            let choices = b"0123456789[]{},:\"-";
            bytes[place] = match next(&mut state) % 2 {
                0 => choices[next(&mut state) % choices.len()],
                _ => next(&mut state) as u8,
            };
        }
        fs::write(&path, &bytes).unwrap();
        LARGEST.set(0);
        refused += usize::from(read_all(&path).is_err());
        assert!(LARGEST.get() < 16 * whole.len(), "{} bytes at once", LARGEST.get());
    }
    // The rest hit padding, names or metadata, and are files in their own right.
    assert!(refused > 500, "{refused} refused");
}

#[test]
fn a_missing_file_a_folder_without_weights_and_a_folder_for_a_file_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let message = |path: &Path| Checkpoint::open(path).unwrap_err().to_string();
    assert!(message(&folder.path().join("gone.safetensors")).contains("gone.safetensors"));
    assert!(message(folder.path()).contains("model.safetensors.index.json"));
    fs::create_dir(folder.path().join("model.safetensors")).unwrap();
    assert!(message(folder.path()).contains("not a regular file"));
}

#[test]
fn a_type_that_is_not_read_here_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    file_with(&path, r#"{"a":{"dtype":"U16","shape":[2],"data_offsets":[0,4]}}"#, &[0; 4]);
    let error = read_all(&path).unwrap_err().to_string();
    assert!(error.contains("odd.safetensors") && error.contains("U16"), "{error}");
}

/// Makes a folder of two shards with an index, in Hugging Face's layout.
fn save_shards(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for (number, tensors) in sample().chunks(4).enumerate() {
        let file = format!("model-{number}.safetensors");
        let tensors: Vec<(String, Tensor)> =
            tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone())).collect();
        weights::save(&folder.join(&file), &tensors, &BTreeMap::new()).unwrap();
        files.extend(tensors.into_iter().map(|(name, _)| (name, file.clone())));
    }
    files
}

fn write_index(folder: &Path, files: &BTreeMap<String, String>) {
    let index = serde_json::json!({ "metadata": { "total_size": 1 }, "weight_map": files });
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn shards_are_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    write_index(folder.path(), &save_shards(folder.path()));
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    for (name, tensor) in sample() {
        assert_eq!(checkpoint.tensor(&name, Device::Cpu).unwrap(), tensor, "{name}");
    }
    let identity = checkpoint.identity();
    let other = folder.path().join("model-1.safetensors");
    let mut bytes = fs::read(&other).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&other, bytes).unwrap();
    assert_ne!(Checkpoint::open(folder.path()).unwrap().identity(), identity);
}

#[test]
fn an_index_that_is_not_true_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let files = save_shards(folder.path());
    let message = |change: &dyn Fn(&mut BTreeMap<String, String>)| {
        let mut files = files.clone();
        change(&mut files);
        write_index(folder.path(), &files);
        Checkpoint::open(folder.path()).unwrap_err().to_string()
    };
    let point_at = |file: &'static str| {
        message(&move |files| _ = files.insert("half".to_owned(), file.to_owned()))
    };
    assert!(point_at("model-7.safetensors").contains("model-7.safetensors"));
    assert!(point_at("model-1.safetensors").contains("tensor half is not in model-1"));
    let outside =
        ["../model-0.safetensors", "/etc/passwd", "sub/model-0.safetensors", "..", ".", "", "a/"];
    for file in outside {
        assert!(point_at(file).contains("not a file name in this folder"), "{file}");
    }
    fs::write(folder.path().join("model.safetensors.index.json"), "{\"weight_map\": 3}").unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("index.json: not an index"), "{error}");
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = save_shards(folder.path());
    fs::copy(folder.path().join("model-0.safetensors"), folder.path().join("twin.safetensors"))
        .unwrap();
    files.insert("half".to_owned(), "twin.safetensors".to_owned());
    write_index(folder.path(), &files);
    let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("in another shard too"), "{error}");
}

fn small_store(kind: Kind) -> nn::VarStore {
    let mut store = nn::VarStore::new(Device::Cpu);
    let _ = store.root().var("a", &[2, 3], Init::Const(1.0));
    let _ = store.root().var("b", &[3], Init::Const(2.0));
    store.set_kind(kind);
    store
}

fn save_named(path: &Path, tensors: Vec<(&str, Tensor)>) -> Checkpoint {
    let tensors: Vec<(String, Tensor)> =
        tensors.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect();
    weights::save(path, &tensors, &BTreeMap::new()).unwrap();
    Checkpoint::open(path).unwrap()
}

#[test]
fn a_store_is_filled_under_the_files_names_and_keeps_its_type() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (counting(6, Kind::Half).view([2, 3]) + 0.5, counting(3, Kind::Float));
    let checkpoint = save_named(
        &folder.path().join("w.safetensors"),
        vec![
            ("model.a", a.shallow_clone()),
            ("model.b", b.shallow_clone()),
            ("mask", b.shallow_clone()),
        ],
    );
    for kind in [Kind::Float, Kind::BFloat16] {
        let mut store = small_store(kind);
        weights::load(&mut store, &checkpoint, |name| format!("model.{name}"), |n| n == "mask")
            .unwrap();
        let variables = store.variables();
        assert_eq!(variables["a"], a.to_kind(kind));
        assert_eq!(variables["b"], b.to_kind(kind));
        assert_eq!(variables["a"].kind(), kind);
        assert!(variables["a"].requires_grad());
    }
}

#[test]
fn every_tensor_that_does_not_fit_is_named_and_nothing_is_changed() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = save_named(
        &folder.path().join("w.safetensors"),
        vec![("a", counting(6, Kind::Float).view([3, 2])), ("c", counting(3, Kind::Float))],
    );
    let mut store = small_store(Kind::Float);
    let error = weights::load(&mut store, &checkpoint, str::to_owned, |_| false).unwrap_err();
    let words = error.to_string();
    let WeightsError::Mismatch { report, .. } = error else { panic!("{words}") };
    assert_eq!(report.missing, ["b"]);
    assert_eq!(report.unexpected, ["c"]);
    assert_eq!(report.misshapen, ["a: [3, 2] in the file, [2, 3] in the model"]);
    assert!(words.contains("w.safetensors") && words.contains("hint:"), "{words}");

    // Only the second variable is wrong: the first is not filled either.
    let checkpoint = save_named(
        &folder.path().join("v.safetensors"),
        vec![("a", counting(6, Kind::Float).view([2, 3])), ("b", counting(3, Kind::Int64))],
    );
    let error = weights::load(&mut store, &checkpoint, str::to_owned, |_| false).unwrap_err();
    assert!(error.to_string().contains("b: its type cannot fill Float"), "{error}");
    assert_eq!(store.variables()["a"], Tensor::ones([2, 3], (Kind::Float, Device::Cpu)));
}

#[test]
fn a_long_report_shows_ten_names_and_counts_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let extra: Vec<(String, Tensor)> =
        (0..25).map(|i| (format!("extra.{i:02}"), counting(1, Kind::Float))).collect();
    let path = folder.path().join("w.safetensors");
    weights::save(&path, &extra, &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut store = small_store(Kind::Float);
    let error =
        weights::load(&mut store, &checkpoint, str::to_owned, |_| false).unwrap_err().to_string();
    assert!(error.contains("unexpected (25)") && error.contains("and 15 more"), "{error}");
    assert!(error.contains("extra.09") && !error.contains("extra.10"), "{error}");
}

#[test]
fn what_cannot_be_saved_is_named_and_the_old_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = save_sample(folder.path());
    let old = fs::read(&path).unwrap();
    let one = || counting(1, Kind::Float);
    let bad = [
        vec![("twice".to_owned(), one()), ("twice".to_owned(), one())],
        vec![("__metadata__".to_owned(), one())],
        vec![("flags".to_owned(), counting(2, Kind::Bool))],
    ];
    for tensors in bad {
        let error = weights::save(&path, &tensors, &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.contains("sample.safetensors") && error.contains(&tensors[0].0), "{error}");
        assert_eq!(fs::read(&path).unwrap(), old);
    }
}

fn weight_files(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../tests/fixtures/weights", path].iter().collect()
}

/// Made by `tests/reference/weight_files_goldens.py`.
#[test]
fn pytorchs_files_give_the_same_tensors_whole_legacy_and_in_shards() {
    let expected = Checkpoint::open(&weight_files("expected")).unwrap();
    assert_eq!(expected.names().count(), 7);
    let mut identities = Vec::new();
    for form in ["whole", "legacy", "shards"] {
        let checkpoint = Checkpoint::open(&weight_files(form)).unwrap();
        assert!(checkpoint.names().eq(expected.names()), "{form}");
        for name in expected.names() {
            let (ours, theirs) =
                (checkpoint.tensor(name, Device::Cpu), expected.tensor(name, Device::Cpu));
            let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
            assert_eq!(checkpoint.shape(name), Some(theirs.size()), "{form}: {name}");
            assert_eq!(checkpoint.kind(name), Some(theirs.kind()), "{form}: {name}");
            assert_eq!(ours, theirs, "{form}: {name}");
        }
        identities.push(checkpoint.identity());
    }
    identities.dedup();
    assert_eq!(identities.len(), 3, "the identity is of the files");
    // One file by itself, whatever it is called.
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("weights");
    fs::copy(weight_files("whole/pytorch_model.bin"), &copy).unwrap();
    assert_eq!(Checkpoint::open(&copy).unwrap().identity(), identities[0]);
    // Safetensors come first where a folder has both.
    fs::copy(&copy, folder.path().join("pytorch_model.bin")).unwrap();
    fs::copy(weight_files("tied.safetensors"), folder.path().join("model.safetensors")).unwrap();
    assert_eq!(Checkpoint::open(folder.path()).unwrap().names().count(), 1);
}

#[test]
fn pytorchs_files_that_are_damaged_or_something_else_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pytorch_model.bin");
    let whole = fs::read(weight_files("whole/pytorch_model.bin")).unwrap();
    let contents: [(&[u8], &str); 5] = [
        (&whole[..whole.len() / 2], ""),
        (b"", ""),
        (b"<html>not found</html>", ""),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.", "os.system"),
    ];
    for (contents, words) in contents {
        fs::write(&file, contents).unwrap();
        let error = Checkpoint::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("pytorch_model.bin") && error.contains(words), "{error}");
    }
}

#[test]
fn a_tensor_is_found_by_the_other_name_in_the_metadata() {
    let checkpoint = Checkpoint::open(&weight_files("tied.safetensors")).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["lm_head.weight"]);
    assert_eq!(checkpoint.shape("wte.weight"), Some(vec![5, 3]));
    let tensor = |name| checkpoint.tensor(name, Device::Cpu).unwrap();
    assert_eq!(tensor("wte.weight"), tensor("lm_head.weight"));
    assert!(checkpoint.shape("format").is_none());
}
