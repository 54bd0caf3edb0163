//! Arrays, scalars and element types of numpy.

use half::f16;

use super::machine::Machine;
use super::reader::integer;
use super::values::ArrayType;
use super::{Id, Node, Storage};
use crate::dtype::Dtype;
use crate::error::{Problem, shown};
use crate::tensor::contiguous_strides;

impl Machine<'_> {
    /// Handles the state `(version, shape, dtype, column order, bytes)`.
    pub(super) fn build_array(&mut self, target: Id, state: Id) -> Result<(), Problem> {
        let &[_, shape, array_type, column_order, bytes] = self.items(state)? else {
            return Err(self.invalid("an array's state of unknown shape"));
        };
        let &Node::Bool(column_order) = self.node(column_order) else {
            return Err(self.invalid("an array's order that is not a bool"));
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
    ) -> Result<Node, Problem> {
        let ArrayType::Number(dtype) = self.little_endian(array_type)? else {
            return Ok(Node::Other("array of another type"));
        };
        let (shape, bytes) = (self.ints(shape)?, self.bytes(bytes)?);
        self.charge(2 * shape.len() + bytes.len())?;
        let (strides, length) = (contiguous_strides(&shape, column_order), bytes.len());
        let elements = length / dtype.size();
        let storage = Storage { dtype, elements, key: Box::default(), bytes: Some(bytes) };
        let storage = self.add_storage(storage);
        let layout = self.layout(storage, 0, &shape, &strides)?;
        if layout.len() * dtype.size() != length {
            return Err(self.invalid(format_args!(
                "an array of shape {shape:?} and type {dtype} in {length} bytes"
            )));
        }
        Ok(self.add_tensor(storage, layout))
    }

    /// Handles the first argument of `numpy.dtype(code, align, copy)`.
    pub(super) fn array_type(&self, code: Id) -> Result<Node, Problem> {
        let code = self.str(code)?;
        Ok(Node::ArrayType(match Dtype::of_numpy_code(code) {
            Some(dtype) => ArrayType::Number(dtype),
            None if code.starts_with('U') => ArrayType::Text,
            None => ArrayType::Other,
        }))
    }

    /// Handles the state `(version, byte order, ...)`.
    ///
    /// The rest is for types with fields, which are refused earlier.
    pub(super) fn build_array_type(&mut self, target: Id, state: Id) -> Result<(), Problem> {
        let &[_, order, ..] = self.items(state)? else {
            return Err(self.invalid("a numpy type's state of unknown shape"));
        };
        match self.str(order)? {
            "<" | "|" | "=" => {}
            ">" => {
                let is_number = matches!(self.node(target), Node::ArrayType(ArrayType::Number(_)));
                let array_type =
                    if is_number { ArrayType::BigEndianNumber } else { ArrayType::Other };
                self.set(target, Node::ArrayType(array_type));
            }
            other => {
                let other = shown(other);
                return Err(self.invalid(format_args!("byte order \"{other}\" is not known")));
            }
        }
        Ok(())
    }

    /// Replaces a numpy scalar by the number or text that it holds.
    pub(super) fn scalar(&mut self, array_type: Id, bytes: Id) -> Result<Node, Problem> {
        let array_type = self.little_endian(array_type)?;
        if let ArrayType::Other = array_type {
            return Ok(Node::Other("numpy value of another type"));
        }
        let bytes = self.bytes(bytes)?;
        self.charge(bytes.len())?;
        let value = match array_type {
            ArrayType::Number(dtype) => number(dtype, &bytes),
            _ => text(&bytes).map(|text| Node::Str(text.into())),
        };
        value.ok_or_else(|| {
            self.invalid(format_args!("a numpy value ({array_type:?}) in {} bytes", bytes.len()))
        })
    }

    fn little_endian(&self, id: Id) -> Result<ArrayType, Problem> {
        match self.node(id) {
            Node::ArrayType(ArrayType::BigEndianNumber) => {
                Err(self
                    .invalid("big-endian numbers are not read; convert them with .astype(\"<f4\")"))
            }
            &Node::ArrayType(array_type) => Ok(array_type),
            other => {
                Err(self.invalid(format_args!("wants a numpy type, finds a {}", other.kind())))
            }
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

fn number(dtype: Dtype, bytes: &[u8]) -> Option<Node> {
    if bytes.len() != dtype.size() {
        return None;
    }
    Some(match dtype {
        Dtype::F16 => Node::Float(f16::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::F32 => Node::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::F64 => Node::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => Node::Int(integer(bytes).ok()?),
        Dtype::U8 => Node::Int(bytes[0].into()),
        Dtype::Bool if bytes[0] < 2 => Node::Bool(bytes[0] == 1),
        // numpy has no bf16.
        Dtype::Bool | Dtype::BF16 => return None,
    })
}
