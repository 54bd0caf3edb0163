//! EXIF orientation: cameras store rows as the sensor lies, and note how to turn them.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, RgbImage};

use crate::decode::format_of;
use crate::pixels::RgbPixels;

impl RgbPixels {
    /// Turns the pixels of the image file `bytes` upright, as Pillow's `ImageOps.exif_transpose`.
    ///
    /// The orientation is that of a JPEG's, PNG's or WebP's EXIF data; without one the pixels stay
    /// as they are. Those of a TIFF are upright as decoded.
    #[must_use]
    pub fn upright(self, bytes: &[u8]) -> Self {
        let orientation = orientation(bytes);
        if orientation == Orientation::NoTransforms {
            return self;
        }
        let Self { width, height, data } = self;
        let picture = RgbImage::from_raw(width, height, data).unwrap_or_default();
        let mut picture = DynamicImage::ImageRgb8(picture);
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width(), picture.height());
        Self { width, height, data: picture.into_rgb8().into_raw() }
    }
}

/// Returns true if the EXIF data of an image file say that its pixels must be turned.
#[must_use]
pub fn is_turned(bytes: &[u8]) -> bool {
    orientation(bytes) != Orientation::NoTransforms
}

fn orientation(bytes: &[u8]) -> Orientation {
    let read = || {
        let format = format_of(bytes).ok()?;
        if !matches!(format, ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP) {
            return None;
        }
        let reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.into_decoder().ok()?.orientation().ok()
    };
    read().unwrap_or(Orientation::NoTransforms)
}
