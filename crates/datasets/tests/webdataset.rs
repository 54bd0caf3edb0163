//! Data sets in tar archives, against the same set in a folder.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

mod support;

use std::fs::{self, File};
use std::path::Path;

use datasets::{Corpus, Layout, WarningKind};
use pictures::PictureFile;

const DECODABLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures/decodable");

fn archive(path: &Path, files: &[(&str, &[u8])]) {
    let mut archive = tar::Builder::new(File::create(path).unwrap());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, *bytes).unwrap();
    }
    archive.finish().unwrap();
}

fn picture() -> Vec<u8> {
    fs::read(Path::new(DECODABLE).join("rgb.png")).unwrap()
}

fn load(folder: &Path) -> Result<Corpus, String> {
    support::load(folder, None).map_err(|error| error.to_string())
}

#[test]
fn archives_hold_the_set_that_a_folder_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (kaggle, tars) = (folder.path().join("kaggle"), folder.path().join("tars"));
    fs::create_dir_all(kaggle.join("Images")).unwrap();
    fs::create_dir_all(&tars).unwrap();
    let png = picture();
    let captions =
        "image,caption\n0.png,A dog .\n0.png,\"A dog , again .\"\n1.png,A cat .\n2.png,Snow .\n";
    fs::write(kaggle.join("captions.txt"), captions).unwrap();
    for number in 0..3 {
        fs::write(kaggle.join(format!("Images/{number}.png")), &png).unwrap();
    }
    // In another order than by name, with the other files that img2dataset writes.
    archive(
        &tars.join("00001.tar"),
        &[("2.json", br#"{"caption": "Snow .", "url": "x"}"#), ("2.png", &png), ("2.cls", b"7")],
    );
    archive(
        &tars.join("00000.tar"),
        &[
            ("./0.txt", b"A dog .\nA dog , again .\n"),
            ("./0.json", br#"{"caption": "never read"}"#),
            ("./0.png", &png),
            ("1.png", &png),
            ("1.json", br#"{"captions": ["A cat ."]}"#),
        ],
    );
    fs::write(tars.join("00000_stats.json"), "{}").unwrap();
    let (files, members) = (load(&kaggle).unwrap(), load(&tars).unwrap());
    assert_eq!(members.layout, Layout::WebDataset);
    assert_eq!(members.images, files.images);
    assert_eq!(members.fingerprint(), files.fingerprint());
    assert!(members.warnings.is_empty());
    for index in 0..3 {
        assert!(matches!(members.picture(index), PictureFile::Member { .. }));
        let pixels = members.picture(index).decode().unwrap();
        assert_eq!(pixels, files.picture(index).decode().unwrap());
    }
    // Captions in a file win, unless another layout is asked for.
    fs::copy(tars.join("00000.tar"), kaggle.join("00000.tar")).unwrap();
    assert_eq!(load(&kaggle).unwrap().layout, Layout::Kaggle);
    let asked = Corpus::load(&kaggle, Some(Layout::WebDataset)).unwrap();
    assert_eq!(asked.images.len(), 2);
}

#[test]
fn what_is_odd_is_counted_and_what_is_broken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let png = picture();
    let path = folder.path().join("a.tar");
    let files: [(&str, &[u8]); 5] = [
        ("0.png", &png),
        ("0.txt", b"A dog ."),
        ("1.png", &png),
        ("2.txt", b"No picture ."),
        ("3.png", &png),
    ];
    archive(&path, &files);
    let corpus = load(folder.path()).unwrap();
    assert_eq!(corpus.images.len(), 1);
    let odd = |kind| corpus.warnings.iter().find(|warning| warning.kind == kind).unwrap().count;
    assert_eq!(odd(WarningKind::ImageWithoutCaptions), 2);
    assert_eq!(odd(WarningKind::NoSuchPicture), 1);

    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        load(folder.path()).unwrap_err()
    };
    let cut = refused(&whole[..600]);
    assert!(cut.contains("a.tar") && cut.contains("0.png"), "{cut}");
    let mut damaged = whole.clone();
    damaged[3] ^= 1;
    assert!(refused(&damaged).contains("a.tar"));
    // Within one archive a key is of one example.
    archive(
        &path,
        &[("0.png", &png), ("0.txt", b"A ."), ("1.txt", b""), ("0.png", &png), ("0.txt", b"B .")],
    );
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("a.tar") && error.contains("0.png a second time"), "{error}");
    archive(&path, &[("0.json", b"[1]"), ("0.png", &png)]);
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("a.tar") && error.contains("0.json"), "{error}");
}

fn names(corpus: &Corpus) -> Vec<&str> {
    corpus.images.iter().map(|image| image.file_name.as_str()).collect()
}

#[test]
fn names_may_have_folders_and_hidden_files_are_of_no_example() {
    let folder = tempfile::tempdir().unwrap();
    let png = picture();
    let long = format!("{}/{}.x/0.PNG", "f".repeat(120), "g".repeat(90));
    let files: [(&str, &[u8]); 11] = [
        ("shard0/._0000.png", b"mac"),
        ("shard0/.DS_Store", b"mac"),
        ("shard0/0000.png", &png),
        ("shard0/0000.mask.png", b"no picture"),
        ("shard0/0000.TXT", b"A dog .\r\n"),
        ("__meta__/0001.png", &png),
        ("readme", b"no extension"),
        ("shard1/0000.mask.png", b"no picture"),
        ("shard1/0000.png", &png),
        ("shard1/0000.txt", b"A cat ."),
        (&long, &png),
    ];
    let path = folder.path().join("a.tar");
    archive(&path, &files);
    let corpus = load(folder.path()).unwrap();
    assert_eq!(names(&corpus), ["shard0/0000.png", "shard1/0000.png"]);
    assert_eq!(corpus.images[0].captions, ["A dog ."]);
    for index in 0..2 {
        corpus.picture(index).decode().unwrap();
    }
    assert_eq!(corpus.warnings.len(), 1, "{:?}", corpus.warnings);
    assert_eq!(corpus.warnings[0].example, long, "it has no caption");
    // The `._` files of macOS are not archives.
    fs::write(folder.path().join("._a.tar"), "mac").unwrap();
    assert_eq!(load(folder.path()).unwrap().images.len(), 2);
}

#[test]
fn the_same_keys_in_two_archives_are_two_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let png = picture();
    for (name, caption) in [("0.tar", &b"A dog ."[..]), ("1.tar", b"A cat .")] {
        archive(&folder.path().join(name), &[("0.png", &png), ("0.txt", caption)]);
    }
    let corpus = load(folder.path()).unwrap();
    assert_eq!(names(&corpus), ["0.tar/0.png", "1.tar/0.png"]);
    assert_eq!(corpus.images[1].captions, ["A cat ."]);
    assert_eq!(corpus.warnings, []);
    assert!(corpus.picture(1).path().ends_with("1.tar"));
}

#[test]
fn compressed_archives_are_read_like_others_and_those_of_other_programs_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (plain, packed) = (folder.path().join("plain"), folder.path().join("packed"));
    fs::create_dir_all(&plain).unwrap();
    fs::create_dir_all(&packed).unwrap();
    let png = picture();
    let files: [(&str, &[u8]); 4] =
        [("0.png", &png), ("0.txt", b"A dog ."), ("1.jpg.png", &png), ("1.txt", b"A cat .")];
    archive(&plain.join("a.tar"), &files);
    let bytes = fs::read(plain.join("a.tar")).unwrap();
    let gzip = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    };
    // In two members, as pigz writes them.
    let members = [gzip(&bytes[..1000]), gzip(&bytes[1000..])].concat();
    let expected = load(&plain).unwrap();
    for name in ["a.tar.gz", "a.tgz", "a.tar"] {
        fs::write(packed.join(name), &members).unwrap();
        let corpus = load(&packed).unwrap();
        assert_eq!(corpus.images, expected.images, "{name}");
        for index in 0..2 {
            assert_eq!(
                corpus.picture(index).decode().unwrap(),
                expected.picture(index).decode().unwrap()
            );
            assert_eq!(corpus.picture(index).stamp().unwrap().size, png.len() as u64);
        }
        fs::remove_file(packed.join(name)).unwrap();
    }
    // An archive that also exists unpacked counts once.
    fs::write(packed.join("a.tar.gz"), &members).unwrap();
    fs::copy(plain.join("a.tar"), packed.join("a.tar")).unwrap();
    assert_eq!(load(&packed).unwrap().images, expected.images);
    fs::remove_file(packed.join("a.tar")).unwrap();

    fs::write(packed.join("a.tar.gz"), &members[..members.len() - 300]).unwrap();
    assert!(load(&packed).unwrap_err().contains("a.tar.gz"));
    fs::remove_file(packed.join("a.tar.gz")).unwrap();
    fs::write(packed.join("a.tar.bz2"), b"BZh91AY").unwrap();
    let error = load(&packed).unwrap_err();
    assert!(error.contains("compressed by bzip2; unpack it"), "{error}");
}

#[test]
fn fields_that_an_example_lacks_may_be_null() {
    for (json, captions) in [
        (r#"{"caption": "A dog .", "captions": null, "width": NaN}"#, &["A dog ."][..]),
        (r#"{"caption": null, "captions": ["A dog .", null, "Two ."]}"#, &["A dog .", "Two ."]),
        (r#"{"captions": "A dog .", "caption": NaN, "note": "\ud83d"}"#, &["A dog ."]),
        (r#"{"caption": ["A dog ."], "height": null}"#, &["A dog ."]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let png = picture();
        let files: [(&str, &[u8]); 3] =
            [("0.json", json.as_bytes()), ("0.png", &png), ("0.txt", b" \n")];
        archive(&folder.path().join("a.tar"), &files);
        assert_eq!(load(folder.path()).unwrap().images[0].captions, captions, "{json}");
    }
    let folder = tempfile::tempdir().unwrap();
    archive(&folder.path().join("a.tar"), &[("0.json", br#"{"caption": 7}"#), ("0.png", b"")]);
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("captions must be a text, a list of texts or null"), "{error}");
}
