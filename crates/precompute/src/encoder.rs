//! Image encoders: CLIP's vision tower, VGG-16 and EfficientNet-Lite, with their preprocessing.

use std::path::{Path, PathBuf};

use foreign_text::printable_path;
use networks::ModelError;
use networks::clip::{self, LoadedClip};
use networks::efficientnet::EfficientNetLite;
use networks::memory::{OutOfMemory, try_catch_out_of_memory};
use networks::normalized;
use networks::transfer::HostBytes;
use networks::vgg::Vgg16;
use networks::weights::WeightsError;
use pictures::{Preprocessing, PreprocessingError};
use runs::{Dtype, Network};
use tch::{Device, Kind, TchError, Tensor};

use crate::locked::identity_in;
use crate::normaliser::Normaliser;

/// Returns libtorch's name of a type.
#[must_use]
pub fn kind_of(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F16 => Kind::Half,
        Dtype::Bf16 => Kind::BFloat16,
    }
}

/// Files of an image encoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncoderSource {
    /// Kind of the encoder.
    pub network: Network,
    /// CLIP's Hugging Face folder or a weights file in it, or the weights file of another network.
    pub path: PathBuf,
    /// The type of weights and activations.
    pub dtype: Dtype,
    /// Encoder whose features a CLIP of locked-image tuning projects.
    pub locked: Option<Box<EncoderSource>>,
}

/// Image encoder with its preprocessing.
#[derive(Debug)]
pub struct ImageEncoder {
    tower: Tower,
    preprocessing: Preprocessing,
    normaliser: Normaliser,
    device: Device,
}

#[derive(Debug)]
enum Tower {
    Clip(Box<LoadedClip>),
    Vgg(Vgg16),
    EfficientNetLite(EfficientNetLite),
    /// Another encoder, and the CLIP that projects its features; `normalize` divides them by their
    /// L2 norms before.
    Locked {
        encoder: Box<ImageEncoder>,
        clip: Box<LoadedClip>,
        normalize: bool,
    },
}

/// Error of loading or running an image encoder.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// CLIP cannot be loaded or used.
    #[error(transparent)]
    Clip(#[from] ModelError),
    /// The weights of VGG-16 or EfficientNet-Lite cannot be loaded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// CLIP's preprocessing cannot be used.
    #[error(transparent)]
    Preprocessing(#[from] PreprocessingError),
    /// The files of a folder contradict each other.
    #[error(
        "{}: pictures are made {crop} pixels wide by the image processor's settings, but config.json \
         says image_size {size}; the two are of different models",
        printable_path(folder)
    )]
    Crop {
        /// CLIP's folder.
        folder: PathBuf,
        /// The side of the preprocessed square.
        crop: u32,
        /// The side that the model takes.
        size: i64,
    },
    /// Another program computed the embeddings.
    #[error(
        "its encoder is not known to capsmith, which imported the features\nhint: `capsmith \
         evaluate` captions the pictures of the run's data set; to caption others, train a run on \
         embeddings of `capsmith precompute`"
    )]
    Imported,
    /// A CLIP of locked-image tuning was trained on features of another encoder.
    #[error(
        "{} projects features of another encoder than {}, whose weights have another SHA-256",
        printable_path(folder),
        printable_path(path)
    )]
    OtherEncoder {
        /// The CLIP's folder.
        folder: PathBuf,
        /// Files of the encoder.
        path: PathBuf,
    },
    /// Memory is exhausted.
    #[error("{0}\nhint: encode fewer pictures at a time: lower decoding.batch_size")]
    OutOfMemory(#[from] OutOfMemory),
    /// libtorch refused an operation.
    #[error("libtorch: {}", networks::libtorch::reason(.0))]
    Torch(#[from] TchError),
}

impl ImageEncoder {
    /// Loads a model onto `device`.
    ///
    /// # Errors
    /// Names the file and its fault.
    pub fn load(source: &EncoderSource, device: Device) -> Result<Self, EncoderError> {
        match source.network {
            Network::Clip => match &source.locked {
                Some(locked) => Self::load_locked(source, locked, device),
                None => Self::load_clip(&source.path, device, source.dtype),
            },
            Network::Vgg => Self::load_vgg(&source.path, device, source.dtype),
            Network::EfficientNetLite => {
                Self::load_efficientnet_lite(&source.path, device, source.dtype)
            }
            Network::Imported => Err(EncoderError::Imported),
        }
    }

    fn load_vgg(file: &Path, device: Device, dtype: Dtype) -> Result<Self, EncoderError> {
        let vgg = Vgg16::from_file(file, device, kind_of(dtype))?;
        Self::new(Tower::Vgg(vgg), Preprocessing::imagenet(), device, dtype)
    }

    fn load_efficientnet_lite(
        file: &Path,
        device: Device,
        dtype: Dtype,
    ) -> Result<Self, EncoderError> {
        let network = EfficientNetLite::from_file(file, device, kind_of(dtype))?;
        let preprocessing = Preprocessing::efficientnet_lite(network.image_size());
        Self::new(Tower::EfficientNetLite(network), preprocessing, device, dtype)
    }

    fn load_clip(path: &Path, device: Device, dtype: Dtype) -> Result<Self, EncoderError> {
        let folder = clip::folder_of(path)?;
        let preprocessing = Preprocessing::from_folder(folder)?;
        let clip = LoadedClip::vision_from_folder(path, device, kind_of(dtype))?;
        let size = clip.model.config().vision_config.image_size;
        if i64::from(preprocessing.crop) != size {
            let (folder, crop) = (folder.to_owned(), preprocessing.crop);
            return Err(EncoderError::Crop { folder, crop, size });
        }
        Self::new(Tower::Clip(Box::new(clip)), preprocessing, device, dtype)
    }

    fn load_locked(
        source: &EncoderSource,
        locked: &EncoderSource,
        device: Device,
    ) -> Result<Self, EncoderError> {
        let folder = clip::folder_of(&source.path)?;
        let clip = LoadedClip::from_folder(&source.path, device, kind_of(source.dtype))?;
        let trained = identity_in(clip.model.config(), folder)?
            .ok_or(ModelError::Absent("projection of another encoder's features"))?;
        let encoder = Self::load(locked, device)?;
        if encoder.sha256() != trained.model_sha256 {
            let (folder, path) = (folder.to_owned(), locked.path.clone());
            return Err(EncoderError::OtherEncoder { folder, path });
        }
        let preprocessing = encoder.preprocessing.clone();
        let tower = Tower::Locked {
            encoder: Box::new(encoder),
            clip: Box::new(clip),
            normalize: trained.normalize,
        };
        Self::new(tower, preprocessing, device, source.dtype)
    }

    fn new(
        tower: Tower,
        preprocessing: Preprocessing,
        device: Device,
        dtype: Dtype,
    ) -> Result<Self, EncoderError> {
        let normaliser = Normaliser::new(&preprocessing, kind_of(dtype), device)?;
        Ok(Self { tower, preprocessing, normaliser, device })
    }

    /// Returns the kind of the encoder.
    #[must_use]
    pub fn network(&self) -> Network {
        match self.tower {
            Tower::Clip(_) | Tower::Locked { .. } => Network::Clip,
            Tower::Vgg(_) => Network::Vgg,
            Tower::EfficientNetLite(_) => Network::EfficientNetLite,
        }
    }

    /// Returns the SHA-256 of the weights. Reads the whole file.
    #[must_use]
    pub fn sha256(&self) -> String {
        match &self.tower {
            Tower::Clip(clip) | Tower::Locked { clip, .. } => clip.identity(),
            Tower::Vgg(vgg) => vgg.identity(),
            Tower::EfficientNetLite(network) => network.identity(),
        }
    }

    /// Returns the names of tensors in the weights that the model does not use.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        match &self.tower {
            Tower::Clip(clip) | Tower::Locked { clip, .. } => &clip.ignored,
            Tower::Vgg(_) | Tower::EfficientNetLite(_) => &[],
        }
    }

    /// Returns the number of values in an embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        match &self.tower {
            Tower::Clip(clip) | Tower::Locked { clip, .. } => {
                clip.model.config().projection_dim as usize
            }
            Tower::Vgg(vgg) => vgg.dimension(),
            Tower::EfficientNetLite(network) => network.dimension(),
        }
    }

    /// Returns the preprocessing of the pixels.
    #[must_use]
    pub fn preprocessing(&self) -> &Preprocessing {
        &self.preprocessing
    }

    /// Returns embeddings `[batch, dim]` of pixels `[batch, 3, n, n]`.
    ///
    /// Both are on the model's device and of its type.
    ///
    /// # Errors
    /// Fails if memory is exhausted.
    pub fn encode(&self, pixels: &Tensor) -> Result<Tensor, EncoderError> {
        tch::no_grad(|| {
            Ok(match &self.tower {
                Tower::Clip(clip) => clip.model.encode_image(pixels)?,
                Tower::Vgg(vgg) => vgg.encode(pixels)?,
                Tower::EfficientNetLite(network) => network.encode(pixels)?,
                Tower::Locked { encoder, clip, normalize } => {
                    let features = encoder.encode(pixels)?;
                    let features = if *normalize { normalized(&features)? } else { features };
                    clip.model.project_features(&features)?
                }
            })
        })
    }

    /// Returns embeddings `[images, dim]`, f32, of images from [`Preprocessing::planes`].
    ///
    /// # Errors
    /// Fails if memory is exhausted or an image was preprocessed in another way.
    pub fn encode_pictures<P: AsRef<[u8]>>(&self, pictures: &[P]) -> Result<Tensor, EncoderError> {
        try_catch_out_of_memory(|| self.encode_batch(pictures))?
    }

    fn encode_batch<P: AsRef<[u8]>>(&self, pictures: &[P]) -> Result<Tensor, EncoderError> {
        let side = i64::from(self.preprocessing.crop);
        let all = pictures.iter().map(AsRef::as_ref);
        let mut bytes = HostBytes::new(all.clone().map(<[u8]>::len).sum(), self.device)?;
        let mut left = bytes.as_mut_slice();
        for picture in all {
            let (slot, rest) = left.split_at_mut(picture.len());
            slot.copy_from_slice(picture);
            left = rest;
        }
        let bytes = bytes.upload(&[pictures.len() as i64, 3, side, side], self.device)?;
        Ok(self.encode(&self.normaliser.apply(&bytes)?)?.f_to_kind(Kind::Float)?)
    }
}
