//! From a picture to what a vision network takes.
//!
//! RGB, shorter side to `size` by Pillow's resize, centre crop, `(value / 255 - mean) / std`: what
//! the original CLIP does with torchvision. transformers' `CLIPImageProcessor` does the same but for an
//! odd margin: it rounds the crop's offset down, torchvision rounds half to even, as is done here.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pixels::RgbPixels;
use crate::resample::{Filter, resize_window};

/// How pictures are made ready for a vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// The length that the shorter side is resized to, in pixels.
    pub size: u32,
    /// The side of the centre square that is kept, at most `size`.
    pub crop: u32,
    /// Subtracted from red, green and blue, which lie in 0..=1.
    pub mean: [f32; 3],
    /// Divides the difference.
    pub std: [f32; 3],
    /// How it is resized. Descriptions of before there were two filters mean the bicubic one.
    #[serde(default, skip_serializing_if = "is_bicubic")]
    pub filter: Filter,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_bicubic(filter: &Filter) -> bool {
    *filter == Filter::Bicubic
}

/// A `preprocessor_config.json` that asks for something else.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessingError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key has a value that is not supported.
    #[error("{}: {key} is {value}; {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What would be.
        supported: &'static str,
    },
}

impl Preprocessing {
    /// CLIP's preprocessing with its published means and deviations, for a tower of `size` pixels.
    #[must_use]
    pub fn clip(size: u32) -> Self {
        Self {
            size,
            crop: size,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            filter: Filter::Bicubic,
        }
    }

    /// The preprocessing of torchvision's `ImageNet` networks, VGG-16 among them: shorter side to 256,
    /// bilinear, the middle 224.
    #[must_use]
    pub fn imagenet() -> Self {
        Self {
            size: 256,
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            filter: Filter::Bilinear,
        }
    }

    /// Reads `preprocessor_config.json` in a Hugging Face folder. A key that is not there has the
    /// value that `CLIPImageProcessor` gives it.
    pub fn from_folder(folder: &Path) -> Result<Self, PreprocessingError> {
        let path = folder.join("preprocessor_config.json");
        let contents = fs::read(&path)
            .map_err(|source| PreprocessingError::Io { path: path.clone(), source })?;
        let config: Value = serde_json::from_slice(&contents)
            .map_err(|source| PreprocessingError::Json { path: path.clone(), source })?;
        Config { path: &path, config: &config }.read()
    }

    /// The resized and cropped picture before normalisation, `[crop, crop, 3]`.
    ///
    /// # Panics
    /// If `pixels.data` does not have `width * height * 3` values or there are none, or if `crop` is
    /// not within 1 and `size`, which [`Self::from_folder`] sees to.
    #[must_use]
    pub fn resize(&self, pixels: &RgbPixels) -> RgbPixels {
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        assert_eq!(pixels.data.len(), width * height * 3, "pixels must be [height, width, 3]");
        assert!(width > 0 && height > 0, "a picture has at least one pixel");
        let (size, crop) = (self.size as usize, self.crop as usize);
        assert!((1..=size).contains(&crop), "crop must be from 1 to size");
        let shorter = width.min(height);
        let to = (size * width / shorter, size * height / shorter);
        let data = resize_window(
            self.filter,
            &pixels.data,
            (width, height),
            to,
            centre(to.0, crop),
            centre(to.1, crop),
        );
        RgbPixels { width: crop as u32, height: crop as u32, data }
    }

    /// The picture as the tower takes it: `[3, crop, crop]`, channels first.
    ///
    /// # Panics
    /// As [`Self::resize`].
    #[must_use]
    pub fn apply(&self, pixels: &RgbPixels) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.apply_into(pixels, &mut out);
        out
    }

    /// As [`Self::apply`], into memory of [`Self::len`] values.
    ///
    /// # Panics
    /// As [`Self::resize`], and if `out` has another length.
    pub fn apply_into(&self, pixels: &RgbPixels, out: &mut [f32]) {
        assert_eq!(out.len(), self.len(), "out must be [3, crop, crop]");
        let square = self.resize(pixels);
        let plane = out.len() / 3;
        for (channel, plane) in out.chunks_exact_mut(plane.max(1)).enumerate() {
            let table = self.normalised(channel);
            for (out, pixel) in plane.iter_mut().zip(square.data.chunks_exact(3)) {
                *out = table[usize::from(pixel[channel])];
            }
        }
    }

    /// The number of values of a picture made ready: `3 * crop * crop`.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        3 * (self.crop as usize).pow(2)
    }

    /// What each of the 256 values of a channel becomes, in the order of operations of torchvision.
    fn normalised(&self, channel: usize) -> [f32; 256] {
        let (mean, std) = (self.mean[channel], self.std[channel]);
        std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
    }
}

/// The middle `crop` of `length`, at an offset rounded half to even.
fn centre(length: usize, crop: usize) -> Range<usize> {
    let margin = length - crop;
    // margin / 2 is exact in f64.
    let start = (margin as f64 / 2.0).round_ties_even() as usize;
    start..start + crop
}

/// A configuration being read, with its path for the errors.
struct Config<'c> {
    path: &'c Path,
    config: &'c Value,
}

impl Config<'_> {
    fn read(&self) -> Result<Preprocessing, PreprocessingError> {
        for key in ["do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"] {
            match self.get(key) {
                None | Some(Value::Bool(true)) => {}
                Some(other) => return Err(self.unsupported(key, other, "only true is supported")),
            }
        }
        self.only_number("resample", 3.0, "only 3, Pillow's bicubic, is supported")?;
        self.only_number("rescale_factor", 1.0 / 255.0, "only 1/255 is supported")?;
        let clip = Preprocessing::clip(224);
        let size = self.side("size", &["shortest_edge"])?.unwrap_or(clip.size);
        let crop = self.side("crop_size", &["height", "width"])?.unwrap_or(clip.crop);
        if crop > size {
            let value = Value::from(crop);
            return Err(self.unsupported("crop_size", &value, "it must be at most size"));
        }
        let mean = self.triple("image_mean")?.unwrap_or(clip.mean);
        let std = self.triple("image_std")?.unwrap_or(clip.std);
        if std.contains(&0.0) {
            let value = Value::from(std.to_vec());
            return Err(self.unsupported("image_std", &value, "it must not be 0"));
        }
        Ok(Preprocessing { size, crop, mean, std, filter: Filter::Bicubic })
    }

    fn get(&self, key: &str) -> Option<&Value> {
        self.config.get(key).filter(|value| !value.is_null())
    }

    fn unsupported(
        &self,
        key: &'static str,
        value: &Value,
        supported: &'static str,
    ) -> PreprocessingError {
        PreprocessingError::Unsupported {
            path: self.path.to_owned(),
            key,
            value: value.to_string(),
            supported,
        }
    }

    fn only_number(
        &self,
        key: &'static str,
        wanted: f64,
        supported: &'static str,
    ) -> Result<(), PreprocessingError> {
        match self.get(key) {
            None => Ok(()),
            Some(value) if value.as_f64().is_some_and(|got| (got - wanted).abs() < 1e-9) => Ok(()),
            Some(value) => Err(self.unsupported(key, value, supported)),
        }
    }

    /// A length: the old form is a number, the new one a table with exactly `names`, all equal.
    fn side(&self, key: &'static str, names: &[&str]) -> Result<Option<u32>, PreprocessingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = match value {
            Value::Object(table) if table.len() == names.len() => {
                let mut sides = names.iter().map(|&name| table.get(name));
                let first = sides.next().flatten();
                first.filter(|_| sides.all(|side| side == first))
            }
            other => Some(other),
        };
        number
            .and_then(Value::as_u64)
            .and_then(|side| u32::try_from(side).ok())
            .filter(|side| (1..=MAX_SIDE).contains(side))
            .map(Some)
            .ok_or_else(|| {
                let supported = "it must be one length in pixels, from 1 to 4096: a number, \
                    {\"shortest_edge\": N}, or for crop_size equal height and width";
                self.unsupported(key, value, supported)
            })
    }

    fn triple(&self, key: &'static str) -> Result<Option<[f32; 3]>, PreprocessingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        <[f32; 3]>::deserialize(value)
            .map(Some)
            .map_err(|_| self.unsupported(key, value, "it must be three numbers"))
    }
}

/// No vision tower is near it; beyond, memory would be at the mercy of a configuration file.
const MAX_SIDE: u32 = 4096;
