//! Tensors and arrays: strided views of storages, with access to their values in row order.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use half::{bf16, f16};

use crate::dtype::Dtype;

/// Most dimensions of a tensor in PyTorch and numpy.
const MAX_DIMENSIONS: usize = 64;

/// Position of a tensor's elements in its storage, in elements.
///
/// It is checked against the storage's length.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    offset: usize,
    shape: Vec<usize>,
    /// Strides; 0 if the dimension's size is 1, or the tensor is empty.
    strides: Vec<usize>,
}

impl Layout {
    /// Checks a view from the file against a storage of `elements` elements.
    pub(crate) fn new(
        offset: i128,
        shape: &[i128],
        strides: &[i128],
        elements: usize,
    ) -> Result<Self, String> {
        let invalid = |reason: &str| {
            let (shape, strides) = (&shape[..shape.len().min(8)], &strides[..strides.len().min(8)]);
            Err(format!(
                "a tensor of shape {shape:?}, strides {strides:?} and offset {offset} {reason} \
                 (its storage has {elements} elements)"
            ))
        };
        if shape.len() > MAX_DIMENSIONS || shape.len() != strides.len() {
            return invalid("does not have one stride a dimension, or has more than 64");
        }
        let natural = |numbers: &[i128]| -> Option<Vec<usize>> {
            numbers.iter().map(|&n| isize::try_from(n).ok()?.try_into().ok()).collect()
        };
        let (Some(shape), Some(mut strides), Ok(mut offset)) =
            (natural(shape), natural(strides), usize::try_from(offset))
        else {
            return invalid("has a negative or far too large size, stride or offset");
        };
        // Skips zeros, so that multiplying the sizes never overflows.
        let volume =
            shape.iter().filter(|&&n| n > 0).try_fold(1_usize, |all, &n| all.checked_mul(n));
        if volume.is_none_or(|n| n > isize::MAX as usize) {
            return invalid("has more elements than there are addresses");
        }
        let count: usize = shape.iter().product();
        if count == 0 {
            offset = 0;
        }
        for (stride, &size) in strides.iter_mut().zip(&shape) {
            if size == 1 || count == 0 {
                *stride = 0;
            }
        }
        let last = shape.iter().zip(&strides).try_fold(offset, |last, (&size, &stride)| {
            last.checked_add(size.saturating_sub(1).checked_mul(stride)?)
        });
        if count > 0 && last.is_none_or(|last| last >= elements) {
            return invalid("reaches outside its storage");
        }
        if count > elements {
            return invalid(
                "repeats elements, as expand() does; call .contiguous() on it before saving",
            );
        }
        Ok(Self { offset, shape, strides })
    }

    /// Returns the number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    fn is_contiguous(&self) -> bool {
        let mut expected = 1;
        self.shape.iter().zip(&self.strides).rev().all(|(&size, &stride)| {
            let fits = size <= 1 || stride == expected;
            expected *= size.max(1);
            fits
        })
    }
}

/// Returns the strides of a contiguous tensor, in elements.
///
/// Either the first dimension varies fastest (column order) or the last one (row order).
pub(crate) fn contiguous_strides(shape: &[i128], first_is_fastest: bool) -> Vec<i128> {
    let mut strides = vec![1; shape.len()];
    let mut volume = 1_i128;
    for axis in 0..shape.len() {
        let axis = if first_is_fastest { axis } else { shape.len() - 1 - axis };
        strides[axis] = volume;
        volume = volume.saturating_mul(shape[axis]);
    }
    strides
}

/// Tensor or array: type, shape, and values in the mapped file.
///
/// Cloning is cheap: the values are shared.
#[derive(Clone)]
pub struct Tensor {
    dtype: Dtype,
    layout: Layout,
    storage: Bytes,
}

impl Tensor {
    /// Builds a tensor.
    ///
    /// `layout` must have been checked against a storage of as many elements as `storage` holds.
    pub(crate) fn new(dtype: Dtype, layout: Layout, storage: Bytes) -> Self {
        Self { dtype, layout, storage }
    }

    /// Returns the element type.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Returns the size of each dimension, outermost first; empty for a scalar.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.layout.shape
    }

    /// Returns the number of elements, 1 for a scalar.
    #[must_use]
    pub fn len(&self) -> usize {
        self.layout.len()
    }

    /// Returns whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the values in row order, little-endian: `len() * dtype().size()` bytes.
    ///
    /// They are copied only if they are not in row order in the file.
    #[must_use]
    pub fn bytes(&self) -> Cow<'_, [u8]> {
        let size = self.dtype.size();
        if self.is_empty() {
            return Cow::Borrowed(&[]);
        }
        let start = self.layout.offset * size;
        if self.layout.is_contiguous() {
            return Cow::Borrowed(&self.storage[start..start + self.len() * size]);
        }
        Cow::Owned(self.in_row_order())
    }

    fn in_row_order(&self) -> Vec<u8> {
        let bytes = self.dtype.size();
        let Layout { offset, shape, strides } = &self.layout;
        let mut values = Vec::with_capacity(self.len() * bytes);
        let mut index = vec![0; shape.len()];
        let mut element = *offset;
        for _ in 0..self.len() {
            values.extend_from_slice(&self.storage[element * bytes..][..bytes]);
            let axes = index.iter_mut().zip(shape.iter().zip(strides));
            for (position, (&size, &stride)) in axes.rev() {
                *position += 1;
                element += stride;
                if *position < size {
                    break;
                }
                element -= stride * size;
                *position = 0;
            }
        }
        values
    }

    /// Returns the values in row order as `f32`, or `None` if they are not floating-point.
    ///
    /// Values of type `f64` are rounded.
    #[must_use]
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        let bytes = self.bytes();
        Some(match self.dtype {
            Dtype::F16 => each(&bytes, |b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => each(&bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F32 => each(&bytes, f32::from_le_bytes),
            Dtype::F64 => each(&bytes, |b| f64::from_le_bytes(b) as f32),
            _ => return None,
        })
    }

    /// Returns a key that distinguishes this view of the file's bytes from others.
    pub(crate) fn identity(&self) -> (*const u8, usize, &[usize], &[usize]) {
        let Layout { offset, shape, strides } = &self.layout;
        (self.storage.as_ptr(), *offset, shape, strides)
    }

    /// Returns the bytes of the whole storage that this tensor is a view of.
    pub(crate) fn storage(&self) -> &Bytes {
        &self.storage
    }
}

/// Prints type and shape without the values, of which there may be millions.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape())
    }
}

fn each<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|&chunk| convert(chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(offset: i128, shape: &[i128], strides: &[i128]) -> Result<Tensor, String> {
        let storage: Vec<u8> = (0..12).collect();
        let layout = Layout::new(offset, shape, strides, 12)?;
        Ok(Tensor::new(Dtype::U8, layout, storage.into()))
    }

    #[test]
    fn values_come_in_row_order() {
        assert_eq!(*tensor(1, &[2, 3], &[1, 4]).unwrap().bytes(), [1, 5, 9, 2, 6, 10]);
        assert_eq!(
            *tensor(0, &[2, 1, 2], &[6, i128::from(i64::MAX), 2]).unwrap().bytes(),
            [0, 2, 6, 8]
        );
        assert_eq!(*tensor(11, &[], &[]).unwrap().bytes(), [11]);
        assert!(tensor(40, &[3, 0], &[1, 1]).unwrap().bytes().is_empty());
    }

    #[test]
    fn contiguous_values_are_not_copied() {
        let tensor = tensor(2, &[1, 2, 3], &[99, 3, 1]).unwrap();
        assert!(matches!(tensor.bytes(), Cow::Borrowed(&[2, 3, 4, 5, 6, 7])));
    }

    #[test]
    fn views_outside_their_storage_are_refused() {
        let huge = i128::from(i64::MAX);
        for (offset, shape, strides, reason) in [
            (0, vec![13], vec![1], "outside"),
            (12, vec![1], vec![1], "outside"),
            (6, vec![2, 4], vec![3, 1], "outside"),
            (0, vec![2], vec![huge], "outside"),
            (-1, vec![2], vec![1], "negative"),
            (0, vec![-2], vec![1], "negative"),
            (0, vec![2], vec![-1], "negative"),
            (0, vec![1 << 64], vec![0], "too large"),
            (0, vec![huge, huge], vec![0, 0], "more elements"),
            (0, vec![0, huge, 4], vec![0, 0, 0], "more elements"),
            (0, vec![13], vec![0], "expand()"),
            (0, vec![2, 2], vec![1], "one stride"),
            (0, vec![1; 65], vec![1; 65], "more than 64"),
        ] {
            let error = tensor(offset, &shape, &strides).unwrap_err();
            assert!(error.contains(reason), "{shape:?} {strides:?}: {error}");
        }
    }
}
