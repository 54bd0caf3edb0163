//! Image files: location, stamp and bytes.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::decode::{decode_bytes, format_of};
use crate::pixels::{MAX_BYTES, PictureError, PictureProblem, RgbPixels};
use crate::unpacked;

/// Bytes that tell an image's format.
const HEAD: u64 = 64;

/// Location of an image: a file or a member of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PictureFile {
    /// Separate file.
    File(PathBuf),
    /// Member of an archive, stored as the bytes of an image file.
    Member {
        /// Path of the archive.
        archive: Arc<Path>,
        /// True if the archive as a whole is compressed.
        compressed: bool,
        /// Offset in the uncompressed archive, in bytes.
        offset: u64,
        /// Size in bytes.
        length: u64,
    },
}

/// Size and modification time of an image; a changed image nearly always has another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    /// Size of the image in bytes.
    pub size: u64,
    /// Modification time of the file or archive, in nanoseconds since 1970.
    pub modified: i64,
}

impl From<PathBuf> for PictureFile {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl PictureFile {
    /// Reads and decodes the image as [`decode`] does.
    pub fn decode(&self) -> Result<RgbPixels, PictureError> {
        let (bytes, _) = self.read()?;
        decode_bytes(&bytes, self.path())
    }

    /// Reads and decodes the image, and turns it upright by its EXIF orientation.
    pub fn decode_upright(&self) -> Result<RgbPixels, PictureError> {
        let (bytes, _) = self.read()?;
        decode_bytes(&bytes, self.path()).map(|pixels| pixels.upright(&bytes))
    }

    /// Returns the path of the file or of the archive.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Member { archive, .. } => archive,
        }
    }

    /// Returns the stamp of the image without reading it.
    pub fn stamp(&self) -> Result<FileStamp, PictureError> {
        let metadata = fs::metadata(self.path()).map_err(PictureProblem::from);
        metadata.and_then(|metadata| self.stamp_from(&metadata)).map_err(|error| self.error(error))
    }

    /// Reads the bytes of the image and the stamp that the file had when it was opened.
    ///
    /// # Errors
    /// Refuses anything but a regular file before opening it, and a file whose first bytes are of
    /// no supported format before reading the rest.
    pub fn read(&self) -> Result<(Vec<u8>, FileStamp), PictureError> {
        self.open_and_read().map_err(|error| self.error(error))
    }

    fn open_and_read(&self) -> Result<(Vec<u8>, FileStamp), PictureProblem> {
        let mut file = open_regular(self.path())?;
        let stamp = self.stamp_from(&file.metadata()?)?;
        let bytes = match self {
            Self::File(_) => read_picture(&mut file, 0, stamp.size),
            Self::Member { archive, compressed: true, offset, .. } => {
                unpacked::read(archive, file, |copy| read_picture(copy, *offset, stamp.size))
            }
            Self::Member { offset, .. } => read_picture(&mut file, *offset, stamp.size),
        };
        Ok((bytes?, stamp))
    }

    fn stamp_from(&self, metadata: &Metadata) -> Result<FileStamp, PictureProblem> {
        if !metadata.is_file() {
            return Err(PictureProblem::NotRegular);
        }
        let size = match self {
            Self::File(_) => metadata.len(),
            Self::Member { length, .. } => *length,
        };
        if size > MAX_BYTES {
            return Err(PictureProblem::TooLong(size));
        }
        Ok(FileStamp { size, modified: nanoseconds(metadata)? })
    }

    fn error(&self, problem: PictureProblem) -> PictureError {
        PictureError { path: self.path().to_owned(), problem }
    }
}

/// Reads and decodes the image at `path`. Its first bytes tell the format, not its name.
pub fn decode(path: &Path) -> Result<RgbPixels, PictureError> {
    PictureFile::File(path.to_owned()).decode()
}

/// Reads and decodes the image at `path` as [`decode`] does, and turns it upright.
pub fn decode_upright(path: &Path) -> Result<RgbPixels, PictureError> {
    PictureFile::File(path.to_owned()).decode_upright()
}

/// Opens a regular file. Opening a pipe waits for its writer, and a device may have no end.
pub(crate) fn open_regular(path: &Path) -> Result<File, PictureProblem> {
    if !fs::metadata(path)?.is_file() {
        return Err(PictureProblem::NotRegular);
    }
    Ok(File::open(path)?)
}

/// Reads the image of `size` bytes at `offset`, which must be of a supported format.
fn read_picture(file: &mut File, offset: u64, size: u64) -> Result<Vec<u8>, PictureProblem> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(size.min(HEAD)).read_to_end(&mut bytes)?;
    format_of(&bytes)?;
    let rest = size.saturating_sub(bytes.len() as u64);
    bytes.reserve_exact(rest as usize);
    file.take(rest).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(bytes)
}

/// Returns the modification time in nanoseconds since 1970.
fn nanoseconds(metadata: &Metadata) -> io::Result<i64> {
    let modified = metadata.modified()?;
    let nanoseconds = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()),
        Err(before) => i64::try_from(before.duration().as_nanos()).map(|before| -before),
    };
    Ok(nanoseconds.unwrap_or(i64::MAX))
}
