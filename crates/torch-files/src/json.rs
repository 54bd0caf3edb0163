//! Conversion of plain values to JSON.

use serde_json::{Map, Number, Value as Json};

use crate::error::{Error, Problem, key_step};
use crate::tree::{Tree, Value};

impl Tree {
    /// Returns the whole tree as JSON. Tuples become arrays, as with Python's `json`.
    ///
    /// # Errors
    /// Names the position, as Python would write it (`[3]["pos"]`), of values that JSON cannot
    /// hold: bytes, sets, tensors, floats that are not finite, integers beyond 64 bits, keys that
    /// are not texts. Also fails for a small file that shares its values so often that the JSON
    /// would be huge.
    pub fn to_json(&self) -> Result<Json, Error> {
        let converted = self.check_expansion().and_then(|()| {
            convert(self.root()).map_err(|(refused, position)| {
                let position = if position.is_empty() { "at the top" } else { &position };
                Problem::Content(format!("cannot become JSON: {refused} {position}"))
            })
        });
        converted.map_err(|problem| problem.at(self.path()))
    }
}

/// Converts a value, or returns a description and the position of one that JSON cannot hold.
///
/// Recurses no deeper than values nest, which [`Tree::load`] limits.
fn convert(value: Value) -> Result<Json, (String, String)> {
    let refused = |description: String| (description, String::new());
    let within = |(refused, position): (String, String), step: String| (refused, step + &position);
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => {
            Number::from_i128(value).ok_or_else(|| refused(format!("the integer {value}")))?.into()
        }
        Value::Float(value) => {
            Number::from_f64(value).ok_or_else(|| refused(format!("the float {value}")))?.into()
        }
        Value::Str(text) => text.into(),
        Value::List(items) | Value::Tuple(items) => {
            let convert =
                |(index, item)| convert(item).map_err(|inner| within(inner, format!("[{index}]")));
            items.iter().enumerate().map(convert).collect::<Result<_, _>>()?
        }
        Value::Dict(dict) => {
            let mut object = Map::new();
            for (key, value) in dict.iter() {
                let Value::Str(key) = key else {
                    return Err(refused(format!("a key that is a {}", key.kind())));
                };
                let value = convert(value).map_err(|inner| within(inner, key_step(key)))?;
                object.insert(key.to_owned(), value);
            }
            object.into()
        }
        Value::Bytes(_) | Value::Set(_) | Value::Tensor(_) | Value::Other(_) => {
            return Err(refused(format!("a {}", value.kind())));
        }
    })
}
