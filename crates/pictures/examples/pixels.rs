//! Writes pixels of images for comparison with Pillow: see `tests/reference/pillow_compare.py`.
//!
//! `pixels decode OUT PICTURE…` writes the RGB bytes of each image to `OUT/NAME.rgb`;
//! `pixels resize SIZE OUT RAW:WIDTH:HEIGHT…` resizes and crops RGB bytes, `pixels both SIZE OUT
//! PICTURE…` decodes and resizes. `pixels time SIZE PICTURE…` prints the milliseconds that a
//! picture takes on one thread.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use pictures::{Preprocessing, RgbPixels};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &words[..] {
        ["decode", out, pictures @ ..] => {
            for picture in pictures {
                write(out, picture, &pictures::decode(Path::new(picture))?)?;
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
                write(out, picture, &preprocessing.resize(&pictures::decode(Path::new(picture))?))?;
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

/// Prints the mean over images of each step's shortest time in `ROUNDS` rounds.
///
/// Other programs on the machine disturb the shortest time least.
fn time(preprocessing: &Preprocessing, pictures: &[&str]) -> Result<(), Box<dyn Error>> {
    const ROUNDS: usize = 15;
    let files: Vec<Vec<u8>> =
        pictures.iter().map(fs::read).collect::<Result<_, std::io::Error>>()?;
    let mut planes = vec![0.0; preprocessing.len()];
    let mut least = vec![[f64::INFINITY; 3]; files.len()];
    for _ in 0..ROUNDS {
        for (bytes, least) in files.iter().zip(&mut least) {
            let start = Instant::now();
            let pixels = pictures::decode_bytes(bytes, Path::new("picture"))?;
            let decoded = Instant::now();
            std::hint::black_box(preprocessing.resize(&pixels));
            let resized = Instant::now();
            preprocessing.apply_into(&pixels, &mut planes);
            let prepared = Instant::now();
            let spans = [decoded - start, resized - decoded, prepared - resized];
            for (least, span) in least.iter_mut().zip(spans) {
                *least = least.min(span.as_secs_f64());
            }
        }
    }
    let mean =
        |step: usize| 1e3 * least.iter().map(|least| least[step]).sum::<f64>() / least.len() as f64;
    println!(
        "ms a picture: decode {:.4}, resize and crop {:.4}, the same and normalise {:.4}",
        mean(0),
        mean(1),
        mean(2)
    );
    Ok(())
}
