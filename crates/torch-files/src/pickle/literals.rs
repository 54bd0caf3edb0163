//! Numbers and texts, as decimal lines (protocol 0) and with a length (later protocols).

use super::Draft;
use super::machine::{FALSE, Machine, TRUE};
use super::opcodes as op;
use super::reader::{has_lone_surrogates, integer, raw_unicode_escape};
use crate::error::{Problem, shown};

impl Machine<'_> {
    pub(super) fn binary_integer(&mut self, opcode: u8) -> Result<(), Problem> {
        let value = match opcode {
            op::BININT => self.reader.i32()?.into(),
            op::BININT1 => self.reader.u8()?.into(),
            op::BININT2 => self.reader.u16()?.into(),
            _ => {
                let length = self.length(opcode)?;
                integer(self.reader.take(length)?).map_err(|reason| self.wrong(reason))?
            }
        };
        self.make(Draft::Int(value))
    }

    /// Reads a decimal number of protocol 0. INT also writes booleans, as 00 and 01.
    pub(super) fn number_in_words(&mut self, opcode: u8) -> Result<(), Problem> {
        let line = self.reader.line()?;
        let words = str::from_utf8(line).unwrap_or_default();
        let value = match (opcode, words) {
            (op::INT, "00") => return self.push(FALSE),
            (op::INT, "01") => return self.push(TRUE),
            (op::FLOAT, _) => words.parse().ok().map(Draft::Float),
            _ => words.strip_suffix('L').unwrap_or(words).parse().ok().map(Draft::Int),
        };
        let Some(value) = value else {
            let line = shown(&String::from_utf8_lossy(line));
            return Err(self.wrong(format!("\"{line}\" is not a number of at most 128 bits")));
        };
        self.make(value)
    }

    pub(super) fn text(&mut self, opcode: u8) -> Result<(), Problem> {
        let text = if opcode == op::UNICODE {
            raw_unicode_escape(self.reader.line()?)
        } else {
            let length = self.length(opcode)?;
            let bytes = self.reader.take(length)?;
            if has_lone_surrogates(bytes) {
                return self.make(Draft::Other("text with a lone surrogate"));
            }
            str::from_utf8(bytes).ok().map(str::to_owned)
        };
        match text {
            Some(text) => self.make(Draft::Str(text.into())),
            None => Err(self.wrong("text that is not valid Unicode")),
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
                let length = self.reader.i32()?;
                length.try_into().map_err(|_| self.wrong(format!("a length of {length}")))?
            }
            _ => self.reader.u64()?,
        })
    }
}
