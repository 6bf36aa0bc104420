//! The WebAssembly test suite: its files, unpacked.

use std::{collections::BTreeMap, fs::File, io::Read};

use slackwater_runtime_fixtures::real_fixtures_or_skip;

/// The `.wast` files of the suite, by name; `None` when the real fixtures are absent and may be.
pub fn wast_files() -> Option<BTreeMap<String, String>> {
    let suite = real_fixtures_or_skip("WebAssembly test suite")?.join("spec");
    let folder = std::fs::read_dir(suite).expect("the spec folder is readable");
    let archive = folder
        .map(|entry| entry.expect("readable").path())
        .find(|path| path.to_string_lossy().ends_with(".tar.zst"))
        .expect("the archive of the suite is there");
    let reader = zstd::Decoder::new(File::open(archive).expect("readable")).expect("zstd");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(reader).entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        if name.ends_with(".wast") {
            let mut text = String::new();
            if entry.read_to_string(&mut text).is_ok() {
                files.insert(name, text);
            }
        }
    }
    Some(files)
}
