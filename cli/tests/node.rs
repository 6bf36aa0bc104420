//! What a node's operator asks of the command line: deadlines, compiled code on disk, metrics.

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{slackwater, text};
use serde_json::json;
use slackwater_runtime_fixtures::guest::{GUEST_WASM, fixture_chain_path};

/// A runtime that never returns.
const ENDLESS: &str = r#"(module
    (memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 1048576))
    (func (export "endless") (param i32 i32) (result i64) (loop $again (br $again)) (i64.const 0)))"#;

fn written(folder: &Path, name: &str, bytes: &[u8]) -> String {
    let path = folder.join(name);
    fs::write(&path, bytes).expect("writes");
    text(&path).to_owned()
}

#[test]
fn an_endless_call_ends_at_its_deadline() {
    let folder = tempfile::tempdir().expect("a folder");
    let wasm = wat::parse_str(ENDLESS).expect("a module");
    let runtime = written(folder.path(), "endless.wasm", &wasm);
    let call = |more: &[&str]| {
        let args = ["call", "--runtime", &runtime, "endless", "--deadline"];
        let output = slackwater(&[&args[..], more].concat());
        let said = String::from_utf8(output.stderr).expect("text");
        (output.status.success(), said)
    };
    for more in [&[][..], &["--compat"], &["--meter", "checked"]] {
        let begun = Instant::now();
        let (success, said) = call(&[&["100"], more].concat());
        assert!(!success, "{more:?}");
        assert!(said.contains("endless was stopped after 100 ms"), "{said}");
        assert!(begun.elapsed() >= Duration::from_millis(100));
    }
    // Nobody would notice it.
    let (success, said) = call(&["100", "--fuel", "off"]);
    assert!(!success);
    assert!(said.contains("--deadline is noticed where"), "{said}");
}

#[test]
fn a_deadline_too_far_away_is_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = written(folder.path(), "guest.wasm", GUEST_WASM);
    let far = u64::MAX.to_string();
    let args = ["call", "--runtime", &runtime, "Core_version", "--deadline"];
    let (code, report) = common::json(&[&args[..], &[&far]].concat());
    assert_eq!((code, &report["outcome"]), (0, &json!("ok")));
}

#[test]
fn compiled_code_is_kept_in_a_private_folder_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = written(folder.path(), "guest.wasm", GUEST_WASM);
    let kept = folder.path().join("kept");
    let args = ["call", "--runtime", &runtime, "Core_version", "--cache-dir"];
    let args = [&args[..], &[text(&kept)]].concat();
    let (code, first) = common::json(&args);
    assert_eq!(code, 0);
    let files = || {
        let files = fs::read_dir(&kept).expect("it was made").map(|file| {
            let file = file.expect("readable");
            let of = file.metadata().expect("there");
            (file.file_name(), of.len(), of.modified().expect("known"))
        });
        files.collect::<Vec<_>>()
    };
    let before = files();
    assert_eq!(before.len(), 1, "one form is called");
    let (code, second) = common::json(&args);
    assert_eq!((code, &second), (0, &first));
    let after = files();
    // It was used, so it goes last; it was not written anew.
    assert_eq!(
        (&before[0].0, before[0].1, after.len()),
        (&after[0].0, after[0].1, 1)
    );
    assert!(after[0].2 > before[0].2);
    fs::set_permissions(&kept, PermissionsExt::from_mode(0o755)).expect("changed");
    let output = slackwater(&args);
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("chmod 700"), "{said}");
}

/// A child that ends with the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ended_then = self.0.kill();
        let _ended_then = self.0.wait();
    }
}

fn page(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}

#[test]
fn metrics_of_a_replay_are_served() {
    // A port that was free a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("known").to_string();
    drop(listener);
    let chain = fixture_chain_path();
    let child = Command::new(env!("CARGO_BIN_EXE_slackwater"))
        .args(["replay", "--metrics-addr", &address, "--metrics-hold", "60"])
        .arg(chain)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _child = Killed(child.expect("the program runs"));
    let until = Instant::now() + Duration::from_secs(50);
    loop {
        let page = page(&address).unwrap_or_default();
        let executed = "slackwater_blocks_total{result=\"executed\"}";
        let told = page.lines().find_map(|line| line.strip_prefix(executed));
        if told.is_some_and(|count| count.trim().parse::<u32>().is_ok_and(|count| count > 0)) {
            assert!(page.contains("# HELP slackwater_fuel_total "), "{page}");
            return;
        }
        assert!(Instant::now() < until, "{page}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
