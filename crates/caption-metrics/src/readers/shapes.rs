//! The shapes that JSON caption files have.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// An identifier: a string, or an integer as its decimal string.
pub(super) struct Id(pub(super) String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an image identifier (a string or an integer)")
            }
            fn visit_u64<E>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }
            fn visit_i64<E>(self, id: i64) -> Result<Id, E> {
                Ok(Id(id.to_string()))
            }
            fn visit_str<E>(self, id: &str) -> Result<Id, E> {
                Ok(Id(id.to_owned()))
            }
            fn visit_string<E>(self, id: String) -> Result<Id, E> {
                Ok(Id(id))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// One object of a COCO list or one line of JSONL.
#[derive(Deserialize)]
pub(super) struct Record {
    /// Present in the `images` list of COCO annotations.
    pub(super) id: Option<Id>,
    image_id: Option<Id>,
    caption: Option<String>,
    captions: Option<Vec<String>>,
}

impl Record {
    fn image(id: Option<Id>) -> Result<String, String> {
        id.map(|id| id.0).ok_or_else(|| "there is no \"image_id\"".to_owned())
    }

    pub(super) fn into_prediction(self) -> Result<(String, String), String> {
        let id = Self::image(self.image_id)?;
        let caption = self.caption.ok_or_else(|| format!("image {id:?} has no \"caption\""))?;
        Ok((id, caption))
    }

    pub(super) fn into_reference(self) -> Result<(String, ReferenceEntry), String> {
        let id = Self::image(self.image_id)?;
        match (self.caption, self.captions) {
            (Some(caption), None) => Ok((id, ReferenceEntry::One(caption))),
            (None, Some(captions)) => Ok((id, ReferenceEntry::List(captions))),
            (None, None) => Err(format!("image {id:?} has neither \"caption\" nor \"captions\"")),
            (Some(_), Some(_)) => {
                Err(format!("image {id:?} has both \"caption\" and \"captions\"; keep one"))
            }
        }
    }
}

pub(super) enum ReferenceEntry {
    One(String),
    List(Vec<String>),
}

/// The value of one entry of a JSON object.
pub(super) enum Field {
    Text(String),
    Texts(Vec<String>),
    Records(Vec<Record>),
    Other,
}

/// One element of a JSON list; a list may only hold elements of one kind.
enum Element {
    Text(String),
    Record(Record),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a caption, or an object with \"image_id\" and \"caption\"")
            }
            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Element, E> {
                Ok(Element::Text(text))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                Record::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(Element::Record)
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// Reads the rest of a list whose elements must be of one kind.
fn list<'de, A: SeqAccess<'de>>(mut sequence: A) -> Result<Field, A::Error> {
    use serde::de::Error as _;
    let (mut texts, mut records) = (Vec::new(), Vec::new());
    while let Some(element) = sequence.next_element()? {
        match element {
            Element::Text(text) => texts.push(text),
            Element::Record(record) => records.push(record),
        }
        if !texts.is_empty() && !records.is_empty() {
            return Err(A::Error::custom("a list mixes captions and objects"));
        }
    }
    Ok(if records.is_empty() { Field::Texts(texts) } else { Field::Records(records) })
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldVisitor;
        impl<'de> Visitor<'de> for FieldVisitor {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a caption or a list of captions")
            }
            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.to_owned()))
            }
            fn visit_string<E>(self, text: String) -> Result<Field, E> {
                Ok(Field::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Field, A::Error> {
                list(sequence)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Other)
            }
        }
        deserializer.deserialize_any(FieldVisitor)
    }
}

/// A whole JSON file. Objects are kept as pairs, because a map would hide an identifier that stands
/// twice.
pub(super) enum Document {
    Pairs(Vec<(String, Field)>),
    List(Field),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;
        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object {image_id: …} or a list of objects")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Document::Pairs(pairs))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<Document, A::Error> {
                list(sequence).map(Document::List)
            }
        }
        deserializer.deserialize_any(DocumentVisitor)
    }
}
