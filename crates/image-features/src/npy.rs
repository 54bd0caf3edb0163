//! Arrays of numpy: the `.npy` format, versions 1 to 3.
//!
//! A file holds a magic number, two bytes of version, the length of the header, the header and the
//! values. The header is a Python dict of exactly three keys, whose order numpy does not promise:
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }`.

use std::io::{self, Write};

use half::f16;

use crate::Rows;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Header and what precedes it end at a multiple of this many bytes.
const ALIGNMENT: usize = 64;

/// Array in the bytes of a file.
pub(crate) struct Array<'a> {
    is_big_endian: bool,
    /// Kind of the elements: `f` for floats, `U` for texts, `S` for bytes.
    kind: char,
    /// Bytes of an element.
    size: usize,
    is_fortran_order: bool,
    shape: Vec<usize>,
    data: &'a [u8],
}

impl<'a> Array<'a> {
    /// Parses the header and checks the number of bytes.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let rest = bytes.strip_prefix(MAGIC).ok_or("is not a .npy file of numpy")?;
        let damaged = || "is cut short or damaged\nhint: write or copy the file again".to_owned();
        let (length, rest) = match rest {
            [1, _, a, b, rest @ ..] => (usize::from(u16::from_le_bytes([*a, *b])), rest),
            [2 | 3, _, a, b, c, d, rest @ ..] => {
                (u32::from_le_bytes([*a, *b, *c, *d]) as usize, rest)
            }
            _ => return Err(damaged()),
        };
        let (header, data) = rest.split_at_checked(length).ok_or_else(damaged)?;
        let header = std::str::from_utf8(header).map_err(|_| damaged())?;
        let value = |key: &str| {
            let (_, value) = header.split_once(&format!("'{key}':")).ok_or_else(damaged)?;
            Ok::<_, String>(value.trim_start())
        };
        let descr = value("descr")?.strip_prefix('\'').and_then(|text| text.split_once('\''));
        let Some((descr, _)) = descr else {
            return Err("holds records of several fields, not one array".to_owned());
        };
        if descr.contains('O') {
            return Err("holds Python objects, which are pickled; capsmith runs no pickles\nhint: for names, save np.array(names, dtype=str); for features, np.stack(features)".to_owned());
        }
        let mut characters = descr.chars();
        let (order, kind) = (characters.next(), characters.next().ok_or_else(damaged)?);
        let size: usize = characters.as_str().parse().map_err(|_| damaged())?;
        let size = if kind == 'U' { size.checked_mul(4).ok_or_else(damaged)? } else { size };
        let shape = value("shape")?.strip_prefix('(').and_then(|text| text.split_once(')'));
        let sizes = shape.ok_or_else(damaged)?.0.split(',').map(str::trim);
        let shape: Vec<usize> = sizes
            .filter(|size| !size.is_empty())
            .map(|size| size.parse().map_err(|_| damaged()))
            .collect::<Result<_, _>>()?;
        let length = shape.iter().try_fold(size, |all, &size| all.checked_mul(size));
        if length != Some(data.len()) {
            return Err(damaged());
        }
        Ok(Self {
            is_big_endian: order == Some('>'),
            kind,
            size,
            is_fortran_order: value("fortran_order")?.starts_with("True"),
            shape,
            data,
        })
    }

    /// Returns the bytes of each element in little-endian order, followed by zeros.
    fn elements(&self, size: usize) -> impl Iterator<Item = [u8; 8]> {
        self.data.chunks_exact(size).map(move |chunk| {
            let mut element = [0; 8];
            element[..size].copy_from_slice(chunk);
            if self.is_big_endian {
                element[..size].reverse();
            }
            element
        })
    }

    /// Returns the values of an array `[rows, dimension]` of floats.
    pub(crate) fn rows(&self) -> Result<Rows, String> {
        let [count, dimension] = *self.shape else {
            return Err(format!(
                "has the shape {:?}, not [pictures, values]\nhint: reshape the features: features.reshape(len(names), -1)",
                self.shape
            ));
        };
        let stored: Vec<f32> = match (self.kind, self.size) {
            ('f', 2) => {
                self.elements(2).map(|[a, b, ..]| f16::from_le_bytes([a, b]).to_f32()).collect()
            }
            ('f', 4) => {
                let number = |[a, b, c, d, ..]: [u8; 8]| f32::from_le_bytes([a, b, c, d]);
                self.elements(4).map(number).collect()
            }
            ('f', 8) => self.elements(8).map(|all| f64::from_le_bytes(all) as f32).collect(),
            (kind, size) => {
                return Err(format!(
                    "holds values of numpy's type {kind}{size}, not f2, f4 or f8\nhint: save features.astype(\"float32\")"
                ));
            }
        };
        let values = if self.is_fortran_order {
            let row = |row: usize| (0..dimension).map(move |column| column * count + row);
            (0..count).flat_map(row).map(|index| stored[index]).collect()
        } else {
            stored
        };
        Ok(Rows { dimension, values })
    }

    /// Returns the texts of an array `[rows]` of type `U` or `S`.
    pub(crate) fn texts(&self) -> Result<Vec<String>, String> {
        let [_] = *self.shape else {
            return Err(format!("has names of the shape {:?}, not [pictures]", self.shape));
        };
        let size = self.size.max(1);
        match self.kind {
            'U' => self.data.chunks_exact(size).map(|name| self.characters(name)).collect(),
            'S' => {
                let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
                let names = self
                    .data
                    .chunks_exact(size)
                    .map(|bytes| name(bytes).map(|name| name.trim_end_matches('\0').to_owned()));
                names.collect::<Option<_>>().ok_or("has names that are not UTF-8".to_owned())
            }
            kind => Err(format!(
                "has names of numpy's type {kind}, not texts\nhint: save np.array(names, dtype=str)"
            )),
        }
    }

    /// Decodes a text of four bytes a character, which zeros fill up.
    fn characters(&self, name: &[u8]) -> Result<String, String> {
        let (characters, _) = name.as_chunks::<4>();
        let character = |bytes: &[u8; 4]| {
            let code = if self.is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
            char::from_u32(code(*bytes)).ok_or("has names that are not Unicode".to_owned())
        };
        let name: String = characters.iter().map(character).collect::<Result<_, _>>()?;
        Ok(name.trim_end_matches('\0').to_owned())
    }
}

/// Writes an array of floats, row by row.
pub(crate) fn write(file: &mut impl Write, shape: [usize; 2], values: &[f32]) -> io::Result<()> {
    let [rows, columns] = shape;
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let before = MAGIC.len() + 4;
    // A line feed ends the header.
    let end = (before + header.len() + 1).next_multiple_of(ALIGNMENT);
    header.push_str(&" ".repeat(end - before - header.len() - 1));
    header.push('\n');
    file.write_all(MAGIC)?;
    file.write_all(&[1, 0])?;
    // The header of two numbers has less than 128 bytes.
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
}
