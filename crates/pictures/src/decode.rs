//! Image decoding into RGB, as Pillow's `Image.open(path).convert("RGB")` does it.
//!
//! As in Pillow, alpha is dropped without blending, palettes are looked up, an EXIF orientation is
//! not applied ([`RgbPixels::upright`] does so), and an animation is its first frame. An image that
//! cannot be decoded whole is an error with the file's name, never an image with a grey or black
//! part. Two limits are stricter than Pillow's: 16-bit grey is refused, because Pillow clips
//! instead of scaling it, and so are more than [`MAX_PIXELS`].
//!
//! BMP and WebP go to the `image` crate as they are. The module of each other format says what
//! `image` does differently from Pillow.

use std::cell::Cell;
use std::panic::{self, UnwindSafe};
use std::path::Path;
use std::sync::Once;

use image::ImageFormat;

use crate::pixels::{MAX_PIXELS, PictureError, PictureProblem, RgbPixels, decode_with_image};
use crate::{gif, jpeg, png, pnm, tiff};

/// Decodes an image in memory; errors name it `name`.
pub fn decode_bytes(bytes: &[u8], name: &Path) -> Result<RgbPixels, PictureError> {
    decode_within(bytes, MAX_PIXELS)
        .map_err(|problem| PictureError { path: name.to_owned(), problem })
}

/// Decodes an image of at most `allowed` pixels in memory.
///
/// # Errors
/// Fails with [`PictureProblem::TooLarge`], before memory is allocated for pixels, if the header
/// claims more of them.
pub fn decode_within(bytes: &[u8], allowed: u64) -> Result<RgbPixels, PictureProblem> {
    let format = format_of(bytes)?;
    let decoded = without_panic(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, allowed),
        ImageFormat::Gif => gif::decode(bytes, allowed),
        ImageFormat::Png => png::decode(bytes, allowed),
        ImageFormat::Pnm => pnm::decode(bytes, allowed),
        ImageFormat::Tiff => tiff::decode(bytes, allowed),
        format => decode_with_image(bytes, format, allowed),
    });
    decoded.unwrap_or_else(|| Err(PictureProblem::Damaged("its decoder failed".to_owned())))
}

/// Returns the result of a decoder; `None` if it panics, at damage that it did not expect.
///
/// Such a panic prints nothing.
fn without_panic<T>(decode: impl FnOnce() -> T + UnwindSafe) -> Option<T> {
    thread_local! {
        static IS_DECODING: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IS_DECODING.get() {
                usual(info);
            }
        }));
    });
    IS_DECODING.set(true);
    let decoded = panic::catch_unwind(decode);
    IS_DECODING.set(false);
    decoded.ok()
}

/// Returns the media type of an image file, such as `image/jpeg`; `None` for an unsupported format.
#[must_use]
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    format_of(bytes).ok().map(|format| format.to_mime_type())
}

/// Returns the format that the first bytes of a file belong to.
pub(crate) fn format_of(bytes: &[u8]) -> Result<ImageFormat, PictureProblem> {
    if bytes.is_empty() {
        return Err(PictureProblem::Empty);
    }
    let format = image::guess_format(bytes).ok().filter(|format| {
        use ImageFormat::{Bmp, Gif, Jpeg, Png, Pnm, Tiff, WebP};
        matches!(format, Jpeg | Png | Gif | Bmp | WebP | Pnm | Tiff)
    });
    format.ok_or_else(|| {
        if let Some((format, program)) = other_format(bytes) {
            return PictureProblem::OtherFormat { format, program };
        }
        let start = bytes.get(..16).unwrap_or(bytes);
        PictureProblem::NotAPicture(String::from_utf8_lossy(start).into_owned())
    })
}

/// Returns the name of a format that is not supported, and a command that converts it.
fn other_format(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    const HEIC_BRANDS: [&[u8]; 8] =
        [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"];
    if bytes.starts_with(b"\xff\x0a") || bytes.starts_with(b"\0\0\0\x0cJXL ") {
        return Some(("JPEG XL", "djxl IN.jxl OUT.jpg"));
    }
    // An ISO media file: size of its first box, `ftyp`, brand, version, compatible brands.
    let (size, rest) = bytes.split_first_chunk()?;
    let end = (u32::from_be_bytes(*size) as usize).min(bytes.len());
    let brands = rest.strip_prefix(b"ftyp")?.get(..end.checked_sub(8)?)?.as_chunks::<4>().0;
    if brands.iter().any(|brand| brand == b"avif" || brand == b"avis") {
        return Some(("AVIF", "avifdec IN.avif OUT.png"));
    }
    let is_heic = brands.iter().any(|brand| HEIC_BRANDS.contains(&&brand[..]));
    is_heic.then_some(("HEIC", "heif-convert IN.heic OUT.jpg"))
}
