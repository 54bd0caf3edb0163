//! Preprocessing of images for vision networks, as image processors do it.
//!
//! RGB, shorter side to `size` by Pillow's resize, centre crop, `(value / 255 - mean) / std`: what
//! the original CLIP does with torchvision. transformers' `CLIPImageProcessor` does the same but
//! for an odd margin: it rounds the crop's offset down, torchvision rounds half to even, as is done
//! here. For settings that the original CLIP does not know (another form of `size`, a crop beyond
//! the picture, other factors), transformers' processor is followed to the bit.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use foreign_text::{printable_path, python_json, read_text};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::pixels::RgbPixels;
use crate::resample::{Filter, resize_window};

/// Preprocessing of images for a vision tower.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocessing {
    /// Size that images are resized to.
    pub size: Size,
    /// Side of the centre crop in pixels; its part beyond an image is black.
    pub crop: u32,
    /// Mean of red, green and blue in 0..=1, which is subtracted.
    pub mean: [f32; 3],
    /// Standard deviation, which divides the difference.
    pub std: [f32; 3],
    /// Filter of the resize. Older descriptions have no filter; theirs is bicubic.
    #[serde(default, skip_serializing_if = "is_bicubic")]
    pub filter: Filter,
    /// Factor of the values 0..=255, applied first.
    #[serde(default = "usual_factor", skip_serializing_if = "is_usual_factor")]
    pub rescale_factor: f64,
}

/// Size in pixels that images are resized to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Size {
    /// Length of the shorter side; the aspect ratio stays.
    ShortestEdge(u32),
    /// Exact height and width; the aspect ratio may change.
    Exact {
        /// Height in pixels.
        height: u32,
        /// Width in pixels.
        width: u32,
    },
    /// No resize.
    Unchanged,
}

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::ShortestEdge(length) => length.fmt(out),
            Self::Exact { height, width } => write!(out, "{width} x {height}"),
            Self::Unchanged => out.write_str("unchanged"),
        }
    }
}

fn usual_factor() -> f64 {
    1.0 / 255.0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_usual_factor(factor: &f64) -> bool {
    (factor - usual_factor()).abs() < 1e-9
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_bicubic(filter: &Filter) -> bool {
    *filter == Filter::Bicubic
}

/// Error of an unsupported `preprocessor_config.json`.
#[derive(Debug, thiserror::Error)]
pub enum PreprocessingError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", printable_path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file is not JSON.
    #[error("{} is not JSON: {source}", printable_path(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// Position and reason of the error.
        source: serde_json::Error,
    },
    /// A key has a value that is not supported.
    #[error("{}: {key} is {value}; {supported}", printable_path(path))]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Value of the key.
        value: String,
        /// Supported values.
        supported: &'static str,
    },
}

impl Preprocessing {
    /// Returns CLIP's preprocessing, with its published mean and deviation, for `size` pixels.
    #[must_use]
    pub fn clip(size: u32) -> Self {
        Self {
            size: Size::ShortestEdge(size),
            crop: size,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            filter: Filter::Bicubic,
            rescale_factor: usual_factor(),
        }
    }

    /// Returns the preprocessing of torchvision's `ImageNet` networks, such as VGG-16.
    ///
    /// The shorter side is resized to 256, bilinear, and the middle 224 cropped.
    #[must_use]
    pub fn imagenet() -> Self {
        Self {
            size: Size::ShortestEdge(256),
            crop: 224,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            filter: Filter::Bilinear,
            rescale_factor: usual_factor(),
        }
    }

    /// Returns the preprocessing of EfficientNet-Lite, as its authors do it, for `size` pixels.
    ///
    /// Images become squares of another aspect ratio, bicubic, and values `(value - 127) / 128`.
    #[must_use]
    pub fn efficientnet_lite(size: u32) -> Self {
        Self {
            size: Size::Exact { height: size, width: size },
            crop: size,
            mean: [127.0; 3],
            std: [128.0; 3],
            filter: Filter::Bicubic,
            rescale_factor: 1.0,
        }
    }

    /// Reads the settings of a Hugging Face folder.
    ///
    /// They are `image_processor` in `processor_config.json`, as transformers 5 writes it, or else
    /// `preprocessor_config.json`. A missing key has the default of `CLIPImageProcessor`.
    ///
    /// # Errors
    /// Names the file, and the key with a value that is not supported.
    pub fn from_folder(folder: &Path) -> Result<Self, PreprocessingError> {
        let path = folder.join("processor_config.json");
        if path.is_file()
            && let Some(config) = read_json(&path)?.get("image_processor")
        {
            return Config { path: &path, config }.read();
        }
        let path = folder.join("preprocessor_config.json");
        let config = read_json(&path)?;
        Config { path: &path, config: config.get("image_processor").unwrap_or(&config) }.read()
    }

    /// Returns the resized and cropped image before normalisation, `[crop, crop, 3]`.
    ///
    /// # Panics
    /// Panics if `pixels.data` does not have `width * height * 3` values, if there are none, or if
    /// a size is 0, which [`Self::from_folder`] refuses.
    #[must_use]
    pub fn resize(&self, pixels: &RgbPixels) -> RgbPixels {
        let (width, height) = (pixels.width as usize, pixels.height as usize);
        assert_eq!(pixels.data.len(), width * height * 3, "pixels must be [height, width, 3]");
        assert!(width > 0 && height > 0, "a picture has at least one pixel");
        let crop = self.crop as usize;
        assert!(crop > 0, "crop must be above 0");
        let (to, filter) = match self.size {
            Size::ShortestEdge(size) => {
                let (size, shorter) = (size as usize, width.min(height));
                ((size * width / shorter, size * height / shorter), self.filter)
            }
            Size::Exact { height, width } => ((width as usize, height as usize), self.filter),
            Size::Unchanged => ((width, height), Filter::Nearest),
        };
        let (columns, left) = self.centre(to.0);
        let (rows, top) = self.centre(to.1);
        let across = columns.len();
        let data = resize_window(filter, &pixels.data, (width, height), to, columns, rows.clone());
        let side = self.crop;
        if (across, rows.len()) == (crop, crop) {
            return RgbPixels { width: side, height: side, data };
        }
        let mut padded = vec![0; crop * crop * 3];
        for (row, from) in padded.chunks_exact_mut(crop * 3).skip(top).zip(data.chunks(across * 3))
        {
            row[left * 3..][..from.len()].copy_from_slice(from);
        }
        RgbPixels { width: side, height: side, data: padded }
    }

    /// Returns the middle of `length` that the crop keeps, and its offset in a larger crop.
    fn centre(&self, length: usize) -> (Range<usize>, usize) {
        let crop = self.crop as usize;
        let Some(margin) = length.checked_sub(crop) else {
            return (0..length, (crop - length).div_ceil(2));
        };
        let is_original = matches!(self.size, Size::ShortestEdge(size) if size >= self.crop);
        // margin / 2 is exact in f64.
        let rounded = (margin as f64 / 2.0).round_ties_even() as usize;
        let start = if is_original { rounded } else { margin / 2 };
        (start..start + crop, 0)
    }

    /// Returns the input of the tower, `[3, crop, crop]`, channels first.
    ///
    /// # Panics
    /// Panics as [`Self::resize`] does.
    #[must_use]
    pub fn apply(&self, pixels: &RgbPixels) -> Vec<f32> {
        let mut out = vec![0.0; self.len()];
        self.apply_into(pixels, &mut out);
        out
    }

    /// Writes the values of [`Self::apply`] into `out`, of [`Self::len`] values.
    ///
    /// # Panics
    /// Panics as [`Self::resize`] does, and if `out` has another length.
    pub fn apply_into(&self, pixels: &RgbPixels, out: &mut [f32]) {
        let tables = self.normalised();
        self.planes_by(pixels, out, |channel, value| tables[channel][usize::from(value)]);
    }

    /// Returns the bytes of the image before normalisation, `[3, crop, crop]`, channels first.
    ///
    /// [`Self::normalised`] returns the value of each byte.
    ///
    /// # Panics
    /// Panics as [`Self::resize`] does.
    #[must_use]
    pub fn planes(&self, pixels: &RgbPixels) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        self.planes_into(pixels, &mut out);
        out
    }

    /// Writes the bytes of [`Self::planes`] into `out`, of [`Self::len`] values.
    ///
    /// # Panics
    /// Panics as [`Self::resize`] does, and if `out` has another length.
    pub fn planes_into(&self, pixels: &RgbPixels, out: &mut [u8]) {
        self.planes_by(pixels, out, |_, value| value);
    }

    fn planes_by<T>(&self, pixels: &RgbPixels, out: &mut [T], value: impl Fn(usize, u8) -> T) {
        assert_eq!(out.len(), self.len(), "out must be [3, crop, crop]");
        let square = self.resize(pixels);
        let plane = out.len() / 3;
        for (channel, plane) in out.chunks_exact_mut(plane.max(1)).enumerate() {
            for (out, pixel) in plane.iter_mut().zip(square.data.chunks_exact(3)) {
                *out = value(channel, pixel[channel]);
            }
        }
    }

    /// Returns the number of values of a preprocessed image: `3 * crop * crop`.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        3 * (self.crop as usize).pow(2)
    }

    /// Returns the normalised value of each byte in each channel.
    ///
    /// The order of operations is torchvision's, or transformers' for a factor that torchvision
    /// lacks.
    #[must_use]
    pub fn normalised(&self) -> [[f32; 256]; 3] {
        let is_usual = is_usual_factor(&self.rescale_factor);
        std::array::from_fn(|channel| {
            let (mean, std) = (self.mean[channel], self.std[channel]);
            std::array::from_fn(|value| {
                let rescaled = if is_usual {
                    value as f32 / 255.0
                } else {
                    (value as f64 * self.rescale_factor) as f32
                };
                (rescaled - mean) / std
            })
        })
    }
}

fn read_json(path: &Path) -> Result<Value, PreprocessingError> {
    let text = read_text(path)
        .map_err(|source| PreprocessingError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&python_json(&text))
        .map_err(|source| PreprocessingError::Json { path: path.to_owned(), source })
}

/// A configuration with its path, for errors.
struct Config<'c> {
    path: &'c Path,
    config: &'c Value,
}

impl Config<'_> {
    fn read(&self) -> Result<Preprocessing, PreprocessingError> {
        // Images are RGB in any case.
        self.flag("do_convert_rgb", true)?;
        if self.flag("do_pad", false)? {
            return Err(self.unsupported("do_pad", &Value::Bool(true), "only false is supported"));
        }
        let usual = Preprocessing::clip(224);
        let size = if self.flag("do_resize", true)? {
            self.size()?.unwrap_or(usual.size)
        } else {
            Size::Unchanged
        };
        let crop = if self.flag("do_center_crop", true)? {
            self.crop()?.unwrap_or(usual.crop)
        } else if let Size::Exact { height, width } = size
            && height == width
        {
            height
        } else {
            let supported =
                "without a crop, do_resize must be true and size an equal height and width";
            return Err(self.unsupported("do_center_crop", &Value::Bool(false), supported));
        };
        let (mean, std) = if self.flag("do_normalize", true)? {
            let std = self.triple("image_std")?.unwrap_or(usual.std);
            if std.contains(&0.0) {
                let value = Value::from(std.to_vec());
                return Err(self.unsupported("image_std", &value, "it must not be 0"));
            }
            (self.triple("image_mean")?.unwrap_or(usual.mean), std)
        } else {
            ([0.0; 3], [1.0; 3])
        };
        let rescale_factor =
            if self.flag("do_rescale", true)? { self.rescale_factor()? } else { 1.0 };
        Ok(Preprocessing { size, crop, mean, std, filter: self.filter()?, rescale_factor })
    }

    fn flag(&self, key: &'static str, default: bool) -> Result<bool, PreprocessingError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.unsupported(key, other, "it must be true or false")),
        }
    }

    fn rescale_factor(&self) -> Result<f64, PreprocessingError> {
        const KEY: &str = "rescale_factor";
        let Some(value) = self.get(KEY) else { return Ok(usual_factor()) };
        let factor = value.as_f64().filter(|factor| factor.is_finite() && *factor > 0.0);
        factor.ok_or_else(|| self.unsupported(KEY, value, "it must be a number above 0"))
    }

    /// Reads the filter by its number in Pillow.
    fn filter(&self) -> Result<Filter, PreprocessingError> {
        let Some(value) = self.get("resample") else { return Ok(Filter::Bicubic) };
        Ok(match value.as_u64() {
            Some(0) => Filter::Nearest,
            Some(1) => Filter::Lanczos,
            Some(2) => Filter::Bilinear,
            Some(3) => Filter::Bicubic,
            Some(4) => Filter::Box,
            Some(5) => Filter::Hamming,
            _ => {
                let supported = "it must be one of Pillow's numbers: 0 nearest, 1 lanczos, \
                    2 bilinear, 3 bicubic, 4 box, 5 hamming";
                return Err(self.unsupported("resample", value, supported));
            }
        })
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

    /// Reads the size; a single number is the shorter side.
    fn size(&self) -> Result<Option<Size>, PreprocessingError> {
        let Some(value) = self.get("size") else { return Ok(None) };
        let size = match value {
            Value::Object(table) if table.len() == 1 => {
                table.get("shortest_edge").and_then(side).map(Size::ShortestEdge)
            }
            Value::Object(_) | Value::Array(_) => {
                sides(value).map(|(height, width)| Size::Exact { height, width })
            }
            number => side(number).map(Size::ShortestEdge),
        };
        let supported = "it must be a length in pixels, from 1 to 4096: a number, \
            {\"shortest_edge\": N} or {\"height\": N, \"width\": N}";
        size.map(Some).ok_or_else(|| self.unsupported("size", value, supported))
    }

    /// Reads the crop; a single number is both sides.
    fn crop(&self) -> Result<Option<u32>, PreprocessingError> {
        let Some(value) = self.get("crop_size") else { return Ok(None) };
        let crop = match value {
            Value::Object(_) | Value::Array(_) => {
                sides(value).filter(|(height, width)| height == width).map(|(height, _)| height)
            }
            number => side(number),
        };
        let supported = "it must be a length in pixels, from 1 to 4096: a number, or equal height \
            and width";
        crop.map(Some).ok_or_else(|| self.unsupported("crop_size", value, supported))
    }

    fn triple(&self, key: &'static str) -> Result<Option<[f32; 3]>, PreprocessingError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let triple = match value.as_f64() {
            Some(number) => Ok([number as f32; 3]),
            None => <[f32; 3]>::deserialize(value),
        };
        let supported = "it must be three numbers, or one for all three";
        triple.map(Some).map_err(|_| self.unsupported(key, value, supported))
    }
}

/// Reads height and width: a table of both, or a list.
fn sides(value: &Value) -> Option<(u32, u32)> {
    let (height, width) = match value {
        Value::Object(table) if table.len() == 2 => (table.get("height")?, table.get("width")?),
        Value::Array(both) if both.len() == 2 => (&both[0], &both[1]),
        _ => return None,
    };
    Some((side(height)?, side(width)?))
}

fn side(value: &Value) -> Option<u32> {
    let side = value.as_u64().and_then(|side| u32::try_from(side).ok())?;
    (1..=MAX_SIDE).contains(&side).then_some(side)
}

/// Largest side: far beyond any vision tower, and small enough for memory.
const MAX_SIDE: u32 = 4096;
