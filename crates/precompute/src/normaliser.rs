//! Normalises images on the device of the model, given one byte per value.

use networks::transfer;
use pictures::Preprocessing;
use tch::{Device, Kind, TchError, Tensor};

/// Table of the values of all bytes by channel, as [`Preprocessing`] computes them.
///
/// A look-up gives the same bits on every device.
#[derive(Debug)]
pub(crate) struct Normaliser {
    /// `[3 * 256]`, channel after channel.
    values: Tensor,
    /// `[3, 1, 1]`: index of each channel's first value.
    first: Tensor,
}

impl Normaliser {
    /// Builds the table for a model of type `kind` on `device`.
    pub(crate) fn new(
        preprocessing: &Preprocessing,
        kind: Kind,
        device: Device,
    ) -> Result<Self, TchError> {
        let values = Tensor::f_from_slice(preprocessing.normalised().as_flattened())?;
        let first = Tensor::f_arange_start_step(0, 3 * 256, 256, (Kind::Int, device))?;
        Ok(Self {
            values: transfer::to_device(&values, device)?.f_to_kind(kind)?,
            first: first.f_view([3, 1, 1])?,
        })
    }

    /// Returns the values of `[images, 3, n, n]` bytes.
    pub(crate) fn apply(&self, bytes: &Tensor) -> Result<Tensor, TchError> {
        let indices = bytes.f_to_kind(Kind::Int)?.f_add_(&self.first)?;
        self.values.f_index_select(0, &indices.f_view(-1)?)?.f_view(bytes.size().as_slice())
    }
}

#[cfg(test)]
mod tests {
    use pictures::{RgbPixels, Size};

    use super::*;

    /// Returns every byte in every channel, in a different order in each channel.
    fn all_bytes() -> RgbPixels {
        let data = (0..=255).flat_map(|value: u8| [value, 255 - value, value.wrapping_mul(7)]);
        RgbPixels { width: 16, height: 16, data: data.collect() }
    }

    #[test]
    fn every_byte_of_every_channel_becomes_what_the_processor_computes_to_the_bit() {
        let unchanged =
            |preprocessing| Preprocessing { size: Size::Unchanged, crop: 16, ..preprocessing };
        let odd = Preprocessing { rescale_factor: 1.0 / 127.5, ..Preprocessing::clip(16) };
        let bare = Preprocessing { mean: [0.0; 3], std: [1.0; 3], ..Preprocessing::clip(16) };
        for preprocessing in [Preprocessing::clip(16), Preprocessing::imagenet(), odd, bare] {
            let preprocessing = unchanged(preprocessing);
            let pixels = all_bytes();
            let planes = preprocessing.planes(&pixels);
            for channel in planes.chunks(256) {
                let mut channel = channel.to_vec();
                channel.sort_unstable();
                assert!(channel.iter().copied().eq(0..=255), "every byte is there");
            }
            let bytes = Tensor::from_slice(&planes).view([1, 3, 16, 16]);
            let expected = Tensor::from_slice(&preprocessing.apply(&pixels)).view([1, 3, 16, 16]);
            for kind in [Kind::Float, Kind::Half, Kind::BFloat16] {
                let normaliser = Normaliser::new(&preprocessing, kind, Device::Cpu).unwrap();
                let got = normaliser.apply(&bytes).unwrap();
                assert_eq!(got.kind(), kind);
                assert_eq!(got, expected.to_kind(kind), "{preprocessing:?} {kind:?}");
            }
        }
    }
}
