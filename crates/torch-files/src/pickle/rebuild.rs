//! Effects of REDUCE, NEWOBJ, BUILD and BINPERSID: they build dicts, sets, bytes and tensors.

use bytes::Bytes;

use super::globals::Global;
use super::machine::Machine;
use super::{Container, Id, Node, Storage};
use crate::container;
use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::tensor::Layout;

const REBUILD_FROM_TYPE: Global = Global::Function("torch._tensor._rebuild_from_type_v2");

impl Machine<'_> {
    /// Replaces a function and its arguments by the result that the function would return.
    pub(super) fn reduce(&mut self) -> Result<(), Problem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        match *self.node(function) {
            Node::Global(function) => self.call(function, arguments),
            ref other => Err(self.invalid(format_args!("REDUCE would call a {}", other.kind()))),
        }
    }

    pub(super) fn new_object(&mut self) -> Result<(), Problem> {
        let (arguments, class) = (self.pop()?, self.pop()?);
        match *self.node(class) {
            Node::Global(class) if class.is_instantiable() => self.call(class, arguments),
            Node::Global(class) => {
                Err(self.invalid(format_args!("NEWOBJ would make a bare {class:?}")))
            }
            ref other => Err(self.invalid(format_args!("NEWOBJ of a {}", other.kind()))),
        }
    }

    /// Pushes the result that `function` would return.
    fn call(&mut self, function: Global, arguments: Id) -> Result<(), Problem> {
        let arguments = self.items(arguments)?.to_vec();
        self.charge(arguments.len())?;
        let result = match (function, arguments.as_slice()) {
            (Global::Unread(kind), _) => Some(Node::Other(kind)),
            (REBUILD_FROM_TYPE, &[function, class, arguments, _]) => {
                if let (&Node::Global(function), &Node::Global(class)) =
                    (self.node(function), self.node(class))
                    && function != REBUILD_FROM_TYPE
                    && class.is_instantiable()
                {
                    return self.call(function, arguments);
                }
                None
            }
            (Global::Function(name), arguments) => {
                if let Some(&first) = arguments.first()
                    && returns_argument(name, self.node(first))
                {
                    self.stack.push(first);
                    return Ok(());
                }
                self.result(name, arguments)?
            }
            _ => None,
        };
        if let Some(result) = result {
            self.push_new(result)
        } else {
            let kinds = self.kinds(&arguments);
            Err(self.invalid(format_args!("cannot rebuild {function:?} from ({kinds})")))
        }
    }

    /// Returns the new value that `function` returns, or `None` for arguments that do not fit.
    fn result(&mut self, function: &str, arguments: &[Id]) -> Result<Option<Node>, Problem> {
        Ok(Some(match (function, arguments) {
            ("torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2", _) => {
                self.tensor(arguments)?
            }
            ("torch._utils._rebuild_tensor_v3", &[_, _, _, _, _, _, element_type, ..]) => {
                match *self.node(element_type) {
                    Node::Global(Global::TensorType(tensor)) => Node::Other(tensor),
                    _ => return Ok(None),
                }
            }
            ("torch.storage._load_from_bytes", &[bytes]) => self.storage_from_bytes(bytes)?,
            ("torch.device", &[kind]) => Node::Str(self.str(kind)?.into()),
            ("torch.device", &[kind, index]) => {
                Node::Str(format!("{}:{}", self.str(kind)?, self.int(index)?).into())
            }
            ("collections.OrderedDict" | "collections.Counter" | "collections.defaultdict", []) => {
                Node::Dict(Vec::new())
            }
            ("collections.defaultdict", &[factory])
                if matches!(self.node(factory), Node::Global(_)) =>
            {
                Node::Dict(Vec::new())
            }
            ("collections.OrderedDict", &[pairs]) => self.dict_of_pairs(pairs)?,
            ("builtins.set" | "builtins.frozenset", &[list]) => {
                let items = self.items(list)?.to_vec();
                self.charge(items.len())?;
                Node::Set(items)
            }
            // Protocol 2 writes empty bytes so, and other bytes as encoded text.
            ("builtins.bytes" | "builtins.bytearray", []) => Node::Bytes(Box::default()),
            ("builtins.bytearray" | "_codecs.encode", &[text, encoding]) => {
                self.encode(text, encoding)?
            }
            ("numpy.dtype", &[code, ..]) => self.array_type(code)?,
            // An empty array, which BUILD fills.
            ("numpy.core.multiarray._reconstruct", &[class, ..])
                if matches!(self.node(class), Node::Global(Global::Function("numpy.ndarray"))) =>
            {
                Node::UnfinishedArray
            }
            ("numpy.core.multiarray.scalar", &[array_type, bytes]) => {
                self.scalar(array_type, bytes)?
            }
            ("numpy.core.numeric._frombuffer", &[bytes, array_type, shape, order]) => {
                let column_order = match self.str(order)? {
                    "C" => false,
                    "F" => true,
                    _ => return Ok(None),
                };
                self.array(array_type, shape, column_order, bytes)?
            }
            _ => return Ok(None),
        }))
    }

    /// Applies a state to the value on the stack.
    pub(super) fn build(&mut self) -> Result<(), Problem> {
        let (state, target) = (self.pop()?, self.top()?);
        match (self.node(target), self.node(state)) {
            // Attributes of an OrderedDict (a state dict's `_metadata`) are not entries.
            (Node::Dict(_), Node::Dict(_)) | (Node::Other(_), _) => Ok(()),
            (Node::ArrayType(_), Node::Tuple(_)) => self.build_array_type(target, state),
            (Node::UnfinishedArray, Node::Tuple(_)) => self.build_array(target, state),
            _ => {
                let kinds = self.kinds(&[target, state]);
                Err(self.invalid(format_args!("BUILD cannot apply a state ({kinds})")))
            }
        }
    }

    /// Adds a storage outside the pickle: `("storage", class, key, location, elements)`.
    ///
    /// In the legacy format None follows.
    pub(super) fn persistent_storage(&mut self) -> Result<Node, Problem> {
        let id = self.pop()?;
        if self.container == Container::Plain {
            return Err(self.invalid("has a persistent id, but no file around it"));
        }
        let Node::Tuple(parts) = self.node(id) else {
            let kind = self.node(id).kind();
            return Err(self.invalid(format!("a persistent id that is a {kind}, not a tuple")));
        };
        let nodes: Vec<&Node> = parts.iter().take(7).map(|&part| self.node(part)).collect();
        let storage = match (self.container, nodes.as_slice()) {
            (Container::Zip, storage) | (Container::Legacy, [storage @ .., Node::None]) => storage,
            _ => &[],
        };
        let &[
            Node::Str(word),
            &Node::Global(Global::Storage(dtype)),
            Node::Str(key),
            Node::Str(_),
            &Node::Int(elements),
        ] = storage
        else {
            let kinds = self.kinds(parts);
            return Err(self.invalid(format_args!("a persistent id of unknown shape ({kinds})")));
        };
        if **word != *"storage" {
            return Err(self.invalid("a persistent id of unknown shape, not of a storage"));
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(self.invalid(format!("storage key \"{}\" is not a number", shown(key))));
        }
        let Some(elements) = elements_of(elements, dtype) else {
            return Err(self.invalid(format_args!("a storage of {elements} elements")));
        };
        let key = key.clone();
        self.charge(key.len())?;
        if let Some(&known) = self.pickle.storage_of_key.get(&key) {
            let storage = &self.pickle.storages[known];
            if (storage.dtype, storage.elements) != (dtype, elements) {
                return Err(self.invalid(format_args!("storage {key} has two sizes or types")));
            }
            return Ok(Node::Storage(known));
        }
        let storages = self.pickle.storages.len();
        self.pickle.storage_of_key.insert(key.clone(), storages);
        Ok(Node::Storage(self.add_storage(Storage { dtype, elements, key, bytes: None })))
    }

    /// Returns the index of a new storage.
    pub(super) fn add_storage(&mut self, storage: Storage) -> usize {
        self.pickle.storages.push(storage);
        self.pickle.storages.len() - 1
    }

    /// Reads `torch.storage._load_from_bytes`, whose bytes are a legacy file with one storage.
    fn storage_from_bytes(&mut self, bytes: Id) -> Result<Node, Problem> {
        if self.container != Container::Plain {
            return Err(self.invalid("a storage's bytes inside a PyTorch file"));
        }
        let bytes = self.bytes(bytes)?;
        self.charge(bytes.len())?;
        let storage = container::legacy::read_storage(&bytes)
            .map_err(|problem| Problem::Content(format!("in a tensor's own bytes: {problem}")))?;
        Ok(Node::Storage(self.add_storage(storage)))
    }

    /// Builds a tensor of `(storage, offset, size, stride)`.
    ///
    /// In version 2, `requires_grad`, hooks and optional metadata follow. The metadata must be
    /// empty: it says that the values are conjugated or negated.
    fn tensor(&mut self, arguments: &[Id]) -> Result<Node, Problem> {
        let Some((&[storage, offset, size, stride], rest)) = arguments.split_first_chunk() else {
            return Err(self.invalid("a tensor of too few parts"));
        };
        let has_metadata = match rest.get(2).map(|&id| self.node(id)) {
            None | Some(Node::None) => false,
            Some(Node::Dict(entries)) => !entries.is_empty(),
            Some(_) => true,
        };
        if has_metadata || rest.len() > 3 {
            return Err(self.invalid("a tensor with metadata (conjugated or negated)"));
        }
        let &Node::Storage(storage) = self.node(storage) else {
            let kind = self.node(storage).kind();
            return Err(self.invalid(format!("a tensor made of a {kind} instead of a storage")));
        };
        let (offset, size, stride) = (self.int(offset)?, self.ints(size)?, self.ints(stride)?);
        self.charge(size.len() + stride.len())?;
        let layout = self.layout(storage, offset, &size, &stride)?;
        Ok(self.add_tensor(storage, layout))
    }

    /// Checks a view of a storage.
    pub(super) fn layout(
        &self,
        storage: usize,
        offset: i128,
        size: &[i128],
        stride: &[i128],
    ) -> Result<Layout, Problem> {
        let elements = self.pickle.storages[storage].elements;
        Layout::new(offset, size, stride, elements).map_err(|reason| self.invalid(reason))
    }

    pub(super) fn add_tensor(&mut self, storage: usize, layout: Layout) -> Node {
        self.pickle.tensors.push((storage, layout));
        Node::Tensor(self.pickle.tensors.len() - 1)
    }

    fn dict_of_pairs(&mut self, pairs: Id) -> Result<Node, Problem> {
        let mut entries = Vec::new();
        for &pair in self.items(pairs)? {
            let &[key, value] = self.items(pair)? else {
                return Err(self.invalid("an OrderedDict of items that are not pairs"));
            };
            entries.extend([key, value]);
        }
        self.charge(entries.len())?;
        Ok(Node::Dict(entries))
    }

    fn encode(&mut self, text: Id, encoding: Id) -> Result<Node, Problem> {
        self.charge(self.str(text)?.len())?;
        let letters = self.str(text)?.chars();
        let bytes: Option<Vec<u8>> = letters.map(|letter| u8::try_from(letter).ok()).collect();
        match (bytes, self.str(encoding)?) {
            (Some(bytes), "latin1" | "latin-1") => Ok(Node::Bytes(Box::new(bytes.into()))),
            _ => Err(self.invalid("bytes written as letters of another encoding than Latin-1")),
        }
    }

    pub(super) fn ints(&self, id: Id) -> Result<Vec<i128>, Problem> {
        self.items(id)?.iter().map(|&item| self.int(item)).collect()
    }

    pub(super) fn bytes(&self, id: Id) -> Result<Bytes, Problem> {
        match self.node(id) {
            Node::Bytes(bytes) => Ok(Bytes::clone(bytes)),
            other => Err(self.invalid(format_args!("wants bytes, finds a {}", other.kind()))),
        }
    }
}

/// Returns true if `function` returns its first argument with properties that are ignored here.
///
/// These are gradients, hooks, attributes and the device of a tensor.
fn returns_argument(function: &str, first: &Node) -> bool {
    match function {
        "torch._utils._rebuild_parameter"
        | "torch._utils._rebuild_parameter_with_state"
        | "torch._utils._rebuild_device_tensor_from_cpu_tensor"
        | "torch._utils._rebuild_device_tensor_from_numpy"
        | "torch.Tensor"
        | "torch.nn.parameter.Parameter" => matches!(first, Node::Tensor(_) | Node::Other(_)),
        // The dict was created for this call alone.
        "collections.Counter" => matches!(first, Node::Dict(_)),
        "torch.Size" => matches!(first, Node::Tuple(_)),
        "torch.serialization._get_layout" => matches!(first, Node::Str(_)),
        "builtins.bytes" | "builtins.bytearray" => matches!(first, Node::Bytes(_)),
        _ => false,
    }
}

/// Returns a storage's number of elements if its length in bytes is addressable.
fn elements_of(elements: i128, dtype: Dtype) -> Option<usize> {
    let elements = usize::try_from(elements).ok()?;
    let bytes = elements.checked_mul(dtype.size())?;
    isize::try_from(bytes).ok().map(|_| elements)
}
