//! Writer of embeddings as a pickle of protocol 4.
//!
//! The tensor is pickled as PyTorch does it: its storage is a byte string in the legacy file
//! format.

use std::io::{self, Write};

use super::Embeddings;
use crate::container::legacy::{MAGIC, VERSION};

const STORAGE_KEY: &str = "0";

pub(super) fn write(embeddings: &Embeddings, file: &mut impl Write) -> io::Result<()> {
    file.write_all(b"\x80\x04}(")?;
    text(file, "clip_embedding")?;
    tensor(embeddings, file)?;
    text(file, "captions")?;
    file.write_all(b"](")?;
    for caption in &embeddings.captions {
        file.write_all(b"}(")?;
        if let Some(image) = &caption.image {
            text(file, "image_id")?;
            text(file, image)?;
        }
        text(file, "caption")?;
        text(file, &caption.caption)?;
        text(file, "clip_embedding")?;
        integer(file, caption.row)?;
        file.write_all(b"u")?;
    }
    file.write_all(b"eu.")
}

/// Writes `_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`.
fn tensor(embeddings: &Embeddings, file: &mut impl Write) -> io::Result<()> {
    file.write_all(b"ctorch._utils\n_rebuild_tensor_v2\n(")?;
    storage(&embeddings.values, file)?;
    integer(file, 0)?;
    for [outer, inner] in [[embeddings.rows(), embeddings.dim], [embeddings.dim, 1]] {
        integer(file, outer)?;
        integer(file, inner)?;
        file.write_all(b"\x86")?;
    }
    file.write_all(b"\x89ccollections\nOrderedDict\n)RtR")
}

/// Writes `_load_from_bytes(legacy file)`.
fn storage(values: &[f32], file: &mut impl Write) -> io::Result<()> {
    let mut header = Vec::new();
    header.write_all(b"\x80\x02\x8a\x0a")?;
    header.write_all(&MAGIC.to_le_bytes()[..10])?;
    header.write_all(b".\x80\x02")?;
    integer(&mut header, VERSION as usize)?;
    header.write_all(b".\x80\x02}(")?;
    text_2(&mut header, "protocol_version")?;
    integer(&mut header, VERSION as usize)?;
    text_2(&mut header, "little_endian")?;
    header.write_all(b"\x88")?;
    text_2(&mut header, "type_sizes")?;
    header.write_all(b"}(")?;
    for (kind, size) in [("short", 2), ("int", 4), ("long", 4)] {
        text_2(&mut header, kind)?;
        integer(&mut header, size)?;
    }
    header.write_all(b"uu.\x80\x02(")?;
    text_2(&mut header, "storage")?;
    header.write_all(b"ctorch\nFloatStorage\n")?;
    text_2(&mut header, STORAGE_KEY)?;
    text_2(&mut header, "cpu")?;
    integer(&mut header, values.len())?;
    header.write_all(b"NtQ.\x80\x02]")?;
    text_2(&mut header, STORAGE_KEY)?;
    header.write_all(b"a.")?;
    header.write_all(&(values.len() as u64).to_le_bytes())?;

    file.write_all(b"ctorch.storage\n_load_from_bytes\n\x8e")?;
    file.write_all(&((header.len() + size_of_val(values)) as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.write_all(b"\x85R")
}

/// Writes a text as `SHORT_BINUNICODE` or `BINUNICODE8`.
fn text(file: &mut impl Write, text: &str) -> io::Result<()> {
    if let Ok(length) = u8::try_from(text.len()) {
        file.write_all(&[0x8c, length])?;
    } else {
        file.write_all(b"\x8d")?;
        file.write_all(&(text.len() as u64).to_le_bytes())?;
    }
    file.write_all(text.as_bytes())
}

/// Writes a short text as BINUNICODE, which protocol 2 has.
fn text_2(file: &mut impl Write, text: &str) -> io::Result<()> {
    file.write_all(b"X")?;
    file.write_all(&(text.len() as u32).to_le_bytes())?;
    file.write_all(text.as_bytes())
}

/// Writes an integer as BININT or, beyond 31 bits, as LONG1.
fn integer(file: &mut impl Write, value: usize) -> io::Result<()> {
    if let Ok(value) = i32::try_from(value) {
        file.write_all(b"J")?;
        return file.write_all(&value.to_le_bytes());
    }
    // The ninth byte keeps the highest bit from being the sign.
    file.write_all(b"\x8a\x09")?;
    file.write_all(&(value as u64).to_le_bytes())?;
    file.write_all(b"\0")
}
