//! What is called: a runtime, a method, and an input for each call.

use slackwater_executor::HeapPages;
use slackwater_runtime_fixtures::{crate_file, guest::GUEST_WASM};
use slackwater_substrate_path::signed::{SignedChain, store};
use sp_core::storage::{Storage, well_known_keys::CODE};

/// Bytes of a page of memory.
const PAGE: u32 = 4_096;

/// One call, made again and again.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) code: Vec<u8>,
    pub(crate) method: &'static str,
    /// From the number of the call.
    pub(crate) input: Box<dyn Fn(u32) -> Vec<u8> + Sync>,
    pub(crate) heap: HeapPages,
    /// Whether all strategies are compared, or the fastest.
    pub(crate) all_strategies: bool,
    /// Whether it is called on several threads, too.
    pub(crate) threads: bool,
    /// Instances of ours that there are; the one that is called is among them.
    pub(crate) waiting: usize,
    /// What is there before; then each call is rolled back.
    pub(crate) beginning: Option<Beginning>,
}

/// A state, and calls on it that stay.
#[derive(Clone)]
pub(crate) struct Beginning {
    pub(crate) state: Storage,
    pub(crate) calls: Vec<(&'static str, Vec<u8>)>,
    /// What each call must answer.
    pub(crate) answer: Vec<u8>,
}

impl Case {
    fn new(id: impl Into<String>, code: &[u8], method: &'static str, input: &[u8]) -> Self {
        let input = input.to_vec();
        Self {
            id: id.into(),
            code: code.to_vec(),
            method,
            input: Box::new(move |_| input.clone()),
            heap: HeapPages::default(),
            all_strategies: true,
            threads: false,
            waiting: 0,
            beginning: None,
        }
    }
}

/// An address and a number of wasm pages behind it.
fn pages(start: u32, pages: u32) -> Vec<u8> {
    [start.to_le_bytes(), pages.to_le_bytes()].concat()
}

/// All cases; those of Kusama's runtime if cargo has fetched it.
pub(crate) fn all() -> Vec<Case> {
    let kusama = crate_file("sc-executor", "0.51.0", "benches/kusama_runtime.wasm");
    let kusama = kusama.and_then(|path| std::fs::read(path).ok());
    let mut cases = kusama.map(|code| of_kusama(&code)).unwrap_or_default();
    cases.extend(of_guest());
    cases.extend(signed_transfer());
    cases.extend([of_image(), of_random_pages()]);
    cases.extend([500, 5_000, 30_000].map(with_functions));
    cases.extend([1, 1_024, 8_192].map(with_table));
    cases
}

fn of_kusama(code: &[u8]) -> Vec<Case> {
    let case =
        |name: &str, method, input: &[u8]| Case::new(format!("kusama/{name}"), code, method, input);
    let dirty = "test_dirty_plenty_memory";
    vec![
        Case {
            threads: true,
            ..case("call_empty_function", "test_empty_return", &[0])
        },
        Case {
            threads: true,
            ..case("dirty_1mb_of_memory", dirty, &pages(0, 16))
        },
        // Kusama's function begins where its argument by 65,536 says, so it reaches the image, which
        // begins at 1 MiB, only with more pages: these are 256 before it, and 96 of it.
        case("dirty_image_pages", dirty, &pages(0, 22)),
        case("Core_version", "Core_version", &[]),
        Case {
            waiting: 64,
            all_strategies: false,
            ..case("call_empty_function/64_live", "test_empty_return", &[0])
        },
        Case {
            waiting: 1_000,
            all_strategies: false,
            ..case("call_empty_function/1000_live", "test_empty_return", &[0])
        },
    ]
}

fn of_guest() -> Vec<Case> {
    let case = |name: &str, method, input: &[u8]| {
        Case::new(format!("guest/{name}"), GUEST_WASM, method, input)
    };
    let growth = |pages: u32| {
        let bytes = pages * 65_536 - 5_000;
        Case {
            heap: HeapPages::Dynamic { maximum: None },
            ..case(
                &format!("grow_{pages}_pages"),
                "test_alloc",
                &bytes.to_le_bytes(),
            )
        }
    };
    let dirty = "test_dirty_plenty_memory";
    vec![
        case("call_empty_function", "test_empty_return", &[0]),
        case("dirty_1mb_of_memory", dirty, &pages(0x80_0000, 16)),
        Case {
            // 256 pages, of which a tenth is new in each call.
            input: Box::new(|call| pages(0x80_0000 + call % 1_000 * 26 * PAGE, 16)),
            ..case("drifting_dirty_set", dirty, &[])
        },
        growth(1),
        growth(16),
        growth(256),
        case("100_host_calls", "test_host_calls", &100_u32.to_le_bytes()),
    ]
}

/// The first signed transfer of the node template's chain that tests author, on what is before it; none if
/// that was not authored, and the state it begins on is not beside the checkout.
fn signed_transfer() -> Option<Case> {
    const EXTRINSIC: &str = "BlockBuilder_apply_extrinsic";
    let chain = SignedChain::NodeTemplate;
    let fixture = store::load(chain).ok()??;
    let is_transfer = |extrinsic: &Vec<u8>| chain.is_transfer(extrinsic);
    let mut calls = Vec::new();
    let mut transfer = None;
    for block in &fixture.blocks {
        calls.push(("Core_initialize_block", block.header_unsealed.clone()));
        let found = block.body.iter().position(is_transfer);
        let before = block.body.iter().take(found.unwrap_or(block.body.len()));
        calls.extend(before.map(|extrinsic| (EXTRINSIC, extrinsic.clone())));
        if let Some(found) = found {
            transfer = block.body.get(found);
            break;
        }
        calls.push(("BlockBuilder_finalize_block", Vec::new()));
    }
    let code = fixture.state.top.get(CODE)?;
    Some(Case {
        beginning: Some(Beginning {
            state: fixture.state.clone(),
            calls,
            answer: vec![0, 0],
        }),
        ..Case::new("node-template/signed_transfer", code, EXTRINSIC, transfer?)
    })
}

const FRAME: &str = r#"(memory (export "memory") 17)
    (global (export "__heap_base") i32 (i32.const 65536))
    (func (export "run") (param i32 i32) (result i64) (i64.const 0))"#;

/// Writes to every page of an image of 1 MiB, and changes what is there.
fn of_image() -> Case {
    let data = "x".repeat(1 << 20);
    let items = format!(
        r#"(data (i32.const 0) "{data}")
        (func (export "dirty") (param $at i32) (param i32) (result i64)
            (local.set $at (i32.const 0))
            (loop $next
                (i32.store (local.get $at) (i32.const 7))
                (br_if $next (i32.lt_u
                    (local.tee $at (i32.add (local.get $at) (i32.const 4096)))
                    (i32.const 0x100000))))
            (i64.const 0))"#
    );
    Case {
        method: "dirty",
        all_strategies: true,
        ..of_text("image/dirty_1mb_of_memory".to_owned(), &items)
    }
}

/// Writes to 256 pages of 100 MiB that nobody foresees, other ones in each call.
fn of_random_pages() -> Case {
    let items = r#"(func (export "dirty") (param $at i32) (param i32) (result i64)
        (local $seed i32) (local $left i32)
        (local.set $seed (i32.load (local.get $at)))
        (local.set $left (i32.const 256))
        (loop $next
            (local.set $seed (i32.add (i32.mul (local.get $seed) (i32.const 1664525))
                (i32.const 1013904223)))
            (i32.store
                (i32.add (i32.const 0x200000)
                    (i32.shl (i32.rem_u (i32.shr_u (local.get $seed) (i32.const 8))
                        (i32.const 25600)) (i32.const 12)))
                (i32.const 7))
            (br_if $next
                (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
        (i64.const 0))"#;
    Case {
        method: "dirty",
        input: Box::new(|call| call.wrapping_mul(2_654_435_761).to_le_bytes().to_vec()),
        all_strategies: true,
        ..of_text("random/256_pages".to_owned(), items)
    }
}

fn of_text(id: String, items: &str) -> Case {
    let text = format!("(module {FRAME} {items})");
    // What it is does not matter if it cannot be made: the call then says so.
    let code = wat::parse_str(text).unwrap_or_default();
    Case {
        all_strategies: false,
        ..Case::new(id, &code, "run", &[])
    }
}

fn with_functions(count: usize) -> Case {
    let functions: String = (0..count)
        .map(|number| format!("(func (result i32) (i32.const {number}))\n"))
        .collect();
    of_text(format!("functions/{count}"), &functions)
}

fn with_table(elements: usize) -> Case {
    let functions = "0 ".repeat(elements);
    let table = format!("(table {elements} funcref) (elem (i32.const 0) {functions})");
    of_text(format!("table/{elements}"), &table)
}
