//! Whether a JSON text says something twice. Readers may then disagree: one takes the last, another refuses.
//!
//! Hexadecimal keys are the same in either case, and child tries under both of their names.

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

const CHILD_PREFIX: &str = "0x3a6368696c645f73746f726167653a64656661756c743a";

/// Whether an object anywhere in the text has two members of one name, or the text cannot be read.
pub(crate) fn says_twice(text: &[u8]) -> bool {
    let mut json = serde_json::Deserializer::from_slice(text);
    let mut is_twice = false;
    let read = Doubles(&mut is_twice).deserialize(&mut json);
    read.is_err() || is_twice
}

/// Whether the text is JSON as far as someone can tell who looks at no value.
pub(crate) fn is_grammatical(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

fn same_name(name: &str) -> String {
    if !name.starts_with("0x") {
        return name.to_owned();
    }
    let name = name.to_ascii_lowercase();
    match name.strip_prefix(CHILD_PREFIX) {
        Some(child) => format!("0x{child}"),
        None => name,
    }
}

struct Doubles<'d>(&'d mut bool);

impl<'de> DeserializeSeed<'de> for Doubles<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Doubles<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = std::collections::BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            *self.0 |= !names.insert(same_name(&name));
            map.next_value_seed(Doubles(self.0))?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Doubles(self.0))?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
