//! Writes the pixels of pictures, for comparison with Pillow: see `tests/reference/pillow_compare.py`.
//!
//! `pixels decode OUT PICTURE…` writes each picture's RGB bytes to `OUT/NAME.rgb`;
//! `pixels resize SIZE OUT RAW:WIDTH:HEIGHT…` resizes and crops RGB bytes, `pixels both SIZE OUT
//! PICTURE…` decodes and resizes. `pixels time SIZE PICTURE…` prints pictures per second on one
//! thread.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flickr::{Preprocessing, RgbPixels};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["decode", out, pictures @ ..] => {
            for picture in pictures {
                write(out, picture, &flickr::decode(Path::new(picture))?)?;
            }
        }
        ["resize", size, out, raws @ ..] => {
            let preprocessing = Preprocessing::clip(size.parse()?);
            for raw in raws {
                let (path, pixels) = read_raw(raw)?;
                write(out, &path, &preprocessing.resize(&pixels))?;
            }
        }
        ["both", size, out, pictures @ ..] => {
            let preprocessing = Preprocessing::clip(size.parse()?);
            for picture in pictures {
                write(out, picture, &preprocessing.resize(&flickr::decode(Path::new(picture))?))?;
            }
        }
        ["time", size, pictures @ ..] => time(&Preprocessing::clip(size.parse()?), pictures)?,
        _ => return Err("see the head of examples/pixels.rs for what this takes".into()),
    }
    Ok(())
}

fn read_raw(raw: &str) -> Result<(String, RgbPixels), Box<dyn Error>> {
    let mut parts = raw.rsplitn(3, ':');
    let height = parts.next().ok_or("no height")?.parse()?;
    let width = parts.next().ok_or("no width")?.parse()?;
    let path = parts.next().ok_or("no path")?;
    Ok((path.to_owned(), RgbPixels { width, height, data: fs::read(path)? }))
}

fn write(out: &str, picture: &str, pixels: &RgbPixels) -> Result<(), Box<dyn Error>> {
    let name = Path::new(picture).file_stem().ok_or("no file name")?;
    let path = PathBuf::from(out).join(name).with_extension("rgb");
    #[allow(clippy::disallowed_methods, reason = "scratch files of a comparison")]
    fs::write(path, &pixels.data)?;
    Ok(())
}

fn time(preprocessing: &Preprocessing, pictures: &[&str]) -> Result<(), Box<dyn Error>> {
    let files: Vec<Vec<u8>> =
        pictures.iter().map(fs::read).collect::<Result<_, std::io::Error>>()?;
    let mut planes = vec![0.0; preprocessing.len()];
    let (mut decoding, mut preparing) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..5 {
        let start = Instant::now();
        let decoded = files
            .iter()
            .map(|bytes| flickr::decode_bytes(bytes, Path::new("picture")))
            .collect::<Result<Vec<_>, _>>()?;
        decoding = decoding.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for pixels in &decoded {
            preprocessing.apply_into(pixels, &mut planes);
        }
        preparing = preparing.min(start.elapsed().as_secs_f64());
    }
    let count = files.len() as f64;
    println!(
        "decode {:.0}/s, resize and normalise {:.0}/s, together {:.0}/s",
        count / decoding,
        count / preparing,
        count / (decoding + preparing)
    );
    Ok(())
}
