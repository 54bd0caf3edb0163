//! Element types of tensors and arrays.

use std::fmt;

/// Element type; multi-byte values are little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    BF16,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Signed, 8 bits.
    I8,
    /// Signed, 16 bits.
    I16,
    /// Signed, 32 bits.
    I32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 8 bits.
    U8,
    /// One byte, 0 or 1.
    Bool,
}

/// Type, name, size in bytes, storage class in module `torch`, numpy code without byte order.
const TYPES: [(Dtype, &str, usize, &str, Option<&str>); 10] = [
    (Dtype::F16, "f16", 2, "HalfStorage", Some("f2")),
    (Dtype::BF16, "bf16", 2, "BFloat16Storage", None),
    (Dtype::F32, "f32", 4, "FloatStorage", Some("f4")),
    (Dtype::F64, "f64", 8, "DoubleStorage", Some("f8")),
    (Dtype::I8, "i8", 1, "CharStorage", Some("i1")),
    (Dtype::I16, "i16", 2, "ShortStorage", Some("i2")),
    (Dtype::I32, "i32", 4, "IntStorage", Some("i4")),
    (Dtype::I64, "i64", 8, "LongStorage", Some("i8")),
    (Dtype::U8, "u8", 1, "ByteStorage", Some("u1")),
    (Dtype::Bool, "bool", 1, "BoolStorage", Some("b1")),
];

impl Dtype {
    /// Returns the number of bytes of one element.
    #[must_use]
    pub const fn size(self) -> usize {
        TYPES[self as usize].2
    }

    /// Returns true if values are floating-point numbers.
    #[must_use]
    pub const fn is_floating(self) -> bool {
        matches!(self, Self::F16 | Self::BF16 | Self::F32 | Self::F64)
    }

    /// Returns the type that [`Display`](fmt::Display) prints as `name`.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.1 == name).map(|row| row.0)
    }

    /// Returns the type of a storage class in module `torch`.
    pub(crate) fn of_storage_class(name: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.3 == name).map(|row| row.0)
    }

    /// Returns the type of a numpy code without byte order.
    pub(crate) fn of_numpy_code(code: &str) -> Option<Self> {
        TYPES.iter().find(|row| row.4 == Some(code)).map(|row| row.0)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(TYPES[*self as usize].1)
    }
}
