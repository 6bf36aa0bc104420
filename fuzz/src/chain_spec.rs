//! Chain specs, read whole and value by value.
//!
//! What must hold: both readers take a spec or both refuse it, but for what stands there twice, which one refuses; and
//! what they have read is the same, by names, number of values and root. Cost: a database, where values were read into
//! the one that is there.

use std::{cell::RefCell, path::Path};

use slackwater_executor::state::{DatabaseConfig, Durability, MemoryState, StateImport};
use slackwater_runtime_fixtures::{
    ChainSpec, FixtureError,
    chain_spec_stream::{ChainNames, SpecImportError, import_spec},
};
use sp_core::{
    H256,
    storage::{StateVersion, Storage, well_known_keys::is_child_storage_key},
};
use tempfile::TempDir;

use crate::{
    doubles::{is_grammatical, says_twice},
    scratch,
};

const INPUT_BYTES_MAX: usize = 16 << 10;

/// A database that values are read into.
struct Begun {
    import: StateImport,
    /// Removed behind it.
    _folder: TempDir,
}

thread_local! {
    /// One into which nothing has been read.
    static EMPTY: RefCell<Option<Begun>> = const { RefCell::new(None) };
}

impl Begun {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let config = DatabaseConfig {
            history_blocks: 0,
            write_buffer_bytes: 1 << 20,
            cache_bytes: 0,
            block_cache_bytes: 1 << 20,
            prefetch: false,
            ..DatabaseConfig::new(Durability::Buffered)
        };
        let import = StateImport::begin(folder.path(), config).expect("a database is begun");
        Self {
            import,
            _folder: folder,
        }
    }
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
struct Spec {
    name: String,
    id: String,
    values: u64,
    state_root: H256,
}

/// Reads bytes as a chain spec, in both ways.
pub fn chain_spec(data: &[u8]) {
    if data.len() > INPUT_BYTES_MAX {
        return;
    }
    let path = scratch::file("spec.json", data);
    let whole = ChainSpec::load(&path).map(spec_of);
    let streamed = stream(&path, data);
    match (whole, streamed) {
        (Ok(whole), Ok(streamed)) => assert_eq!(whole, streamed, "both read the same"),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => {
            assert!(says_twice(data), "only the whole is read: {error}");
        }
        (Err(error), Ok(_)) => {
            let fits = is_not_looked_at(&error, data);
            assert!(fits, "only value by value it is read: {error}");
        }
    }
}

/// Whether what the one reader refuses may stand in a value that the other passes over: a text that is not UTF-8, a
/// number or a depth out of bounds.
fn is_not_looked_at(error: &FixtureError, data: &[u8]) -> bool {
    matches!(
        error,
        FixtureError::Read { .. } | FixtureError::Syntax { .. }
    ) && is_grammatical(data)
}

/// What is read of a spec that was loaded: child tries that hold something, and no roots of them.
fn spec_of(spec: ChainSpec) -> Spec {
    let Storage {
        mut top,
        mut children_default,
    } = spec.genesis;
    top.retain(|key, _| !is_child_storage_key(key));
    children_default.retain(|_, child| !child.data.is_empty());
    let children = children_default.values().map(|child| child.data.len());
    let values = top.len() + children.sum::<usize>();
    let storage = Storage {
        top,
        children_default,
    };
    Spec {
        name: spec.name,
        id: spec.id,
        values: u64::try_from(values).expect("few"),
        state_root: MemoryState::new(storage, StateVersion::V1).state_root(),
    }
}

fn stream(path: &Path, data: &[u8]) -> Result<Spec, FixtureError> {
    let mut begun = EMPTY.take().unwrap_or_else(Begun::new);
    let read = import_spec(path, data, &mut begun.import);
    let values = begun.import.keys();
    match read {
        Ok(ChainNames { name, id }) => {
            let built = begun.import.build(StateVersion::V1);
            Ok(Spec {
                name,
                id,
                values,
                state_root: built.expect("the tries can be built"),
            })
        }
        Err(SpecImportError::Spec(error)) => {
            if values == 0 {
                EMPTY.set(Some(begun));
            }
            Err(error)
        }
        Err(error) => panic!("the database is not to blame: {error}"),
    }
}

/// Specs in both layouts, whole and broken.
const TEXTS: [&str; 16] = [
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00"}}}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00","0x":"0xAb","0xFF":"0x"},
"childrenDefault":{"0x3a6368696c645f73746f726167653a64656661756c743a6162":{"0x01":"0x02","0x02":"0x"},
"0x":{"0x01":"0x"},"0x63":{}}}}}"#,
    r#"{"name":"N \"1\" \u00e9","id":"i","genesis":{"raw":[{"0x3a636f6465":"0x00","0x61":"0x62"},
{"0x6162":{"0x01":"0x02"}}]},"more":[1,-2.5e3,true,null,{"a":[]}]}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":[{"0x3a636f6465":"0x00"}]}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":[{"0x3a636f6465":"0x00"},{},{}]}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00"},"childrenDefault":null}}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00",
"0x3a6368696c645f73746f726167653a64656661756c743a6162":"0x07"}}}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00","0x3A636f6465":"0x01"}}}}"#,
    r#"{"name":"N","name":"M","id":"i","genesis":{"raw":null}}"#,
    r#"{"name":"N","id":"i","genesis":{"runtimeGenesis":{"patch":{}}}}"#,
    r#"{"name":7,"id":[],"genesis":"x"}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x0"}}}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a":"0x00"}}}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":[{"0x3a636f6465":"0x00"},null]}}"#,
    r#"{"name":"N","id":"i","genesis":{"raw":{"top":{"0x3a636f6465":"0x00"}},"raw":null}}"#,
    "{",
];

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = TEXTS.map(|text| text.as_bytes().to_vec()).into();
    seeds.push(Vec::new());
    // Values of more sizes than one node takes.
    let many: String = (0..40)
        .map(|key| format!(r#","0x4a{key:02}{key:02}":"0x{}""#, "5a".repeat(key)))
        .collect();
    let text = TEXTS[0].replace(r#""0x00""#, &format!(r#""0x00"{many}"#));
    seeds.push(text.into_bytes());
    seeds
}
