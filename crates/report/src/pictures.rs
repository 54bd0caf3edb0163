//! Small images in a page, each embedded once.

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use pictures::{PictureFile, Thumbnail};

/// Maximum of the longer side of an embedded image, in pixels.
const SIDE: u32 = 288;

/// Images of a page. An image can be shown several times and is embedded once.
#[derive(Default)]
pub struct Pictures {
    by_file: HashMap<PictureFile, Option<usize>>,
    embedded: Vec<Thumbnail>,
}

impl Pictures {
    /// Returns the markup that shows an image, or a placeholder if it cannot be read.
    pub fn show(&mut self, file: &PictureFile, description: &str) -> Markup {
        let number = match self.by_file.get(file) {
            Some(known) => *known,
            None => self.embed(file),
        };
        match number {
            Some(number) => html! {
                svg.picture role="img" aria-label=(description) { use href={ "#picture-" (number) } {} }
            },
            None => missing(file.path()),
        }
    }

    fn embed(&mut self, file: &PictureFile) -> Option<usize> {
        let thumbnail = file.decode_upright().ok().and_then(|pixels| Thumbnail::new(pixels, SIDE));
        let number = thumbnail.map(|thumbnail| {
            self.embedded.push(thumbnail);
            self.embedded.len() - 1
        });
        self.by_file.insert(file.clone(), number);
        number
    }

    /// Returns the embedded images, for the end of the page.
    #[must_use]
    pub fn embedded(&self) -> Markup {
        html! {
            svg.embedded aria-hidden="true" {
                @for (number, Thumbnail { width, height, jpeg }) in self.embedded.iter().enumerate() {
                    symbol id={ "picture-" (number) } viewBox={ "0 0 " (width) " " (height) }
                        preserveAspectRatio="xMidYMid meet" {
                        image width=(width) height=(height) href={ "data:image/jpeg;base64," (STANDARD.encode(jpeg)) } {}
                    }
                }
            }
        }
    }
}

/// Returns the placeholder for an image that cannot be read.
pub(crate) fn missing(path: &Path) -> Markup {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    html! { div.picture.missing { span { "no picture" } code { (name) } } }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;

    #[test]
    fn a_picture_is_small_and_embedded_once_however_often_it_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        RgbImage::from_fn(600, 300, |x, y| image::Rgb([x as u8, y as u8, 0])).save(&path).unwrap();
        let mut pictures = Pictures::default();
        let first = pictures.show(&path.clone().into(), "a \"dog\"").into_string();
        assert_eq!(first, pictures.show(&path.clone().into(), "a \"dog\"").into_string());
        assert!(first.contains("#picture-0") && first.contains("a &quot;dog&quot;"), "{first}");
        let embedded = pictures.embedded().into_string();
        assert_eq!(embedded.matches("data:image/jpeg").count(), 1);
        assert!(embedded.contains(r#"viewBox="0 0 288 144""#), "{embedded}");
        let data = embedded.split("base64,").nth(1).unwrap().split('"').next().unwrap();
        let jpeg = STANDARD.decode(data).unwrap();
        let decoded = pictures::decode_bytes(&jpeg, &path).unwrap();
        assert_eq!((decoded.width, decoded.height), (288, 144));
        assert!(decoded.data[3 * 287] > 70, "red grows to the right, and wraps at 256 of 600");
    }

    #[test]
    fn a_picture_that_cannot_be_read_is_said_to_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("<broken>.jpg");
        std::fs::write(&path, "no picture").unwrap();
        let mut pictures = Pictures::default();
        let shown = pictures.show(&path.clone().into(), "").into_string();
        assert!(shown.contains("no picture") && shown.contains("&lt;broken&gt;.jpg"), "{shown}");
        assert!(!pictures.embedded().into_string().contains("data:"));
    }
}
