//! Huffman decoder of a JPEG's coefficients.
//!
//! A symbol tells how many zero coefficients to skip and how many bits the next coefficient has;
//! these bits follow the symbol's code. Stuffed bytes are removed from a segment of data first, so
//! that the reader can take eight bytes at a time. At the end of each segment it checks that it
//! used all bits and no more.

use memchr::memchr;

use super::idct::{Blocks, LANES, NATURAL_ORDER};

/// Length of the longest codes in the lookup table, in bits.
const LOOKUP_BITS: u32 = 9;

/// Value of [`Symbol::skip`] that ends a block.
const END_OF_BLOCK: u8 = 64;

/// Bytes after a segment, so that eight bytes can be read while bits are left.
const PADDING: [u8; 16] = [0xff; 16];

/// Decoded code: how to read the coefficient after it, and where the coefficient belongs.
#[derive(Debug, Clone, Copy, Default)]
struct Symbol {
    /// Bits of the code and the coefficient; 0 if the table has no symbol here.
    length: u8,
    /// Bits of the code.
    code: u8,
    /// 63 minus the bits of the coefficient.
    shift: u8,
    /// Distance from the previous coefficient, or [`END_OF_BLOCK`].
    skip: u8,
    /// Number that is added to a negative coefficient.
    offset: i32,
}

impl Symbol {
    /// Creates the symbol of a `size`-bit coefficient after a `code`-bit code.
    ///
    /// A coefficient whose first bit is 0 is negative and stored as itself plus 2^size - 1.
    fn new(code: u8, skip: u8, size: u8) -> Self {
        Self { length: code + size, code, shift: 63 - size, skip, offset: 1 - (1 << size) }
    }
}

/// Huffman table.
#[derive(Debug)]
pub(super) struct Table {
    /// Symbols by the next [`LOOKUP_BITS`] bits.
    lookup: [Symbol; 1 << LOOKUP_BITS],
    /// Symbols in the order of their codes.
    symbols: Vec<Symbol>,
    /// For each code length: the largest such code plus 1, and the difference between a code and
    /// the index of its symbol.
    lengths: [(u32, u32); 17],
}

impl Table {
    /// Builds the table of first coefficients. `counts` has the number of codes of each length.
    pub(super) fn dc(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        Self::new(counts, symbols, |symbol| (symbol < 16).then_some((0, symbol)))
    }

    /// Builds the table of a block's other coefficients.
    pub(super) fn ac(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        Self::new(counts, symbols, |symbol| match (symbol >> 4, symbol & 15) {
            (0..15, 0) => Some((END_OF_BLOCK, 0)),
            (run, size) => Some((run + 1, size)),
        })
    }

    /// Builds a table; `meaning` gives skip and size of a symbol.
    ///
    /// Returns `None` for an unknown symbol or more codes than their lengths allow.
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

    /// Finds the symbol at the head of `bits` whose code is longer than [`LOOKUP_BITS`].
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

/// Bit buffer: up to 64 bits of the data, the next one in the highest bit.
#[derive(Debug, Clone, Copy, Default)]
struct Bits {
    buffer: u64,
    /// Number of valid bits in the buffer.
    count: u32,
    /// Offset of the first byte after the valid bits.
    at: usize,
}

impl Bits {
    /// Fills the buffer up to 56 valid bits or more.
    #[allow(clippy::inline_always, reason = "compiled once for each kind of processor")]
    #[inline(always)]
    fn refill(&mut self, data: &[u8]) -> Option<()> {
        let word = u64::from_be_bytes(*data.get(self.at..)?.first_chunk()?);
        // Bits beyond `count` stay: the next refill reads the same bytes again.
        self.buffer |= word >> self.count;
        self.at += (63 - self.count as usize) / 8;
        // At least 56, because whole bytes were added.
        self.count |= 0b11_1000;
        Some(())
    }

    /// Returns the next coefficient and its distance from the previous one.
    ///
    /// Needs at most 24 bits, 9 of a code and 15 of a coefficient: one refill is enough for two.
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

/// Reader of compressed data, one segment between restart markers at a time.
pub(super) struct Data<'b> {
    /// Segment without its stuffed bytes, and [`PADDING`].
    segment: Vec<u8>,
    bits: Bits,
    /// Marker after the segment.
    marker: u8,
    rest: &'b [u8],
}

impl<'b> Data<'b> {
    /// Starts at the first segment. Returns `None` if no marker ends it.
    pub(super) fn new(rest: &'b [u8]) -> Option<Self> {
        let segment = Vec::with_capacity(rest.len() + PADDING.len());
        let mut data = Self { segment, bits: Bits::default(), marker: 0, rest };
        data.next_segment()?;
        Some(data)
    }

    /// Reads the bytes up to the next marker and removes stuffed ones.
    fn next_segment(&mut self) -> Option<()> {
        self.segment.clear();
        loop {
            let (plain, rest) = self.rest.split_at_checked(memchr(0xff, self.rest)?)?;
            self.segment.extend_from_slice(plain);
            let (&after, rest) = rest.get(1..)?.split_first()?;
            self.rest = rest;
            if after != 0 {
                self.marker = after;
                break;
            }
            self.segment.push(0xff);
        }
        self.segment.extend_from_slice(&PADDING);
        self.bits = Bits::default();
        Some(())
    }

    /// Continues after restart marker `number`, counted from 0.
    pub(super) fn restart(&mut self, number: usize) -> Option<()> {
        (self.ended_with(0xd0 + (number % 8) as u8)).then_some(())?;
        self.next_segment()
    }

    /// Returns true if all bits but the padding of the last byte are used and `marker` is next.
    pub(super) fn ended_with(&self, marker: u8) -> bool {
        let used = self.bits.at * 8 - self.bits.count as usize;
        let there = (self.segment.len() - PADDING.len()) * 8;
        self.marker == marker && (there < used + 8 && used <= there)
    }

    /// Reads a block into `lane` of `blocks`, where all coefficients are 0.
    ///
    /// `previous` is the first coefficient of the component's previous block. Returns `None` if the
    /// data are damaged or too short.
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
        bits.refill(&self.segment)?;
        *previous = previous.wrapping_add(bits.coefficient(&self.segment, dc)?.1);
        blocks[0][lane] = *previous;
        let mut at = 0;
        'block: loop {
            bits.refill(&self.segment)?;
            for _ in 0..2 {
                let (skip, value) = bits.coefficient(&self.segment, ac)?;
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
