//! The shapes of JSON caption files, read entry by entry.

use std::fmt;
use std::mem::{Discriminant, discriminant};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::loader::Loader;
use super::record::Record;

/// An element of a JSON list; a list may only hold elements of one kind.
enum Element {
    Text(String),
    Texts(Vec<String>),
    Record(Record),
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a caption, or an object with \"caption\"")
            }
            fn visit_str<E>(self, text: &str) -> Result<Element, E> {
                Ok(Element::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Element::Texts(texts))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                Record::deserialize(MapAccessDeserializer::new(map)).map(Element::Record)
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// The kind that all elements of a list must have.
#[derive(Default)]
struct OneKind(Option<Discriminant<Element>>);

impl OneKind {
    fn check<E: serde::de::Error>(&mut self, element: &Element) -> Result<(), E> {
        let kind = discriminant(element);
        if *self.0.get_or_insert(kind) == kind {
            return Ok(());
        }
        Err(E::custom("a list mixes captions, lists and objects"))
    }
}

/// Visits values that are neither text nor list: their entry is no caption.
macro_rules! visit_other {
    ($($visit:ident($value:ty))*) => {
        $(fn $visit<E>(self, _: $value) -> Result<(), E> {
            self.loader.other(&self.key);
            Ok(())
        })*
    };
}

/// The value of one entry of a JSON object.
struct Value<'l> {
    key: String,
    loader: &'l mut Loader,
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
        self.loader.text(&self.key, text).map_err(E::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { key, loader } = self;
        let is_coco = Loader::is_coco_list(&key);
        let (mut kind, mut captions) = (OneKind::default(), Vec::new());
        let (mut is_empty, mut is_captions) = (true, true);
        while let Some(element) = list.next_element()? {
            is_empty = false;
            kind.check(&element)?;
            match element {
                Element::Record(record) if is_coco => {
                    loader.coco_record(&key, record).map_err(A::Error::custom)?;
                }
                Element::Text(caption) | Element::Record(Record { caption: Some(caption), .. }) => {
                    captions.push(caption);
                }
                Element::Record(_) | Element::Texts(_) => is_captions = false,
            }
            loader.check_count(&key, captions.len()).map_err(A::Error::custom)?;
        }
        if is_empty || !captions.is_empty() && is_captions {
            return loader.texts(&key, &captions).map_err(A::Error::custom);
        }
        loader.other(&key);
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        IgnoredAny.visit_map(map)?;
        self.loader.other(&self.key);
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        self.loader.other(&self.key);
        Ok(())
    }
    visit_other! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) }
}

/// A whole JSON file, whose entries go to the loader one by one.
///
/// A map would hide an identifier that occurs twice.
pub(super) struct Document<'l>(pub(super) &'l mut Loader);

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
            map.next_value_seed(Value { key, loader: &mut *self.0 })?;
        }
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut kind = OneKind::default();
        for position in 0_usize.. {
            let Some(element) = list.next_element()? else { break };
            kind.check(&element)?;
            match element {
                Element::Record(record) => self.0.record(record),
                Element::Text(caption) => self.0.text_at(position, &caption),
                Element::Texts(captions) => self.0.texts(&position.to_string(), &captions),
            }
            .map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
