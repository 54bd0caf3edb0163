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
            convert(self.root()).map_err(|Refused { value, position }| {
                let position = if position.is_empty() { "at the top" } else { &position };
                Problem::Content(format!("cannot become JSON: {value} {position}"))
            })
        });
        converted.map_err(|problem| problem.at(self.path()))
    }
}

/// Value that JSON cannot hold.
struct Refused {
    value: String,
    position: String,
}

impl Refused {
    fn new(value: String) -> Self {
        Self { value, position: String::new() }
    }

    fn within(mut self, step: &str) -> Self {
        self.position.insert_str(0, step);
        self
    }
}

/// Recurses no deeper than values nest, which [`Tree::load`] limits.
fn convert(value: Value) -> Result<Json, Refused> {
    Ok(match value {
        Value::None => Json::Null,
        Value::Bool(value) => value.into(),
        Value::Int(value) => Number::from_i128(value)
            .ok_or_else(|| Refused::new(format!("the integer {value}")))?
            .into(),
        Value::Float(value) => Number::from_f64(value)
            .ok_or_else(|| Refused::new(format!("the float {value}")))?
            .into(),
        Value::Str(text) => text.into(),
        Value::List(items) | Value::Tuple(items) => {
            let within = |index, refused: Refused| refused.within(&format!("[{index}]"));
            let items = items.iter().enumerate();
            items
                .map(|(index, item)| convert(item).map_err(|refused| within(index, refused)))
                .collect::<Result<_, _>>()?
        }
        Value::Dict(dict) => {
            let mut object = Map::new();
            for (key, value) in dict.iter() {
                let Value::Str(key) = key else {
                    return Err(Refused::new(format!("a key that is a {}", key.kind())));
                };
                let value = convert(value).map_err(|refused| refused.within(&key_step(key)))?;
                object.insert(key.to_owned(), value);
            }
            object.into()
        }
        Value::Bytes(_) | Value::Set(_) | Value::Tensor(_) | Value::Other(_) => {
            return Err(Refused::new(format!("a {}", value.kind())));
        }
    })
}
