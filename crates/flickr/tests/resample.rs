//! The resize and the normalisation, to the bit; made by `tests/reference/pillow_fixtures.py`.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use flickr::{Filter, Preprocessing, PreprocessingError, RgbPixels};
use serde::Deserialize;
use sha2::{Digest, Sha256};

#[derive(Debug, Deserialize)]
struct Case {
    #[serde(flatten)]
    picture: Picture,
    size: u32,
    pixels: String,
    planes: String,
}

#[derive(Debug, Deserialize)]
struct ImagenetCase {
    #[serde(flatten)]
    picture: Picture,
    planes: String,
}

#[derive(Debug, Deserialize)]
struct Picture {
    kind: String,
    seed: u32,
    width: u32,
    height: u32,
}

impl Picture {
    /// The same picture as the script's `noise` or `steps`.
    fn draw(&self) -> RgbPixels {
        let count = self.width * self.height * 3;
        let data = match self.kind.as_str() {
            "noise" => (0..count).map(|index| hash(index + self.seed)).collect(),
            "steps" => (0..count)
                .map(|index| {
                    let (channel, x, y) =
                        (index % 3, index / 3 % self.width, index / 3 / self.width);
                    if ((x + 2 * channel) / 5 + y / 3) % 2 == 1 { 255 } else { 0 }
                })
                .collect(),
            other => panic!("no such picture: {other}"),
        };
        RgbPixels { width: self.width, height: self.height, data }
    }
}

fn hash(index: u32) -> u8 {
    let mut h = index.wrapping_mul(2_654_435_761);
    h ^= h >> 15;
    h = h.wrapping_mul(2_246_822_519);
    h ^= h >> 13;
    (h >> 24) as u8
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[test]
fn resized_cropped_and_normalised_pictures_equal_pillow_and_torch_to_the_bit() {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/flickr/resizes.json"));
    let cases: Vec<Case> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 160);
    for case in cases {
        let picture = case.picture.draw();
        let preprocessing = Preprocessing::clip(case.size);
        let square = preprocessing.resize(&picture);
        assert_eq!((square.width, square.height), (case.size, case.size));
        assert_eq!(digest(&square.data), case.pixels, "pixels of {case:?}");
        let planes: Vec<u8> =
            preprocessing.apply(&picture).iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(digest(&planes), case.planes, "planes of {case:?}");
    }
}

/// Made by `tests/reference/vgg_goldens.py` with the transforms of torchvision's VGG-16.
#[test]
fn imagenets_preprocessing_equals_torchvisions_to_the_bit() {
    let path =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/vgg/pictures.json"));
    let cases: Vec<ImagenetCase> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(cases.len() >= 20);
    for case in cases {
        let planes = Preprocessing::imagenet().apply(&case.picture.draw());
        let bytes: Vec<u8> = planes.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!(digest(&bytes), case.planes, "{case:?}");
    }
}

#[test]
fn a_very_long_picture_is_resized_only_where_the_crop_is() {
    // Pillow would make a picture of 224 x 8,960,000 pixels of this first.
    let picture = RgbPixels { width: 40_000, height: 1, data: vec![128; 120_000] };
    let square = Preprocessing::clip(224).resize(&picture);
    assert!(square.data.iter().all(|&value| value == 128));
}

fn read_config(contents: &str) -> Result<Preprocessing, PreprocessingError> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("preprocessor_config.json"), contents).unwrap();
    Preprocessing::from_folder(folder.path())
}

#[test]
fn both_forms_of_a_preprocessor_config_are_read() {
    let old = read_config(
        r#"{"crop_size": 224, "do_center_crop": true, "do_normalize": true, "do_resize": true,
            "feature_extractor_type": "CLIPFeatureExtractor", "resample": 3, "size": 224,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711]}"#,
    );
    assert_eq!(old.unwrap(), Preprocessing::clip(224));
    let new = read_config(
        r#"{"crop_size": {"height": 64, "width": 64}, "size": {"shortest_edge": 72},
            "do_rescale": true, "rescale_factor": 0.00392156862745098, "do_convert_rgb": true,
            "image_processor_type": "CLIPImageProcessor", "image_mean": [0.5, 0.25, 0.125],
            "image_std": [1, 2, 4]}"#,
    );
    let expected = Preprocessing {
        size: 72,
        crop: 64,
        mean: [0.5, 0.25, 0.125],
        std: [1.0, 2.0, 4.0],
        filter: Filter::Bicubic,
    };
    assert_eq!(new.unwrap(), expected);
    assert_eq!(read_config("{}").unwrap(), Preprocessing::clip(224));
}

#[test]
fn a_preprocessor_config_that_asks_for_something_else_is_refused_by_key() {
    for (key, contents) in [
        ("resample", r#"{"resample": 2}"#),
        ("do_resize", r#"{"do_resize": false}"#),
        ("do_center_crop", r#"{"do_center_crop": false}"#),
        ("do_normalize", r#"{"do_normalize": 0}"#),
        ("do_rescale", r#"{"do_rescale": false}"#),
        ("rescale_factor", r#"{"rescale_factor": 0.007843137}"#),
        ("size", r#"{"size": {"height": 224, "width": 224}}"#),
        ("size", r#"{"size": 0}"#),
        ("size", r#"{"size": -1}"#),
        ("size", r#"{"size": 4000000000}"#),
        ("crop_size", r#"{"crop_size": {"height": 224, "width": 112}}"#),
        ("crop_size", r#"{"size": 224, "crop_size": 225}"#),
        ("image_mean", r#"{"image_mean": [0.5, 0.5]}"#),
        ("image_std", r#"{"image_std": [0.5, 0, 0.5]}"#),
    ] {
        let error = read_config(contents).unwrap_err().to_string();
        assert!(error.contains("preprocessor_config.json"), "{error}");
        assert!(error.contains(&format!(": {key} is ")), "{contents}: {error}");
    }
    assert!(matches!(read_config("{"), Err(PreprocessingError::Json { .. })));
    assert!(matches!(
        Preprocessing::from_folder(Path::new("/no/such/folder")),
        Err(PreprocessingError::Io { .. })
    ));
}
