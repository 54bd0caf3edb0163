//! Writer of embeddings as a pickle of protocol 4.
//!
//! The tensor is pickled as PyTorch does it: its storage is a byte string in the legacy file
//! format.

use std::io::{self, Write};

use super::Embeddings;

/// Start of a legacy file: the magic number, the version, facts about the machine, and the object,
/// which is a storage, up to its number of elements.
const LEGACY_HEAD: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\
    \x80\x02J\xe9\x03\0\0.\
    \x80\x02}(X\x10\0\0\0protocol_versionJ\xe9\x03\0\0X\x0d\0\0\0little_endian\x88\
    X\x0a\0\0\0type_sizes}(X\x05\0\0\0shortJ\x02\0\0\0X\x03\0\0\0intJ\x04\0\0\0\
    X\x04\0\0\0longJ\x04\0\0\0uu.\
    \x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu";
/// Rest of the object, and the list of storage keys.
const LEGACY_KEYS: &[u8] = b"NtQ.\x80\x02]X\x01\0\0\x000a.";

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
    let mut header = LEGACY_HEAD.to_vec();
    integer(&mut header, values.len())?;
    header.extend(LEGACY_KEYS);
    header.extend((values.len() as u64).to_le_bytes());
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
