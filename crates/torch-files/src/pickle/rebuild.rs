//! Effects of REDUCE, BUILD and BINPERSID: they build dicts, sets, bytes and tensors.

use bytes::Bytes;

use super::globals::Global;
use super::machine::Machine;
use super::{Draft, Id, Place, Source, Storage, TensorDraft};
use crate::container;
use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::tensor::Layout;

impl Machine<'_> {
    /// Replaces a function and its arguments by the result that the function would return.
    pub(super) fn reduce(&mut self) -> Result<(), Problem> {
        let (arguments, function) = (self.pop()?, self.pop()?);
        let &Draft::Global(function) = self.get(function) else {
            let kind = self.get(function).kind();
            return Err(self.wrong(format!("REDUCE would call a {kind}")));
        };
        self.call(function, arguments)
    }

    /// Pushes the result that `function` would return.
    pub(super) fn call(&mut self, function: Global, arguments: Id) -> Result<(), Problem> {
        let arguments = self.items(arguments)?.to_vec();
        self.pay(arguments.len())?;
        match (function, arguments.as_slice()) {
            (Global::OrderedDict | Global::Counter | Global::DefaultDict, []) => {
                self.make(Draft::Dict(Vec::new()))
            }
            (Global::DefaultDict, &[factory]) if matches!(self.get(factory), Draft::Global(_)) => {
                self.make(Draft::Dict(Vec::new()))
            }
            (Global::OrderedDict, &[pairs]) => self.dict_of_pairs(pairs),
            // The dict was created for this call alone.
            (Global::Counter, &[dict]) if matches!(self.get(dict), Draft::Dict(_)) => {
                self.push(dict)
            }
            (Global::Set, &[list]) => {
                let items = self.items(list)?.to_vec();
                self.pay(items.len())?;
                self.make(Draft::Set(items))
            }
            (Global::Bytes, []) => self.make(Draft::Bytes(Box::default())),
            (Global::Bytes, &[bytes]) if matches!(self.get(bytes), Draft::Bytes(_)) => {
                self.push(bytes)
            }
            (Global::Bytes | Global::Encode, &[text, encoding]) => self.encode(text, encoding),
            (Global::Size, &[sizes]) if matches!(self.get(sizes), Draft::Tuple(_)) => {
                self.push(sizes)
            }
            (Global::Device, arguments) => self.device(arguments),
            (Global::RebuildTensor, arguments) => self.tensor(arguments),
            // Other properties (gradients, hooks, attributes, the device) are ignored.
            (Global::RebuildParameter, &[tensor, _, _] | &[tensor, _, _, _])
            | (Global::RebuildOnDevice, &[tensor, _, _, _])
            | (Global::TensorClass, &[tensor] | &[tensor, _])
                if matches!(self.get(tensor), Draft::Tensor(_) | Draft::Other(_)) =>
            {
                self.push(tensor)
            }
            (Global::RebuildFromType, &[function, class, arguments, _]) => {
                self.typed_tensor(function, class, arguments)
            }
            (Global::RebuildTypedTensor, &[_, _, _, _, _, _, element_type, ..]) => {
                match *self.get(element_type) {
                    Draft::Global(Global::Type(_, tensor)) => self.make(Draft::Other(tensor)),
                    _ => Err(self.wrong("a tensor of an unknown type")),
                }
            }
            (Global::MemoryLayout, &[name]) if matches!(self.get(name), Draft::Str(_)) => {
                self.push(name)
            }
            (Global::Unread(kind), _) => self.make(Draft::Other(kind)),
            (Global::LoadFromBytes, &[bytes]) => self.storage_from_bytes(bytes),
            (Global::Reconstruct, arguments) => self.unbuilt_array(arguments),
            (Global::ArrayType, arguments) => self.array_type(arguments),
            (Global::Scalar, &[array_type, bytes]) => self.scalar(array_type, bytes),
            (Global::FromBuffer, &[bytes, array_type, shape, order]) => {
                let column_order = match self.str(order)? {
                    "C" => false,
                    "F" => true,
                    other => {
                        let other = shown(other);
                        return Err(self.wrong(format!("array order \"{other}\" is not known")));
                    }
                };
                let array = self.array(array_type, shape, column_order, bytes)?;
                self.make(array)
            }
            (function, arguments) => {
                let kinds: Vec<&str> =
                    arguments.iter().take(8).map(|&id| self.get(id).kind()).collect();
                Err(self.wrong(format!("cannot rebuild {function:?} from ({})", kinds.join(", "))))
            }
        }
    }

    /// Applies a state to the value on the stack.
    pub(super) fn build(&mut self) -> Result<(), Problem> {
        let (state, target) = (self.pop()?, self.top()?);
        match (self.get(target), self.get(state)) {
            // Attributes of an OrderedDict (a state dict's `_metadata`) are not entries.
            (Draft::Dict(_), Draft::Dict(_)) | (Draft::Other(_), _) => Ok(()),
            (Draft::ArrayType(_), Draft::Tuple(_)) => self.build_array_type(target, state),
            (Draft::ArrayToBuild, Draft::Tuple(_)) => self.build_array(target, state),
            (target, state) => {
                let (target, state) = (target.kind(), state.kind());
                Err(self.wrong(format!("BUILD would give a {target} a state of kind {state}")))
            }
        }
    }

    /// Adds a storage outside the pickle: `("storage", class, key, location, elements)`.
    ///
    /// In the legacy format None follows.
    pub(super) fn persistent_storage(&mut self) -> Result<(), Problem> {
        let id = self.pop()?;
        let parts = match (self.source, self.get(id)) {
            (Source::Plain | Source::Bare, _) => {
                return Err(self.wrong("speaks of a persistent id, but there is nothing around it"));
            }
            (_, Draft::Tuple(parts)) => parts,
            (_, other) => {
                let kind = other.kind();
                return Err(self.wrong(format!("a persistent id that is a {kind}, not a tuple")));
            }
        };
        let parts: Vec<&Draft> = parts.iter().map(|&part| self.get(part)).take(7).collect();
        let (dtype, key, elements) = match (self.source, parts.as_slice()) {
            (
                Source::Zip,
                [
                    Draft::Str(word),
                    Draft::Global(Global::Storage(dtype)),
                    Draft::Str(key),
                    Draft::Str(_),
                    Draft::Int(elements),
                ],
            )
            | (
                Source::Legacy,
                [
                    Draft::Str(word),
                    Draft::Global(Global::Storage(dtype)),
                    Draft::Str(key),
                    Draft::Str(_),
                    Draft::Int(elements),
                    Draft::None,
                ],
            ) if **word == *"storage" => (*dtype, key, *elements),
            _ => {
                let kinds: Vec<&str> = parts.iter().map(|part| part.kind()).collect();
                let kinds = kinds.join(", ");
                return Err(self.wrong(format!("a persistent id of unknown shape ({kinds})")));
            }
        };
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(self.wrong(format!("storage key \"{}\" is not a number", shown(key))));
        }
        let Some(elements) = elements_of(elements, dtype) else {
            return Err(self.wrong(format!("a storage of {elements} elements")));
        };
        let key = key.clone();
        self.pay(key.len())?;
        if let Some(&known) = self.storage_of_key.get(&key) {
            let storage = &self.storages[known];
            if (storage.dtype, storage.elements) != (dtype, elements) {
                return Err(self.wrong(format!("storage {key} has two sizes or types")));
            }
            return self.make(Draft::Storage(known));
        }
        self.storage_of_key.insert(key.clone(), self.storages.len());
        self.add_storage(Storage { dtype, elements, place: Place::Key(key) })
    }

    pub(super) fn add_storage(&mut self, storage: Storage) -> Result<(), Problem> {
        self.storages.push(storage);
        self.make(Draft::Storage(self.storages.len() - 1))
    }

    /// Reads `torch.storage._load_from_bytes`, whose bytes are a legacy file with one storage.
    fn storage_from_bytes(&mut self, bytes: Id) -> Result<(), Problem> {
        if self.source != Source::Plain {
            return Err(self.wrong("a storage's bytes inside a PyTorch file"));
        }
        let bytes = self.bytes(bytes)?;
        self.pay(bytes.len())?;
        let storage = container::legacy::lone_storage(&bytes)
            .map_err(|problem| Problem::Nested(Box::new(problem)))?;
        self.add_storage(storage)
    }

    /// Builds a tensor of `(storage, offset, size, stride)`.
    ///
    /// In version 2, `requires_grad`, hooks and optional metadata follow. The metadata must be
    /// empty: it says that the values are conjugated or negated.
    fn tensor(&mut self, arguments: &[Id]) -> Result<(), Problem> {
        let Some((&[storage, offset, size, stride], rest)) = arguments.split_first_chunk() else {
            return Err(self.wrong("a tensor of too few parts"));
        };
        let has_metadata = match rest.get(2).map(|&id| self.get(id)) {
            None | Some(Draft::None) => false,
            Some(Draft::Dict(entries)) => !entries.is_empty(),
            Some(_) => true,
        };
        if has_metadata || rest.len() > 3 {
            return Err(self.wrong("a tensor with metadata (conjugated or negated)"));
        }
        let &Draft::Storage(storage) = self.get(storage) else {
            let kind = self.get(storage).kind();
            return Err(self.wrong(format!("a tensor made of a {kind} instead of a storage")));
        };
        let (offset, size, stride) = (self.int(offset)?, self.ints(size)?, self.ints(stride)?);
        self.pay(size.len() + stride.len())?;
        let elements = self.storages[storage].elements;
        let layout = Layout::new(offset, &size, &stride, elements).map_err(|r| self.wrong(r))?;
        self.make(Draft::Tensor(Box::new(TensorDraft { storage, layout })))
    }

    /// Builds a tensor with attributes of its own by calling `function` with `arguments`.
    fn typed_tensor(&mut self, function: Id, class: Id, arguments: Id) -> Result<(), Problem> {
        match (self.get(function), self.get(class)) {
            (
                &Draft::Global(function @ (Global::RebuildTensor | Global::RebuildTypedTensor)),
                Draft::Global(Global::TensorClass),
            ) => self.call(function, arguments),
            (&Draft::Global(Global::Unread(kind)), Draft::Global(Global::TensorClass)) => {
                self.make(Draft::Other(kind))
            }
            (function, class) => {
                let (function, class) = (function.kind(), class.kind());
                Err(self.wrong(format!("a tensor of a {class} made by a {function}")))
            }
        }
    }

    /// Replaces a device by its name, such as "cpu" or "cuda:0".
    fn device(&mut self, arguments: &[Id]) -> Result<(), Problem> {
        let name = match *arguments {
            [kind] => self.str(kind)?.to_owned(),
            [kind, index] => format!("{}:{}", self.str(kind)?, self.int(index)?),
            _ => return Err(self.wrong("a device of no or too many parts")),
        };
        self.pay(name.len())?;
        self.make(Draft::Str(name.into()))
    }

    fn dict_of_pairs(&mut self, pairs: Id) -> Result<(), Problem> {
        let mut entries = Vec::new();
        for &pair in self.items(pairs)? {
            let &[key, value] = self.items(pair)? else {
                return Err(self.wrong("an OrderedDict of items that are not pairs"));
            };
            entries.push((key, value));
        }
        self.pay(entries.len())?;
        self.make(Draft::Dict(entries))
    }

    fn encode(&mut self, text: Id, encoding: Id) -> Result<(), Problem> {
        if !matches!(self.str(encoding)?, "latin1" | "latin-1") {
            let encoding = shown(self.str(encoding)?);
            return Err(self.wrong(format!("encoding \"{encoding}\" is not latin1")));
        }
        self.pay(self.str(text)?.len())?;
        let bytes: Option<Vec<u8>> =
            self.str(text)?.chars().map(|letter| u8::try_from(letter).ok()).collect();
        match bytes {
            Some(bytes) => self.make(Draft::Bytes(Box::new(bytes.into()))),
            None => Err(self.wrong("bytes written as letters that are not Latin-1")),
        }
    }

    /// Returns the items of a list or tuple.
    pub(super) fn items(&self, id: Id) -> Result<&[Id], Problem> {
        match self.get(id) {
            Draft::List(items) => Ok(items),
            Draft::Tuple(items) => Ok(items),
            other => Err(self.wrong(format!("wants a list or tuple, finds a {}", other.kind()))),
        }
    }

    pub(super) fn int(&self, id: Id) -> Result<i128, Problem> {
        match self.get(id) {
            &Draft::Int(value) => Ok(value),
            other => Err(self.wrong(format!("wants an int, finds a {}", other.kind()))),
        }
    }

    pub(super) fn ints(&self, id: Id) -> Result<Vec<i128>, Problem> {
        self.items(id)?.iter().map(|&item| self.int(item)).collect()
    }

    pub(super) fn bytes(&self, id: Id) -> Result<Bytes, Problem> {
        match self.get(id) {
            Draft::Bytes(bytes) => Ok(Bytes::clone(bytes)),
            other => Err(self.wrong(format!("wants bytes, finds a {}", other.kind()))),
        }
    }
}

/// Returns a storage's number of elements if its length in bytes is addressable.
fn elements_of(elements: i128, dtype: Dtype) -> Option<usize> {
    let elements = usize::try_from(elements).ok()?;
    let bytes = elements.checked_mul(dtype.size())?;
    isize::try_from(bytes).ok().map(|_| elements)
}
