//! Comparison of decoded images with Pillow, on `tests/reference/pillow_fixtures.py`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pictures::{PictureProblem, RgbPixels, decode, decode_bytes, decode_within};
use serde::Deserialize;
use sha2::{Digest, Sha256};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures")).join(folder)
}

fn pictures(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(fixtures(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().unwrap() != "rgb")
        .collect();
    paths.sort();
    paths
}

/// Reads width and height (little-endian u32), then the pixels.
fn pillows_pixels(picture: &Path) -> RgbPixels {
    let mut name = picture.as_os_str().to_owned();
    name.push(".rgb");
    let bytes = fs::read(name).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    RgbPixels { width: number(0), height: number(4), data: bytes[8..].to_vec() }
}

#[test]
fn decodable_pictures_have_the_pixels_that_pillow_gives_them() {
    let pictures = pictures("decodable");
    assert_eq!(pictures.len(), 42);
    for path in pictures {
        let ours = decode(&path).unwrap();
        let theirs = pillows_pixels(&path);
        assert_eq!((ours.width, ours.height), (theirs.width, theirs.height), "{}", path.display());
        assert!(ours.data == theirs.data, "{} differs from Pillow", path.display());
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    jpeg: String,
    pixels: String,
}

#[test]
fn jpegs_of_all_usual_samplings_have_the_pixels_that_pillow_gives_them() {
    let jpegs: Vec<Case> =
        serde_json::from_slice(&fs::read(fixtures("jpegs.json")).unwrap()).unwrap();
    assert_eq!(jpegs.len(), 70);
    for Case { name, jpeg, pixels } in jpegs {
        let decoded = decode_bytes(&hex::decode(jpeg).unwrap(), Path::new(&name)).unwrap();
        assert_eq!(hex::encode(Sha256::digest(&decoded.data)), pixels, "{name}");
    }
}

#[test]
fn pictures_that_cannot_be_decoded_whole_are_refused_by_name_and_reason() {
    let start = Instant::now();
    for path in pictures("refused") {
        let error = decode(&path).unwrap_err();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.to_string().contains(name), "{error}");
        let as_expected = match name {
            "empty.jpg" => matches!(error.problem, PictureProblem::Empty),
            "page.jpg" => matches!(error.problem, PictureProblem::NotAPicture(_)),
            "grey16.png" => matches!(error.problem, PictureProblem::Unsupported(_)),
            name if name.starts_with("huge") => {
                matches!(
                    error.problem,
                    PictureProblem::TooLarge { width: 30000, height: 30000, .. }
                )
            }
            "cut.jpg" | "cut.png" => matches!(error.problem, PictureProblem::CutShort(_)),
            name if name.starts_with("cut") => {
                matches!(error.problem, PictureProblem::CutShort(_) | PictureProblem::Damaged(_))
            }
            other => panic!("{other} is new: say what is expected of it"),
        };
        assert!(as_expected, "{error}");
    }
    assert!(start.elapsed() < Duration::from_secs(5), "something was allocated for a huge header");
}

#[test]
fn a_jpeg_of_12_bits_is_refused() {
    let mut jpeg = fs::read(fixtures("decodable/progressive.jpg")).unwrap();
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xc2]).unwrap();
    jpeg[frame + 4] = 12;
    let problem = decode_bytes(&jpeg, Path::new("deep.jpg")).unwrap_err().problem;
    assert!(matches!(problem, PictureProblem::Unsupported(_)), "{problem}");
}

#[test]
fn a_picture_of_more_pixels_than_are_allowed_is_refused_whatever_its_format() {
    for path in pictures("decodable") {
        let bytes = fs::read(&path).unwrap();
        let whole = decode_bytes(&bytes, &path).unwrap();
        let pixels = u64::from(whole.width) * u64::from(whole.height);
        assert_eq!(decode_within(&bytes, pixels).unwrap(), whole);
        let refused = decode_within(&bytes, pixels - 1).unwrap_err();
        let PictureProblem::TooLarge { allowed, width, height } = refused else {
            panic!("{}: {refused}", path.display());
        };
        // A header tells the size before the picture is turned.
        let (sides, of_whole) = ([width, height], [whole.width, whole.height]);
        assert_eq!((allowed, sides.iter().max()), (pixels - 1, of_whole.iter().max()));
        assert_eq!(sides.iter().min(), of_whole.iter().min());
    }
}

#[test]
fn a_missing_picture_is_refused_by_name() {
    let error = decode(&fixtures("gone.jpg")).unwrap_err();
    assert!(error.to_string().contains("gone.jpg"), "{error}");
    assert!(matches!(error.problem, PictureProblem::Io(_)));
}

#[test]
fn the_first_bytes_of_what_is_no_picture_are_shown() {
    let error = decode(&fixtures("refused/page.jpg")).unwrap_err();
    assert!(error.to_string().contains("<!DOCTYPE"), "{error}");
}

#[test]
fn a_jpeg_cut_at_any_offset_is_refused() {
    for name in [
        "baseline.jpg",
        "full-chroma.jpg",
        "half-chroma.jpg",
        "progressive.jpg",
        "restarts.jpg",
        "grey.jpg",
        "cmyk.jpg",
        "exif-turned.jpg",
        "bytes-between-headers.jpg",
    ] {
        let whole = fs::read(fixtures("decodable").join(name)).unwrap();
        for length in 0..whole.len() {
            let result = decode_bytes(&whole[..length], Path::new(name));
            assert!(result.is_err(), "{name} cut to {length} of {} bytes", whole.len());
        }
    }
}

#[test]
fn a_jpeg_with_an_end_marker_but_too_few_data_is_refused() {
    // Pillow fills the rest with grey here.
    for name in ["baseline.jpg", "full-chroma.jpg", "half-chroma.jpg", "grey.jpg", "cmyk.jpg"] {
        let path = fixtures("decodable").join(name);
        let whole = fs::read(&path).unwrap();
        let expected = decode_bytes(&whole, &path).unwrap();
        let scan = whole.windows(2).rposition(|bytes| bytes == [0xff, 0xda]).unwrap();
        let mut refused = 0;
        for length in scan + 16..whole.len() - 2 {
            let ended = [&whole[..length], &[0xff, 0xd9]].concat();
            match decode_bytes(&ended, &path) {
                // Only the padding of the last bits was missing.
                Ok(pixels) => assert_eq!(pixels, expected, "{name} cut to {length}"),
                Err(_) => refused += 1,
            }
        }
        assert!(refused >= whole.len() - scan - 20, "{name}: only {refused} were refused");
    }
}

#[test]
fn other_formats_cut_anywhere_give_the_whole_picture_or_an_error() {
    for name in [
        "rgb.png",
        "palette.png",
        "one-bit.png",
        "palette.gif",
        "scaled.ppm",
        "rgb.bmp",
        "lossy.webp",
        "lossless.webp",
    ] {
        let path = fixtures("decodable").join(name);
        let whole = fs::read(&path).unwrap();
        let expected = decode_bytes(&whole, &path).unwrap();
        let mut refused = 0;
        for length in 0..whole.len() {
            match decode_bytes(&whole[..length], &path) {
                Ok(pixels) => assert_eq!(pixels, expected, "{name} cut to {length}"),
                Err(_) => refused += 1,
            }
        }
        // A trailer may be missing: PNG's last chunks, GIF's last block.
        assert!(refused + 30 > whole.len(), "{name}: only {refused} of {} refused", whole.len());
    }
}

#[test]
fn what_a_png_says_beside_its_pixels_costs_nothing_and_breaks_nothing() {
    let path = fixtures("decodable/rgb.png");
    let whole = fs::read(&path).unwrap();
    let expected = decode_bytes(&whole, &path).unwrap();
    let with = |kind: &[u8], body: &[u8]| {
        let (length, named) = ((body.len() as u32).to_be_bytes(), [kind, body].concat());
        let checksum = crc32fast::hash(&named).to_be_bytes();
        [&whole[..33], &length, &named, &checksum, &whole[33..]].concat()
    };
    let mut inflated =
        flate2::write::ZlibEncoder::new(b"profile\0\0".to_vec(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..512 {
        std::io::Write::write_all(&mut inflated, &zeros).unwrap();
    }
    let inflated = inflated.finish().unwrap();
    let start = Instant::now();
    let mut profile = flate2::read::ZlibDecoder::new(&inflated[b"profile\0\0".len()..]);
    assert_eq!(std::io::copy(&mut profile, &mut std::io::sink()).unwrap(), 512 << 20);
    let inflating = start.elapsed();
    let start = Instant::now();
    for (kind, body) in [
        (b"iCCP", &inflated[..]),
        (b"iCCP", b"profile\0\0this is not compressed"),
        (b"zTXt", &inflated),
        (b"iTXt", b"Comment\0\x01\0\0\0neither is this"),
        (b"gAMA", b"too long for a gamma"),
    ] {
        let decoded = decode_bytes(&with(kind, body), &path).unwrap();
        assert_eq!(decoded, expected, "{}", String::from_utf8_lossy(kind));
    }
    assert!(start.elapsed() < inflating, "half a gigabyte was inflated");
}

/// The decoder of JPEGs panics at some of these.
#[test]
fn every_sampling_factor_is_decoded_or_refused() {
    for path in pictures("decodable").iter().filter(|path| path.extension().unwrap() == "jpg") {
        let whole = fs::read(path).unwrap();
        let starts_frame = |at: &usize| matches!(whole[*at..], [0xff, 0xc0..=0xc2, ..]);
        let Some(frame) = (0..whole.len() - 1).find(starts_frame) else { continue };
        for component in 0..usize::from(whole[frame + 9]) {
            for factors in 0..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[frame + 11 + 3 * component] = factors;
                if let Ok(pixels) = decode_bytes(&bytes, path) {
                    let expected = u64::from(pixels.width) * u64::from(pixels.height) * 3;
                    assert_eq!(pixels.data.len() as u64, expected, "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn random_damage_never_panics() {
    use proptest::prelude::*;
    let pictures: Vec<Vec<u8>> =
        pictures("decodable").iter().map(|path| fs::read(path).unwrap()).collect();
    let damage = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8);
    let which = any::<proptest::sample::Index>();
    let config =
        ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(which in which, damage in damage)| {
        let mut bytes = which.get(&pictures).clone();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(pixels) = decode_bytes(&bytes, Path::new("damaged")) {
            prop_assert_eq!(pixels.data.len() as u64,
                u64::from(pixels.width) * u64::from(pixels.height) * 3);
        }
    });
}
