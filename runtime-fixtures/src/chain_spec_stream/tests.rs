//! Specs as they may be, whole and broken.

use std::path::Path;

use slackwater_executor::state::{Database, DatabaseConfig, Head, StateImport};
use sp_core::storage::{StateVersion, well_known_keys::CODE};

use super::{ChainNames, SpecImportError, export_spec, import_spec};
use crate::{ChainSpec, FixtureError};

fn begin(folder: &Path) -> StateImport {
    StateImport::begin(folder, DatabaseConfig::default()).unwrap()
}

fn import(folder: &Path, text: &str) -> Result<(ChainNames, StateImport), SpecImportError> {
    let mut import = begin(folder);
    let names = import_spec(Path::new("spec.json"), text.as_bytes(), &mut import)?;
    Ok((names, import))
}

fn finish(mut import: StateImport) -> Database {
    let state_root = import.build(StateVersion::V1).unwrap();
    let head = Head {
        number: 0,
        hash: Default::default(),
        state_root,
    };
    import.finish(head).unwrap()
}

fn error(text: &str) -> FixtureError {
    let folder = tempfile::tempdir().unwrap();
    match import(folder.path(), text) {
        Err(SpecImportError::Spec(error)) => error,
        other => panic!("{text}: {other:?}"),
    }
}

/// With `:code`, and whatever follows; nothing is closed.
fn raw(more: &str) -> String {
    format!(
        r#"{{"name": "N", "id": "i", "genesis": {{"raw": {{"top": {{"0x3a636f6465": "0x00"{more}"#
    )
}

#[test]
fn nothing_stands_for_no_child_tries_and_nowhere_else() {
    let older = |children: &str| {
        format!(
            r#"{{"name": "N", "id": "i", "genesis": {{"raw": [{{"0x3a636f6465": "0x00"}}{children}]}}}}"#
        )
    };
    let text = older(", null");
    let folder = tempfile::tempdir().unwrap();
    let (_, mut read) = import(&folder.path().join("db"), &text).unwrap();
    let path = folder.path().join("spec.json");
    std::fs::write(&path, &text).unwrap();
    let loaded = ChainSpec::load(&path).unwrap();
    assert!(loaded.genesis.children_default.is_empty());
    let without = import(&folder.path().join("other"), &older("")).unwrap();
    let root = |import: &mut StateImport| import.build(StateVersion::V1).unwrap();
    assert_eq!(root(&mut read), root(&mut { without.1 }));
    let twice = r#"{"name": "N", "id": "i", "genesis":
        {"raw": {"top": {"0x3a636f6465": "0x00"}}, "raw": null}}"#;
    assert!(matches!(error(twice), FixtureError::Twice { .. }));
}

#[test]
fn both_layouts_and_what_is_written_is_what_the_loader_reads() {
    let folder = tempfile::tempdir().unwrap();
    let child = "0x3a6368696c645f73746f726167653a64656661756c743a6162";
    // Keys in any order, in either case, children in front; the root of a child trie is not believed.
    let newer = format!(
        r#" {{"other": [{{}}], "genesis": {{"raw": {{
            "childrenDefault": {{"{child}": {{"0x02": "0x", "0x01": "0x02"}}, "0x": {{}}}},
            "top": {{"0xFF": "0x01", "0x3a636f6465": "0x00", "{child}": "0x07", "0x": "0xAb"}}
        }}}}, "id": "i", "name": "N \"1\"", "more": null}}
        "#
    );
    let older = r#"{"name": "N \"1\"", "id": "i", "genesis": {"raw": [
        {"0x": "0xab", "0x3a636f6465": "0x00", "0xff": "0x01"},
        {"0x6162": {"0x01": "0x02", "0x02": "0x"}}]}}"#;
    let mut written = Vec::new();
    for (number, text) in [newer.as_str(), older].into_iter().enumerate() {
        let path = folder.path().join(number.to_string());
        let (names, import) = import(&path, text).unwrap();
        assert_eq!((names.name.as_str(), names.id.as_str()), ("N \"1\"", "i"));
        assert_eq!(import.keys(), 5);
        let database = finish(import);
        let view = database.view().unwrap();
        view.check_values(|_| {}).unwrap();
        let mut told = 0;
        let mut out = Vec::new();
        let values = export_spec(&view, &names, &mut out, |values| told = values);
        assert_eq!((values.unwrap(), told), (5, 5));
        let file = path.with_extension("json");
        std::fs::write(&file, &out).unwrap();
        let loaded = ChainSpec::load(&file).unwrap();
        assert_eq!((loaded.name, loaded.id), (names.name, names.id));
        let top: Vec<_> = loaded.genesis.top.into_iter().collect();
        let pair = |key: &[u8], value: u8| (key.to_vec(), vec![value]);
        assert_eq!(top, [pair(b"", 0xab), pair(CODE, 0), pair(b"\xff", 1)]);
        let mut children = loaded.genesis.children_default.into_iter();
        let (name, child) = children.next().unwrap();
        assert_eq!(
            (name.as_slice(), children.next().is_none()),
            (b"ab".as_slice(), true)
        );
        let data: Vec<_> = child.data.into_iter().collect();
        assert_eq!(data, [pair(&[1], 2), (vec![2], vec![])]);
        written.push(out);
    }
    assert_eq!(written[0], written[1]);
}

#[test]
fn what_stands_there_twice_is_named_with_its_line() {
    let twice = |text: &str, named: &str, at: usize| match error(text) {
        FixtureError::Twice { field, line, .. } => {
            assert_eq!((field.as_str(), line), (named, at));
        }
        other => panic!("{text}: {other}"),
    };
    // Next to each other, far from each other, in another case, in a child under both of its names.
    twice(
        &raw(",\n\"0x3a636f6465\": \"0x01\"}"),
        "genesis.raw.top.0x3a636f6465",
        2,
    );
    let many: String = (0..99)
        .map(|key| format!(",\n\"0x4a{key:02}\": \"0x\""))
        .collect();
    twice(
        &raw(&format!("{many},\n\"0x4A05\": \"0x\"")),
        "genesis.raw.top.0x4A05",
        101,
    );
    let child = "0x3a6368696c645f73746f726167653a64656661756c743a6162";
    let children = |more: &str| {
        let raw = raw("}, \"childrenDefault\": {\"0x6162\": {\"0x01\": \"0x\"");
        format!("{raw}{more}}}}}}}}}}}")
    };
    let field = format!("genesis.raw.childrenDefault.{child}.0x01");
    twice(
        &children(&format!("}},\n\"{child}\": {{\"0x01\": \"0x\"")),
        &field,
        2,
    );
    let folder = tempfile::tempdir().unwrap();
    let apart = children(&format!("}}, \"{child}\": {{\"0x02\": \"0x\""));
    assert_eq!(import(folder.path(), &apart).unwrap().1.keys(), 3);
    // What holds keys.
    twice(&raw("}, \"top\": {"), "genesis.raw.top", 1);
    twice(&raw("}}}, \"genesis\": {"), "genesis", 1);
    twice(&raw("}}}, \"name\": \"M\""), "name", 1);
    twice(&raw("}}, \"raw\": {"), "genesis.raw", 1);
}

#[test]
fn what_is_broken_is_named() {
    let shape = |text: &str, named: &str, as_what: &str| match error(text) {
        FixtureError::Shape {
            field, expected, ..
        } => {
            assert_eq!((field.as_str(), expected), (named, as_what), "{text}");
        }
        other => panic!("{text}: {other}"),
    };
    shape("[]", "", "an object");
    shape(r#"{"name": 7}"#, "name", "a text");
    shape(r#"{"genesis": "x"}"#, "genesis", "an object");
    shape(r#"{"genesis": {"raw": 7}}"#, "genesis.raw", "an object");
    shape(
        r#"{"genesis": {"raw": {"top": []}}}"#,
        "genesis.raw.top",
        "an object",
    );
    shape(&raw(", \"0x01\": 7"), "genesis.raw.top.0x01", "a text");
    let children = |children: &str| raw(&format!("}}, \"childrenDefault\": {children}"));
    shape(
        &children(r#"{"0x01": 7}"#),
        "genesis.raw.childrenDefault.0x01",
        "an object",
    );
    for raw in ["[]", "[{}, {}, {}]"] {
        let text = format!(r#"{{"genesis": {{"raw": {raw}}}}}"#);
        shape(&text, "genesis.raw", "a pair of maps");
    }
    let hex = |text: &str, named: &str| match error(text) {
        FixtureError::Hex { source, .. } => assert_eq!(source.field, named),
        other => panic!("{text}: {other}"),
    };
    hex(&raw(", \"0x1\": \"0x\""), "genesis.raw.top.0x1");
    hex(&raw(", \"01\": \"0x\""), "genesis.raw.top.01");
    hex(&raw(", \"0x01\": \"0xgg\""), "genesis.raw.top.0x01");
    hex(&children(r#"{"zz": {}}"#), "genesis.raw.childrenDefault.zz");
    let missing = |text: &str, named: &str| match error(text) {
        FixtureError::Missing { field, .. } => assert_eq!(field, named),
        other => panic!("{text}: {other}"),
    };
    missing("{}", "genesis");
    missing(r#"{"genesis": {"raw": {}}}"#, "genesis.raw.top");
    let whole = raw("}}}}");
    missing(&whole.replace("name", "game"), "name");
    missing(&whole.replace("\"id\"", "\"io\""), "id");
    for genesis in [r#"{"runtimeGenesis": {}}"#, r#"{"raw": null}"#] {
        let error = error(&format!(r#"{{"genesis": {genesis}}}"#));
        assert!(matches!(error, FixtureError::NotRaw { .. }), "{error}");
    }
    let no_code = error(&whole.replace("0x3a636f6465", "0x3a"));
    assert!(matches!(no_code, FixtureError::NoCode { .. }), "{no_code}");
    for (end, _) in whole.char_indices() {
        let cut = error(&whole[..end]);
        assert!(
            matches!(cut, FixtureError::Syntax { line: 0 | 1, .. }),
            "{cut}"
        );
    }
    let more = error(&format!("{whole}\n7"));
    assert!(
        matches!(more, FixtureError::Syntax { line: 2, .. }),
        "{more}"
    );
    let folder = tempfile::tempdir().unwrap();
    let mut import = begin(folder.path());
    // A folder can be opened, and not be read.
    let input = std::fs::File::open(folder.path()).unwrap();
    let unread = import_spec(folder.path(), input, &mut import).unwrap_err();
    let SpecImportError::Spec(FixtureError::Read { .. }) = unread else {
        panic!("{unread}");
    };
}
