//! Reading EfficientNet-Lite's weights: variants, names, and batch norms folded into convolutions.

use std::path::Path;

use tch::nn;
use tch::{Device, Kind, TchError, Tensor};

use super::{Block, EfficientNetLite, Layer};
use crate::weights::{self, Checkpoint, WeightsError};

/// Epsilon of the batch norms.
pub(super) const EPSILON: f64 = 1e-3;
/// Stages of Lite0: blocks, kernel size, and stride of the first block.
const STAGES: [(usize, i64, i64); 7] =
    [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)];
/// All variants. Two with the same number of blocks differ in `channels`.
const VARIANTS: [Variant; 5] = [
    Variant { depth: 10, channels: 320, size: 224, timm_size: 224 },
    Variant { depth: 11, channels: 320, size: 240, timm_size: 240 },
    Variant { depth: 12, channels: 352, size: 260, timm_size: 260 },
    Variant { depth: 14, channels: 384, size: 280, timm_size: 300 },
    Variant { depth: 18, channels: 448, size: 300, timm_size: 380 },
];

/// One of the five scales of the network.
#[derive(Debug, Clone, Copy)]
struct Variant {
    /// Factor of the number of blocks in each stage but the first and last, in tenths.
    depth: usize,
    /// Channels of the last block.
    channels: i64,
    /// Side of its images in pixels, by the authors' configuration.
    size: u32,
    /// Side of its images by timm's configuration.
    timm_size: u32,
}

impl Variant {
    /// Returns the variant of a file; Lite0 for other files, whose loading reports what is missing.
    fn of(checkpoint: &Checkpoint, naming: Naming) -> Self {
        let is_depthwise = |name: &&str| {
            name.ends_with("._depthwise_conv.weight") || name.ends_with(".conv_dw.weight")
        };
        let blocks = checkpoint.names().filter(is_depthwise).count();
        let channels = checkpoint
            .shape(&format!("{}.weight", naming.head()[0]))
            .and_then(|shape| shape.get(1).copied());
        let fits = |variant: &&Self| variant.repeats().iter().sum::<usize>() == blocks;
        let mut fitting = VARIANTS.iter().filter(fits);
        let exact = fitting.clone().find(|variant| Some(variant.channels) == channels);
        *exact.or_else(|| fitting.next()).unwrap_or(&VARIANTS[0])
    }

    /// Returns the number of blocks in each stage.
    fn repeats(self) -> [usize; 7] {
        std::array::from_fn(|stage| match stage {
            0 | 6 => STAGES[stage].0,
            _ => (STAGES[stage].0 * self.depth).div_ceil(10),
        })
    }
}

/// Naming scheme of a file's tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Names of the package efficientnet-lite-pytorch.
    Package,
    Timm,
}

impl Naming {
    /// Returns the names of the first convolution and its batch norm.
    fn stem(self) -> [String; 2] {
        match self {
            Self::Package => ["_conv_stem", "_bn0"],
            Self::Timm => ["conv_stem", "bn1"],
        }
        .map(str::to_owned)
    }

    /// Returns the names of the last convolution and its batch norm.
    fn head(self) -> [String; 2] {
        match self {
            Self::Package => ["_conv_head", "_bn1"],
            Self::Timm => ["conv_head", "bn2"],
        }
        .map(str::to_owned)
    }

    /// Returns the names of a block's expanding, depthwise and projecting convolutions.
    ///
    /// `block` counts within the stage, `index` from the first stage. Stage 0 does not expand.
    fn block(self, stage: usize, block: usize, index: usize) -> [[String; 2]; 3] {
        let (root, names) = match (self, stage) {
            (Self::Package, _) => (
                format!("_blocks.{index}"),
                [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")],
            ),
            (Self::Timm, 0) => {
                (format!("blocks.0.{block}"), [("", ""), ("conv_dw", "bn1"), ("conv_pw", "bn2")])
            }
            (Self::Timm, _) => (
                format!("blocks.{stage}.{block}"),
                [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
            ),
        };
        names.map(|(convolution, norm)| [format!("{root}.{convolution}"), format!("{root}.{norm}")])
    }
}

impl EfficientNetLite {
    /// Reads a file of weights onto `device`, converting the weights to `kind`.
    ///
    /// # Errors
    /// Fails if the file cannot be read, or a tensor is missing, unexpected or misshapen.
    pub fn from_file(path: &Path, device: Device, kind: Kind) -> Result<Self, WeightsError> {
        let checkpoint = Checkpoint::open(path)?;
        let naming = if checkpoint.shape("conv_stem.weight").is_some() {
            Naming::Timm
        } else {
            Naming::Package
        };
        let variant = Variant::of(&checkpoint, naming);
        let mut store = nn::VarStore::new(device);
        let mut declared = Declaration { store: &store, checkpoint: &checkpoint };
        let (stem, mut channels) = declared.dense(&naming.stem(), 3, 3, 2, true);
        let (mut blocks, mut first_tuned) = (vec![(vec![stem], false)], 0);
        for (stage, (&(_, kernel, stride), repeats)) in
            STAGES.iter().zip(variant.repeats()).enumerate()
        {
            if stride > 1 {
                first_tuned = blocks.len();
            }
            for block in 0..repeats {
                let stride = if block == 0 { stride } else { 1 };
                let [expand, depthwise, project] = naming.block(stage, block, blocks.len() - 1);
                let (inputs, mut layers) = (channels, Vec::new());
                if stage > 0 {
                    let (layer, outputs) = declared.dense(&expand, inputs, 1, 1, true);
                    layers.push(layer);
                    channels = outputs;
                }
                layers.push(declared.depthwise(&depthwise, channels, kernel, stride));
                let (layer, outputs) = declared.dense(&project, channels, 1, 1, false);
                layers.push(layer);
                channels = outputs;
                blocks.push((layers, stride == 1 && inputs == outputs));
            }
        }
        let (head, dimension) = declared.dense(&naming.head(), channels, 1, 1, true);
        blocks.push((vec![head], false));
        let is_unused = |name: &str| {
            name.starts_with("_fc.")
                || name.starts_with("classifier.")
                || name.ends_with(".num_batches_tracked")
        };
        weights::load(&mut store, &checkpoint, str::to_owned, is_unused)?;
        let fold = |layer: &Unfolded| layer.fold(kind);
        let blocks = blocks.iter().map(|(layers, is_residual)| {
            let layers = layers.iter().map(fold).collect::<Result<_, _>>()?;
            Ok(Block { layers, is_residual: *is_residual })
        });
        let blocks = tch::no_grad(|| blocks.collect::<Result<_, TchError>>());
        let blocks = blocks.map_err(|source| WeightsError::Tensor {
            path: path.to_owned(),
            name: naming.head()[0].clone(),
            source,
        })?;
        let size = if naming == Naming::Timm { variant.timm_size } else { variant.size };
        Ok(Self { blocks, first_tuned, dimension: dimension as usize, size, checkpoint })
    }
}

/// Declaration of variables under their names in the file.
struct Declaration<'a> {
    store: &'a nn::VarStore,
    checkpoint: &'a Checkpoint,
}

impl Declaration<'_> {
    /// Declares a convolution over all channels; returns it with its number of outputs.
    ///
    /// The number is 1 if the file lacks the layer, which loading reports.
    fn dense(
        &mut self,
        names: &[String; 2],
        inputs: i64,
        kernel: i64,
        stride: i64,
        is_activated: bool,
    ) -> (Unfolded, i64) {
        let shape = self.checkpoint.shape(&format!("{}.weight", names[0])).unwrap_or_default();
        let outputs = shape.first().copied().unwrap_or(1);
        (self.layer(names, [outputs, inputs, kernel, kernel], stride, 1, is_activated), outputs)
    }

    /// Declares a convolution of each channel by itself.
    fn depthwise(
        &mut self,
        names: &[String; 2],
        channels: i64,
        kernel: i64,
        stride: i64,
    ) -> Unfolded {
        self.layer(names, [channels, 1, kernel, kernel], stride, channels, true)
    }

    fn layer(
        &self,
        [convolution, norm]: &[String; 2],
        shape: [i64; 4],
        stride: i64,
        groups: i64,
        is_activated: bool,
    ) -> Unfolded {
        let variable = |module: &str, name: &str, shape: &[i64]| {
            let module = module.split('.').fold(self.store.root(), |module, part| module / part);
            // Loading overwrites the zeros.
            module.zeros_no_train(name, shape)
        };
        Unfolded {
            names: [convolution.clone(), norm.clone()],
            weight: variable(convolution, "weight", &shape),
            norm: ["weight", "bias", "running_mean", "running_var"]
                .map(|name| variable(norm, name, &shape[..1])),
            stride,
            groups,
            is_activated,
        }
    }
}

/// Convolution, and its batch norm's weight, bias, mean and variance.
struct Unfolded {
    names: [String; 2],
    weight: Tensor,
    norm: [Tensor; 4],
    stride: i64,
    groups: i64,
    is_activated: bool,
}

impl Unfolded {
    fn fold(&self, kind: Kind) -> Result<Layer, TchError> {
        let [gamma, beta, mean, variance] = &self.norm;
        let scale = gamma.f_div(&variance.f_add_scalar(EPSILON)?.f_sqrt()?)?;
        Ok(Layer {
            names: self.names.clone(),
            weight: self.weight.f_mul(&scale.f_view([-1, 1, 1, 1])?)?.f_to_kind(kind)?,
            bias: beta.f_sub(&mean.f_mul(&scale)?)?.f_to_kind(kind)?,
            stride: self.stride,
            groups: self.groups,
            is_activated: self.is_activated,
        })
    }
}
