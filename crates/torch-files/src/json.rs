//! Conversion of plain values to JSON.

use std::fmt;

use serde_json::{Map, Number};

use crate::error::{Error, Problem, shown};
use crate::tree::{Tree, Value};

impl Tree {
    /// Returns the whole tree as JSON. Tuples become arrays, as with Python's `json`.
    ///
    /// # Errors
    /// Names the position, as Python would write it (`[3]["pos"]`), of values that JSON cannot
    /// hold: bytes, sets, tensors, floats that are not finite, integers beyond 64 bits, keys that
    /// are not texts. Also fails for a small file that shares its values so often that the JSON
    /// would be huge.
    pub fn to_json(&self) -> Result<serde_json::Value, Error> {
        self.check_expansion()
            .and_then(|()| Converter { path: Vec::new() }.convert(self.root()))
            .map_err(|problem| problem.at(&self.path))
    }
}

struct Converter<'a> {
    path: Vec<Step<'a>>,
}

enum Step<'a> {
    Item(usize),
    Key(&'a str),
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Item(place) => write!(f, "[{place}]"),
            Self::Key(key) => write!(f, "[\"{}\"]", shown(key)),
        }
    }
}

impl<'a> Converter<'a> {
    /// Recurses no deeper than [`MAX_DEPTH`](crate::MAX_DEPTH).
    fn convert(&mut self, value: Value<'a>) -> Result<serde_json::Value, Problem> {
        Ok(match value {
            Value::None => serde_json::Value::Null,
            Value::Bool(value) => value.into(),
            Value::Int(value) => match Number::from_i128(value) {
                Some(number) => number.into(),
                None => return Err(self.refused(&format!("the integer {value}"))),
            },
            Value::Float(value) => match Number::from_f64(value) {
                Some(number) => number.into(),
                None => return Err(self.refused(&format!("the float {value}"))),
            },
            Value::Str(text) => text.into(),
            Value::List(items) | Value::Tuple(items) => {
                let mut array = Vec::with_capacity(items.len());
                for (place, item) in items.iter().enumerate() {
                    array.push(self.within(Step::Item(place), item)?);
                }
                array.into()
            }
            Value::Dict(dict) => {
                let mut object = Map::new();
                for (key, value) in dict.iter() {
                    let Value::Str(key) = key else {
                        return Err(self.refused(&format!("a key that is a {}", key.kind())));
                    };
                    object.insert(key.to_owned(), self.within(Step::Key(key), value)?);
                }
                object.into()
            }
            Value::Bytes(_) | Value::Set(_) | Value::Tensor(_) | Value::Other(_) => {
                return Err(self.refused(&format!("a {}", value.kind())));
            }
        })
    }

    fn within(&mut self, step: Step<'a>, value: Value<'a>) -> Result<serde_json::Value, Problem> {
        self.path.push(step);
        let converted = self.convert(value)?;
        self.path.pop();
        Ok(converted)
    }

    fn refused(&self, what: &str) -> Problem {
        let place: String = self.path.iter().map(ToString::to_string).collect();
        let place = if place.is_empty() { "at the top" } else { &place };
        Problem::Content(format!("cannot become JSON: {what} {place}"))
    }
}
