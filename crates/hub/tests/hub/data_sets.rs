//! Archives, intact and malicious, from a mirror or put there by the user.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use datasets::{Corpus, Layout};
use hub::{Archive, DataSet, Error, FLICKR8K, FLICKR30K, fetch_data_set};
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::server::{Fault, sha256};
use crate::{Machine, child, names};

const PICTURES: [&str; 3] = ["1_a.jpg", "2_b.jpg", "3_c.jpg"];

fn zip(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn pictures_zip(folder: &str) -> Vec<u8> {
    let names: Vec<String> = PICTURES.iter().map(|name| format!("{folder}/{name}")).collect();
    let mut entries: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    entries.push(("__MACOSX/Flicker8k_Dataset/._1_a.jpg", b"litter"));
    entries.push(("Flicker8k_Dataset/Thumbs.db", b"litter"));
    zip(&entries)
}

fn text_zip() -> Vec<u8> {
    let rows = PICTURES.map(|name| format!("{name}#0\tA dog .\n{name}#1\tIt runs .\n"));
    let captions = rows.concat();
    zip(&[
        ("Flickr8k.token.txt", captions.as_bytes()),
        ("Flickr_8k.trainImages.txt", b"1_a.jpg\n"),
        ("Flickr_8k.devImages.txt", b"2_b.jpg\n"),
        ("Flickr_8k.testImages.txt", b"3_c.jpg\n"),
        ("Flickr8k.lemma.token.txt", b"not read"),
        ("__MACOSX/._readme.txt", b"litter"),
    ])
}

fn karpathy_zip() -> Vec<u8> {
    let images: Vec<_> = PICTURES
        .iter()
        .zip(["train", "val", "test"])
        .enumerate()
        .map(|(index, (name, split))| {
            let sentence = |sentid| serde_json::json!({ "raw": "A dog .", "tokens": ["a", "dog"], "imgid": index, "sentid": sentid });
            serde_json::json!({
                "filename": name, "split": split, "imgid": index, "sentids": [2 * index, 2 * index + 1],
                "sentences": [sentence(2 * index), sentence(2 * index + 1)],
            })
        })
        .collect();
    let json = serde_json::json!({ "images": images, "dataset": "flickr8k" }).to_string();
    zip(&[
        ("dataset_flickr8k.json", json.as_bytes()),
        ("dataset_flickr30k.json", json.as_bytes()),
        ("dataset_coco.json", b"{}"),
    ])
}

/// The real data sets, with archives of three images and `digests` of these archives.
struct Tiny {
    machine: Machine,
    folder: PathBuf,
    archives: Vec<(&'static str, Vec<u8>, String)>,
}

impl Tiny {
    fn new() -> Self {
        let machine = Machine::new();
        let folder = machine.folder.path().join("data");
        let archives = vec![
            ("Flickr8k_text.zip", text_zip()),
            ("caption_datasets.zip", karpathy_zip()),
            ("Flickr8k_Dataset.zip", pictures_zip("Flicker8k_Dataset")),
        ];
        let archives: Vec<_> = archives
            .into_iter()
            .map(|(name, bytes)| {
                machine.server.file("mirror", name, bytes.clone());
                let digest = format!("sha256:{}", sha256(&bytes));
                (name, bytes, digest)
            })
            .collect();
        Self { machine, folder, archives }
    }

    fn run(&mut self, set: &DataSet<'_>) -> Result<(), Error> {
        let archives: Vec<Archive<'_>> = set
            .archives
            .iter()
            .map(|archive| {
                let (_, _, digest) =
                    self.archives.iter().find(|(name, ..)| *name == archive.file).unwrap();
                Archive { digest, size: None, ..*archive }
            })
            .collect();
        let tiny = DataSet { archives: &archives, images: PICTURES.len(), ..*set };
        let mirror = self.machine.server.url();
        let options = self.machine.options.clone();
        fetch_data_set(&tiny, &self.folder, Some(&mirror), &options, &mut self.machine)
    }

    fn requests(&self) -> usize {
        self.machine.server.requests().len()
    }
}

/// Fetches a data set whose images the user has put there as `archive.zip`.
fn by_hand(archive: &[u8]) -> (Tiny, Result<(), Error>) {
    let mut tiny = Tiny::new();
    fs::create_dir_all(&tiny.folder).unwrap();
    fs::write(tiny.folder.join("archive.zip"), archive).unwrap();
    let result = tiny.run(&FLICKR30K);
    (tiny, result)
}

fn hidden(folder: &Path) -> Vec<String> {
    names(folder).into_iter().filter(|name| name.ends_with(".unpacking")).collect()
}

#[test]
fn flickr8k_comes_as_the_loader_reads_it_and_only_once() {
    let mut tiny = Tiny::new();
    tiny.run(&FLICKR8K).unwrap();
    let corpus = Corpus::load(&tiny.folder, None).unwrap();
    assert_eq!(corpus.layout, Layout::Original);
    assert!(corpus.warnings.is_empty(), "{:?}", corpus.warnings);
    assert_eq!(corpus.images.len(), 3);
    assert_eq!(fs::read_to_string(corpus.picture(0).path()).unwrap(), "Flicker8k_Dataset/1_a.jpg");
    let karpathy = Corpus::load(&tiny.folder, Some(Layout::Karpathy)).unwrap();
    assert_eq!(karpathy.images.len(), 3);
    for kind in [
        datasets::SplitSpec::OFFICIAL,
        datasets::SplitSpec { test_captions: 2, ..datasets::SplitSpec::PAPER },
    ] {
        datasets::Split::new(&corpus, &kind).unwrap();
    }
    let all = names(&tiny.folder);
    for absent in
        ["__MACOSX", "Flickr8k.lemma.token.txt", "dataset_coco.json", "dataset_flickr30k.json"]
    {
        assert!(!all.contains(&absent.to_owned()), "{all:?}");
    }
    assert!(hidden(&tiny.folder).is_empty());
    assert_eq!(tiny.requests(), 3);
    tiny.run(&FLICKR8K).unwrap();
    assert_eq!(tiny.requests(), 0);
    // The archives are no longer needed.
    for (name, ..) in &tiny.archives {
        fs::remove_file(tiny.folder.join(name)).unwrap();
    }
    tiny.run(&FLICKR8K).unwrap();
    assert_eq!(tiny.requests(), 0);
}

#[test]
fn a_cut_archive_is_taken_up_and_one_of_other_content_not_kept() {
    let mut tiny = Tiny::new();
    tiny.machine.server.fault("GET", "Dataset", 1, Fault::Cut(100));
    tiny.machine.server.fault("GET", "text", 1, Fault::OtherBytes);
    let error = tiny.run(&FLICKR8K).unwrap_err().to_string();
    assert!(error.contains("Flickr8k_text.zip has SHA-256"), "{error}");
    assert_eq!(names(&tiny.folder), [".fetch.lock"]);
    assert!(hub::may_lack_data_set(&tiny.folder));
    tiny.run(&FLICKR8K).unwrap();
    Corpus::load(&tiny.folder, None).unwrap();
}

#[test]
fn an_archive_that_lies_there_is_used_and_a_wrong_one_is_left_alone() {
    let mut tiny = Tiny::new();
    fs::create_dir_all(&tiny.folder).unwrap();
    for (name, bytes, _) in &tiny.archives {
        fs::write(tiny.folder.join(name), bytes).unwrap();
    }
    tiny.machine.options.offline = true;
    tiny.run(&FLICKR8K).unwrap();
    assert_eq!(tiny.requests(), 0);

    let mut tiny = Tiny::new();
    fs::create_dir_all(&tiny.folder).unwrap();
    let path = tiny.folder.join("Flickr8k_text.zip");
    fs::write(&path, "another").unwrap();
    let error = tiny.run(&FLICKR8K).unwrap_err().to_string();
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert!(error.contains(&hex::encode(Sha256::digest(b"another"))), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "another");

    let mut tiny = Tiny::new();
    tiny.machine.options.offline = true;
    let error = tiny.run(&FLICKR8K).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
}

#[test]
fn flickr30k_says_what_to_do_until_its_pictures_are_there() {
    let mut tiny = Tiny::new();
    let error = tiny.run(&FLICKR30K).unwrap_err();
    assert!(matches!(error, Error::ByHand(_)), "{error}");
    let text = error.to_string();
    for needed in [
        "https://forms.illinois.edu/sec/229675",
        "https://www.kaggle.com/datasets/adityajn105/flickr30k",
        "archive.zip",
        "flickr30k-images/*.jpg",
        tiny.folder.to_str().unwrap(),
    ] {
        assert!(text.contains(needed), "{needed}: {text}");
    }
    assert!(tiny.folder.join("dataset_flickr30k.json").is_file());

    // The layout of Kaggle's archive.
    let captions = b"image_name| comment_number| comment\n1_a.jpg| 0| A dog .\n";
    let mut archive =
        ZipWriter::new_append(Cursor::new(pictures_zip("flickr30k_images/flickr30k_images")))
            .unwrap();
    archive.start_file("flickr30k_images/results.csv", SimpleFileOptions::default()).unwrap();
    archive.write_all(captions).unwrap();
    fs::write(tiny.folder.join("archive.zip"), archive.finish().unwrap().into_inner()).unwrap();
    tiny.run(&FLICKR30K).unwrap();
    let corpus = Corpus::load(&tiny.folder, None).unwrap();
    assert_eq!((corpus.layout, corpus.images.len()), (Layout::Kaggle, 1));
    let corpus = Corpus::load(&tiny.folder, Some(Layout::Karpathy)).unwrap();
    assert_eq!(corpus.images.len(), 3);

    // The layout of the authors' archive, unpacked with tar.
    let mut tiny = Tiny::new();
    let folder = tiny.folder.join("flickr30k-images");
    fs::create_dir_all(&folder).unwrap();
    for name in PICTURES {
        fs::write(folder.join(name), "x").unwrap();
    }
    tiny.run(&FLICKR30K).unwrap();
    assert_eq!(Corpus::load(&tiny.folder, None).unwrap().images.len(), 3);
}

#[test]
fn a_set_with_too_few_pictures_is_no_success() {
    let (tiny, result) = by_hand(&zip(&[("Images/1_a.jpg", b"x")]));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("has 1 pictures where flickr30k has 3"), "{error}");
    assert!(error.contains(tiny.folder.join("Images").to_str().unwrap()), "{error}");
}

#[test]
fn archives_that_leave_their_folder_are_refused_whole() {
    for name in ["../evil.jpg", "/tmp/evil.jpg", "Images/../../evil.jpg", "..\\..\\evil.jpg"] {
        let (tiny, result) = by_hand(&zip(&[("Images/1_a.jpg", b"x"), (name, b"evil")]));
        let outside = tiny.machine.folder.path().join("evil.jpg");
        match result {
            Err(Error::Unusable { path, .. }) => {
                assert!(path.ends_with("archive.zip") || path.ends_with("Images"));
            }
            other => panic!("{name}: {other:?}"),
        }
        assert!(!outside.exists() && !Path::new("/tmp/evil.jpg").exists(), "{name}");
    }
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    archive.add_symlink("Images", "/etc", SimpleFileOptions::default()).unwrap();
    archive.start_file("Images/passwd.jpg", SimpleFileOptions::default()).unwrap();
    archive.write_all(b"x").unwrap();
    let (tiny, result) = by_hand(&archive.finish().unwrap().into_inner());
    let error = result.unwrap_err().to_string();
    assert!(error.contains("\"Images\" is a link"), "{error}");
    assert!(!tiny.folder.join("Images").exists());
}

#[test]
fn bombs_are_refused_before_anything_is_written() {
    let zeros = vec![0; 100 << 20];
    let (tiny, result) = by_hand(&zip(&[("Images/1_a.jpg", &zeros)]));
    let error = result.unwrap_err().to_string();
    assert!(error.contains("archive.zip") && error.contains("unpack to more than"), "{error}");
    assert!(!tiny.folder.join("Images").exists() && hidden(&tiny.folder).is_empty());
}

#[test]
fn an_entry_that_lies_about_its_size_or_content_is_refused() {
    let honest = zip(&[("Images/1_a.jpg", &[b'x'; 5000])]);
    let directory = honest.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
    for (offset, expected) in [(24, "archive.zip"), (16, "archive.zip")] {
        // 24: the uncompressed size; 16: the checksum.
        let mut lying = honest.clone();
        lying[directory + offset] ^= 0x55;
        let (tiny, result) = by_hand(&lying);
        let error = result.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!tiny.folder.join("Images").exists(), "{error}");
    }
}

#[test]
fn every_cut_of_an_archive_is_an_error_and_no_panic() {
    let archive = pictures_zip("Images");
    for end in (0..archive.len()).step_by(37) {
        let (tiny, result) = by_hand(&archive[..end]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("archive.zip"), "{end}: {error}");
        assert!(!tiny.folder.join("Images").exists(), "{end}");
    }
}

#[test]
fn flipped_bytes_never_pass_for_pictures() {
    let archive = pictures_zip("Images");
    let mut refused = 0;
    for place in (0..archive.len()).step_by(7) {
        let mut damaged = archive.clone();
        damaged[place] ^= 0x10;
        let (tiny, result) = by_hand(&damaged);
        if result.is_err() {
            refused += 1;
            continue;
        }
        // A flip in a time stamp or in a skipped entry does not matter. One in a name cannot be
        // detected: zip has no checksum of names. The pixels are unchanged.
        let images = tiny.folder.join("Images");
        let mut contents: Vec<String> = names(&images)
            .iter()
            .map(|name| fs::read_to_string(images.join(name)).unwrap())
            .collect();
        contents.sort();
        assert_eq!(contents, PICTURES.map(|name| format!("Images/{name}")), "{place}");
    }
    assert!(refused > 10);
}

#[test]
fn an_unpacking_that_was_stopped_goes_on_and_trusts_only_what_is_right() {
    let (tiny, result) = by_hand(&pictures_zip("Images"));
    result.unwrap();
    // Back to the middle of the unpacking: two images exist, one of them damaged; one is missing.
    let mut tiny = tiny;
    let archive = fs::read(tiny.folder.join("archive.zip")).unwrap();
    fs::remove_dir_all(&tiny.folder).unwrap();
    fs::create_dir_all(tiny.folder.join("Images")).unwrap();
    fs::write(tiny.folder.join("archive.zip"), archive).unwrap();
    // A file in the way stops the move after the unpacking.
    fs::write(tiny.folder.join("Images/note.txt"), "mine").unwrap();
    let error = tiny.run(&FLICKR30K).unwrap_err().to_string();
    assert!(error.contains("Images is in the way"), "{error}");
    let staging = tiny.folder.join(&hidden(&tiny.folder)[0]).join("Images");
    assert_eq!(names(&staging), PICTURES);
    let before = fs::metadata(staging.join("1_a.jpg")).unwrap().modified().unwrap();
    fs::write(staging.join("2_b.jpg"), "Images/2_X.jpg").unwrap();
    fs::remove_file(staging.join("3_c.jpg")).unwrap();
    fs::remove_dir_all(tiny.folder.join("Images")).unwrap();

    tiny.run(&FLICKR30K).unwrap();
    let images = tiny.folder.join("Images");
    for name in PICTURES {
        assert_eq!(fs::read_to_string(images.join(name)).unwrap(), format!("Images/{name}"));
    }
    assert_eq!(fs::metadata(images.join("1_a.jpg")).unwrap().modified().unwrap(), before);
    assert!(hidden(&tiny.folder).is_empty());
}

#[test]
fn a_disk_that_fills_while_unpacking_is_named_and_nothing_appears() {
    let mut machine = Tiny::new();
    let mut noise = crate::weights();
    noise.truncate(200_000);
    let archive =
        zip(&[("Images/1_a.jpg", b"x"), ("Images/2_b.jpg", &noise), ("Images/3_c.jpg", b"x")]);
    if let Ok(argument) = std::env::var("CAPSMITH_CHILD") {
        machine.folder = argument.into();
        println!("ERROR {}", machine.run(&FLICKR30K).unwrap_err());
        return;
    }
    fs::create_dir_all(&machine.folder).unwrap();
    fs::write(machine.folder.join("archive.zip"), archive).unwrap();
    let test = "data_sets::a_disk_that_fills_while_unpacking_is_named_and_nothing_appears";
    let output = child(test, machine.folder.to_str().unwrap(), Some(100)).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    assert!(text.contains("ERROR cannot write") && text.contains("2_b.jpg"), "{text}");
    assert!(text.contains("hint: make room"), "{text}");
    assert!(!machine.folder.join("Images").exists());
    machine.run(&FLICKR30K).unwrap();
}
