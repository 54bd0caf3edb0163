//! Stack machine that interprets the opcodes.

use std::collections::HashMap;

use bytes::Bytes;

use super::globals::Global;
use super::opcodes as op;
use super::reader::Reader;
use super::stack::at_most;
use super::{Draft, Id, Pickle, Source, Storage};
use crate::error::{Problem, shown};

/// Cost that a pickle may incur per byte of its length.
///
/// A new value, a copied reference, and a byte copied or read again cost one each. All files that
/// Python, numpy and PyTorch wrote for the tests stay below 1.
const COST_PER_BYTE: usize = 4;
const PROTOCOLS: u8 = 5;

const NONE: Id = 0;
pub(super) const FALSE: Id = 1;
pub(super) const TRUE: Id = 2;
const EMPTY_TUPLE: Id = 3;

pub(super) struct Machine<'a> {
    pub(super) reader: Reader<'a>,
    pub(super) source: Source,
    /// Position of the current opcode.
    pub(super) at: usize,
    pub(super) values: Vec<Draft>,
    pub(super) stack: Vec<Id>,
    /// Length of the stack at each MARK.
    pub(super) marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    pub(super) storages: Vec<Storage>,
    pub(super) storage_of_key: HashMap<Box<str>, usize>,
    pub(super) left_to_pay: usize,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a Bytes, at: usize, source: Source) -> Self {
        let values =
            vec![Draft::None, Draft::Bool(false), Draft::Bool(true), Draft::Tuple(Box::default())];
        Self {
            reader: Reader::new(input, at),
            source,
            at,
            values,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            storages: Vec::new(),
            storage_of_key: HashMap::new(),
            left_to_pay: (input.len() - at).saturating_mul(COST_PER_BYTE),
        }
    }

    pub(super) fn run(mut self) -> Result<Pickle, Problem> {
        loop {
            self.at = self.reader.at();
            let opcode = self.reader.u8()?;
            if opcode == op::STOP {
                break;
            }
            self.step(opcode)?;
        }
        let root = self.pop()?;
        if !self.stack.is_empty() || !self.marks.is_empty() {
            return Err(self.wrong("stops with values left over"));
        }
        let Self { values, storages, .. } = self;
        Ok(Pickle { values, root, storages, end: self.reader.at() })
    }

    fn step(&mut self, opcode: u8) -> Result<(), Problem> {
        match opcode {
            op::PROTO => self.protocol(),
            // Frames only help reading ahead.
            op::FRAME => {
                let length = self.reader.u64()?;
                self.reader.check(length).map(drop)
            }

            op::NONE => self.push(NONE),
            op::NEWFALSE => self.push(FALSE),
            op::NEWTRUE => self.push(TRUE),
            op::EMPTY_TUPLE => self.push(EMPTY_TUPLE),
            op::BININT | op::BININT1 | op::BININT2 | op::LONG1 | op::LONG4 => {
                self.binary_integer(opcode)
            }
            op::BINFLOAT => {
                let value = self.reader.f64_big_endian()?;
                self.make(Draft::Float(value))
            }
            op::INT | op::LONG | op::FLOAT => self.number_in_words(opcode),
            op::UNICODE
            | op::BINUNICODE
            | op::SHORT_BINUNICODE
            | op::BINUNICODE8
            | op::BINSTRING
            | op::SHORT_BINSTRING => self.text(opcode),
            op::BINBYTES | op::SHORT_BINBYTES | op::BINBYTES8 | op::BYTEARRAY8 => {
                let length = self.length(opcode)?;
                let bytes = self.reader.share(length)?;
                self.make(Draft::Bytes(bytes.into()))
            }

            op::EMPTY_LIST => self.make(Draft::List(Vec::new())),
            op::EMPTY_SET => self.make(Draft::Set(Vec::new())),
            op::EMPTY_DICT => self.make(Draft::Dict(Vec::new())),
            op::LIST => {
                let items = self.pop_to_mark()?;
                self.make(Draft::List(items))
            }
            op::FROZENSET => {
                let items = self.pop_to_mark()?;
                self.make(Draft::Set(items))
            }
            op::DICT => {
                let items = self.pop_to_mark()?;
                let entries = self.pairs(&items)?;
                self.make(Draft::Dict(entries))
            }
            op::TUPLE => {
                let items = self.pop_to_mark()?;
                self.make(Draft::Tuple(items.into()))
            }
            op::TUPLE1 | op::TUPLE2 | op::TUPLE3 => {
                let items = self.pop_many(usize::from(opcode - op::TUPLE1) + 1)?;
                self.make(Draft::Tuple(items.into()))
            }
            op::APPEND | op::APPENDS | op::ADDITEMS | op::SETITEM | op::SETITEMS => {
                self.fill_container(opcode)
            }

            op::GET | op::BINGET | op::LONG_BINGET => self.recall(opcode),
            op::PUT | op::BINPUT | op::LONG_BINPUT | op::MEMOIZE => self.remember(opcode),

            op::MARK => {
                self.marks.push(self.stack.len());
                at_most(self.marks.len(), "marks")
            }
            op::POP if self.marks.last() == Some(&self.stack.len()) => {
                self.marks.pop();
                Ok(())
            }
            op::POP => self.pop().map(drop),
            op::POP_MARK => self.pop_to_mark().map(drop),
            op::DUP => self.top().and_then(|id| self.push(id)),

            op::GLOBAL => {
                let module = String::from_utf8_lossy(self.reader.line()?);
                let name = String::from_utf8_lossy(self.reader.line()?);
                let global = self.named(&module, &name)?;
                self.make(Draft::Global(global))
            }
            op::STACK_GLOBAL => {
                let [name, module] = [self.pop()?, self.pop()?];
                let global = self.named(self.str(module)?, self.str(name)?)?;
                self.make(Draft::Global(global))
            }
            op::NEWOBJ => self.new_object(),
            op::BINPERSID => self.persistent_storage(),
            op::REDUCE => self.reduce(),
            op::BUILD => self.build(),
            _ => {
                let name = op::name_of(opcode).map_or(format!("0x{opcode:02x}"), str::to_owned);
                Err(Problem::Opcode { name, at: self.at as u64 })
            }
        }
    }

    fn new_object(&mut self) -> Result<(), Problem> {
        let [arguments, class] = [self.pop()?, self.pop()?];
        let reason = match *self.get(class) {
            Draft::Global(class @ (Global::TensorClass | Global::Unread(_))) => {
                return self.call(class, arguments);
            }
            Draft::Global(class) => format!("NEWOBJ would make a bare {class:?}"),
            ref other => format!("NEWOBJ would make an object of a {}", other.kind()),
        };
        Err(self.wrong(reason))
    }

    fn protocol(&mut self) -> Result<(), Problem> {
        match self.reader.u8()? {
            0..=PROTOCOLS => Ok(()),
            other => Err(self.wrong(format!("pickle protocol {other} is not known"))),
        }
    }

    fn recall(&mut self, opcode: u8) -> Result<(), Problem> {
        let place = self.memo_place(opcode)?;
        match self.memo.get(&place) {
            Some(&id) => self.push(id),
            None => Err(self.wrong(format!("takes memo {place}, which was never put"))),
        }
    }

    fn remember(&mut self, opcode: u8) -> Result<(), Problem> {
        let place = self.memo_place(opcode)?;
        let id = self.top()?;
        self.memo.insert(place, id);
        at_most(self.memo.len(), "remembers")
    }

    fn memo_place(&mut self, opcode: u8) -> Result<u32, Problem> {
        match opcode {
            op::BINGET | op::BINPUT => Ok(self.reader.u8()?.into()),
            op::LONG_BINGET | op::LONG_BINPUT => self.reader.u32(),
            op::MEMOIZE => Ok(self.memo.len() as u32),
            _ => {
                let line = String::from_utf8_lossy(self.reader.line()?);
                line.parse().map_err(|_| {
                    self.wrong(format!("\"{}\" is not a place in the memo", shown(&line)))
                })
            }
        }
    }

    fn fill_container(&mut self, opcode: u8) -> Result<(), Problem> {
        let mut items = match opcode {
            op::APPEND => self.pop_many(1)?,
            op::SETITEM => self.pop_many(2)?,
            _ => self.pop_to_mark()?,
        };
        self.pay(items.len())?;
        let container = self.top()? as usize;
        let kind = self.values[container].kind();
        match (opcode, &mut self.values[container]) {
            (op::APPEND | op::APPENDS, Draft::List(list)) => list.append(&mut items),
            (op::ADDITEMS, Draft::Set(set)) => set.append(&mut items),
            (op::SETITEM | op::SETITEMS, Draft::Dict(_)) => {
                let mut new = self.pairs(&items)?;
                if let Draft::Dict(dict) = &mut self.values[container] {
                    dict.append(&mut new);
                }
            }
            _ => return Err(self.wrong(format!("cannot add items to a {kind}"))),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, Problem> {
        let (pairs, odd) = items.as_chunks();
        if !odd.is_empty() {
            return Err(self.wrong("a dict's key without a value"));
        }
        Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
    }

    fn named(&self, module: &str, name: &str) -> Result<Global, Problem> {
        Global::of_name(module, name).ok_or_else(|| Problem::ForbiddenName {
            name: shown(&format!("{module:.80}.{name:.80}")),
            at: self.at as u64,
        })
    }

    pub(super) fn wrong(&self, reason: impl Into<String>) -> Problem {
        Problem::Pickle { at: self.at as u64, reason: reason.into() }
    }
}
