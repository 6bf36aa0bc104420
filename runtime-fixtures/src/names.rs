//! What keys and values of a state are called by its runtime: for people, where something differs.
//!
//! Names of pallets and entries are read from metadata since version 9; keys and values are taken apart since version 14, in
//! which metadata describes types. What is not known stays hexadecimal. Invariant: whatever a runtime says of itself, or a
//! state holds, is shown or not shown, and fails nothing.

use codec::{Compact, Decode, DecodeAll};
use frame_metadata::{
    RuntimeMetadata, RuntimeMetadataPrefixed,
    decode_different::DecodeDifferent,
    v14::{StorageEntryType, StorageHasher},
};
use scale_info::{PortableRegistry, TypeDef, TypeDefPrimitive};
use slackwater_executor::{
    CallContext, CallOutcome, WasmExecutor,
    block::ExecutionError,
    call_on_state,
    host_functions::HostFunctions,
    state::{BlockState, Extensions},
};
use sp_core::storage::well_known_keys::DEFAULT_CHILD_STORAGE_KEY_PREFIX;
use sp_crypto_hashing::twox_128;

use crate::hexadecimal;

const METADATA: &str = "Metadata_metadata";

/// Bytes of a pallet's and an entry's hash in front of a key.
const PREFIX_BYTES: usize = 32;

/// Characters of a value that are shown.
const SHOWN_MAX: usize = 2_000;

/// The metadata of the runtime of a state; within, why it has none.
pub(crate) fn metadata_of<S: BlockState, H: HostFunctions>(
    executor: &WasmExecutor<H>,
    state: &S,
) -> Result<Result<Vec<u8>, String>, ExecutionError> {
    let context = CallContext::Offchain;
    let called = call_on_state(executor, state, context, METADATA, &[], Extensions::new())?;
    let answer = match called.outcome {
        CallOutcome::Returned(answer) => answer,
        CallOutcome::Trapped(trap) => return Ok(Err(trap.to_string())),
    };
    let metadata = Vec::<u8>::decode(&mut answer.as_slice());
    Ok(metadata.map_err(|_bytes| format!("{} bytes that are no metadata", answer.len())))
}

/// An entry of a pallet's storage.
#[derive(Debug)]
struct Entry {
    /// What its keys begin with.
    prefix: Vec<u8>,
    name: String,
    types: Option<EntryTypes>,
}

/// How its keys and values look.
#[derive(Debug)]
struct EntryTypes {
    /// The parts of a key behind the prefix: how each is hashed, and its type.
    keys: Vec<(StorageHasher, u32)>,
    value: u32,
}

/// What the keys and values of a state are called.
#[derive(Debug, Default)]
pub struct StateNames {
    entries: Vec<Entry>,
    types: Option<PortableRegistry>,
}

impl StateNames {
    /// As the runtime of `state` calls them; nothing, if it does not say so in a way that is known here.
    ///
    /// # Errors
    /// [`ExecutionError`] when it cannot be asked.
    pub fn of_state<S: BlockState, H: HostFunctions>(
        executor: &WasmExecutor<H>,
        state: &S,
    ) -> Result<Self, ExecutionError> {
        let metadata = metadata_of(executor, state)?;
        Ok(metadata.map_or_else(|_reason| Self::default(), |it| Self::of_metadata(&it)))
    }

    fn of_metadata(metadata: &[u8]) -> Self {
        match RuntimeMetadataPrefixed::decode_all(&mut &*metadata) {
            Ok(RuntimeMetadataPrefixed(_, metadata)) => Self::read(metadata),
            Err(_) => Self::default(),
        }
    }

    fn read(metadata: RuntimeMetadata) -> Self {
        /// Names alone: types are Rust's there, as text.
        macro_rules! named {
            ($metadata:ident) => {{
                let mut entries = Vec::new();
                for module in decoded($metadata.modules).unwrap_or_default() {
                    let storage = module.storage.and_then(decoded);
                    let Some(storage) = storage else { continue };
                    let prefix = decoded(storage.prefix).unwrap_or_default();
                    for entry in decoded(storage.entries).unwrap_or_default() {
                        let name = decoded(entry.name).unwrap_or_default();
                        entries.push(Entry::new(&prefix, &name, None));
                    }
                }
                Self {
                    entries,
                    types: None,
                }
            }};
        }
        match metadata {
            RuntimeMetadata::V9(metadata) => named!(metadata),
            RuntimeMetadata::V10(metadata) => named!(metadata),
            RuntimeMetadata::V11(metadata) => named!(metadata),
            RuntimeMetadata::V12(metadata) => named!(metadata),
            RuntimeMetadata::V13(metadata) => named!(metadata),
            RuntimeMetadata::V14(metadata) => {
                let mut entries = Vec::new();
                for storage in metadata.pallets.into_iter().filter_map(|it| it.storage) {
                    for entry in storage.entries {
                        let types = EntryTypes::read(entry.ty, &metadata.types);
                        entries.push(Entry::new(&storage.prefix, &entry.name, types));
                    }
                }
                Self {
                    entries,
                    types: Some(metadata.types),
                }
            }
            _ => Self::default(),
        }
    }

    fn entry(&self, key: &[u8]) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| key.starts_with(&entry.prefix))
    }

    /// What a key of the top trie is called.
    #[must_use]
    pub fn key(&self, key: &[u8]) -> Option<String> {
        if let Some(child) = key.strip_prefix(DEFAULT_CHILD_STORAGE_KEY_PREFIX) {
            return Some(format!("root of child trie {}", hexadecimal::encode(child)));
        }
        if key.starts_with(b":") {
            return printable(key);
        }
        let Some(entry) = self.entry(key) else {
            return printable(key);
        };
        let rest = &key[PREFIX_BYTES..];
        if rest.is_empty() {
            return Some(entry.name.clone());
        }
        let arguments = self.arguments(entry, rest);
        let arguments = arguments.unwrap_or_else(|| hexadecimal::encode(rest));
        Some(format!("{}({arguments})", entry.name))
    }

    /// The parts of a key behind the prefix.
    fn arguments(&self, entry: &Entry, mut rest: &[u8]) -> Option<String> {
        let types = self.types.as_ref()?;
        let mut shown = Vec::new();
        for (hasher, ty) in &entry.types.as_ref()?.keys {
            let (hash, keeps_key) = match hasher {
                StorageHasher::Blake2_128 | StorageHasher::Twox128 => (16, false),
                StorageHasher::Blake2_256 | StorageHasher::Twox256 => (32, false),
                StorageHasher::Blake2_128Concat => (16, true),
                StorageHasher::Twox64Concat => (8, true),
                StorageHasher::Identity => (0, true),
            };
            let (hash, behind) = rest.split_at_checked(hash)?;
            rest = behind;
            shown.push(if keeps_key {
                value(&mut rest, *ty, types)?
            } else {
                format!("hash {}", hexadecimal::encode(hash))
            });
        }
        rest.is_empty().then(|| shown.join(", "))
    }

    /// The value under a key of the top trie, taken apart.
    #[must_use]
    pub fn value(&self, key: &[u8], bytes: &[u8]) -> Option<String> {
        let types = self.types.as_ref()?;
        let ty = self.entry(key)?.types.as_ref()?.value;
        whole(bytes, ty, types)
    }

    /// A SCALE `DispatchError`, taken apart.
    #[must_use]
    pub fn dispatch_error(&self, bytes: &[u8]) -> Option<String> {
        let types = self.types.as_ref()?;
        let is_it = |path: &[String]| path == ["sp_runtime", "DispatchError"];
        let ty = types.types.iter().find(|ty| is_it(&ty.ty.path.segments))?;
        whole(bytes, ty.id, types)
    }
}

impl Entry {
    fn new(pallet: &str, entry: &str, types: Option<EntryTypes>) -> Self {
        Self {
            prefix: [twox_128(pallet.as_bytes()), twox_128(entry.as_bytes())].concat(),
            name: format!("{pallet}.{entry}"),
            types,
        }
    }
}

impl EntryTypes {
    fn read(
        ty: StorageEntryType<scale_info::form::PortableForm>,
        types: &PortableRegistry,
    ) -> Option<Self> {
        match ty {
            StorageEntryType::Plain(value) => Some(Self {
                keys: Vec::new(),
                value: value.id,
            }),
            StorageEntryType::Map {
                hashers,
                key,
                value,
            } => {
                let parts = match (&types.resolve(key.id)?.type_def, hashers.len()) {
                    (TypeDef::Tuple(tuple), 2..) => tuple.fields.iter().map(|it| it.id).collect(),
                    _ => vec![key.id],
                };
                let keys = hashers.into_iter().zip(parts).collect();
                Some(Self {
                    keys,
                    value: value.id,
                })
            }
        }
    }
}

fn decoded<B, O>(value: DecodeDifferent<B, O>) -> Option<O> {
    match value {
        DecodeDifferent::Decoded(value) => Some(value),
        DecodeDifferent::Encode(_) => None,
    }
}

/// Takes a value off the front of `bytes`.
fn value(bytes: &mut &[u8], ty: u32, types: &PortableRegistry) -> Option<String> {
    // The decoder believes what is said about lengths, and follows types however deep.
    Walk::new(types).over(&mut &**bytes, ty)?;
    let value = scale_value::scale::decode_as_type(bytes, ty, types).ok()?;
    let mut shown = plain(&value.remove_context());
    if let Some((end, _)) = shown.char_indices().nth(SHOWN_MAX) {
        shown.truncate(end);
        shown.push_str("...");
    }
    Some(shown)
}

fn whole(mut bytes: &[u8], ty: u32, types: &PortableRegistry) -> Option<String> {
    let shown = value(&mut bytes, ty, types)?;
    bytes.is_empty().then_some(shown)
}

/// Walks over a value without keeping anything, to see that it is one, and of what size.
struct Walk<'t> {
    types: &'t PortableRegistry,
    depth: usize,
    parts: usize,
}

impl<'t> Walk<'t> {
    /// Values within values.
    const DEPTH_MAX: usize = 64;
    /// Parts of a value; of one with more nobody would read the text.
    const PARTS_MAX: usize = 100_000;

    fn new(types: &'t PortableRegistry) -> Self {
        Self {
            types,
            depth: 0,
            parts: 0,
        }
    }

    fn over(&mut self, bytes: &mut &[u8], ty: u32) -> Option<()> {
        self.parts += 1;
        self.depth += 1;
        if self.depth > Self::DEPTH_MAX || self.parts > Self::PARTS_MAX {
            return None;
        }
        let walked = self.within(bytes, ty);
        self.depth -= 1;
        walked
    }

    fn within(&mut self, bytes: &mut &[u8], ty: u32) -> Option<()> {
        let types = self.types;
        match &types.resolve(ty)?.type_def {
            TypeDef::Composite(composite) => {
                self.each(bytes, composite.fields.iter().map(|it| it.ty.id))
            }
            TypeDef::Variant(variants) => {
                let index = u8::decode(bytes).ok()?;
                let variant = variants.variants.iter().find(|it| it.index == index)?;
                self.each(bytes, variant.fields.iter().map(|it| it.ty.id))
            }
            TypeDef::Sequence(sequence) => {
                let length = Compact::<u32>::decode(bytes).ok()?.0;
                self.each(bytes, (0..length).map(|_| sequence.type_param.id))
            }
            TypeDef::Array(array) => self.each(bytes, (0..array.len).map(|_| array.type_param.id)),
            TypeDef::Tuple(tuple) => self.each(bytes, tuple.fields.iter().map(|it| it.id)),
            TypeDef::Primitive(primitive) => pass(bytes, primitive),
            TypeDef::Compact(_) => Compact::<u128>::decode(bytes).ok().map(|_| ()),
            // Nobody has missed them.
            TypeDef::BitSequence(_) => None,
        }
    }

    fn each(&mut self, bytes: &mut &[u8], mut types: impl Iterator<Item = u32>) -> Option<()> {
        types.try_for_each(|ty| self.over(bytes, ty))
    }
}

/// Steps over a primitive value.
fn pass(bytes: &mut &[u8], primitive: &TypeDefPrimitive) -> Option<()> {
    let length = match primitive {
        TypeDefPrimitive::Bool | TypeDefPrimitive::U8 | TypeDefPrimitive::I8 => 1,
        TypeDefPrimitive::U16 | TypeDefPrimitive::I16 => 2,
        TypeDefPrimitive::Char | TypeDefPrimitive::U32 | TypeDefPrimitive::I32 => 4,
        TypeDefPrimitive::U64 | TypeDefPrimitive::I64 => 8,
        TypeDefPrimitive::U128 | TypeDefPrimitive::I128 => 16,
        TypeDefPrimitive::U256 | TypeDefPrimitive::I256 => 32,
        TypeDefPrimitive::Str => usize::try_from(Compact::<u32>::decode(bytes).ok()?.0).ok()?,
    };
    *bytes = bytes.get(length..)?;
    Some(())
}

/// A value as text, lists of bytes as hexadecimal.
fn plain(value: &scale_value::Value<()>) -> String {
    use scale_value::{Composite, Primitive, ValueDef};
    let composite = |composite: &Composite<()>| match composite {
        Composite::Named(fields) => {
            let shown = fields
                .iter()
                .map(|(name, value)| format!("{name}: {}", plain(value)));
            format!("{{ {} }}", shown.collect::<Vec<_>>().join(", "))
        }
        Composite::Unnamed(fields) => match (as_bytes(fields), fields.as_slice()) {
            (Some(bytes), _) => hexadecimal::encode(&bytes),
            (None, [one]) => plain(one),
            (None, fields) => {
                format!(
                    "({})",
                    fields.iter().map(plain).collect::<Vec<_>>().join(", ")
                )
            }
        },
    };
    match &value.value {
        ValueDef::Composite(fields) => composite(fields),
        ValueDef::Variant(variant) if variant.values.is_empty() => variant.name.clone(),
        ValueDef::Variant(variant) => {
            let values = composite(&variant.values);
            match &variant.values {
                Composite::Unnamed(fields) if fields.len() == 1 => {
                    format!("{}({values})", variant.name)
                }
                _ => format!("{} {values}", variant.name),
            }
        }
        ValueDef::Primitive(Primitive::String(text)) => format!("{text:?}"),
        ValueDef::Primitive(Primitive::Bool(flag)) => flag.to_string(),
        ValueDef::Primitive(Primitive::U128(number)) => number.to_string(),
        ValueDef::Primitive(Primitive::I128(number)) => number.to_string(),
        ValueDef::Primitive(other) => format!("{other:?}"),
        ValueDef::BitSequence(bits) => {
            let bits = bits.iter().map(|bit| if bit { '1' } else { '0' });
            bits.collect()
        }
    }
}

/// Lists of more than a few numbers, each of which is a byte, are taken for bytes.
fn as_bytes(fields: &[scale_value::Value<()>]) -> Option<Vec<u8>> {
    use scale_value::{Primitive, ValueDef};
    const BYTES_MIN: usize = 4;
    let byte = |value: &scale_value::Value<()>| match &value.value {
        ValueDef::Primitive(Primitive::U128(number)) => u8::try_from(*number).ok(),
        _ => None,
    };
    let bytes: Option<Vec<_>> = fields.iter().map(byte).collect();
    bytes.filter(|bytes| bytes.len() >= BYTES_MIN)
}

/// A key that is text.
fn printable(key: &[u8]) -> Option<String> {
    let is_text = key.iter().all(|byte| matches!(byte, b' '..=b'~'));
    let text = std::str::from_utf8(key).ok().filter(|_| is_text)?;
    (!text.is_empty()).then(|| format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_text_are_shown_as_text() {
        let names = StateNames::default();
        assert_eq!(names.key(b":code").as_deref(), Some("\":code\""));
        assert_eq!(names.key(&[0x80; 3]), None);
        let child = [DEFAULT_CHILD_STORAGE_KEY_PREFIX, &[1]].concat();
        assert_eq!(
            names.key(&child).as_deref(),
            Some("root of child trie 0x01")
        );
    }

    #[derive(scale_info::TypeInfo)]
    #[expect(dead_code, reason = "it stands for a type of metadata")]
    struct Nested(Vec<Nested>);

    /// A hostile length, or depth, must not be believed.
    #[test]
    fn what_cannot_be_a_value_is_not_taken_apart() {
        let mut registry = scale_info::Registry::new();
        let meta = scale_info::meta_type::<Vec<u128>>();
        let list = registry.register_type(&meta).id;
        let nested = registry
            .register_type(&scale_info::meta_type::<Nested>())
            .id;
        let nothing = registry
            .register_type(&scale_info::meta_type::<Vec<()>>())
            .id;
        let types: PortableRegistry = registry.into();
        assert_eq!(
            whole(
                &[4, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                list,
                &types
            )
            .as_deref(),
            Some("7")
        );
        for ty in [list, nested, nothing] {
            assert_eq!(whole(&[0x03, 0xff, 0xff, 0xff, 0xff], ty, &types), None);
        }
        assert_eq!(whole(&[4; 10_000], nested, &types), None);
    }

    #[test]
    fn broken_metadata_names_nothing() {
        for metadata in [&b"meta"[..], b"meta\x0e\xff", b""] {
            assert!(StateNames::of_metadata(metadata).entries.is_empty());
        }
    }
}
