//! EXIF orientations as Pillow's `ImageOps.exif_transpose` applies them, and formats not read.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::{Path, PathBuf};

use pictures::{PictureProblem, RgbPixels, decode, decode_bytes, decode_upright, is_turned};

fn folder(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures")).join(name)
}

#[test]
fn pictures_are_turned_as_pillow_turns_them() {
    let mut count = 0;
    for entry in fs::read_dir(folder("turned")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().unwrap() == "rgb" {
            continue;
        }
        count += 1;
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = fs::read(path.with_file_name(format!("{name}.rgb"))).unwrap();
        let number = |at: usize| u32::from_le_bytes(expected[at..at + 4].try_into().unwrap());
        let upright = decode_upright(&path).unwrap();
        assert_eq!((upright.width, upright.height), (number(0), number(4)), "{name}");
        assert!(upright.data == expected[8..], "{name} differs from Pillow");
        let turned = ["2", "3", "4", "5", "6", "7", "8"].iter().any(|n| name.starts_with(n));
        let stored = decode(&path).unwrap();
        assert_eq!((stored.width, stored.height), (23, 17), "{name} is stored lying");
        assert_eq!(is_turned(&fs::read(&path).unwrap()), turned, "{name}");
        assert_eq!(stored != upright, turned, "{name}");
    }
    assert_eq!(count, 13);
}

#[test]
fn a_damaged_exif_block_turns_nothing() {
    let jpeg = fs::read(folder("turned/6.jpg")).unwrap();
    let pixels = decode_bytes(&jpeg, Path::new("6.jpg")).unwrap();
    let start = jpeg.windows(4).position(|bytes| bytes == b"Exif").unwrap();
    for at in start..start + 30 {
        let mut damaged = jpeg.clone();
        damaged[at] ^= 0xff;
        // Any result but a failure: the block decides nothing but the orientation.
        let RgbPixels { width, height, .. } = pixels.clone().upright(&damaged);
        assert!([(23, 17), (17, 23)].contains(&(width, height)));
    }
    let none = pixels.clone().upright(b"");
    assert_eq!(none, pixels);
}

#[test]
fn formats_that_are_not_read_are_named_with_a_program_that_converts_them() {
    for (bytes, format, program) in [
        (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic...."[..], "HEIC", "heif-convert"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic....", "HEIC", "heif-convert"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf....", "AVIF", "avifdec"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0avifmif1....", "AVIF", "avifdec"),
        (b"\xff\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "JPEG XL", "djxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n........", "JPEG XL", "djxl"),
    ] {
        let error = decode_bytes(bytes, Path::new("a.bin")).unwrap_err();
        assert!(matches!(error.problem, PictureProblem::OtherFormat { .. }), "{error}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("a.bin: is a {format} picture")), "{text}");
        assert!(text.contains("\nhint: convert it") && text.contains(program), "{text}");
    }
    let movie = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom....";
    let error = decode_bytes(movie, Path::new("a.mp4")).unwrap_err();
    assert!(matches!(error.problem, PictureProblem::NotAPicture(_)), "{error}");
}
