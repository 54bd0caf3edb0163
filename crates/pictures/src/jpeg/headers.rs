//! Parser of the segments before the compressed data, for [`super::sequential`].

use std::rc::Rc;

use super::huffman::Table;
use super::idct::NATURAL_ORDER;

/// Quantisation table in natural order, row by row.
pub(super) type Quantisation = [u16; 64];

/// Luma or one of the two chromas, with its tables.
pub(super) struct Component {
    /// Columns of blocks in a minimum coded unit: 1 or 2.
    pub(super) across: usize,
    /// Rows of blocks in a minimum coded unit: 1 or 2.
    pub(super) down: usize,
    pub(super) quantisation: Quantisation,
    pub(super) dc: Rc<Table>,
    pub(super) ac: Rc<Table>,
}

/// Contents of the headers.
pub(super) struct Headers<'b> {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Grey alone, or luma and two chromas; each chroma has one block in a minimum coded unit.
    pub(super) components: Vec<Component>,
    /// Minimum coded units between two restart markers, or `usize::MAX` without restarts.
    pub(super) restart_interval: usize,
    /// Bytes after the headers: compressed data and markers.
    pub(super) data: &'b [u8],
}

/// Component in the frame header.
struct FrameComponent {
    id: u8,
    across: usize,
    down: usize,
    quantisation: usize,
}

/// State of the headers read so far.
#[derive(Default)]
struct Reader {
    size: Option<(usize, usize)>,
    components: Vec<FrameComponent>,
    quantisations: [Option<Quantisation>; 4],
    dc: [Option<Rc<Table>>; 4],
    ac: [Option<Rc<Table>>; 4],
    restart_interval: usize,
    jfif: bool,
    /// Colour transform in Adobe's segment: 1 is `YCbCr`.
    adobe: Option<u8>,
}

impl<'b> Headers<'b> {
    /// Reads the segments up to the compressed data.
    ///
    /// Returns `None` if the file is damaged or not a sequential, Huffman-coded JPEG of 8-bit grey
    /// or `YCbCr` in one scan.
    pub(super) fn read(bytes: &'b [u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
        let mut reader = Reader::default();
        loop {
            let (marker, segment) = next_segment(&mut rest)?;
            match marker {
                0xc0 | 0xc1 => reader.frame(segment)?,
                0xc4 => reader.huffman_tables(segment)?,
                0xda => return reader.scan(segment, rest),
                0xdb => reader.quantisation_tables(segment)?,
                0xdd => reader.restart_interval = usize::from(be_u16(segment)?),
                0xe0 => reader.jfif |= segment.len() >= 14 && segment.starts_with(b"JFIF\0"),
                0xee if segment.starts_with(b"Adobe") => reader.adobe = Some(*segment.get(11)?),
                // Data of applications, and comments.
                0xe1..=0xef | 0xfe => {}
                _ => return None,
            }
        }
    }
}

/// Splits the first segment off `bytes`: its marker code and its contents.
fn next_segment<'b>(bytes: &mut &'b [u8]) -> Option<(u8, &'b [u8])> {
    let rest = bytes.strip_prefix(&[0xff])?;
    let fill = rest.iter().position(|&byte| byte != 0xff)?;
    let (&marker, rest) = rest.get(fill..)?.split_first()?;
    let (segment, rest) = rest.split_at_checked(usize::from(be_u16(rest)?))?;
    *bytes = rest;
    Some((marker, segment.get(2..)?))
}

fn be_u16(bytes: &[u8]) -> Option<u16> {
    bytes.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

impl Reader {
    /// Reads a frame header: size and components.
    fn frame(&mut self, segment: &[u8]) -> Option<()> {
        let (&[8, h1, h0, w1, w0, count], rest) = segment.split_first_chunk()? else {
            return None;
        };
        let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let (components, []) = rest.as_chunks::<3>() else { return None };
        let is_sampling =
            |sampling: u8| (1..=4).contains(&(sampling >> 4)) && (1..=4).contains(&(sampling & 15));
        if self.size.is_some()
            || components.len() != usize::from(count)
            || !components.iter().all(|&[_, sampling, _]| is_sampling(sampling))
        {
            return None;
        }
        self.size = Some((width.into(), height.into()));
        self.components = components
            .iter()
            .map(|&[id, sampling, quantisation]| FrameComponent {
                id,
                across: usize::from(sampling >> 4),
                down: usize::from(sampling & 15),
                quantisation: usize::from(quantisation),
            })
            .collect();
        Some(())
    }

    /// Reads quantisation tables.
    fn quantisation_tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let bytes = if head >> 4 == 0 { 1 } else { 2 };
            let (values, rest) = rest.split_at_checked(64 * bytes)?;
            let mut table = [0; 64];
            for (value, place) in values.chunks_exact(bytes).zip(NATURAL_ORDER) {
                table[usize::from(place)] =
                    value.iter().fold(0, |sum, &byte| sum << 8 | u16::from(byte));
            }
            *self.quantisations.get_mut(usize::from(head & 15))? = Some(table);
            segment = rest;
        }
        Some(())
    }

    /// Reads Huffman tables.
    fn huffman_tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let Some((&head, rest)) = segment.split_first() {
            let (counts, rest) = rest.split_first_chunk()?;
            let total = counts.iter().map(|&count| usize::from(count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let (tables, table) = match head >> 4 {
                0 => (&mut self.dc, Table::dc(counts, symbols)?),
                1 => (&mut self.ac, Table::ac(counts, symbols)?),
                _ => return None,
            };
            *tables.get_mut(usize::from(head & 15))? = Some(Rc::new(table));
            segment = rest;
        }
        Some(())
    }

    /// Reads the scan header and completes the headers.
    fn scan<'b>(self, segment: &[u8], data: &'b [u8]) -> Option<Headers<'b>> {
        let (&count, rest) = segment.split_first()?;
        // Only progressive files have scans of part of the spectrum or precision.
        let (selectors, [0, 63, 0]) = rest.split_last_chunk()? else { return None };
        let (selectors, []) = selectors.as_chunks::<2>() else { return None };
        let grey = self.components.len() == 1;
        let plain = grey || self.is_luma_and_chroma();
        if !plain
            || selectors.len() != self.components.len()
            || usize::from(count) != selectors.len()
        {
            return None;
        }
        let mut components = Vec::with_capacity(selectors.len());
        for (described, &[id, tables]) in self.components.iter().zip(selectors) {
            if described.id != id {
                return None;
            }
            let (dc, ac) = (usize::from(tables >> 4), usize::from(tables & 15));
            components.push(Component {
                // A single component is stored block by block, whatever its sampling.
                across: if grey { 1 } else { described.across },
                down: if grey { 1 } else { described.down },
                quantisation: (*self.quantisations.get(described.quantisation)?)?,
                dc: self.dc.get(dc)?.clone()?,
                ac: self.ac.get(ac)?.clone()?,
            });
        }
        let (width, height) = self.size?;
        let restart_interval =
            if self.restart_interval == 0 { usize::MAX } else { self.restart_interval };
        Some(Headers { width, height, components, restart_interval, data })
    }

    /// Returns true for `YCbCr` by libjpeg's rules, in 4:4:4, 4:2:2 or 4:2:0 sampling.
    fn is_luma_and_chroma(&self) -> bool {
        let [luma, blue, red] = &self.components[..] else { return false };
        let sampled = |component: &FrameComponent| (component.across, component.down);
        matches!(sampled(luma), (1 | 2, 1) | (2, 2))
            && sampled(blue) == (1, 1)
            && sampled(red) == (1, 1)
            && match self.adobe {
                Some(transform) => transform == 1,
                None => self.jfif || (luma.id, blue.id, red.id) == (1, 2, 3),
            }
    }
}
