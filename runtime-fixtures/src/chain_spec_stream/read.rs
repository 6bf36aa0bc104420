//! Reading: a visitor over the JSON, that keeps no more of it than the entry it is at.
//!
//! Invariant: an error names the file and what stands at its place, by its JSON path.

use std::{
    io::{BufReader, Read},
    path::Path,
};

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use slackwater_executor::state::{StateError, StateImport};
use sp_core::storage::well_known_keys::CODE;

use super::ChainNames;
use crate::{
    FixtureError,
    hexadecimal::{self, HexError},
    state_map::unprefixed_child_key,
};

/// Why a chain spec was not read into a database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpecImportError {
    /// It is broken.
    #[error(transparent)]
    Spec(#[from] FixtureError),
    /// The database could not be written.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Reads the chain spec `path`, whose bytes `input` gives, and adds all values of its genesis to `import`.
///
/// # Errors
/// [`SpecImportError`]; some values may have been added by then.
pub fn import_spec(
    path: &Path,
    input: impl Read,
    import: &mut StateImport,
) -> Result<ChainNames, SpecImportError> {
    let mut spec = Spec::new(path, import);
    let mut json = serde_json::Deserializer::from_reader(BufReader::with_capacity(1 << 20, input));
    let read = Members(&mut spec, Place::Document).deserialize(&mut json);
    if let Err(error) = read.and_then(|()| json.end()) {
        return Err(spec.error(error));
    }
    spec.finish()
}

/// Where the reader stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Document,
    Genesis,
    Raw,
    Children,
    /// A trie: the top one, or the child of which [`Spec::child`] holds the key.
    Trie,
}

/// What was read by now.
struct Spec<'a> {
    path: &'a Path,
    import: &'a mut StateImport,
    /// JSON path of what is being read; after an error, of what could not be.
    field: String,
    /// What is to stand there.
    expected: &'static str,
    child: Option<Vec<u8>>,
    name: Option<String>,
    id: Option<String>,
    genesis: bool,
    /// Whether it has been named, and whether there was anything under that name.
    raw_named: bool,
    raw: bool,
    top: bool,
    children: bool,
    /// What ended the reading, if it is not the JSON.
    fault: Option<Fault>,
}

enum Fault {
    Twice,
    Hex(HexError),
    Shape,
    State(StateError),
}

impl<'a> Spec<'a> {
    fn new(path: &'a Path, import: &'a mut StateImport) -> Self {
        Self {
            path,
            import,
            field: String::new(),
            expected: "an object",
            child: None,
            name: None,
            id: None,
            genesis: false,
            raw_named: false,
            raw: false,
            top: false,
            children: false,
            fault: None,
        }
    }

    /// Ends the reading.
    fn stop<E: serde::de::Error>(&mut self, fault: Fault) -> E {
        self.fault = Some(fault);
        E::custom("see the fault")
    }

    /// Notes that something stands there, once.
    fn once<E: serde::de::Error>(&mut self, seen: fn(&mut Self) -> &mut bool) -> Result<(), E> {
        if std::mem::replace(seen(self), true) {
            return Err(self.stop(Fault::Twice));
        }
        Ok(())
    }

    fn error(self, error: serde_json::Error) -> SpecImportError {
        let (path, field, line) = (self.path.to_owned(), self.field, error.line());
        let shape = |expected| FixtureError::Shape {
            path: self.path.to_owned(),
            field: field.clone(),
            expected,
        };
        let error = match (self.fault, error.classify()) {
            (Some(Fault::State(error)), _) => return error.into(),
            (Some(Fault::Twice), _) => FixtureError::Twice { path, field, line },
            (Some(Fault::Hex(source)), _) => FixtureError::Hex { path, source },
            (Some(Fault::Shape), _) | (None, Category::Data) => shape(self.expected),
            (None, Category::Io) => FixtureError::Read {
                path,
                source: error.into(),
            },
            (None, Category::Syntax | Category::Eof) => FixtureError::Syntax {
                path,
                line,
                source: error,
            },
        };
        error.into()
    }

    fn finish(self) -> Result<ChainNames, SpecImportError> {
        let missing = |field: &str| FixtureError::Missing {
            path: self.path.to_owned(),
            field: field.to_owned(),
        };
        let path = || self.path.to_owned();
        let field = "genesis.raw.top";
        if !self.genesis {
            return Err(missing("genesis").into());
        }
        if !self.raw {
            return Err(FixtureError::NotRaw { path: path() }.into());
        }
        if !self.top {
            return Err(missing(field).into());
        }
        if self.import.value(CODE)?.is_none() {
            let (path, field) = (path(), field.to_owned());
            return Err(FixtureError::NoCode { path, field }.into());
        }
        Ok(ChainNames {
            name: self.name.ok_or_else(|| missing("name"))?,
            id: self.id.ok_or_else(|| missing("id"))?,
        })
    }

    /// Reads the value of the member `name`.
    fn member<'de, A: MapAccess<'de>>(
        &mut self,
        place: Place,
        name: &str,
        map: &mut A,
    ) -> Result<(), A::Error> {
        let members = |spec, place| Members(spec, place);
        match (place, name) {
            (Place::Document, "name" | "id") => {
                self.expected = "a text";
                let text = Some(map.next_value()?);
                let is_name = name == "name";
                let slot = if is_name {
                    &mut self.name
                } else {
                    &mut self.id
                };
                if std::mem::replace(slot, text).is_some() {
                    return Err(self.stop(Fault::Twice));
                }
                Ok(())
            }
            (Place::Document, "genesis") => {
                self.once(|spec| &mut spec.genesis)?;
                map.next_value_seed(members(self, Place::Genesis))
            }
            (Place::Genesis, "raw") => {
                self.once(|spec| &mut spec.raw_named)?;
                map.next_value_seed(members(self, Place::Raw))
            }
            (Place::Raw, "top") => {
                self.once(|spec| &mut spec.top)?;
                map.next_value_seed(members(self, Place::Trie))
            }
            (Place::Raw, "childrenDefault") => {
                self.once(|spec| &mut spec.children)?;
                map.next_value_seed(members(self, Place::Children))
            }
            (Place::Children, key) => {
                let key = self.hex(key)?;
                self.child = Some(unprefixed_child_key(&key).to_vec());
                map.next_value_seed(members(self, Place::Trie))?;
                self.child = None;
                Ok(())
            }
            (Place::Trie, key) => {
                let key = self.hex(key)?;
                self.expected = "a text";
                let value: String = map.next_value()?;
                let value = self.hex(&value)?;
                match self.import.put_new(self.child.as_deref(), &key, &value) {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(self.stop(Fault::Twice)),
                    Err(error) => Err(self.stop(Fault::State(error))),
                }
            }
            _ => map.next_value().map(|_: IgnoredAny| ()),
        }
    }

    fn hex<E: serde::de::Error>(&mut self, text: &str) -> Result<Vec<u8>, E> {
        // The field is named when it is known to be wrong.
        hexadecimal::decode("", text).map_err(|error| {
            let field = self.field.clone();
            self.stop(Fault::Hex(HexError { field, ..error }))
        })
    }

    /// Reads something that stands in `step` of where the reader is.
    fn within<T, E>(
        &mut self,
        step: impl std::fmt::Display,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        use std::fmt::Write as _;
        let above = self.field.len();
        // Writing to a text does not fail.
        let _written = write!(self.field, "{step}");
        let value = read(self)?;
        self.field.truncate(above);
        Ok(value)
    }
}

/// Reads an object, or the older pair of them.
struct Members<'s, 'a>(&'s mut Spec<'a>, Place);

impl<'de> DeserializeSeed<'de> for Members<'_, '_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        self.0.expected = "an object";
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Members<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(spec, place) = self;
        if place == Place::Raw {
            spec.raw = true;
        }
        while let Some(name) = map.next_key::<String>()? {
            let dot = if spec.field.is_empty() { "" } else { "." };
            spec.within(format_args!("{dot}{name}"), |spec| {
                spec.member(place, &name, &mut map)
            })?;
        }
        Ok(())
    }

    /// `genesis.raw` that is `null` is none, as are child tries.
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        match self.1 {
            Place::Raw | Place::Children => Ok(()),
            _ => Err(self.0.stop(Fault::Shape)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut pair: A) -> Result<(), A::Error> {
        let Self(spec, place) = self;
        if place != Place::Raw {
            return Err(spec.stop(Fault::Shape));
        }
        spec.raw = true;
        spec.expected = "a pair of maps";
        let first = spec.within("[0]", |spec| {
            pair.next_element_seed(Members(spec, Place::Trie))
        })?;
        spec.top = first.is_some();
        spec.within("[1]", |spec| {
            pair.next_element_seed(Members(spec, Place::Children))
        })?;
        spec.expected = "a pair of maps";
        if !spec.top || pair.next_element::<IgnoredAny>()?.is_some() {
            return Err(spec.stop(Fault::Shape));
        }
        Ok(())
    }
}
