//! The only functions and classes that a pickle may name.
//!
//! A name becomes one of these values and nothing is ever imported. What each does to its arguments
//! is in `rebuild` and `array`.

use crate::dtype::Dtype;

/// A function or class that rebuilds plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `torch._utils._rebuild_tensor(storage, offset, size, stride)` and `_v2` with three more.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`.
    RebuildParameter,
    /// `torch.storage._load_from_bytes(bytes)`: a storage saved on its own.
    LoadFromBytes,
    /// A storage class; the untyped one counts bytes.
    Storage(Dtype),
    /// `torch.Size(tuple)`.
    Size,
    /// `torch.device(kind[, index])`.
    Device,
    /// `collections.OrderedDict([pairs])`.
    OrderedDict,
    /// `collections.Counter(dict)`.
    Counter,
    /// `collections.defaultdict(factory)`.
    DefaultDict,
    /// What a defaultdict makes of a missing key; never called here.
    Factory,
    /// `set(list)` and `frozenset(list)`; `set` is a defaultdict's factory too.
    Set,
    /// `bytes()`, as protocol 2 writes empty bytes, and `bytearray(bytes)`.
    Bytes,
    /// `_codecs.encode(text, "latin1")`: how protocols 0 to 2 write bytes.
    Encode,
    /// `numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")`, completed by BUILD.
    Reconstruct,
    /// `numpy.ndarray`, as `_reconstruct`'s argument only.
    Array,
    /// `numpy.dtype(code, align, copy)`, completed by BUILD.
    ArrayType,
    /// `numpy.core.multiarray.scalar(dtype, bytes)`.
    Scalar,
    /// `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)`, protocol 5's arrays.
    FromBuffer,
}

impl Global {
    /// The value of a name; none where it is not on the list.
    pub(super) fn of_name(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch.storage", "_load_from_bytes") => Self::LoadFromBytes,
            ("torch.storage", "UntypedStorage") => Self::Storage(Dtype::U8),
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch", class) => Self::Storage(Dtype::of_storage_class(class)?),
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "Counter") => Self::Counter,
            ("collections", "defaultdict") => Self::DefaultDict,
            ("builtins" | "__builtin__", builtin) => match builtin {
                "dict" | "float" | "int" | "list" | "str" => Self::Factory,
                "set" | "frozenset" => Self::Set,
                "bytes" | "bytearray" => Self::Bytes,
                _ => return None,
            },
            ("_codecs", "encode") => Self::Encode,
            ("numpy", "ndarray") => Self::Array,
            ("numpy", "dtype") => Self::ArrayType,
            ("numpy.core.multiarray" | "numpy._core.multiarray", function) => match function {
                "_reconstruct" => Self::Reconstruct,
                "scalar" => Self::Scalar,
                _ => return None,
            },
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => Self::FromBuffer,
            _ => return None,
        })
    }
}
