//! Functions and classes that a pickle may name.
//!
//! A name becomes one of these values and nothing is ever imported. `rebuild` and `array` define
//! the effect of each on its arguments.

use crate::dtype::Dtype;

macro_rules! types {
    ($($name:literal)*) => {
        /// Names of module `torch` that are element types.
        ///
        /// Each has the text that Python prints, and the description of a tensor of that type if it
        /// is not read.
        const TYPES: &[(&str, &str, &str)] =
            &[$(($name, concat!("torch.", $name), concat!("tensor of torch.", $name)),)*];
    };
}

types! {
    "float64" "float32" "float16" "bfloat16" "int64" "int32" "int16" "int8" "uint8" "bool"
    "complex128" "complex64" "complex32" "uint16" "uint32" "uint64" "qint8" "qint32" "quint8"
    "quint4x2" "quint2x4" "float8_e4m3fn" "float8_e4m3fnuz" "float8_e5m2" "float8_e5m2fnuz"
    "float8_e8m0fnu" "float4_e2m1fn_x2" "bits1x8" "bits2x4" "bits4x2" "bits8" "bits16"
    "uint1" "uint2" "uint3" "uint4" "uint5" "uint6" "uint7"
    "int1" "int2" "int3" "int4" "int5" "int6" "int7"
}

/// Function or class that rebuilds plain data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Global {
    /// `torch._utils._rebuild_tensor(storage, offset, size, stride)` and `_v2` with three more.
    RebuildTensor,
    /// `torch._utils._rebuild_tensor_v3`, whose seventh argument is the unsupported type.
    RebuildTypedTensor,
    /// `torch._utils._rebuild_parameter(tensor, requires_grad, hooks)`.
    ///
    /// Also `_rebuild_parameter_with_state`, which adds the parameter's attributes.
    RebuildParameter,
    /// `torch._tensor._rebuild_from_type_v2(function, class, arguments, attributes)`.
    RebuildFromType,
    /// `torch._utils._rebuild_device_tensor_from_cpu_tensor(tensor, ...)`, also `_from_numpy`.
    RebuildOnDevice,
    /// Function or class of unsupported data, such as sparse tensors; holds the result's name.
    Unread(&'static str),
    /// `torch.Tensor` and `torch.nn.parameter.Parameter`.
    TensorClass,
    /// Element type: its name, and that of its tensors.
    Type(&'static str, &'static str),
    /// `torch.serialization._get_layout(name)`.
    MemoryLayout,
    /// `torch.storage._load_from_bytes(bytes)`, a storage saved on its own.
    LoadFromBytes,
    /// Storage class; the untyped one counts bytes.
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
    /// Default factory of a defaultdict; never called here.
    Factory,
    /// `set(list)` and `frozenset(list)`; `set` is also a factory of a defaultdict.
    Set,
    /// `bytes()`, as protocol 2 writes empty bytes, and `bytearray(bytes)`.
    Bytes,
    /// `_codecs.encode(text, "latin1")`, with which protocols 0 to 2 write bytes.
    Encode,
    /// `numpy.core.multiarray._reconstruct(ndarray, (0,), b"b")`, completed by BUILD.
    Reconstruct,
    /// `numpy.ndarray`, only as the argument of `_reconstruct`.
    Array,
    /// `numpy.dtype(code, align, copy)`, completed by BUILD.
    ArrayType,
    /// `numpy.core.multiarray.scalar(dtype, bytes)`.
    Scalar,
    /// `numpy.core.numeric._frombuffer(bytes, dtype, shape, order)` for arrays of protocol 5.
    FromBuffer,
}

impl Global {
    /// Returns the value of a name, or `None` if it is not on the list.
    pub(super) fn of_name(module: &str, name: &str) -> Option<Self> {
        Some(match (module, name) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", function) => match function {
                "_rebuild_tensor_v3" => Self::RebuildTypedTensor,
                "_rebuild_parameter" | "_rebuild_parameter_with_state" => Self::RebuildParameter,
                "_rebuild_device_tensor_from_cpu_tensor" | "_rebuild_device_tensor_from_numpy" => {
                    Self::RebuildOnDevice
                }
                "_rebuild_qtensor" => Self::Unread("quantized tensor"),
                "_rebuild_sparse_tensor" => Self::Unread("sparse tensor"),
                "_rebuild_nested_tensor" => Self::Unread("nested tensor"),
                "_rebuild_meta_tensor_no_storage" => Self::Unread("tensor without values"),
                _ => return None,
            },
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch.storage", "_load_from_bytes") => Self::LoadFromBytes,
            ("torch.storage", "UntypedStorage") => Self::Storage(Dtype::U8),
            ("torch.serialization", "_get_layout") => Self::MemoryLayout,
            ("torch", "Tensor") | ("torch.nn.parameter", "Parameter") => Self::TensorClass,
            ("torch", "Size") => Self::Size,
            ("torch", "device") => Self::Device,
            ("torch" | "torch.cuda", class) => match Dtype::of_storage_class(class) {
                Some(dtype) => Self::Storage(dtype),
                None => type_of(class)?,
            },
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("collections", "Counter") => Self::Counter,
            ("collections", "defaultdict") => Self::DefaultDict,
            ("builtins" | "__builtin__", builtin) => match builtin {
                "dict" | "float" | "int" | "list" | "str" => Self::Factory,
                "set" | "frozenset" => Self::Set,
                "bytes" | "bytearray" => Self::Bytes,
                "complex" => Self::Unread("complex number"),
                _ => return None,
            },
            // Plain data that training scripts store beside weights, and that nobody reads here.
            ("argparse", "Namespace") => Self::Unread("argparse.Namespace"),
            ("datetime", "datetime" | "date" | "time" | "timedelta") => {
                Self::Unread("date or time")
            }
            (
                "pathlib" | "pathlib._local",
                "PosixPath" | "WindowsPath" | "PurePosixPath" | "PureWindowsPath",
            ) => Self::Unread("path"),
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

fn type_of(name: &str) -> Option<Global> {
    let &(_, printed, tensor) = TYPES.iter().find(|&&(known, ..)| known == name)?;
    Some(Global::Type(printed, tensor))
}
