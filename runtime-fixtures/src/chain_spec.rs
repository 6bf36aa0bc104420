//! Raw chain specs: the genesis state of a chain, key by key.
//!
//! Both raw layouts are read: `{"top": {...}, "childrenDefault": {...}}` and the older pair
//! `[{...}, {...}]`. Invariant: the genesis of a loaded spec holds `:code`.

use std::path::Path;

use sp_core::storage::Storage;

use crate::cursor::{Cursor, parse_file};
use crate::error::FixtureError;
use crate::state_map;

/// A chain spec with its whole genesis state.
#[derive(Debug, Clone)]
pub struct ChainSpec {
    /// Name for people, for example `Polkadot`.
    pub name: String,
    /// Name for machines, for example `polkadot`.
    pub id: String,
    /// The whole genesis state; child tries are keyed without `:child_storage:default:`.
    pub genesis: Storage,
}

impl ChainSpec {
    /// Reads a raw chain spec.
    ///
    /// # Errors
    /// Unreadable file, no JSON, no `genesis.raw` ([`FixtureError::NotRaw`]), bad hexadecimal,
    /// absent name or id, no `:code`.
    pub fn load(path: &Path) -> Result<Self, FixtureError> {
        let json = parse_file(path)?;
        let root = Cursor::root(path, String::new(), &json);
        let raw =
            root.required("genesis")?
                .optional("raw")?
                .ok_or_else(|| FixtureError::NotRaw {
                    path: path.to_owned(),
                })?;
        Ok(Self {
            name: root.required("name")?.text()?.to_owned(),
            id: root.required("id")?.text()?.to_owned(),
            genesis: genesis(&raw)?,
        })
    }
}

fn genesis(raw: &Cursor) -> Result<Storage, FixtureError> {
    if !raw.is_array() {
        let children = raw.optional("childrenDefault")?;
        return state_map::storage(&raw.required("top")?, children.as_ref());
    }
    match raw.elements()?.as_slice() {
        [top] => state_map::storage(top, None),
        [top, children] => {
            state_map::storage(top, Some(children).filter(|children| !children.is_null()))
        }
        _ => Err(raw.shape("a pair of maps")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::{crate_file, real_fixtures_or_skip};
    use sp_core::storage::well_known_keys::CODE;
    use std::io::Write;

    fn load_text(text: &str) -> Result<ChainSpec, FixtureError> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        ChainSpec::load(file.path())
    }

    fn spec(genesis: &str) -> String {
        format!(r#"{{"name": "N", "id": "i", "genesis": {genesis}, "other": 1}}"#)
    }

    #[test]
    fn both_raw_layouts_and_both_child_key_forms() {
        let newer = r#"{"raw": {"top": {"0x3a636f6465": "0x00"},
            "childrenDefault": {"0x3a6368696c645f73746f726167653a64656661756c743a6162": {"0x01": "0x02"}}}}"#;
        let older = r#"{"raw": [{"0x3a636f6465": "0x00"}, {"0x6162": {"0x01": "0x02"}}]}"#;
        for layout in [newer, older] {
            let loaded = load_text(&spec(layout)).unwrap();
            assert_eq!((loaded.name.as_str(), loaded.id.as_str()), ("N", "i"));
            assert_eq!(loaded.genesis.top[CODE], [0]);
            let child = &loaded.genesis.children_default[b"ab".as_slice()];
            assert_eq!(child.child_info.storage_key(), b"ab");
            assert_eq!(child.data[[1].as_slice()], [2]);
        }
    }

    #[test]
    fn a_spec_that_is_not_raw_says_so() {
        for genesis in [r#"{"runtimeGenesis": {}}"#, r#"{"raw": null}"#] {
            let error = load_text(&spec(genesis)).unwrap_err();
            assert!(matches!(error, FixtureError::NotRaw { .. }), "{error}");
        }
    }

    #[test]
    fn bad_input_is_named() {
        let no_code = load_text(&spec(r#"{"raw": {"top": {}}}"#)).unwrap_err();
        assert!(
            matches!(&no_code, FixtureError::NoCode { field, .. } if field == "genesis.raw.top")
        );
        let key = load_text(&spec(r#"{"raw": {"top": {"3a": "0x"}}}"#)).unwrap_err();
        assert!(key.to_string().contains("genesis.raw.top.3a"), "{key}");
        let value = load_text(&spec(r#"{"raw": {"top": {"0x3a": 7}}}"#)).unwrap_err();
        assert!(
            matches!(&value, FixtureError::Shape { field, .. } if field == "genesis.raw.top.0x3a")
        );
        let triple = load_text(&spec(r#"{"raw": [{}, {}, {}]}"#)).unwrap_err();
        assert!(matches!(triple, FixtureError::Shape { .. }));
        assert!(matches!(load_text("{"), Err(FixtureError::Syntax { .. })));
        let unread = ChainSpec::load(Path::new("no/such/spec.json")).unwrap_err();
        assert!(matches!(unread, FixtureError::Read { .. }));
    }

    #[test]
    fn all_specs_beside_the_checkout() {
        let Some(dir) = real_fixtures_or_skip("chain specs of the real fixtures") else {
            return;
        };
        let mut keys = Vec::new();
        for name in [
            "bulletin-polkadot-raw",
            "chopsticks-asset-hub-kusama-local",
            "smoldot-substrate-node-template",
            "subtensor-raonet",
        ] {
            let loaded = ChainSpec::load(&dir.join(format!("genesis/{name}.json"))).unwrap();
            keys.push(loaded.genesis.top.len());
        }
        assert_eq!(keys, [48, 61, 35, 301]);
    }

    #[test]
    #[expect(
        clippy::print_stderr,
        reason = "a skipped test must be seen to be skipped"
    )]
    fn all_specs_of_the_polkadot_service_crate() {
        let file = |name: &str| {
            crate_file(
                "polkadot-service",
                "31.0.0",
                &format!("chain-specs/{name}.json"),
            )
        };
        if file("polkadot").is_none() {
            eprintln!(
                "skipped: specs of polkadot-service: run `cargo info polkadot-service@31.0.0`"
            );
            return;
        }
        for name in ["kusama", "polkadot", "westend", "rococo", "paseo"] {
            let loaded = ChainSpec::load(&file(name).unwrap()).unwrap();
            assert!(loaded.genesis.top[CODE].len() > 100_000, "{name}");
        }
    }
}
