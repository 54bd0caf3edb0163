//! Sets in tar archives are read as the same set in a folder.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use flickr::{Corpus, Layout, PictureFile, WarningKind};

const DECODABLE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/flickr/decodable");

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
    // Not in the order of their names, and with what else img2dataset writes.
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
    let twice: PathBuf = folder.path().join("b.tar");
    fs::write(&path, &whole).unwrap();
    fs::copy(&path, &twice).unwrap();
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("b.tar") && error.contains("0.png"), "{error}");
    fs::remove_file(&twice).unwrap();
    archive(&path, &[("0.json", b"[1]"), ("0.png", &png)]);
    let error = load(folder.path()).unwrap_err();
    assert!(error.contains("a.tar") && error.contains("0.json"), "{error}");
}
