//! Weights of linear layers in oneDNN's own layout, for inference on the CPU.
//!
//! A product with few rows spends much of its time on bringing the weight into the layout of the
//! processor's kernels. Packed once, the weight is read as it is. PyTorch's compiler does the same
//! to frozen models (`torch/_inductor/fx_passes/mkldnn_fusion.py`). Sums can be added in another
//! order than by a plain product, so the last digits of results can differ.

use tch::{Device, TchError, Tensor};

use crate::libtorch;

/// Function that a layer applies to its sums, in the names of libtorch's operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fused {
    Nothing,
    Relu,
    Gelu,
    GeluTanh,
    /// `x * sigmoid(x)`.
    Silu,
}

impl Fused {
    /// Applies the function to the sums of a plain weight.
    pub(crate) fn apply(self, sums: Tensor) -> Result<Tensor, TchError> {
        match self {
            Fused::Nothing => Ok(sums),
            Fused::Relu => sums.f_relu(),
            Fused::Gelu => sums.f_gelu("none"),
            Fused::GeluTanh => sums.f_gelu("tanh"),
            Fused::Silu => sums.f_silu(),
        }
    }
}

/// Weight of a linear layer, packed for good.
#[derive(Debug)]
pub(crate) struct PackedWeight(Tensor);

impl PackedWeight {
    /// Number of rows that the layout is chosen for.
    ///
    /// oneDNN's choice for hundreds serves few rows as well. With it, a row of a product hardly
    /// depends on how many other rows there are; that of a single row does.
    const ROWS: i64 = 128;

    /// Packs a weight `[outputs, inputs]`, which need not be contiguous.
    ///
    /// `None` if it is not in the CPU's memory, if libtorch has no oneDNN, or if oneDNN has no
    /// kernels for its type on this processor.
    pub(crate) fn new(weight: &Tensor) -> Option<Self> {
        if weight.device() != Device::Cpu {
            return None;
        }
        libtorch::pack_linear(&weight.detach(), Self::ROWS).ok().map(Self)
    }

    /// Returns `function(rows W^T + bias)`, `[.., outputs]` for rows `[.., inputs]`.
    ///
    /// # Errors
    /// Fails for rows of another type or length, or if memory is exhausted.
    pub(crate) fn product(
        &self,
        rows: &Tensor,
        bias: Option<&Tensor>,
        function: Fused,
    ) -> Result<Tensor, TchError> {
        let (name, variant) = match function {
            Fused::Nothing => (c"none", c""),
            Fused::Relu => (c"relu", c""),
            Fused::Gelu => (c"gelu", c"none"),
            Fused::GeluTanh => (c"gelu", c"tanh"),
            Fused::Silu => (c"swish", c""),
        };
        libtorch::packed_linear(rows, &self.0, bias, name, variant)
    }
}

/// Weight of a layer that is trained as it is, and may be packed for inference.
#[derive(Debug)]
pub(crate) enum Weight {
    /// In the shape of its layer.
    Plain(Tensor),
    /// For inference only.
    Packed(PackedWeight),
}

impl Weight {
    /// Packs the weight where that is possible. It must not change any more.
    ///
    /// `as_linear` returns the plain weight as `[outputs, inputs]`.
    pub(crate) fn pack(&mut self, as_linear: impl FnOnce(&Tensor) -> Tensor) {
        if let Self::Plain(weight) = self
            && let Some(packed) = PackedWeight::new(&as_linear(weight))
        {
            *self = Self::Packed(packed);
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    /// Returns whole numbers from -3 to 3, whose products need no rounding.
    fn numbers(rows: i64, columns: i64, step: i64) -> Tensor {
        let all = Tensor::arange(rows * columns, (Kind::Int64, Device::Cpu)) * step;
        all.remainder(7).view([rows, columns]).to_kind(Kind::Float) - 3.0
    }

    #[test]
    fn products_of_every_shape_are_those_of_the_plain_weight() {
        for (inputs, outputs) in [(1, 1), (3, 5), (64, 33), (130, 257)] {
            let (plain, bias) = (numbers(inputs, outputs, 5), numbers(1, outputs, 3).get(0));
            // Contiguous, and as a view of the transposed matrix.
            for weight in [plain.tr().contiguous(), plain.tr()] {
                let packed = PackedWeight::new(&weight).unwrap();
                for count in [0, 1, 2, 5, 48, 700] {
                    let rows = numbers(count, inputs, 11);
                    let expected = rows.matmul(&plain);
                    let product = |rows: &Tensor, bias| packed.product(rows, bias, Fused::Nothing);
                    assert_eq!(product(&rows, None).unwrap(), expected, "{inputs} x {outputs}");
                    let columns = rows.tr().contiguous();
                    let sums = product(&columns.tr(), Some(&bias)).unwrap();
                    assert_eq!(sums, expected + &bias, "{inputs} x {outputs}");
                }
                let batch = packed.product(
                    &numbers(6, inputs, 11).view([2, 3, inputs]),
                    None,
                    Fused::Nothing,
                );
                assert_eq!(batch.unwrap().size(), [2, 3, outputs]);
            }
        }
    }

    #[test]
    fn functions_are_applied_to_the_sums() {
        let weight = numbers(5, 4, 3) / 4.0;
        let packed = PackedWeight::new(&weight).unwrap();
        let (rows, bias) = (numbers(6, 4, 5) / 3.0, numbers(1, 5, 2).get(0));
        let sums = rows.linear(&weight, Some(&bias));
        for function in [Fused::Relu, Fused::Gelu, Fused::GeluTanh, Fused::Silu] {
            let expected = function.apply(sums.shallow_clone()).unwrap();
            let off = packed.product(&rows, Some(&bias), function).unwrap() - expected;
            assert!(off.abs().max().double_value(&[]) < 2e-6, "{function:?}");
        }
        let [none, tanh] = ["none", "tanh"].map(|variant| sums.gelu(variant));
        assert!((none - tanh).abs().max().double_value(&[]) > 1e-4);
    }

    #[test]
    fn rows_of_another_length_are_an_error() {
        let packed = PackedWeight::new(&numbers(5, 4, 3)).unwrap();
        assert!(packed.product(&numbers(2, 3, 1), None, Fused::Nothing).is_err());
    }
}
