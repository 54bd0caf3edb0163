//! Functions and classes that a pickle may name.
//!
//! A name becomes one of these values and nothing is ever imported. `rebuild` and `array` define
//! the effect of each on its arguments.

use crate::dtype::Dtype;

/// Functions and classes of tensors, arrays and plain data.
const FUNCTIONS: &str = "
    torch._utils._rebuild_tensor torch._utils._rebuild_tensor_v2 torch._utils._rebuild_tensor_v3
    torch._utils._rebuild_parameter torch._utils._rebuild_parameter_with_state
    torch._utils._rebuild_device_tensor_from_cpu_tensor
    torch._utils._rebuild_device_tensor_from_numpy
    torch._tensor._rebuild_from_type_v2 torch.Tensor torch.nn.parameter.Parameter
    torch.storage._load_from_bytes torch.serialization._get_layout torch.Size torch.device
    collections.OrderedDict collections.Counter collections.defaultdict
    builtins.dict builtins.float builtins.int builtins.list builtins.str
    builtins.set builtins.frozenset builtins.bytes builtins.bytearray _codecs.encode
    numpy.ndarray numpy.dtype numpy.core.multiarray._reconstruct numpy.core.multiarray.scalar
    numpy.core.numeric._frombuffer";

/// Functions and classes of data that accompanies weights and is ignored here.
const UNREAD: [(&str, &str); 8] = [
    ("quantized tensor", "torch._utils._rebuild_qtensor"),
    ("sparse tensor", "torch._utils._rebuild_sparse_tensor"),
    ("nested tensor", "torch._utils._rebuild_nested_tensor"),
    ("tensor without values", "torch._utils._rebuild_meta_tensor_no_storage"),
    ("complex number", "builtins.complex"),
    ("argparse.Namespace", "argparse.Namespace"),
    ("date or time", "datetime.datetime datetime.date datetime.time datetime.timedelta"),
    ("path", "pathlib.PosixPath pathlib.WindowsPath pathlib.PurePosixPath pathlib.PureWindowsPath"),
];

macro_rules! tensor_types {
    ($($name:literal)*) => {
        /// Descriptions of the tensors of each element type that module `torch` names.
        const TENSOR_TYPES: &[&str] = &[$(concat!("tensor of torch.", $name)),*];
    };
}

tensor_types! {
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
    /// Function or class by its name in Python 3 and numpy 1.
    Function(&'static str),
    /// Function or class of unsupported data, such as sparse tensors; holds the result's name.
    Unread(&'static str),
    /// Element type `torch.NAME`; holds "tensor of torch.NAME".
    TensorType(&'static str),
    /// Storage class; the untyped one counts bytes.
    Storage(Dtype),
}

impl Global {
    /// Returns true for classes of tensors, and of data that nobody reads.
    pub(super) fn is_instantiable(self) -> bool {
        matches!(
            self,
            Self::Unread(_) | Self::Function("torch.Tensor" | "torch.nn.parameter.Parameter")
        )
    }

    /// Returns the value of a name, or `None` if it is not on the list.
    pub(super) fn of_name(module: &str, name: &str) -> Option<Self> {
        // Python 2, numpy 2 and Python 3.13 name some modules otherwise.
        let module = match module {
            "__builtin__" => "builtins",
            "numpy._core.multiarray" => "numpy.core.multiarray",
            "numpy._core.numeric" => "numpy.core.numeric",
            "pathlib._local" => "pathlib",
            _ => module,
        };
        let full = format!("{module}.{name}");
        let is_in = |names: &str| names.split_whitespace().any(|known| known == full);
        if let Some(function) = FUNCTIONS.split_whitespace().find(|known| *known == full) {
            return Some(Self::Function(function));
        }
        if let Some(&(kind, _)) = UNREAD.iter().find(|(_, names)| is_in(names)) {
            return Some(Self::Unread(kind));
        }
        let is_type = |of: &&&str| of.strip_prefix("tensor of torch.") == Some(name);
        match module {
            "torch.storage" if name == "UntypedStorage" => Some(Self::Storage(Dtype::U8)),
            "torch" | "torch.cuda" => match Dtype::of_storage_class(name) {
                Some(dtype) => Some(Self::Storage(dtype)),
                None => TENSOR_TYPES.iter().find(is_type).map(|of| Self::TensorType(of)),
            },
            _ => None,
        }
    }
}
