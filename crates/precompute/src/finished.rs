//! The finished file: one safetensors file with the tensor `embeddings`, f32 `[pictures, dimension]`,
//! and in its metadata
//! - `format`: `capsmith-embeddings`, and `version`: `1`,
//! - `names`: the pictures' names as a JSON array, in the order of the rows,
//! - `skipped`: the pictures without a row, as JSON, each with the reason,
//! - `identity`: [`Identity`] as JSON,
//! - `sha256`: the digest of these three texts (each after its length, 8 bytes little-endian) and
//!   the rows.
//!
//! Files that [`crate::run`] made also hold the tensor `pictures`, u8 `[names + skipped, 48]`: of the
//! file of each picture its size, its time of change in nanoseconds since 1970 (both 8 bytes
//! little-endian) and the SHA-256 of its contents; zeros for one that could not be read. The digest
//! of this tensor is `pictures_sha256`. The embeddings' own digest does not depend on it.
//!
//! The same embeddings of the same files give the same bytes.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use pictures::PictureFile;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tch::{Device, Kind, Tensor};

use crate::digest;
use crate::error::Error;
use crate::plan::{Plan, Skipped};
use crate::previous::Previous;
use crate::sources::{self, RECORD, Source};
use runs::Identity;

const FORMAT: &str = "capsmith-embeddings";
const VERSION: &str = "1";
const TENSOR: &str = "embeddings";
const PICTURES: &str = "pictures";
const PICTURES_SHA256: &str = "pictures_sha256";

/// The metadata that a digest covers, as text.
struct Texts {
    names: String,
    skipped: String,
    identity: String,
}

impl Texts {
    fn digest(&self) -> Sha256 {
        let mut sha256 = Sha256::new();
        for text in [&self.names, &self.skipped, &self.identity] {
            digest::add_text(&mut sha256, text);
        }
        sha256
    }
}

/// All of the file but its rows.
pub(crate) struct Header {
    bytes: Vec<u8>,
    /// Records of the pictures' files, which follow the rows.
    records: Vec<u8>,
}

impl Header {
    /// The header over the plan's `rows`, which are read to their end, and the records of the files
    /// of its pictures, those without a row last.
    pub(crate) fn new(
        plan: &Plan,
        skipped: &[Skipped],
        rows: &mut impl Read,
        records: Vec<u8>,
    ) -> io::Result<Self> {
        Self::of(&plan.identity, &names_without(plan, skipped), skipped, rows, records)
    }

    /// The header over `rows`, which are read to their end; `records` may be none.
    fn of(
        identity: &Identity,
        names: &[impl serde::Serialize],
        skipped: &[Skipped],
        rows: &mut impl Read,
        records: Vec<u8>,
    ) -> io::Result<Self> {
        let texts = Texts {
            names: serde_json::to_string(names)?,
            skipped: serde_json::to_string(skipped)?,
            identity: serde_json::to_string(identity)?,
        };
        let mut sha256 = texts.digest();
        let length = add_rows(&mut sha256, rows)?;
        let mut header = json!({
            "__metadata__": {
                "format": FORMAT,
                "version": VERSION,
                "identity": texts.identity,
                "names": texts.names,
                "skipped": texts.skipped,
                "sha256": hex::encode(sha256.finalize()),
            },
            TENSOR: {
                "dtype": "F32",
                "shape": [names.len(), identity.dimension],
                "data_offsets": [0, length],
            },
        });
        if !records.is_empty() {
            header["__metadata__"][PICTURES_SHA256] = hex::encode(Sha256::digest(&records)).into();
            header[PICTURES] = json!({
                "dtype": "U8",
                "shape": [records.len() / RECORD, RECORD],
                "data_offsets": [length, length + records.len()],
            });
        }
        let mut text = header.to_string().into_bytes();
        // The format asks for rows that begin at a multiple of eight bytes.
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.append(&mut text);
        Ok(Self { bytes, records })
    }

    /// Writes the file: this header, then `rows` to their end, then the records.
    pub(crate) fn write(&self, path: &Path, rows: &mut impl Read) -> Result<(), durable::Error> {
        durable::write_with(path, |file| {
            file.write_all(&self.bytes)?;
            io::copy(rows, file)?;
            file.write_all(&self.records)
        })
    }
}

fn add_rows(sha256: &mut Sha256, rows: &mut impl Read) -> io::Result<usize> {
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        let read = rows.read(&mut buffer)?;
        if read == 0 {
            return Ok(length);
        }
        sha256.update(&buffer[..read]);
        length += read;
    }
}

/// The plan's names but for the skipped ones.
fn names_without<'p>(plan: &'p Plan, skipped: &[Skipped]) -> Vec<&'p str> {
    let skipped: HashSet<&str> = skipped.iter().map(|skipped| skipped.name.as_str()).collect();
    let names = plan.names.iter().map(String::as_str);
    names.filter(|name| !skipped.contains(name)).collect()
}

/// Why a finished file is not what the plan would make, a line each.
pub(crate) fn differences(plan: &Plan, found: &Embeddings) -> Vec<String> {
    let mut differences = plan.identity.differences(found.identity());
    if names_without(plan, found.skipped()) != found.names() {
        let (there, here) = (found.names().len() + found.skipped().len(), plan.names.len());
        differences.push(if there == here {
            "pictures: other names, or another order".to_owned()
        } else {
            format!("pictures: {there} there, {here} here")
        });
    }
    differences
}

/// A finished file of embeddings, checked and in memory.
#[derive(Debug)]
pub struct Embeddings {
    path: PathBuf,
    names: Vec<String>,
    rows_by_name: HashMap<String, usize>,
    skipped: Vec<Skipped>,
    identity: Identity,
    sha256: String,
    /// f32 `[pictures, dimension]` on the processor.
    rows: Tensor,
    /// The file of each picture, those without a row last; none where they were not recorded.
    sources: Option<Vec<Source>>,
}

impl Embeddings {
    /// Reads a file that [`crate::run`] finished, and checks it against its digest.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what cannot be read, is cut short or altered, of another version, or
    /// no file of embeddings at all.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| damaged(path, format!("cannot be read: {error}"));
        let file = File::open(path).map_err(unreadable)?;
        // SAFETY: a finished file is replaced by renaming, never written to in place.
        let bytes = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Self::parse(path, &bytes).map_err(|reason| damaged(path, reason))
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, String> {
        let not_whole = |error| format!("is not a whole safetensors file: {error}");
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_whole)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        if metadata.get("format").map(String::as_str) != Some(FORMAT) {
            return Err("is a safetensors file, but not one of embeddings".to_owned());
        }
        let version = text(&metadata, "version")?;
        if version != VERSION {
            return Err(format!(
                "is of version {version}, and this capsmith reads version {VERSION}"
            ));
        }
        let file = SafeTensors::deserialize(bytes).map_err(not_whole)?;
        let rows = file.tensor(TENSOR).map_err(|error| format!("is damaged: {error}"))?;
        let texts = Texts {
            names: text(&metadata, "names")?,
            skipped: text(&metadata, "skipped")?,
            identity: text(&metadata, "identity")?,
        };
        let mut sha256 = texts.digest();
        sha256.update(rows.data());
        let sha256 = hex::encode(sha256.finalize());
        if sha256 != text(&metadata, "sha256")? {
            return Err("is damaged: its contents do not match its digest".to_owned());
        }
        let is_finite = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes).is_finite();
        if !rows.data().as_chunks().0.iter().all(is_finite) {
            return Err("has values that are infinite or no numbers".to_owned());
        }
        let names: Vec<String> = from_json(&texts.names, "names")?;
        let identity: Identity = from_json(&texts.identity, "identity")?;
        let skipped: Vec<Skipped> = from_json(&texts.skipped, "skipped")?;
        let sources = sources_of(&file, &metadata, names.len() + skipped.len())?;
        Ok(Self {
            path: path.to_owned(),
            rows_by_name: rows_by_name(&names)?,
            skipped,
            sources,
            rows: to_tensor(&rows, &[names.len(), identity.dimension])?,
            names,
            identity,
            sha256,
        })
    }

    /// Writes embeddings that were not made by [`crate::run`], all or nothing: `rows`, f32
    /// `[names, identity.dimension]` row by row, of the pictures called `names`.
    ///
    /// # Errors
    /// [`Error::Plan`] where numbers and names do not go together or a name comes twice;
    /// [`Error::NotFinite`]; a file that cannot be written.
    pub fn save(
        path: &Path,
        identity: &Identity,
        names: &[&str],
        skipped: &[Skipped],
        rows: &[f32],
    ) -> Result<(), Error> {
        let dimension = identity.dimension;
        if dimension == 0 || Some(rows.len()) != names.len().checked_mul(dimension) {
            let (values, names) = (rows.len(), names.len());
            return Err(Error::Plan(format!(
                "{values} values are not the embeddings of {names} pictures, {dimension} each"
            )));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(**name)) {
            return Err(Error::Plan(format!("there are two embeddings of {twice}")));
        }
        let not_finite: Vec<String> = names
            .iter()
            .zip(rows.chunks(dimension))
            .filter(|(_, row)| !row.iter().all(|value| value.is_finite()))
            .map(|(name, _)| (*name).to_owned())
            .collect();
        if !not_finite.is_empty() {
            return Err(Error::NotFinite(not_finite));
        }
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let header = Header::of(identity, names, skipped, &mut bytes.as_slice(), Vec::new())
            .map_err(|error| Error::io("write", path, error))?;
        Ok(header.write(path, &mut bytes.as_slice())?)
    }

    /// Writes the file again with the present times of its pictures, of which none has changed.
    pub(crate) fn renew(previous: &Previous, plan: &Plan) -> Result<(), Error> {
        let Self { path, identity, names, skipped, .. } = &previous.embeddings;
        let left_out: HashSet<&str> = skipped.iter().map(|skipped| skipped.name.as_str()).collect();
        let (mut records, mut last) = (Vec::new(), Vec::new());
        for (name, source) in plan.names.iter().zip(previous.sources()) {
            let part = if left_out.contains(name.as_str()) { &mut last } else { &mut records };
            sources::append(*source, part);
        }
        records.append(&mut last);
        let rows = || Rows { embeddings: &previous.embeddings, next: 0, bytes: Cursor::default() };
        let header = Header::of(identity, names, skipped, &mut rows(), records)
            .map_err(|error| Error::io("write", path, error))?;
        Ok(header.write(path, &mut rows())?)
    }

    /// Refuses embeddings of which a picture has changed since they were made. `find` tells where
    /// each of the pictures called `names` is. Of pictures that differ in the time of change alone
    /// the contents are compared, but of no more than a few thousand of them.
    ///
    /// # Errors
    /// [`Error::PicturesChanged`] names the pictures.
    pub fn check_pictures<'n>(
        &self,
        names: impl Iterator<Item = &'n str>,
        find: impl Fn(usize) -> PictureFile + Sync,
    ) -> Result<(), Error> {
        let Some(sources) = &self.sources else { return Ok(()) };
        let names: Vec<&str> = names.collect();
        let with_row = |(index, name): (usize, &&str)| Some((index, sources[self.row_of(name)?]));
        let records: Vec<_> = names.iter().enumerate().filter_map(with_row).collect();
        let changed = sources::glance(&records, find);
        if changed.is_empty() {
            return Ok(());
        }
        let pictures = changed.into_iter().map(|index| names[index].to_owned()).collect();
        Err(Error::PicturesChanged { path: self.path.clone(), pictures })
    }

    /// The values of some rows, one row after the other.
    pub(crate) fn values(&self, rows: &[usize]) -> Result<Vec<f32>, Error> {
        let places: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let rows = self.rows.f_index_select(0, &Tensor::f_from_slice(&places)?)?;
        let mut values = vec![0.0; rows.numel()];
        rows.f_copy_data(&mut values, rows.numel())?;
        Ok(values)
    }

    /// The file of each picture of the plan, whose names are this file's; none where they were not
    /// recorded.
    pub(crate) fn sources(&self, plan: &Plan) -> Option<Vec<Source>> {
        let recorded = self.sources.as_ref()?;
        let skipped = self.skipped.iter().map(|skipped| skipped.name.as_str());
        let skipped: HashMap<&str, usize> = skipped.zip(self.names.len()..).collect();
        let places = plan
            .names
            .iter()
            .map(|name| self.row_of(name).or_else(|| skipped.get(name.as_str()).copied()));
        Some(places.map(|place| place.and_then(|place| recorded[place])).collect())
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The pictures' names, in the order of the rows.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The row of a picture; none where it has no embedding.
    #[must_use]
    pub fn row_of(&self, name: &str) -> Option<usize> {
        self.rows_by_name.get(name).copied()
    }

    /// The pictures that were left out, with the reasons.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// What the embeddings are of.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Values in one embedding.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.identity.dimension
    }

    /// A digest of names, identity and values, in hexadecimal: equal for equal embeddings.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// All embeddings on `device`, f32 `[pictures, dimension]`. On the processor it is the memory of
    /// this very value: do not change it in place.
    ///
    /// # Errors
    /// [`Error::Torch`] when the device has no memory for it.
    pub fn tensor(&self, device: Device) -> Result<Tensor, Error> {
        Ok(self.rows.f_to_device(device)?)
    }
}

/// Rows that are copied together.
const ROWS_AT_ONCE: usize = 1024;

/// The rows of embeddings as bytes, some at a time.
struct Rows<'e> {
    embeddings: &'e Embeddings,
    /// The first row that was not copied.
    next: usize,
    bytes: Cursor<Vec<u8>>,
}

impl Read for Rows<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        let end = (self.next + ROWS_AT_ONCE).min(self.embeddings.names.len());
        if read > 0 || self.next == end {
            return Ok(read);
        }
        let rows: Vec<usize> = (self.next..end).collect();
        let values = self.embeddings.values(&rows).map_err(io::Error::other)?;
        self.bytes = Cursor::new(values.iter().flat_map(|value| value.to_le_bytes()).collect());
        self.next = end;
        self.bytes.read(buffer)
    }
}

fn damaged(path: &Path, reason: String) -> Error {
    let hint = "`capsmith precompute` makes such a file; it overwrites none, so move this one away";
    Error::Damaged { path: path.to_owned(), reason, hint }
}

fn text(metadata: &HashMap<String, String>, key: &str) -> Result<String, String> {
    metadata.get(key).cloned().ok_or_else(|| format!("is damaged: its metadata has no {key}"))
}

fn from_json<T: DeserializeOwned>(text: &str, key: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("is damaged: in its {key}, {error}"))
}

fn sources_of(
    file: &SafeTensors,
    metadata: &HashMap<String, String>,
    pictures: usize,
) -> Result<Option<Vec<Source>>, String> {
    // The tensor and its digest are both there, or neither is.
    if !metadata.contains_key(PICTURES_SHA256) && !file.names().contains(&PICTURES) {
        return Ok(None);
    }
    let digest = text(metadata, PICTURES_SHA256)?;
    let tensor = file.tensor(PICTURES).map_err(|error| format!("is damaged: {error}"))?;
    let (records, rest) = tensor.data().as_chunks::<RECORD>();
    if tensor.dtype() != Dtype::U8 || records.len() != pictures || !rest.is_empty() {
        return Err(format!("is damaged: it does not tell the files of {pictures} pictures"));
    }
    if hex::encode(Sha256::digest(tensor.data())) != digest {
        return Err("is damaged: the files of its pictures do not match their digest".to_owned());
    }
    Ok(Some(records.iter().map(sources::parse).collect()))
}

fn rows_by_name(names: &[String]) -> Result<HashMap<String, usize>, String> {
    let mut rows = HashMap::with_capacity(names.len());
    for (row, name) in names.iter().enumerate() {
        if rows.insert(name.clone(), row).is_some() {
            return Err(format!("has two embeddings of {name}"));
        }
    }
    Ok(rows)
}

fn to_tensor(rows: &TensorView, shape: &[usize; 2]) -> Result<Tensor, String> {
    if rows.dtype() != Dtype::F32 || rows.shape() != shape {
        let (dtype, found) = (rows.dtype(), rows.shape());
        return Err(format!("holds {dtype} {found:?} where its metadata says F32 {shape:?}"));
    }
    let shape = shape.map(|size| size as i64);
    Tensor::f_from_data_size(rows.data(), &shape, Kind::Float).map_err(|error| error.to_string())
}
