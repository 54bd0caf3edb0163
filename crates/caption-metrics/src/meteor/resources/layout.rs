//! The file of resources: a header, then sections that are used in place.
//!
//! ```text
//! magic (32 bytes) · CRC-32 of all that follows (4) · 4 zeros · number of sections (8)
//! for each section: offset, length (8 + 8, from the start of the file)
//! sections
//! ```
//!
//! Numbers are little-endian and need no alignment. A section is text, a table of strings, or an
//! array of numbers of two to four bytes.

use std::ops::Range;

/// Changes with the format.
pub(super) const MAGIC: &[u8; 32] = b"caption-metrics METEOR 1.5 en 1\n";
const CRC_AT: usize = MAGIC.len();
const TABLE_AT: usize = CRC_AT + 8;

/// The positions of a file's sections.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    sections: Vec<Range<usize>>,
}

impl Layout {
    /// Checks header and checksum.
    ///
    /// # Errors
    /// Describes the damage.
    pub(super) fn read(bytes: &[u8], sections: usize) -> Result<Self, &'static str> {
        if bytes.get(..MAGIC.len()) != Some(MAGIC.as_slice()) {
            return Err("it is not a file of METEOR resources of this version");
        }
        let (Some(crc), Some(rest)) = (number(bytes, CRC_AT, 4), bytes.get(CRC_AT + 4..)) else {
            return Err("it is cut short");
        };
        if u64::from(crc32fast::hash(rest)) != crc {
            return Err("its checksum is wrong");
        }
        let sections = (0..sections)
            .map(|index| {
                let entry = TABLE_AT + 8 + index * 16;
                let (start, length) = (number(bytes, entry, 8)?, number(bytes, entry + 8, 8)?);
                let start = usize::try_from(start).ok()?;
                let end = start.checked_add(usize::try_from(length).ok()?)?;
                (end <= bytes.len()).then_some(start..end)
            })
            .collect::<Option<Vec<_>>>();
        match sections {
            Some(found) if number(bytes, TABLE_AT, 8) == Some(found.len() as u64) => {
                Ok(Self { sections: found })
            }
            _ => Err("its table of contents is wrong"),
        }
    }

    /// Returns the bytes of one section.
    pub(super) fn section<'a>(&self, bytes: &'a [u8], index: usize) -> &'a [u8] {
        let range = self.sections.get(index).cloned().unwrap_or_default();
        bytes.get(range).unwrap_or_default()
    }
}

/// Assembles a file of these sections.
pub(super) fn assemble(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut rest = vec![0; 4];
    rest.extend((sections.len() as u64).to_le_bytes());
    let mut offset = TABLE_AT + 8 + sections.len() * 16;
    for section in sections {
        rest.extend((offset as u64).to_le_bytes());
        rest.extend((section.len() as u64).to_le_bytes());
        offset += section.len();
    }
    for section in sections {
        rest.extend(section);
    }
    let mut file = MAGIC.to_vec();
    file.extend(crc32fast::hash(&rest).to_le_bytes());
    file.extend(rest);
    file
}

fn number(bytes: &[u8], at: usize, width: usize) -> Option<u64> {
    let mut buffer = [0; 8];
    buffer.get_mut(..width)?.copy_from_slice(bytes.get(at..at.checked_add(width)?)?);
    Some(u64::from_le_bytes(buffer))
}

/// An array of numbers of `WIDTH` bytes.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a, const WIDTH: usize>(pub(super) &'a [u8]);

impl<'a, const WIDTH: usize> Numbers<'a, WIDTH> {
    fn elements(self) -> &'a [[u8; WIDTH]] {
        self.0.as_chunks().0
    }

    fn value(bytes: &[u8; WIDTH]) -> u32 {
        bytes.iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    pub(super) fn len(self) -> usize {
        self.elements().len()
    }

    pub(super) fn get(self, index: usize) -> Option<u32> {
        self.elements().get(index).map(Self::value)
    }

    /// Returns the numbers of a range of indices, or none where the file is damaged.
    pub(super) fn slice(self, range: Range<u32>) -> Self {
        let bytes = range.start as usize * WIDTH..range.end as usize * WIDTH;
        Self(self.0.get(bytes).unwrap_or_default())
    }

    pub(super) fn iter(self) -> impl Iterator<Item = u32> + 'a {
        self.elements().iter().map(Self::value)
    }

    /// Returns the position of `wanted` in an ascending array.
    pub(super) fn position(self, wanted: u32) -> Option<usize> {
        self.elements().binary_search_by_key(&wanted, Self::value).ok()
    }

    pub(super) fn bytes_of(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
        numbers
            .into_iter()
            .flat_map(|number| number.to_le_bytes().into_iter().take(WIDTH))
            .collect()
    }
}

/// Ascending distinct strings: an array of their ends, and their text.
#[derive(Clone, Copy)]
pub(super) struct Strings<'a> {
    pub(super) ends: Numbers<'a, 4>,
    pub(super) text: &'a [u8],
}

impl<'a> Strings<'a> {
    fn get(self, index: usize) -> Option<&'a [u8]> {
        let start = if index == 0 { 0 } else { self.ends.get(index - 1)? };
        self.text.get(start as usize..self.ends.get(index)? as usize)
    }

    /// Returns the position of `wanted`.
    pub(super) fn position(self, wanted: &str) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle)?.cmp(wanted.as_bytes()) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Encodes the two sections of a table of strings.
    pub(super) fn sections_of<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> [Vec<u8>; 2] {
        let (mut ends, mut text) = (Vec::new(), Vec::new());
        for string in strings {
            text.extend(string.as_ref().as_bytes());
            ends.push(text.len() as u32);
        }
        [Numbers::<4>::bytes_of(ends), text]
    }
}

/// A set of small integers as bits, each 64 of them with the number of members before.
#[derive(Clone, Copy)]
pub(super) struct RankedBits<'a>(pub(super) &'a [u8]);

impl RankedBits<'_> {
    const BLOCK: usize = 12;

    /// Returns the number of smaller members, if `member` is one.
    pub(super) fn rank(self, member: u32) -> Option<u32> {
        let block = (member / 64) as usize * Self::BLOCK;
        let bits = number(self.0, block, 8)?;
        let before = number(self.0, block + 8, 4)?;
        let below = bits & ((1 << (member % 64)) - 1);
        (bits >> (member % 64) & 1 == 1).then(|| before as u32 + below.count_ones())
    }

    /// Encodes one flag per integer.
    pub(super) fn bytes_of(flags: &[bool]) -> Vec<u8> {
        let mut before = 0_u32;
        let mut out = Vec::with_capacity(flags.len().div_ceil(64) * Self::BLOCK);
        for block in flags.chunks(64) {
            let bits = block
                .iter()
                .enumerate()
                .fold(0_u64, |bits, (at, &flag)| bits | (u64::from(flag) << at));
            out.extend(bits.to_le_bytes());
            out.extend(before.to_le_bytes());
            before += bits.count_ones();
        }
        out
    }
}
