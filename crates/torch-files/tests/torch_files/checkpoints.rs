//! Compares checkpoints of both formats with the results of `torch.load`.

use std::collections::BTreeSet;

use safetensors::{Dtype as Expected, SafeTensors};
use torch_files::{Dtype, StateDict, Tensor, Tree};

use crate::{files, fixture, json};

fn expected(dtype: Expected) -> Dtype {
    match dtype {
        Expected::F16 => Dtype::F16,
        Expected::BF16 => Dtype::BF16,
        Expected::F32 => Dtype::F32,
        Expected::F64 => Dtype::F64,
        Expected::I8 => Dtype::I8,
        Expected::I16 => Dtype::I16,
        Expected::I32 => Dtype::I32,
        Expected::I64 => Dtype::I64,
        Expected::U8 => Dtype::U8,
        Expected::BOOL => Dtype::Bool,
        other => panic!("{other:?} is in no fixture"),
    }
}

#[test]
fn every_checkpoint_reads_as_torch_reads_it() {
    let cases = json("checkpoints.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), files("sound").len());
    let mut dtypes = BTreeSet::new();
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let state = StateDict::load(&fixture("sound").join(file)).unwrap();
        let names: Vec<&str> = state.iter().map(|(name, _)| name).collect();
        let wanted: Vec<&str> =
            case["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{file}");
        assert_eq!(state.count(), wanted.len());
        assert_eq!(state.key_path(), case["place"], "{file}");
        let others: Vec<(String, String)> = serde_json::from_value(case["others"].clone()).unwrap();
        let found: Vec<(String, String)> =
            state.others().iter().map(|(name, kind)| (name.clone(), (*kind).to_owned())).collect();
        assert_eq!(found, others, "{file}");

        let bytes =
            std::fs::read(fixture("expected").join(case["expected"].as_str().unwrap())).unwrap();
        let theirs = SafeTensors::deserialize(&bytes).unwrap();
        for (name, tensor) in state.iter() {
            let their = theirs.tensor(name).unwrap();
            assert_eq!(tensor.dtype(), expected(their.dtype()), "{file}: {name}");
            assert_eq!(tensor.shape(), their.shape(), "{file}: {name}");
            assert_eq!(*tensor.bytes(), *their.data(), "{file}: {name}");
            assert_eq!(tensor.len() * tensor.dtype().size(), their.data().len());
            dtypes.insert(tensor.dtype().to_string());
        }
    }
    let all = ["bf16", "bool", "f16", "f32", "f64", "i16", "i32", "i64", "i8", "u8"];
    assert!(dtypes.iter().eq(all), "{dtypes:?}");
}

#[test]
fn safetensors_files_hold_the_same() {
    let theirs = StateDict::load(&fixture("expected/views.safetensors")).unwrap();
    let ours = StateDict::load(&fixture("sound/views_zip.pt")).unwrap();
    assert_eq!(theirs.count(), ours.count());
    for (name, tensor) in ours.iter() {
        let their = theirs.get(name).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (their.dtype(), their.shape()), "{name}");
        assert_eq!(tensor.bytes(), their.bytes(), "{name}");
    }
    // save_model keeps one of the tied weights, and names the other in the header.
    let tied = StateDict::load(&fixture("../import/names/save_model.safetensors")).unwrap();
    let [head, embedding] = ["gpt.lm_head.weight", "gpt.transformer.wte.weight"]
        .map(|name| tied.get(name).unwrap().bytes().as_ptr());
    assert_eq!((head, tied.count()), (embedding, 21));
    let error = Tree::load(&fixture("expected/views.safetensors")).unwrap_err().to_string();
    assert!(error.contains("views.safetensors: is a safetensors file"), "{error}");
}

#[test]
fn halves_become_floats_exactly() {
    let of = |file: &str| {
        let state = StateDict::load(&fixture("sound").join(file)).unwrap();
        state.get("gpt.transformer.wpe.weight").unwrap().to_f32().unwrap()
    };
    let floats = of("mlp_float32_zip.pt");
    for (file, digits) in [("mlp_float16_zip.pt", 2e-3), ("mlp_bfloat16_legacy.pt", 1e-2)] {
        let halves = of(file);
        assert_ne!(halves, floats);
        for (half, float) in halves.iter().zip(&floats) {
            assert!((half - float).abs() <= digits * float.abs(), "{file}: {half} {float}");
        }
    }
    let state = StateDict::load(&fixture("sound/views_zip.pt")).unwrap();
    assert_eq!(state.get("f64").and_then(Tensor::to_f32), Some(vec![1.0 / 3.0, f32::NEG_INFINITY]));
    assert_eq!(state.get("i64").and_then(Tensor::to_f32), None);
    assert!(state.get("nothing").is_none());
}

#[test]
fn tied_weights_share_their_bytes() {
    for file in ["mlp.pt", "mlp_float16_legacy.pt"] {
        let state = StateDict::load(&fixture("sound").join(file)).unwrap();
        let [first, second] = ["gpt.lm_head.weight", "gpt.transformer.wte.weight"]
            .map(|name| state.get(name).unwrap().bytes().as_ptr());
        assert_eq!(first, second, "{file}");
    }
}

#[test]
fn a_large_checkpoint_is_not_held_in_memory() {
    // The data of the legacy format can be lengthened by hand.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pt");
    let elements = 4_000_000_usize;
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\
        \x80\x02}X\x0d\0\0\0little_endian\x88s.\
        \x80\x02}X\x01\0\0\0wctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n\
        FloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\x00\x09\x3d\x00NtQK\0J\x00\x09\x3d\x00\x85K\x01\
        \x85\x89ccollections\nOrderedDict\n)RtRs.\x80\x02]X\x01\0\0\x000a."
        .to_vec();
    file.extend((elements as u64).to_le_bytes());
    file.resize(file.len() + 4 * elements, 1);
    std::fs::write(&path, &file).unwrap();
    let (state, peak) = crate::memory::peak(|| StateDict::load(&path).unwrap());
    assert_eq!(state.get("w").unwrap().bytes().len(), 4 * elements);
    assert!(peak < 64 * 1024, "{peak}");
}

#[test]
fn what_is_no_state_dict_says_so() {
    let refusal = |file: &str| StateDict::load(&fixture(file)).unwrap_err().to_string();
    let list = refusal("plain/tags_2.pkl");
    assert!(list.contains("tags_2.pkl") && list.contains("holds a list"), "{list}");
    let words = refusal("plain/words_4.pkl");
    assert!(words.contains("no tensors by name") && words.contains("counter"), "{words}");
    let missing = refusal("sound/gone.pt");
    assert!(missing.contains("gone.pt: cannot be read"), "{missing}");
    let folder = refusal("sound");
    assert!(folder.contains("not a regular file"), "{folder}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("two.pt");
    let array =
        b"cnumpy.core.numeric\n_frombuffer\n(C\x01\x05cnumpy\ndtype\n(X\x02\0\0\0u1\x89\x88tR\
        K\x01\x85X\x01\0\0\0CtR";
    let mut file = b"\x80\x03}(X\x05\0\0\0model}X\x01\0\0\0w".to_vec();
    file.extend(array);
    file.extend(b"sX\x0a\0\0\0state_dict}X\x01\0\0\0w");
    file.extend(array);
    file.extend(b"su.");
    std::fs::write(&path, &file).unwrap();
    Tree::load(&path).unwrap();
    let error = StateDict::load(&path).unwrap_err().to_string();
    assert!(error.contains("several state dicts: [\"model\"], [\"state_dict\"]"), "{error}");
}
