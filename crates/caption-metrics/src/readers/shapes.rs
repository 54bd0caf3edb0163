//! The shapes that JSON caption files have, read entry by entry.

use std::fmt;
use std::mem::{Discriminant, discriminant};

use serde::Deserialize;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::loading::Loading;

/// An identifier: a string, or a number as [`PythonJson`](super::python::PythonJson) writes it.
pub(super) struct Id(pub(super) String);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an image identifier (a string or a number)")
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

/// Reads an identifier if there is one, and passes over anything else: most records' `id` is not
/// used.
fn any_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Id>, D::Error> {
    struct AnyVisitor;
    impl<'de> Visitor<'de> for AnyVisitor {
        type Value = Option<Id>;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("anything")
        }
        fn visit_str<E>(self, id: &str) -> Result<Option<Id>, E> {
            Ok(Some(Id(id.to_owned())))
        }
        fn visit_bool<E>(self, _: bool) -> Result<Option<Id>, E> {
            Ok(None)
        }
        fn visit_unit<E>(self) -> Result<Option<Id>, E> {
            Ok(None)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Option<Id>, E> {
            Ok(None)
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<Id>, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<Id>, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    deserializer.deserialize_any(AnyVisitor)
}

/// One object of a COCO list or one line of JSONL.
#[derive(Deserialize)]
pub(super) struct Record {
    /// Present in the `images` list of COCO annotations.
    #[serde(default, deserialize_with = "any_id")]
    pub(super) id: Option<Id>,
    image_id: Option<Id>,
    pub(super) caption: Option<String>,
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
            fn visit_string<E>(self, text: String) -> Result<Element, E> {
                Ok(Element::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Element, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Element::Texts(texts))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                Record::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    .map(Element::Record)
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

/// Checks that all elements of a list are of one kind.
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
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self { key, loading } = self;
        let is_coco = Loading::is_coco_list(&key);
        let (mut kind, mut captions) = (OneKind::default(), Vec::new());
        let (mut is_empty, mut is_captions) = (true, true);
        while let Some(element) = list.next_element()? {
            is_empty = false;
            kind.check(&element)?;
            match element {
                Element::Record(record) if is_coco => {
                    loading.record_of(&key, record).map_err(A::Error::custom)?;
                }
                Element::Text(caption) | Element::Record(Record { caption: Some(caption), .. }) => {
                    captions.push(caption);
                }
                Element::Record(_) | Element::Texts(_) => is_captions = false,
            }
            loading.check_count(&key, captions.len()).map_err(A::Error::custom)?;
        }
        if is_empty || !captions.is_empty() && is_captions {
            return loading.texts_of(&key, &captions).map_err(A::Error::custom);
        }
        loading.other_of(&key);
        Ok(())
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
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut kind = OneKind::default();
        for position in 0_usize.. {
            let Some(element) = list.next_element()? else { break };
            kind.check(&element)?;
            match element {
                Element::Record(record) => self.0.record(record),
                Element::Text(caption) => self.0.text_at(position, &caption),
                Element::Texts(captions) => self.0.texts_of(&position.to_string(), &captions),
            }
            .map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
