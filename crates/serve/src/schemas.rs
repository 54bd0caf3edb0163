//! Schemas in the OpenAPI document of what no type of the program describes.
//!
//! A form is read field by field, and a strategy of a request may lack fields or use older names.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{
    AdditionalProperties, ArrayBuilder, KnownFormat, Object, ObjectBuilder, Schema, SchemaFormat,
    SchemaType, Type,
};
use utoipa::{PartialSchema, ToSchema};

/// Bytes of a picture file.
pub(crate) struct PictureBytes;

impl ToSchema for PictureBytes {}

impl PartialSchema for PictureBytes {
    fn schema() -> RefOr<Schema> {
        file("Bytes of a picture file.").into()
    }
}

/// Form with pictures and options, as `multipart/form-data`.
pub(crate) struct FormUpload;

impl ToSchema for FormUpload {}

impl PartialSchema for FormUpload {
    fn schema() -> RefOr<Schema> {
        let pictures = ArrayBuilder::new()
            .items(file("Picture file"))
            .description(Some("Several picture files; the answer is then a list, even of one."));
        let form = ObjectBuilder::new()
            .description(Some("Form with one picture or several, and options."))
            .property("picture", file("Picture file; may be repeated."))
            .property("image", file("Another name of `picture`."))
            .property("file", file("Another name of `picture`."))
            .property("pictures", pictures)
            .property("runs", text("Names of runs, separated by commas; all runs if absent."))
            .property("decoding", text("Decoding settings by run, as JSON text."));
        form.into()
    }
}

fn text(description: &str) -> ObjectBuilder {
    value(Type::String, description)
}

fn value(kind: Type, description: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::new(kind)).description(Some(description))
}

fn file(description: &str) -> ObjectBuilder {
    text(description).format(Some(SchemaFormat::KnownFormat(KnownFormat::Binary)))
}

/// Returns the schema of a strategy; one in a request may lack fields.
fn strategy() -> Object {
    let seed = value(Type::Integer, "Seed of sampling")
        .format(Some(SchemaFormat::Custom("int64".to_owned())));
    ObjectBuilder::new()
        .description(Some("Choice of the next token. Fields of other kinds are absent."))
        .property(
            "kind",
            ObjectBuilder::new()
                .schema_type(SchemaType::new(Type::String))
                .enum_values(Some(["greedy", "beam", "sampling"])),
        )
        .property("num_beams", value(Type::Integer, "Beam width"))
        .property("num_return_sequences", value(Type::Integer, "Number of samples"))
        .property("temperature", value(Type::Number, "Divisor of the logits"))
        .property("top_k", value(Type::Integer, "Most probable tokens to draw from; 0 for all"))
        .property("top_p", value(Type::Number, "Share of the probability to draw from"))
        .property("seed", seed)
        .build()
}

/// Returns the schema of decoding settings; a request may leave some out.
pub(crate) fn decoding() -> Object {
    let (integer, real) = (Type::Integer, Type::Number);
    ObjectBuilder::new()
        .property("max_new_tokens", value(integer.clone(), "Maximum number of tokens of a caption"))
        .property("strategy", strategy())
        .property(
            "no_repeat_ngram_size",
            value(integer.clone(), "Length of token sequences that cannot occur twice; 0 for none"),
        )
        .property("repetition_penalty", value(real.clone(), "Above 1 tokens are repeated less"))
        .property(
            "length_penalty",
            value(real, "Of beam search: above 1 long captions win more often"),
        )
        .property("min_new_tokens", value(integer, "Number of tokens before a caption can end"))
        .build()
}

/// Returns the schema of decoding settings by run.
pub(crate) fn decoding_by_run() -> Object {
    ObjectBuilder::new()
        .description(Some(
            "By name of a run, settings that replace its own. A strategy of the run's own kind may \
             name only the values that differ.",
        ))
        .additional_properties(Some(AdditionalProperties::from(Schema::from(decoding()))))
        .build()
}
