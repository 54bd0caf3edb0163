//! Weights in the layout of MKL's kernels, for the many small products of decoding.
//!
//! A product with few rows spends much of its time on bringing the weight into that layout. Packed
//! once, the weight is read as it is: with 2 to 64 rows products take half to three quarters of the
//! time. Sums can be added in another order, so the last digits of results can differ.

use std::cell::OnceCell;

use tch::{Device, Kind, Tensor};

use crate::libtorch::PackedMatrix;

/// Packed form of a weight, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct PackedWeight {
    is_enabled: bool,
    matrix: OnceCell<Option<PackedMatrix>>,
}

impl PackedWeight {
    /// Least number of rows for which packing pays.
    const LEAST_ROWS: i64 = 2;

    /// Lets products use a packed copy of the weight, which must not change any more.
    ///
    /// The copy takes as much memory as the weight.
    pub(crate) fn enable(&mut self) {
        *self = Self { is_enabled: true, matrix: OnceCell::new() };
    }

    /// Returns `rows` `[rows, inputs]` times the weight, plus `bias` `[outputs]` if given; `None`
    /// where the plain product is to be used.
    ///
    /// `weight` is `[inputs, outputs]`, or transposed.
    pub(crate) fn product(
        &self,
        rows: &Tensor,
        weight: &Tensor,
        is_transposed: bool,
        bias: Option<&Tensor>,
    ) -> Option<Tensor> {
        let matrix = self.matrix(rows, weight, is_transposed)?;
        let sums = rows.new_empty([rows.size()[0], matrix.outputs()], (Kind::Float, Device::Cpu));
        matrix.product_into(&sums, &rows.contiguous(), bias);
        Some(sums)
    }

    /// Writes [`Self::product`] to the contiguous `out` `[rows, outputs]`, and returns true; false
    /// where the plain product is to be used.
    pub(crate) fn product_into(
        &self,
        out: &Tensor,
        rows: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
    ) -> bool {
        let Some(matrix) = self.matrix(rows, weight, false) else { return false };
        matrix.product_into(out, &rows.contiguous(), Some(bias));
        true
    }

    fn matrix(&self, rows: &Tensor, weight: &Tensor, transposed: bool) -> Option<&PackedMatrix> {
        if !self.is_enabled || rows.size()[0] < Self::LEAST_ROWS {
            return None;
        }
        self.matrix.get_or_init(|| PackedMatrix::new(weight, transposed)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whole numbers below 7, whose products have no rounding.
    fn numbers(rows: i64, columns: i64, step: i64) -> Tensor {
        let all = Tensor::arange(rows * columns, (Kind::Int64, Device::Cpu)) * step;
        all.remainder(7).view([rows, columns]).to_kind(Kind::Float) - 3.0
    }

    #[test]
    fn products_of_every_shape_are_those_of_the_plain_weight() {
        for (inputs, outputs) in [(1, 1), (3, 5), (64, 33), (130, 257)] {
            let bias = numbers(1, outputs, 3).squeeze_dim(0);
            for is_transposed in [false, true] {
                let plain = numbers(inputs, outputs, 5);
                let weight =
                    if is_transposed { plain.tr().contiguous() } else { plain.shallow_clone() };
                let mut packed = PackedWeight::default();
                assert!(packed.product(&plain, &weight, false, None).is_none());
                packed.enable();
                for rows in [2, 5, 48, 700] {
                    let rows = numbers(rows, inputs, 11);
                    let expected = rows.matmul(&plain);
                    let product = packed.product(&rows, &weight, is_transposed, None).unwrap();
                    assert_eq!(product, expected, "{inputs} x {outputs}");
                    // Rows need not be contiguous.
                    let columns = rows.tr().contiguous();
                    let sums =
                        packed.product(&columns.tr(), &weight, is_transposed, Some(&bias)).unwrap();
                    assert_eq!(sums, expected + &bias, "{inputs} x {outputs}");
                }
                let one = numbers(1, inputs, 1);
                assert!(packed.product(&one, &weight, is_transposed, None).is_none());
            }
        }
    }

    #[test]
    fn other_types_are_not_packed() {
        let weight = numbers(4, 3, 1).to_kind(Kind::BFloat16);
        let mut packed = PackedWeight::default();
        packed.enable();
        let rows = numbers(2, 4, 1).to_kind(Kind::BFloat16);
        assert!(packed.product(&rows, &weight, false, None).is_none());
    }
}
