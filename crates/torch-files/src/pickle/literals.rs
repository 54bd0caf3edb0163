//! Numbers and texts, as decimal lines (protocol 0) and with a length (later protocols).

use super::Node;
use super::machine::Machine;
use super::opcodes as op;
use super::reader::{has_lone_surrogates, integer, raw_unicode_escape};
use crate::error::{Problem, shown};

impl Machine<'_> {
    pub(super) fn binary_integer(&mut self, opcode: u8) -> Result<Node, Problem> {
        Ok(Node::Int(match opcode {
            op::BININT1 => self.reader.u8()?.into(),
            op::BININT2 => self.reader.array().map(u16::from_le_bytes)?.into(),
            _ => {
                let length = if opcode == op::BININT { 4 } else { self.length(opcode)? };
                integer(self.reader.take(length)?).map_err(|reason| self.invalid(reason))?
            }
        }))
    }

    /// Reads a decimal number of protocol 0. INT also writes booleans, as 00 and 01.
    pub(super) fn decimal_number(&mut self, opcode: u8) -> Result<Node, Problem> {
        let line = self.reader.line()?;
        let digits = str::from_utf8(line).unwrap_or_default();
        let number = match (opcode, digits) {
            (op::INT, "00") => Some(Node::Bool(false)),
            (op::INT, "01") => Some(Node::Bool(true)),
            (op::FLOAT, _) => digits.parse().ok().map(Node::Float),
            _ => digits.strip_suffix('L').unwrap_or(digits).parse().ok().map(Node::Int),
        };
        number.ok_or_else(|| {
            let line = shown(&String::from_utf8_lossy(line));
            self.invalid(format_args!("\"{line}\" is not a number of at most 128 bits"))
        })
    }

    pub(super) fn text(&mut self, opcode: u8) -> Result<Node, Problem> {
        let text = if opcode == op::UNICODE {
            raw_unicode_escape(self.reader.line()?)
        } else {
            let length = self.length(opcode)?;
            let bytes = self.reader.take(length)?;
            if has_lone_surrogates(bytes) {
                return Ok(Node::Other("text with a lone surrogate"));
            }
            str::from_utf8(bytes).ok().map(str::to_owned)
        };
        match text {
            Some(text) => Ok(Node::Str(text.into())),
            None => Err(self.invalid("text that is not valid Unicode")),
        }
    }

    /// Reads the length that follows an opcode with counted bytes.
    pub(super) fn length(&mut self, opcode: u8) -> Result<u64, Problem> {
        Ok(match opcode {
            op::SHORT_BINUNICODE | op::SHORT_BINBYTES | op::SHORT_BINSTRING | op::LONG1 => {
                self.reader.u8()?.into()
            }
            op::BINUNICODE | op::BINBYTES => self.reader.u32()?.into(),
            op::BINSTRING | op::LONG4 => {
                let length = self.reader.array().map(i32::from_le_bytes)?;
                length.try_into().map_err(|_| self.invalid(format_args!("a length of {length}")))?
            }
            _ => self.reader.u64()?,
        })
    }
}
