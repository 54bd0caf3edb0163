//! Container formats of `torch.save` and `pickle.dump`, and safetensors.

pub(crate) mod legacy;
pub(crate) mod safetensors;
mod zip;

use std::path::Path;

use bytes::Bytes;
use foreign_text::open_regular;
use memmap2::Mmap;

use crate::error::{Error, Problem, shown};
use crate::pickle::{Container, Node, Pickle};
use crate::tree::Tree;

/// Position of a tar archive's magic bytes.
const TAR_MAGIC: std::ops::Range<usize> = 257..262;
const LFS_POINTER: &[u8] = b"version https://git-lfs";

/// Contents of a file: the values of a pickle, or named tensors.
pub(crate) enum Contents {
    Tree(Tree),
    Tensors(Vec<safetensors::Entry>),
}

pub(crate) fn open(path: &Path) -> Result<Contents, Problem> {
    let bytes = map(path)?;
    if safetensors::is_one(&bytes) {
        return safetensors::read(&bytes).map(Contents::Tensors);
    }
    tree(path, &bytes).map(Contents::Tree)
}

impl Tree {
    /// Reads a file that `torch.save` (either format) or `pickle.dump` wrote.
    ///
    /// The file is mapped into memory and must not change while the tree or one of its tensors is
    /// in use. Checksums, lengths and views are checked here, once.
    ///
    /// # Errors
    /// Names the file and the problem; for a hostile file also the function that it asks for.
    pub fn load(path: &Path) -> Result<Self, Error> {
        match open(path) {
            Ok(Contents::Tree(tree)) => Ok(tree),
            Ok(Contents::Tensors(_)) => Err(Problem::content(
                "is a safetensors file; a pickle or a PyTorch file is expected here",
            )
            .at(path)),
            Err(problem) => Err(problem.at(path)),
        }
    }
}

fn tree(path: &Path, bytes: &Bytes) -> Result<Tree, Problem> {
    let pickle = if bytes.starts_with(b"PK\x03\x04") {
        zip::read(bytes)?
    } else if bytes.get(TAR_MAGIC) == Some(b"ustar") {
        return Err(Problem::content(
            "is a tar archive, as PyTorch before 0.1.10 wrote\n\
             hint: load it in that PyTorch and save it again",
        ));
    } else if bytes.starts_with(LFS_POINTER) {
        return Err(Problem::content(
            "is a pointer of Git LFS, not the file that it stands for\n\
             hint: fetch the file itself: git lfs pull",
        ));
    } else if bytes.first().is_some_and(|&byte| may_begin_a_pickle(byte)) {
        let pickle = Pickle::read(bytes, 0, Container::Plain)?;
        if matches!(pickle.root(), Node::Int(legacy::MAGIC)) {
            legacy::read(bytes)?
        } else {
            nothing_after(pickle.end, bytes)?;
            pickle
        }
    } else {
        let beginning = bytes.get(..bytes.len().min(16)).unwrap_or_default();
        return Err(Problem::Content(format!(
            "is neither a PyTorch checkpoint nor a pickle nor a safetensors file; it begins with \
             \"{}\"\n\
             hint: JSON needs no conversion; anything else may be the wrong file",
            shown(&String::from_utf8_lossy(beginning))
        )));
    };
    Tree::new(path, pickle)
}

/// Returns true for PROTO and for the first opcode of a value in protocols 0 and 1.
fn may_begin_a_pickle(byte: u8) -> bool {
    byte == 0x80 || b"(]})NIJKLMFGVXTUc".contains(&byte)
}

/// Fails if bytes follow the end of the pickle, as when damage moves a STOP forward.
fn nothing_after(end: usize, bytes: &Bytes) -> Result<(), Problem> {
    if end < bytes.len() {
        let left = bytes.len() - end;
        return Err(Problem::pickle(end, format_args!("{left} bytes follow its end")));
    }
    Ok(())
}

fn map(path: &Path) -> Result<Bytes, Problem> {
    let file = open_regular(path).map_err(Problem::Io)?;
    let attributes = file.metadata().map_err(Problem::Io)?;
    if attributes.len() == 0 {
        return Err(Problem::cut_short(0, 1, 0));
    }
    // SAFETY: the map is read-only and private to the tree. The documentation of `Tree::load`
    // requires the caller to keep the file unchanged.
    let map = unsafe { Mmap::map(&file) }.map_err(Problem::Io)?;
    Ok(Bytes::from_owner(map))
}
