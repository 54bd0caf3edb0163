//! Checks that ClipCap's pickles are read in every form and written so that Python reads them.

use proptest::prelude::*;
use torch_files::{Caption, Embeddings};

use crate::{files, fixture, json};

#[test]
fn every_form_reads_to_the_values_that_were_pickled() {
    let cases = json("embeddings.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), files("embeddings").len());
    for case in cases {
        let file = case["file"].as_str().unwrap();
        let found = Embeddings::load(&fixture("embeddings").join(file)).unwrap();
        let rows: Vec<Vec<f32>> = serde_json::from_value(case["rows"].clone()).unwrap();
        assert_eq!((found.rows(), found.dim()), (3, 4), "{file}");
        assert_eq!(found.values(), rows.concat(), "{file}");
        let captions: Vec<Caption> = case["captions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|caption| Caption {
                caption: caption["caption"].as_str().unwrap().to_owned(),
                row: caption["row"].as_u64().unwrap() as usize,
                image: caption["image"].as_str().map(str::to_owned),
            })
            .collect();
        assert_eq!(found.captions(), captions, "{file}");
    }
}

/// Compares with `written.pkl`, which the fixtures' script reads with torch 2.11.
///
/// To regenerate it, run `TORCH_FILES_WRITE=1 cargo test -p torch-files`, then the script.
#[test]
fn what_is_written_is_what_torch_was_seen_to_read() {
    let embeddings = Embeddings::load(&fixture("embeddings/clipcap_4.pkl")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("embeddings.pkl");
    embeddings.save(&path).unwrap();
    let written = std::fs::read(&path).unwrap();
    if std::env::var_os("TORCH_FILES_WRITE").is_some() {
        std::fs::write(fixture("written.pkl"), &written).unwrap();
    }
    assert_eq!(written, std::fs::read(fixture("written.pkl")).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn written_embeddings_read_back(
        dim in 1_usize..5,
        rows in prop::collection::vec(prop::array::uniform4(any::<f32>()), 1..6),
        captions in prop::collection::vec((".*", any::<prop::sample::Index>(), any::<Option<String>>()), 0..9),
    ) {
        let values: Vec<f32> = rows.iter().flat_map(|row| &row[..dim.min(4)]).copied().collect();
        let captions: Vec<Caption> = captions
            .into_iter()
            .map(|(caption, row, image)| Caption { caption, row: row.index(rows.len()), image })
            .collect();
        let embeddings = Embeddings::new(values, dim, captions).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("embeddings.pkl");
        embeddings.save(&path).unwrap();
        let read = Embeddings::load(&path).unwrap();
        prop_assert_eq!(read.captions(), embeddings.captions());
        let bits = |e: &Embeddings| e.values().iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        prop_assert_eq!(bits(&read), bits(&embeddings));
        prop_assert_eq!(read.dim(), embeddings.dim());
    }
}

#[test]
fn captions_that_fit_no_row_are_refused() {
    let caption = |row| Caption { caption: "A dog .".to_owned(), row, image: None };
    let error = Embeddings::new(vec![0.0; 6], 3, vec![caption(1), caption(2)]).unwrap_err();
    assert!(error.to_string().contains("caption 1 belongs to row 2"), "{error}");
    Embeddings::new(vec![0.0; 6], 4, Vec::new()).unwrap_err();
    Embeddings::new(Vec::new(), 0, Vec::new()).unwrap_err();
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let embeddings = Embeddings::new(vec![0.0], 1, Vec::new()).unwrap();
    let error = embeddings.save(&fixture("gone/embeddings.pkl")).unwrap_err().to_string();
    assert!(error.contains("gone/embeddings.pkl"), "{error}");
}

/// Returns the error of reading the pickle `body`.
fn refusal(body: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.pkl");
    std::fs::write(&path, body).unwrap();
    Embeddings::load(&path).unwrap_err().to_string()
}

fn array(code: &str, shape: &[u8], bytes: &[u8]) -> Vec<u8> {
    let mut out = b"cnumpy.core.numeric\n_frombuffer\n(C".to_vec();
    out.push(bytes.len() as u8);
    out.extend(bytes);
    out.extend(b"cnumpy\ndtype\n(X\x02\0\0\0");
    out.extend(code.as_bytes());
    out.extend(b"\x89\x88tR(");
    for &size in shape {
        out.extend([b'K', size]);
    }
    out.extend(b"tX\x01\0\0\0CtR");
    out
}

#[test]
fn what_is_not_laid_out_so_is_refused_by_its_place() {
    let with = |array: &[u8], rest: &[u8]| {
        let head: &[u8] = b"\x80\x03}(X\x0e\0\0\0clip_embedding";
        refusal(&[head, array, rest, b"u."].concat())
    };
    let floats = array("f4", &[2, 2], &[0; 16]);
    let captions: &[u8] = b"X\x08\0\0\0captions";
    for (array, rest, words) in [
        (array("u1", &[2, 2], &[0; 4]), [captions, b"]"].concat(), "type u8"),
        (array("f4", &[4], &[0; 16]), [captions, b"]"].concat(), "shape [4]"),
        (array("f4", &[2, 0], &[]), [captions, b"]"].concat(), "rows of 0"),
        (floats.clone(), captions[..0].to_vec(), "no list \"captions\""),
        (floats.clone(), [captions, b"](X\x01\0\0\0ae"].concat(), "1 captions for 2 rows"),
        (floats.clone(), [captions, b"](X\x01\0\0\0aK\x07e"].concat(), "caption 1 is neither"),
        (
            floats.clone(),
            [captions, b"](}(X\x0e\0\0\0clip_embeddingK\x02X\x07\0\0\0captionX\0\0\0\0ue"].concat(),
            "caption 0 belongs to row 2",
        ),
        (
            floats.clone(),
            [
                captions,
                b"](}(X\x0e\0\0\0clip_embeddingJ\xff\xff\xff\xffX\x07\0\0\0captionX\0\0\0\0ue",
            ]
            .concat(),
            "caption 0 belongs to row",
        ),
        (
            floats,
            [captions, b"](}(X\x0e\0\0\0clip_embeddingNX\x07\0\0\0captionX\0\0\0\0ue"].concat(),
            "row of caption 0 is a None",
        ),
    ] {
        let error = with(&array, &rest);
        assert!(error.contains("e.pkl") && error.contains(words), "{words}: {error}");
    }
    assert!(refusal(b"\x80\x02].").contains("the list is empty"));
    assert!(refusal(b"\x80\x02]Na.").contains("item 0 has no \"clip_embedding\""));
    assert!(refusal(b"\x80\x02]}X\x0e\0\0\0clip_embeddingNsa.").contains("item 0 is a None"));
    assert!(refusal(b"\x80\x02K\x01.").contains("holds a int"));
}

#[test]
fn a_caption_that_is_shared_a_million_times_is_not_copied_as_often() {
    let mut pickle = b"\x80\x03}(X\x0e\0\0\0clip_embedding".to_vec();
    pickle.extend(array("f4", &[1, 1], &[0; 4]));
    pickle.extend(b"X\x08\0\0\0captions](}q\x01(X\x0e\0\0\0clip_embeddingK\0X\x07\0\0\0captionX");
    pickle.extend(100_000_u32.to_le_bytes());
    pickle.extend(b"a".repeat(100_000));
    pickle.push(b'u');
    pickle.extend(b"h\x01".repeat(100_000));
    pickle.extend(b"eu.");
    let (error, taken) = crate::memory::peak(|| refusal(&pickle));
    assert!(error.contains("shares values so often"), "{error}");
    assert!(taken < crate::memory::bound(pickle.len()), "{taken}");
}

#[test]
fn embeddings_that_are_views_of_one_another_are_refused() {
    // Fifty rows of 90 values, each starting one value later in a storage of 150; legacy format.
    let mut file = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\
        \x80\x02}X\x0d\0\0\0little_endian\x88s.\
        \x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x96NtQq\x000]("
        .to_vec();
    for row in 0..50 {
        file.extend(b"}(X\x0e\0\0\0clip_embeddingctorch._utils\n_rebuild_tensor\n(h\0K");
        file.extend([row, b'K', 90]);
        file.extend(b"\x85K\x01\x85tRX\x07\0\0\0captionX\0\0\0\0u");
    }
    file.extend(b"e.\x80\x02]X\x01\0\0\x000a.");
    file.extend(150_u64.to_le_bytes());
    file.extend([0; 4 * 150]);
    let error = refusal(&file);
    assert!(error.contains("views of one another"), "{error}");
}
