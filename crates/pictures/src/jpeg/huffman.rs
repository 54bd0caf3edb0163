//! Huffman-coded coefficients, from the compressed data of a JPEG.
//!
//! A symbol says how many zero coefficients to skip and how many bits the next coefficient has,
//! which follow the symbol's code. The compressed data are first freed of stuffed bytes, so that
//! eight bytes can be taken at a time; that no more bits were used than there are is checked at the
//! end of each stretch of data.

use memchr::memchr;

use super::idct::{Blocks, LANES, NATURAL_ORDER};

/// Codes of up to this many bits are looked up at once.
const LOOKUP_BITS: u32 = 9;

/// [`Symbol::skip`] of the symbol that ends a block.
const END_OF_BLOCK: u8 = 64;

/// What follows the data, so that eight bytes can always be read where bits are left.
const PADDING: [u8; 16] = [0xff; 16];

/// A symbol: how the coefficient that it announces is read, and where it belongs.
#[derive(Debug, Clone, Copy, Default)]
struct Symbol {
    /// Bits of the code and the coefficient; 0 stands for no symbol.
    length: u8,
    /// Bits of the code.
    code: u8,
    /// 63 less the bits of the coefficient.
    shift: u8,
    /// The distance from the coefficient before, or [`END_OF_BLOCK`].
    skip: u8,
    /// Added to a negative coefficient.
    offset: i32,
}

impl Symbol {
    /// A coefficient of `size` bits after a code of `code` bits. One whose first bit is 0 is negative
    /// and stored as itself plus 2^size - 1.
    fn new(code: u8, skip: u8, size: u8) -> Self {
        Self { length: code + size, code, shift: 63 - size, skip, offset: 1 - (1 << size) }
    }
}

/// A Huffman code.
#[derive(Debug)]
pub(super) struct Table {
    /// By the next [`LOOKUP_BITS`] bits.
    lookup: [Symbol; 1 << LOOKUP_BITS],
    /// The symbols in the order of their codes.
    symbols: Vec<Symbol>,
    /// For each length of a code: one more than the largest such code, and how many fewer symbols
    /// there are before the code's than its number.
    lengths: [(u32, u32); 17],
}

impl Table {
    /// The code of a block's first coefficient; `counts` has the codes of each length from 1.
    pub(super) fn dc(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        Self::new(counts, symbols, |symbol| (symbol < 16).then_some((0, symbol)))
    }

    /// The code of a block's other coefficients.
    pub(super) fn ac(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        Self::new(counts, symbols, |symbol| match (symbol >> 4, symbol & 15) {
            (0..15, 0) => Some((END_OF_BLOCK, 0)),
            (run, size) => Some((run + 1, size)),
        })
    }

    /// `meaning` gives skip and size of a symbol. `None` if there are more codes than bits allow.
    fn new(
        counts: &[u8; 16],
        symbols: &[u8],
        meaning: impl Fn(u8) -> Option<(u8, u8)>,
    ) -> Option<Self> {
        let mut table = Self {
            lookup: [Symbol::default(); 1 << LOOKUP_BITS],
            symbols: Vec::with_capacity(symbols.len()),
            lengths: [(0, 0); 17],
        };
        let mut code = 0_u32;
        let mut symbols = symbols.iter();
        for (length, &count) in (1_u8..).zip(counts) {
            let before = table.symbols.len() as u32;
            table.lengths[usize::from(length)] =
                (code + u32::from(count), code.wrapping_sub(before));
            for &symbol in symbols.by_ref().take(count.into()) {
                let (skip, size) = meaning(symbol)?;
                let symbol = Symbol::new(length, skip, size);
                table.symbols.push(symbol);
                if let Some(free) = LOOKUP_BITS.checked_sub(length.into()) {
                    let from = (code << free) as usize;
                    table.lookup.get_mut(from..from + (1 << free))?.fill(symbol);
                }
                code += 1;
            }
            // No code is all ones.
            if code >= 1 << length {
                return None;
            }
            code <<= 1;
        }
        Some(table)
    }

    /// The symbol at the head of `bits` where its code is longer than [`LOOKUP_BITS`].
    #[cold]
    fn search(&self, bits: u64) -> Option<Symbol> {
        (LOOKUP_BITS + 1..=16).find_map(|length| {
            let code = (bits >> (64 - length)) as u32;
            let (end, before) = self.lengths[length as usize];
            let symbol = *self.symbols.get(code.wrapping_sub(before) as usize)?;
            (code < end && u32::from(symbol.code) == length).then_some(symbol)
        })
    }
}

/// A place in the data: up to 64 bits of it, the next one highest.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    buffer: u64,
    /// How many bits of the buffer count.
    count: u32,
    /// The first byte that none of these is from.
    at: usize,
}

impl Bits {
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn refill(&mut self, data: &[u8]) -> Option<()> {
        let word = u64::from_be_bytes(*data.get(self.at..)?.first_chunk()?);
        // The bits beyond `count` are those that the same bytes give again next time.
        self.buffer |= word >> self.count;
        self.at += (63 - self.count as usize) / 8;
        // 56 or more: whole bytes were added to what was there.
        self.count |= 0b11_1000;
        Some(())
    }

    /// The next coefficient and its distance from the one before. Needs 24 bits: a code that is looked
    /// up, and the largest coefficient. After [`Self::refill`] there are enough for two.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn coefficient(&mut self, data: &[u8], table: &Table) -> Option<(u8, i16)> {
        let mut symbol = &table.lookup[(self.buffer >> (64 - LOOKUP_BITS)) as usize];
        let found;
        if symbol.length == 0 {
            self.refill(data)?;
            found = table.search(self.buffer)?;
            symbol = &found;
        }
        let value = self.buffer << symbol.code;
        self.buffer <<= symbol.length;
        self.count -= u32::from(symbol.length);
        let if_negative = !((value as i64) >> 63) as i32;
        let magnitude = (value >> 1 >> symbol.shift) as i32;
        Some((symbol.skip, (magnitude + (if_negative & symbol.offset)) as i16))
    }
}

/// Compressed data, one stretch between restart markers at a time.
pub(super) struct Data<'b> {
    /// The stretch without its stuffed bytes, and [`PADDING`].
    stretch: Vec<u8>,
    bits: Bits,
    /// The marker after the stretch.
    marker: u8,
    rest: &'b [u8],
}

impl<'b> Data<'b> {
    /// `None` if the data are not ended by a marker.
    pub(super) fn new(rest: &'b [u8]) -> Option<Self> {
        let stretch = Vec::with_capacity(rest.len() + PADDING.len());
        let mut data = Self { stretch, bits: Bits::default(), marker: 0, rest };
        data.next_stretch()?;
        Some(data)
    }

    fn next_stretch(&mut self) -> Option<()> {
        self.stretch.clear();
        loop {
            let (plain, rest) = self.rest.split_at_checked(memchr(0xff, self.rest)?)?;
            self.stretch.extend_from_slice(plain);
            let (&after, rest) = rest.get(1..)?.split_first()?;
            self.rest = rest;
            if after != 0 {
                self.marker = after;
                break;
            }
            self.stretch.push(0xff);
        }
        self.stretch.extend_from_slice(&PADDING);
        self.bits = Bits::default();
        Some(())
    }

    /// Goes on after restart marker `number`, counted from 0 and modulo 8.
    pub(super) fn restart(&mut self, number: usize) -> Option<()> {
        (self.ended_with(0xd0 + (number % 8) as u8)).then_some(())?;
        self.next_stretch()
    }

    /// Whether all bits were used, but for the padding of the last byte, and `marker` is next.
    pub(super) fn ended_with(&self, marker: u8) -> bool {
        let used = self.bits.at * 8 - self.bits.count as usize;
        let there = (self.stretch.len() - PADDING.len()) * 8;
        self.marker == marker && (there < used + 8 && used <= there)
    }

    /// Reads a block into `lane` of `blocks`, where all coefficients are 0. `previous` is the first
    /// coefficient of the component's block before. `None` if the data are damaged or at an end.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    pub(super) fn block(
        &mut self,
        (dc, ac): (&Table, &Table),
        previous: &mut i16,
        blocks: &mut Blocks,
        lane: usize,
    ) -> Option<()> {
        let lane = lane % LANES;
        let mut bits = self.bits;
        bits.refill(&self.stretch)?;
        *previous = previous.wrapping_add(bits.coefficient(&self.stretch, dc)?.1);
        blocks[0][lane] = *previous;
        let mut at = 0;
        'block: loop {
            bits.refill(&self.stretch)?;
            for _ in 0..2 {
                let (skip, value) = bits.coefficient(&self.stretch, ac)?;
                at += usize::from(skip);
                blocks[usize::from(NATURAL_ORDER[at % 128]) % 64][lane] = value;
                if at >= 63 {
                    if at > 63 && skip != END_OF_BLOCK {
                        return None;
                    }
                    break 'block;
                }
            }
        }
        self.bits = bits;
        Some(())
    }
}
