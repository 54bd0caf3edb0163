//! Resize and normalisation, to the bit (`tests/reference/pillow_fixtures.py`).

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;

use pictures::{Filter, Preprocessing, PreprocessingError, RgbPixels, Size};
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
    /// Returns the same image as the script's `noise` or `steps`.
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
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/pictures/resizes.json"
    ));
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

/// Compares with torchvision's transforms of VGG-16, from `tests/reference/vgg_goldens.py`.
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
        size: Size::ShortestEdge(72),
        crop: 64,
        mean: [0.5, 0.25, 0.125],
        std: [1.0, 2.0, 4.0],
        filter: Filter::Bicubic,
        rescale_factor: 1.0 / 255.0,
    };
    assert_eq!(new.unwrap(), expected);
    assert_eq!(read_config("{}").unwrap(), Preprocessing::clip(224));
}

#[derive(Debug, Deserialize)]
struct ProcessorCase {
    settings: serde_json::Value,
    #[serde(flatten)]
    picture: Picture,
    planes: String,
    first: Vec<f32>,
}

/// Compares with transformers' `CLIPImageProcessor` (`tests/reference/processor_goldens.py`).
#[test]
fn every_setting_of_an_image_processor_gives_what_transformers_gives_to_the_bit() {
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/pictures/processors.json"
    ));
    let cases: Vec<ProcessorCase> = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(cases.len(), 104);
    for case in cases {
        let preprocessing = read_config(&case.settings.to_string()).unwrap();
        let planes = preprocessing.apply(&case.picture.draw());
        let firsts: Vec<f32> = planes.iter().step_by(planes.len() / 3).copied().collect();
        // A factor of 1/255 is applied as torchvision does, which rounds otherwise than
        // transformers.
        if (preprocessing.rescale_factor - 1.0 / 255.0).abs() < 1e-9 {
            for (ours, theirs) in firsts.iter().zip(&case.first) {
                assert!((ours - theirs).abs() < 1e-6, "{case:?}: {firsts:?}");
            }
            let pixels = preprocessing.resize(&case.picture.draw());
            assert_eq!(digest(&bytes(&rescaled(&preprocessing, &pixels))), case.planes, "{case:?}");
        } else {
            assert_eq!(digest(&bytes(&planes)), case.planes, "{case:?}: {firsts:?}");
        }
        // A description written into a file of embeddings is read back.
        let text = serde_json::to_string(&preprocessing).unwrap();
        assert_eq!(serde_json::from_str::<Preprocessing>(&text).unwrap(), preprocessing, "{text}");
    }
}

fn bytes(planes: &[f32]) -> Vec<u8> {
    planes.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Normalises in transformers' order of operations.
fn rescaled(preprocessing: &Preprocessing, pixels: &RgbPixels) -> Vec<f32> {
    (0..3)
        .flat_map(|channel| {
            let (mean, std) = (preprocessing.mean[channel], preprocessing.std[channel]);
            let values = pixels.data.iter().skip(channel).step_by(3);
            values.map(move |&value| ((f64::from(value) * (1.0 / 255.0)) as f32 - mean) / std)
        })
        .collect()
}

#[test]
fn an_unchanged_description_is_written_as_before() {
    let text = serde_json::to_string(&Preprocessing::clip(224)).unwrap();
    assert!(text.starts_with(r#"{"size":224,"crop":224,"mean":["#), "{text}");
    assert!(!text.contains("rescale") && !text.contains("filter"), "{text}");
}

#[test]
fn the_settings_in_processor_config_come_first() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let size = || Preprocessing::from_folder(folder.path()).unwrap().size;
    // Before transformers 5 the file held other things, or nothing of the pictures.
    write("processor_config.json", r#"{"processor_class": "CLIPProcessor", "odd": NaN}"#);
    write("preprocessor_config.json", r#"{"size": 230, "unread": Infinity}"#);
    assert_eq!(size(), Size::ShortestEdge(230));
    write("processor_config.json", r#"{"image_processor": {"size": {"shortest_edge": 240}}}"#);
    assert_eq!(size(), Size::ShortestEdge(240));
    write("processor_config.json", r#"{"image_processor": {"resample": 9}}"#);
    let error = Preprocessing::from_folder(folder.path()).unwrap_err().to_string();
    assert!(error.contains("/processor_config.json: resample is 9"), "{error}");
}

#[test]
fn a_preprocessor_config_that_asks_for_something_else_is_refused_by_key() {
    for (key, contents) in [
        ("resample", r#"{"resample": 6}"#),
        ("resample", r#"{"resample": "cubic"}"#),
        ("do_pad", r#"{"do_pad": true}"#),
        // Pictures would keep shapes that no tower takes.
        ("do_center_crop", r#"{"do_center_crop": false}"#),
        ("do_center_crop", r#"{"do_center_crop": false, "do_resize": false}"#),
        ("do_center_crop", r#"{"do_center_crop": false, "size": {"height": 8, "width": 9}}"#),
        ("do_normalize", r#"{"do_normalize": 0}"#),
        ("rescale_factor", r#"{"rescale_factor": 0}"#),
        ("size", r#"{"size": {"shortest_edge": 224, "longest_edge": 300}}"#),
        ("size", r#"{"size": {"height": 224}}"#),
        ("size", r#"{"size": [224, 224, 3]}"#),
        ("size", r#"{"size": 0}"#),
        ("size", r#"{"size": -1}"#),
        ("size", r#"{"size": 4000000000}"#),
        ("crop_size", r#"{"crop_size": {"height": 224, "width": 112}}"#),
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
