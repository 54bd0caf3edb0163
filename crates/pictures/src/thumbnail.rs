//! Small JPEGs of images, to be shown to people.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use crate::pixels::RgbPixels;

/// JPEG quality, up to 100.
const QUALITY: u8 = 80;

/// Small JPEG of an image.
pub struct Thumbnail {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// JPEG file.
    pub jpeg: Vec<u8>,
}

impl Thumbnail {
    /// Scales an image down so that its longer side is at most `side`; `None` if it has no pixels.
    #[must_use]
    pub fn new(pixels: RgbPixels, side: u32) -> Option<Self> {
        let (width, height) = fitting(pixels.width, pixels.height, side);
        let image = RgbImage::from_raw(pixels.width, pixels.height, pixels.data)?;
        let small = imageops::resize(&image, width, height, FilterType::Triangle);
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
            .write_image(&small, width, height, ExtendedColorType::Rgb8)
            .ok()?;
        Some(Self { width, height, jpeg })
    }
}

/// Returns the size of an image, scaled down so that its longer side is at most `side`.
fn fitting(width: u32, height: u32, side: u32) -> (u32, u32) {
    let scale = f64::from(side) / f64::from(width.max(height));
    let scaled = |length: u32| ((f64::from(length) * scale.min(1.0)).round() as u32).max(1);
    (scaled(width), scaled(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pictures_stay_as_they_are_and_thin_ones_keep_a_pixel() {
        assert_eq!(fitting(112, 112, 288), (112, 112));
        assert_eq!(fitting(100_000, 20, 288), (288, 1));
        assert_eq!(fitting(375, 500, 288), (216, 288));
    }
}
