//! Weights in the layout of MKL's kernels, for the many small products of decoding.
//!
//! A product with few rows spends much of its time on bringing the weight into that layout. Packed
//! once, the weight is read as it is: with 2 to 64 rows products take half to three quarters of the
//! time. Sums can be added in another order, so the last digits of results can differ.

use std::cell::OnceCell;
use std::ptr::NonNull;

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

// Of `libtorch.cpp`.
unsafe extern "C" {
    fn capsmith_pack(matrix: *const C_tensor, transposed: bool) -> *mut f32;
    fn capsmith_packed_product(
        sums: *const C_tensor,
        rows: *const C_tensor,
        packed: *const f32,
        add: bool,
    );
}

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

/// Matrix in the layout of MKL's kernels, for f32 products on the CPU.
#[derive(Debug)]
struct PackedMatrix {
    data: NonNull<f32>,
    inputs: i64,
    outputs: i64,
}

// SAFETY: nothing else refers to the memory, and no function changes it.
unsafe impl Send for PackedMatrix {}

impl PackedMatrix {
    /// Packs a contiguous matrix `[inputs, outputs]`, or a transposed one.
    ///
    /// `None` for other types than f32, other devices than the CPU, a libtorch without MKL, sizes
    /// beyond MKL's, or without memory.
    fn new(matrix: &Tensor, is_transposed: bool) -> Option<Self> {
        let fits = matrix.kind() == Kind::Float
            && matrix.device() == Device::Cpu
            && matrix.is_contiguous()
            && matrix.size().iter().all(|&size| (1..=i64::from(i32::MAX)).contains(&size));
        let (rows, columns) = if fits { matrix.size2().ok()? } else { return None };
        // SAFETY: a contiguous f32 matrix in CPU memory, which is only read.
        let data = NonNull::new(unsafe { capsmith_pack(matrix.as_ptr(), is_transposed) })?;
        let (inputs, outputs) = if is_transposed { (columns, rows) } else { (rows, columns) };
        Some(Self { data, inputs, outputs })
    }

    /// Returns the number of columns of products.
    fn outputs(&self) -> i64 {
        self.outputs
    }

    /// Writes `rows` `[rows, inputs]` times the matrix, plus `bias` `[outputs]` if given, to `out`
    /// `[rows, outputs]`.
    ///
    /// # Panics
    /// Panics if a tensor is not of that shape, f32, contiguous and in CPU memory.
    fn product_into(&self, out: &Tensor, rows: &Tensor, bias: Option<&Tensor>) {
        let count = rows.size()[0];
        for (tensor, columns) in [(rows, self.inputs), (out, self.outputs)] {
            assert_eq!(tensor.size(), [count, columns]);
            assert!(tensor.is_contiguous() && tensor.kind() == Kind::Float);
            assert_eq!(tensor.device(), Device::Cpu);
        }
        if let Some(bias) = bias {
            out.shallow_clone().copy_(bias);
        }
        // SAFETY: shapes, types and memory were checked, and `data` was packed with these sizes.
        unsafe {
            let (out, rows) = (out.as_ptr(), rows.as_ptr());
            capsmith_packed_product(out, rows, self.data.as_ptr(), bias.is_some());
        }
    }
}

impl Drop for PackedMatrix {
    fn drop(&mut self) {
        // SAFETY: allocated by `capsmith_pack` with `aligned_alloc`, and freed once.
        unsafe { libc::free(self.data.as_ptr().cast()) };
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
