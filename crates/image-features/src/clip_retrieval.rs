//! Folder that `clip-retrieval inference` writes.
//!
//! `img_emb/img_emb_N.npy` holds the features of a partition, `metadata/metadata_N.parquet` the
//! column `image_path` in the same order. The metadata may be JSON too: an array of objects, or an
//! object a line.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use foreign_text::{open_regular, read_bytes, read_text};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::RowAccessor;
use parquet::schema::types::Type;
use serde_json::Value;

use crate::npy::Array;
use crate::{Error, Features, check_count, in_python, listed};

const COLUMN: &str = "image_path";

/// Appends all partitions of a folder, in the order of their numbers.
pub(crate) fn read(folder: &Path, all: &mut Features) -> Result<(), Error> {
    let cannot = |path: &Path, error: &dyn std::fmt::Display| {
        Error::new(path, format!("cannot be read: {error}"))
    };
    let embeddings = folder.join("img_emb");
    if !embeddings.is_dir() {
        return Err(Error::new(
            folder,
            "has no folder img_emb, so that it is not one of clip-retrieval\nhint: name the output_folder of `clip-retrieval inference`",
        ));
    }
    let mut partitions: Vec<(u64, String)> = Vec::new();
    for entry in fs::read_dir(&embeddings).map_err(|error| cannot(&embeddings, &error))? {
        let name = entry.map_err(|error| cannot(&embeddings, &error))?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix("img_emb_")?.strip_suffix(".npy"));
        if let Some(number) = number
            && let Ok(value) = number.parse()
        {
            partitions.push((value, number.to_owned()));
        }
    }
    if partitions.is_empty() {
        return Err(Error::new(&embeddings, "holds no img_emb_0.npy"));
    }
    partitions.sort();
    for (_, number) in partitions {
        let file = embeddings.join(format!("img_emb_{number}.npy"));
        let bytes = read_bytes(&file).map_err(|error| cannot(&file, &error))?;
        let rows = Array::parse(&bytes).and_then(|array| array.rows());
        let rows = all.append(&file, rows.map_err(|reason| Error::new(&file, reason))?)?;
        let metadata = metadata_of(folder, &number)?;
        let names = match metadata.extension() {
            Some(extension) if extension == "parquet" => of_parquet(&metadata),
            _ => of_json(&metadata),
        };
        let names = names.map_err(|reason| Error::new(&metadata, reason))?;
        check_count(&metadata, names.len(), rows)?;
        all.names.extend(names);
        all.files.extend([file, metadata]);
    }
    Ok(())
}

/// Returns the metadata file of a partition.
fn metadata_of(folder: &Path, number: &str) -> Result<PathBuf, Error> {
    let metadata = folder.join("metadata");
    let file = |extension| metadata.join(format!("metadata_{number}.{extension}"));
    let found = ["parquet", "json", "jsonl"].map(file).into_iter().find(|file| file.is_file());
    found.ok_or_else(|| {
        Error::new(
            &file("parquet"),
            "is missing; it names the pictures\nhint: run clip-retrieval inference on a folder of pictures, which writes it",
        )
    })
}

/// Reads the column of a parquet file.
fn of_parquet(file: &Path) -> Result<Vec<String>, String> {
    let cannot = |error: ParquetError| {
        format!(
            "cannot be read: {error}\nhint: write it as JSON in Python: pandas.read_parquet({}).to_json({}, orient=\"records\", lines=True), and move the parquet file away",
            in_python(file),
            in_python(&file.with_extension("json"))
        )
    };
    let bytes = open_regular(file).map_err(|error| format!("cannot be read: {error}"))?;
    let reader = SerializedFileReader::new(bytes).map_err(cannot)?;
    let schema = reader.metadata().file_metadata().schema();
    let columns = schema.get_fields();
    let Some(column) = columns.iter().find(|column| column.name() == COLUMN) else {
        let columns = columns.iter().map(|column| column.name());
        return Err(format!("has no column {COLUMN}; its columns are {}", listed(columns)));
    };
    let only = Type::group_type_builder(schema.name()).with_fields(vec![Arc::clone(column)]);
    let rows = reader.get_row_iter(Some(only.build().map_err(cannot)?)).map_err(cannot)?;
    rows.map(|row| row?.get_string(0).cloned()).collect::<Result<_, _>>().map_err(cannot)
}

/// Reads the key of objects: a JSON array, or one object a line.
fn of_json(file: &Path) -> Result<Vec<String>, String> {
    let text = read_text(file).map_err(|error| format!("cannot be read: {error}"))?;
    let not_json = |error| format!("is not JSON: {error}");
    let objects: Vec<Value> = if text.trim_start().starts_with('[') {
        serde_json::from_str(&text).map_err(not_json)?
    } else {
        let objects = serde_json::Deserializer::from_str(&text).into_iter();
        objects.collect::<Result<_, _>>().map_err(not_json)?
    };
    let name = |(index, object): (usize, &Value)| {
        let name = object.get(COLUMN).and_then(Value::as_str);
        name.map(str::to_owned)
            .ok_or_else(|| format!("entry {} has no text \"{COLUMN}\"", index + 1))
    };
    objects.iter().enumerate().map(name).collect()
}
