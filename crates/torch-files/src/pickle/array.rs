//! Arrays, scalars and element types of numpy.

use half::f16;

use super::machine::Machine;
use super::{Draft, Global, Id, Place, Storage, TensorDraft};
use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::tensor::Layout;

/// Element type of a `numpy.dtype`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ArrayType {
    element: Element,
    /// Byte order. Big-endian values are refused on use.
    big_endian: bool,
}

/// Kind of a numpy type's elements.
#[derive(Debug, Clone, Copy)]
enum Element {
    Number(Dtype),
    /// Letters of four bytes each, padded with zeros. Only scalars are read.
    Text,
    /// Objects, dates and other types that are not read.
    Other,
}

impl Element {
    fn of_code(code: &str) -> Self {
        match Dtype::of_numpy_code(code) {
            Some(dtype) => Self::Number(dtype),
            None if code.starts_with('U') => Self::Text,
            None => Self::Other,
        }
    }
}

impl Machine<'_> {
    /// Handles `(ndarray, (0,), b"b")`: an empty array, which BUILD fills.
    pub(super) fn unbuilt_array(&mut self, arguments: &[Id]) -> Result<(), Problem> {
        match arguments.first().map(|&class| self.get(class)) {
            Some(Draft::Global(Global::Array)) => self.make(Draft::ArrayToBuild),
            _ => Err(self.wrong("an array of a class other than numpy.ndarray")),
        }
    }

    /// Handles the state `(version, shape, dtype, column order, bytes)`.
    pub(super) fn build_array(&mut self, target: Id, state: Id) -> Result<(), Problem> {
        let &[_, shape, array_type, column_order, bytes] = self.items(state)? else {
            return Err(self.wrong("an array's state of unknown shape"));
        };
        let &Draft::Bool(column_order) = self.get(column_order) else {
            return Err(self.wrong("an array's order that is not a bool"));
        };
        let array = self.array(array_type, shape, column_order, bytes)?;
        self.set(target, array);
        Ok(())
    }

    /// Builds an array of exactly the elements in `bytes`.
    ///
    /// In column order the first dimension varies fastest, otherwise the last.
    pub(super) fn array(
        &mut self,
        array_type: Id,
        shape: Id,
        column_order: bool,
        bytes: Id,
    ) -> Result<Draft, Problem> {
        let Element::Number(dtype) = self.little_endian(array_type)? else {
            return Ok(Draft::Other("array of another type"));
        };
        let (shape, bytes) = (self.ints(shape)?, self.bytes(bytes)?);
        self.pay(2 * shape.len() + bytes.len())?;
        let mut strides = vec![0; shape.len()];
        let mut volume: Option<i128> = Some(1);
        for axis in 0..shape.len() {
            let axis = if column_order { axis } else { shape.len() - 1 - axis };
            strides[axis] = volume.unwrap_or(i128::MAX);
            volume = volume.and_then(|volume| volume.checked_mul(shape[axis]));
        }
        let elements = bytes.len() / dtype.size();
        let layout = Layout::new(0, &shape, &strides, elements).map_err(|r| self.wrong(r))?;
        if volume.and_then(|n| n.checked_mul(dtype.size() as i128)) != Some(bytes.len() as i128) {
            return Err(self.wrong(format!(
                "an array of shape {shape:?} and type {dtype} in {} bytes",
                bytes.len()
            )));
        }
        self.storages.push(Storage { dtype, elements, place: Place::Here(bytes) });
        let storage = self.storages.len() - 1;
        Ok(Draft::Tensor(Box::new(TensorDraft { storage, layout })))
    }

    /// Handles `(code, align, copy)`.
    pub(super) fn array_type(&mut self, arguments: &[Id]) -> Result<(), Problem> {
        let Some(&code) = arguments.first() else {
            return Err(self.wrong("a numpy type without a name"));
        };
        let code = self.str(code)?;
        let element = Element::of_code(code);
        self.make(Draft::ArrayType(ArrayType { element, big_endian: false }))
    }

    /// Handles the state `(version, byte order, ...)`.
    ///
    /// The rest is for types with fields, which are refused earlier.
    pub(super) fn build_array_type(&mut self, target: Id, state: Id) -> Result<(), Problem> {
        let &[_, order, ..] = self.items(state)? else {
            return Err(self.wrong("a numpy type's state of unknown shape"));
        };
        let big_endian = match self.str(order)? {
            "<" | "|" | "=" => false,
            ">" => true,
            other => {
                let other = shown(other);
                return Err(self.wrong(format!("byte order \"{other}\" is not known")));
            }
        };
        if let &Draft::ArrayType(ArrayType { element, .. }) = self.get(target) {
            self.set(target, Draft::ArrayType(ArrayType { element, big_endian }));
        }
        Ok(())
    }

    /// Replaces a numpy scalar by the number or text that it holds.
    pub(super) fn scalar(&mut self, array_type: Id, bytes: Id) -> Result<(), Problem> {
        let dtype = match self.little_endian(array_type)? {
            Element::Number(dtype) => dtype,
            Element::Text => {
                let bytes = self.bytes(bytes)?;
                self.pay(bytes.len())?;
                let Some(text) = text(&bytes) else {
                    return Err(self.wrong("a numpy text that is not Unicode"));
                };
                return self.make(Draft::Str(text.into()));
            }
            Element::Other => return self.make(Draft::Other("numpy value of another type")),
        };
        let bytes = self.bytes(bytes)?;
        let Some(value) = number(dtype, &bytes) else {
            let length = bytes.len();
            return Err(self.wrong(format!("a numpy number of type {dtype} in {length} bytes")));
        };
        self.make(value)
    }

    fn little_endian(&self, array_type: Id) -> Result<Element, Problem> {
        match self.get(array_type) {
            Draft::ArrayType(ArrayType { big_endian: true, element }) => match element {
                Element::Number(_) => Err(self
                    .wrong("big-endian numbers are not read; convert them with .astype(\"<f4\")")),
                _ => Ok(Element::Other),
            },
            &Draft::ArrayType(ArrayType { element, .. }) => Ok(element),
            other => Err(self.wrong(format!("wants a numpy type, finds a {}", other.kind()))),
        }
    }
}

/// Decodes a numpy text: letters of four bytes, without the zeros at the end.
fn text(bytes: &[u8]) -> Option<String> {
    let (letters, rest) = bytes.as_chunks();
    let letters: Option<String> =
        letters.iter().map(|&letter| char::from_u32(u32::from_le_bytes(letter))).collect();
    letters.filter(|_| rest.is_empty()).map(|text| text.trim_end_matches('\0').to_owned())
}

fn number(dtype: Dtype, bytes: &[u8]) -> Option<Draft> {
    Some(match dtype {
        Dtype::F16 => Draft::Float(f16::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::F32 => Draft::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::F64 => Draft::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Dtype::I8 => Draft::Int(i8::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::I16 => Draft::Int(i16::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::I32 => Draft::Int(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::I64 => Draft::Int(i64::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::U8 => Draft::Int(u8::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::Bool => match bytes {
            [0] => Draft::Bool(false),
            [1] => Draft::Bool(true),
            _ => return None,
        },
        // numpy has no such type.
        Dtype::BF16 => return None,
    })
}
