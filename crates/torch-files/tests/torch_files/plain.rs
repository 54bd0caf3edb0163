//! Checks the JSON of plain data, and the kinds of values that JSON does not have.

use torch_files::{Tree, Value};

use crate::{files, fixture, json};

#[test]
fn plain_data_becomes_the_json_that_python_writes() {
    let expected = json("plain.json");
    let expected = expected.as_object().unwrap();
    assert_eq!(expected.len(), files("plain").len());
    for (file, expected) in expected {
        let found = Tree::load(&fixture("plain").join(file)).unwrap().to_json().unwrap();
        // Compared as texts, because the order counts.
        assert_eq!(found.to_string(), expected.to_string(), "{file}");
    }
}

#[test]
fn values_of_all_kinds_are_read() {
    for protocol in [0, 2, 4, 5] {
        let tree = Tree::load(&fixture(&format!("values_{protocol}.pkl"))).unwrap();
        let get = |key: &str| tree.root().get(key).unwrap();
        assert!(matches!(get("set"), Value::Set(items)
            if matches!(items.get(0), Some(Value::Int(1))) && items.len() == 1));
        assert!(matches!(get("frozenset"), Value::Set(items)
            if matches!(items.get(0), Some(Value::Str("a")))));
        assert!(matches!(get("bytes"), Value::Bytes(b"\x00\xff")));
        assert!(matches!(get("bytearray"), Value::Bytes(b"ab")));
        assert!(matches!(get("size"), Value::Tuple(items)
            if matches!(items.get(1), Some(Value::Int(3))) && items.get(2).is_none()));
        assert!(matches!(get("device"), Value::Str("cuda:1")));
        assert!(matches!(get("inf"), Value::Float(f64::INFINITY)));
        assert!(matches!(get("big"), Value::Int(value) if value == 1 << 100));
        assert!(
            matches!(get("f32"), Value::Float(value) if value.to_bits() == f64::from(0.1_f32).to_bits())
        );
        assert!(matches!(get("i64"), Value::Int(-5)));
        assert!(matches!(get("bool"), Value::Bool(true)));
        assert!(matches!(get("u64"), Value::Int(value) if value == u64::MAX.into()));
        let Value::Tensor(ints) = get("ints") else { panic!("{:?}", get("ints").kind()) };
        assert_eq!(*ints.bytes(), [0_i64, 1, 2].map(i64::to_le_bytes).concat());
        assert!(tree.root().get("nothing").is_none() && get("set").get("a").is_none());
    }
}

fn load(pickle: &[u8]) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.pkl");
    std::fs::write(&path, pickle).unwrap();
    Tree::load(&path).unwrap()
}

#[test]
fn what_json_cannot_hold_is_named_by_its_place() {
    for (pickle, words) in [
        (
            &b"\x80\x02](K\x07]}X\x03\0\0\0posG\x7f\xf0\0\0\0\0\0\0sae."[..],
            "float inf [1][0][\"pos\"]",
        ),
        (b"\x80\x02}X\x01\0\0\0a}K\x05Nss.", "a key that is a int [\"a\"]"),
        (b"\x80\x03]C\x01aa.", "a bytes [0]"),
        (b"\x80\x04\x8f.", "a set at the top"),
        (b"\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01.", "the integer 18446744073709551616 at the top"),
    ] {
        let error = load(pickle).to_json().unwrap_err().to_string();
        assert!(error.contains("p.pkl: cannot become JSON: ") && error.contains(words), "{error}");
    }
}

#[test]
fn a_value_shared_a_billion_times_is_read_but_not_written_out() {
    let tree = load(&stack_of_pairs());
    let error = tree.to_json().unwrap_err().to_string();
    assert!(error.contains("shares values so often"), "{error}");
}

/// Returns a pickle of `(x, x)` where x is `(y, y)` where y is ..., 90 levels deep.
fn stack_of_pairs() -> Vec<u8> {
    let mut pickle = b"\x80\x04]".to_vec();
    for _ in 0..90 {
        pickle.extend(b"2\x86");
    }
    pickle.push(b'.');
    pickle
}

#[test]
fn what_is_shared_moderately_is_written_out() {
    // A list of a thousand numbers, shared two hundred times.
    let mut pickle = b"\x80\x02](]q\x00(".to_vec();
    pickle.extend(b"K\x07".repeat(1000));
    pickle.push(b'e');
    pickle.extend(b"h\x00".repeat(199));
    pickle.extend(b"e.");
    let json = load(&pickle).to_json().unwrap();
    assert_eq!(json.as_array().unwrap().len(), 200);
    assert!(json[199].as_array().unwrap().iter().all(|number| number == 7));
}
