//! Sample captions for TensorBoard: images, and after each epoch a table of their captions.

use pictures::{PictureFile, Thumbnail};
use tensorboard_proto::summary::{Summary_Image, Summary_Value, SummaryMetadata};
use tensorboard_proto::tensor::TensorProto;
use tensorboard_proto::types::DataType;

use super::ScoredSplit;
use super::events::plugin_value;

/// Maximum of the longer side of an image, in pixels.
const SIDE: u32 = 256;
/// Number of channels of an image.
const RGB: i32 = 3;

/// Scored caption that TensorBoard shows.
#[derive(Debug, Clone)]
pub struct SampleCaption {
    /// Image file, which need not exist.
    pub image: PictureFile,
    /// File name of the image.
    pub file_name: String,
    /// Predicted caption.
    pub prediction: String,
    /// Reference caption.
    pub reference: String,
}

/// Returns the images that can be read, for TensorBoard's `Images` tab.
///
/// The reference caption is the description. It cannot be the prediction: TensorBoard keeps the
/// first description of a tag.
pub(super) fn images(
    split: ScoredSplit,
    samples: &[SampleCaption],
) -> impl Iterator<Item = Summary_Value> {
    samples.iter().filter_map(move |sample| {
        let thumbnail = Thumbnail::new(sample.image.decode_upright().ok()?, SIDE)?;
        let mut image = Summary_Image::new();
        image.set_width(thumbnail.width as i32);
        image.set_height(thumbnail.height as i32);
        image.set_colorspace(RGB);
        image.set_encoded_image_string(thumbnail.jpeg);
        let mut metadata = SummaryMetadata::new();
        metadata.set_summary_description(markdown(&sample.reference));
        let mut value = Summary_Value::new();
        value.set_tag(format!("{split} pictures/{}", sample.file_name));
        value.set_metadata(metadata);
        value.set_image(image);
        Some(value)
    })
}

/// Returns the table of captions, for TensorBoard's `Text` tab.
pub(super) fn table(split: ScoredSplit, samples: &[SampleCaption]) -> Summary_Value {
    let mut text = "| picture | caption | reference |\n| --- | --- | --- |\n".to_owned();
    for sample in samples {
        let cells = [&sample.file_name, &sample.prediction, &sample.reference];
        text += "| ";
        text += &cells.map(|cell| markdown(cell)).join(" | ");
        text += " |\n";
    }
    let mut tensor = TensorProto::new();
    tensor.set_dtype(DataType::DT_STRING);
    // No dimensions: one text.
    tensor.mut_tensor_shape();
    tensor.mut_string_val().push(text.into_bytes());
    let mut value = plugin_value(&format!("{split}/captions"), "text", Vec::new());
    value.set_tensor(tensor);
    value
}

/// Returns Markdown that shows a text as it is, in one line.
fn markdown(text: &str) -> String {
    let mut escaped = String::new();
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => escaped.push(' '),
            '<' => escaped.push_str("&lt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' => {
                escaped.extend(['\\', letter]);
            }
            other => escaped.push(other),
        }
    }
    escaped
}
