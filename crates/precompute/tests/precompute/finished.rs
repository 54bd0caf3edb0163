//! The finished file: reused, refused, damaged.

use std::fs;

use precompute::{Embeddings, Error, Plan};
use safetensors::SafeTensors;
use sha2::{Digest as _, Sha256};
use tch::Device;

use crate::support::{DataSet, PICTURES, Random, name, run_plain};

#[test]
fn a_finished_output_of_the_same_plan_is_left_alone() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    let first = run_plain(&data.plan(&output)).unwrap();
    assert_eq!((first.encoded, first.resumed, first.already_finished), (PICTURES, 0, false));
    let bytes = fs::read(&output).unwrap();
    let plan = Plan { batch_size: 7, ..data.plan(&output) };
    let second = run_plain(&plan).unwrap();
    assert_eq!((second.encoded, second.resumed, second.already_finished), (0, PICTURES, true));
    assert_eq!(fs::read(&output).unwrap(), bytes);
}

#[test]
fn a_finished_output_of_another_plan_is_never_overwritten() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    run_plain(&data.plan(&output)).unwrap();
    let bytes = fs::read(&output).unwrap();
    let mut other = data.plan(&output);
    other.identity.normalize = true;
    other.names.pop();
    let error = run_plain(&other).unwrap_err();
    assert!(matches!(error, Error::OtherOutput { .. }), "{error}");
    let error = error.to_string();
    for words in ["normalize: false there, true here", "pictures: 43 there, 42 here", "move it"] {
        assert!(error.contains(words), "{error}");
    }
    let mut renamed = data.plan(&output);
    renamed.names[0] = "other.png".to_owned();
    let error = run_plain(&renamed).unwrap_err().to_string();
    assert!(error.contains("other names"), "{error}");
    assert_eq!(fs::read(&output).unwrap(), bytes);
}

#[test]
fn any_safetensors_reader_finds_the_rows_and_the_texts() {
    let data = DataSet::new();
    let bytes = data.uninterrupted(false);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors = file.names();
    tensors.sort_unstable();
    assert_eq!(tensors, ["embeddings", "pictures"]);
    let records = file.tensor("pictures").unwrap();
    assert_eq!(records.shape(), [PICTURES, 48]);
    let first = fs::read(data.path(&name(0))).unwrap();
    assert_eq!(records.data()[..8], (first.len() as u64).to_le_bytes());
    assert_eq!(records.data()[16..48], Sha256::digest(first)[..]);
    assert_eq!(file.tensor("embeddings").unwrap().shape(), [PICTURES, 5]);
    let rows = file.tensor("embeddings").unwrap().data().as_ptr().addr() - bytes.as_ptr().addr();
    assert_eq!(rows % 8, 0);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    let names: Vec<String> = serde_json::from_str(&metadata["names"]).unwrap();
    assert_eq!(names, (0..PICTURES).map(name).collect::<Vec<_>>());
    let identity: serde_json::Value = serde_json::from_str(&metadata["identity"]).unwrap();
    assert_eq!(identity["preprocessing"]["crop"], 4);
    assert_eq!(identity["dataset_fingerprint"], "5678");
}

#[test]
fn a_file_cut_anywhere_is_refused_by_name() {
    let data = DataSet::new();
    let bytes = data.uninterrupted(false);
    let path = data.path("cut.safetensors");
    let lengths = (0..bytes.len()).step_by(41).chain(0..20).chain(bytes.len() - 20..bytes.len());
    for length in lengths {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = Embeddings::open(&path).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{length}: {error}");
        assert!(error.to_string().contains("cut.safetensors"), "{error}");
    }
    fs::write(&path, [&bytes[..], b"\0"].concat()).unwrap();
    Embeddings::open(&path).unwrap_err();
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let data = DataSet::new();
    let bytes = data.uninterrupted(false);
    let path = data.path("flipped.safetensors");
    let mut random = Random(4);
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap());
    let anywhere = (0..300).map(|_| random.below(bytes.len() as u64)).collect::<Vec<_>>();
    for at in (0..header).chain(anywhere) {
        let mut flipped = bytes.clone();
        flipped[at as usize] ^= 1 << random.below(8);
        fs::write(&path, flipped).unwrap();
        let error = Embeddings::open(&path).expect_err(&format!("byte {at}"));
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

#[test]
fn embeddings_that_are_not_finite_are_refused_though_their_digest_is_right() {
    let data = DataSet::new();
    let mut bytes = data.uninterrupted(false);
    let (rows, old) = {
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let rows = file.tensor("embeddings").unwrap().data().as_ptr_range();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let start = rows.start.addr() - bytes.as_ptr().addr();
        let end = rows.end.addr() - bytes.as_ptr().addr();
        (start..end, header.metadata().clone().unwrap())
    };
    bytes[rows.start..rows.start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut digest = Sha256::new();
    for key in ["names", "skipped", "identity"] {
        digest.update((old[key].len() as u64).to_le_bytes());
        digest.update(&old[key]);
    }
    digest.update(&bytes[rows]);
    let new = hex::encode(digest.finalize());
    let offset = bytes.windows(64).position(|part| part == old["sha256"].as_bytes()).unwrap();
    bytes[offset..offset + 64].copy_from_slice(new.as_bytes());
    let path = data.path("nan.safetensors");
    fs::write(&path, bytes).unwrap();
    let error = Embeddings::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("nan.safetensors") && error.contains("infinite or no numbers"),
        "{error}"
    );
}

#[test]
fn what_is_no_file_of_embeddings_is_refused_with_what_it_is() {
    let data = DataSet::new();
    let good = data.uninterrupted(false);
    let path = data.path("foreign.safetensors");
    let replaced = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&good[8..]).find(from).unwrap() + 8;
        let mut bytes = good.clone();
        bytes[text..text + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let foreign = br#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}  "#;
    let foreign = [&(foreign.len() as u64).to_le_bytes(), &foreign[..], &[0; 4]].concat();
    let cases: [(&str, Vec<u8>); 6] = [
        ("not one of embeddings", foreign),
        ("is of version 2", replaced("\"version\":\"1\"", "\"version\":\"2\"")),
        ("not match its digest", replaced("picture 01.png", "picture 00.png")),
        ("has no names", replaced("\"names\"", "\"Names\"")),
        ("not a complete safetensors file", b"\x10\0\0\0\0\0\0\0{}".to_vec()),
        ("not a complete safetensors file", vec![255; 100]),
    ];
    for (words, bytes) in cases {
        fs::write(&path, bytes).unwrap();
        let error = Embeddings::open(&path).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("capsmith precompute"), "{error}");
    }
    for path in [data.path("absent"), data.folder.path().to_owned()] {
        let error = Embeddings::open(&path).unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
    }
}

#[test]
fn a_damaged_output_is_not_overwritten_either() {
    let data = DataSet::new();
    let output = data.path("out.safetensors");
    fs::write(&output, "something precious").unwrap();
    let error = run_plain(&data.plan(&output)).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(fs::read(&output).unwrap(), b"something precious");
}

#[test]
fn equal_embeddings_have_equal_digests_and_others_do_not() {
    let data = DataSet::new();
    let paths = ["one", "two", "three"].map(|name| data.path(name));
    let [one, two, three] = &paths;
    run_plain(&data.plan(one)).unwrap();
    run_plain(&data.plan(two)).unwrap();
    let mut other = data.plan(three);
    other.identity.normalize = true;
    run_plain(&other).unwrap();
    let [one, two, three] = paths.each_ref().map(|path| Embeddings::open(path).unwrap());
    assert_eq!(one.sha256(), two.sha256());
    assert_ne!(one.sha256(), three.sha256());
    assert!(one.tensor(Device::Cpu).unwrap().equal(&two.tensor(Device::Cpu).unwrap()));
}
