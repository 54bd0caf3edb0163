//! TensorBoard event files.
//!
//! Events go through tensorboard-rs's record writer and tensorboard-proto's messages, but not
//! through its `FileWriter`: that one writes on its own thread, which panics when the disk is full,
//! and two of them opened in the same second overwrite each other. Here every failure is returned.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use protobuf::Message;
use tensorboard_proto::event::Event;
use tensorboard_proto::summary::{
    Summary, Summary_Value, SummaryMetadata, SummaryMetadata_PluginData,
};
use tensorboard_rs::record_writer::RecordWriter;

use super::error::{MetricsError, failed};

/// TensorBoard event file.
pub struct EventFile {
    path: PathBuf,
    writer: RecordWriter<BufWriter<File>>,
}

impl EventFile {
    /// Creates a new file in `folder`; files already there stay.
    ///
    /// # Errors
    /// Names the file.
    pub fn create(folder: &Path) -> Result<Self, MetricsError> {
        let (path, file) = create_event_file(folder)?;
        let mut file = Self { path, writer: RecordWriter::new(BufWriter::new(file)) };
        file.write(0, |event| event.set_file_version("brain.Event:2".to_owned()))?;
        Ok(file)
    }

    /// Writes one number for each tag.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_scalars(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (impl Into<String>, f64)>,
    ) -> Result<(), MetricsError> {
        let values = scalars.into_iter().map(|(tag, value)| {
            let mut entry = Summary_Value::new();
            entry.set_tag(tag.into());
            entry.set_simple_value(value as f32);
            entry
        });
        self.write_values(step, values)
    }

    /// Writes values of any kind in one event.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_values(
        &mut self,
        step: u64,
        values: impl IntoIterator<Item = Summary_Value>,
    ) -> Result<(), MetricsError> {
        let mut summary = Summary::new();
        summary.mut_value().extend(values);
        self.write(step, |event| event.set_summary(summary))
    }

    /// Writes an event stamped with the current time, whose contents `fill` sets.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&mut self, step: u64, fill: impl FnOnce(&mut Event)) -> Result<(), MetricsError> {
        let mut event = Event::new();
        event.set_wall_time(unix_seconds());
        event.set_step(i64::try_from(step).unwrap_or(i64::MAX));
        fill(&mut event);
        let bytes = event.write_to_bytes().map_err(failed(&self.path))?;
        self.writer.write(&bytes).map_err(failed(&self.path))
    }

    /// Hands everything written to the operating system.
    ///
    /// # Errors
    /// Names the file.
    pub fn flush(&mut self) -> Result<(), MetricsError> {
        self.writer.flush().map_err(failed(&self.path))
    }
}

/// Returns a value for one of TensorBoard's plugins, with the plugin's own data `content`.
#[must_use]
pub fn plugin_value(tag: &str, plugin: &str, content: Vec<u8>) -> Summary_Value {
    let mut data = SummaryMetadata_PluginData::new();
    data.set_plugin_name(plugin.to_owned());
    data.set_content(content);
    let mut metadata = SummaryMetadata::new();
    metadata.set_plugin_data(data);
    let mut value = Summary_Value::new();
    value.set_tag(tag.to_owned());
    value.set_metadata(metadata);
    value
}

fn create_event_file(folder: &Path) -> Result<(PathBuf, File), MetricsError> {
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    let seconds = unix_seconds() as u64;
    // Sessions that start within one second must not share a file.
    for number in 0.. {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.capsmith.{number}"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path)(error)),
        }
    }
    Err(failed(folder)("no free file name"))
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}
