//! The shapes that JSON caption files have, read entry by entry.

use std::fmt;

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::loading::Loading;

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

/// Reads a list whose elements must be of one kind: records go to `record`, and texts are returned,
/// `None` if there were records.
fn list<'de, A: SeqAccess<'de>>(
    mut sequence: A,
    mut record: impl FnMut(Record) -> Result<(), A::Error>,
) -> Result<Option<Vec<String>>, A::Error> {
    let (mut texts, mut records) = (Vec::new(), 0);
    while let Some(element) = sequence.next_element()? {
        match element {
            Element::Text(text) => texts.push(text),
            Element::Record(one) => {
                records += 1;
                record(one)?;
            }
        }
        if !texts.is_empty() && records > 0 {
            return Err(A::Error::custom("a list mixes captions and objects"));
        }
    }
    Ok((records == 0).then_some(texts))
}

/// The value of one entry of a JSON object.
struct Value<'l> {
    key: String,
    loading: &'l mut Loading,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a caption or a list of captions")
    }
    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.loading.text_of(&self.key, text).map_err(E::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<(), A::Error> {
        let Self { key, loading } = self;
        match list(sequence, |record| loading.record_of(&key, record).map_err(A::Error::custom))? {
            Some(texts) => loading.texts_of(&key, &texts).map_err(A::Error::custom),
            None => Ok(()),
        }
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        self.loading.other_of(&self.key);
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.loading.other_of(&self.key);
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.loading.other_of(&self.key);
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.loading.other_of(&self.key);
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.loading.other_of(&self.key);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.loading.other_of(&self.key);
        Ok(())
    }
}

/// A whole JSON file. Its entries go where they are kept one by one: a map would hide an identifier that
/// stands twice.
pub(super) struct Document<'l>(pub(super) &'l mut Loading);

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object {image_id: …} or a list of objects")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key()? {
            map.next_value_seed(Value { key, loading: &mut *self.0 })?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<(), A::Error> {
        match list(sequence, |record| self.0.record(record).map_err(A::Error::custom))? {
            Some(texts) if !texts.is_empty() => Err(A::Error::custom(
                "expected a list of objects with \"image_id\" and \"caption\"",
            )),
            _ => Ok(()),
        }
    }
}
