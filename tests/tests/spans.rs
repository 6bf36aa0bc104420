//! Spans of a block: they nest as what is executed does, and every host function has one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use slackwater_executor::{
    Database, Durability, ExecutionPath, ExecutorConfig, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
};
use slackwater_runtime_fixtures::{FixtureReplay, guest};
use slackwater_tests::load_blocks;
use tracing::{
    Event, Metadata, Subscriber,
    span::{Attributes, Id, Record},
};

/// Which spans were opened within which, and how often.
#[derive(Default)]
struct Nesting {
    names: BTreeMap<u64, String>,
    entered: Vec<u64>,
    seen: BTreeMap<(String, String), u64>,
}

#[derive(Clone, Default)]
struct Watcher {
    nesting: Arc<Mutex<Nesting>>,
    next: Arc<AtomicU64>,
}

impl Subscriber for Watcher {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = 1 + self.next.fetch_add(1, Ordering::Relaxed);
        let name = span.metadata().name().to_owned();
        let mut nesting = self.nesting.lock().unwrap_or_else(PoisonError::into_inner);
        nesting.names.insert(id, name);
        Id::from_u64(id)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}
    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}
    fn event(&self, _event: &Event<'_>) {}

    fn enter(&self, span: &Id) {
        let mut nesting = self.nesting.lock().unwrap_or_else(PoisonError::into_inner);
        let nesting = &mut *nesting;
        let name = |id: &u64| nesting.names.get(id).cloned().unwrap_or_default();
        let outer = nesting.entered.last().map(name).unwrap_or_default();
        let entered = name(&span.into_u64());
        *nesting.seen.entry((outer, entered)).or_default() += 1;
        nesting.entered.push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let mut nesting = self.nesting.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(nesting.entered.pop(), Some(span.into_u64()), "spans nest");
    }
}

#[test]
fn spans_nest_as_blocks_do() {
    let chain = load_blocks(&guest::fixture_chain_path());
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default());
    let executor = executor.expect("an engine");
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(folder.path(), Durability::Buffered).expect("a database");
    let watcher = Watcher::default();
    let (mut blocks, mut extrinsics) = (0, 0);
    tracing::subscriber::with_default(watcher.clone(), || {
        let replay = FixtureReplay::new(&executor, &database, &chain, ExecutionPath::Split);
        for replayed in replay.expect("a chain").take(5) {
            extrinsics += replayed.expect("it is the chain's").extrinsics as u64;
            blocks += 1;
        }
    });
    let nesting = watcher
        .nesting
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let seen = |outer: &str, inner: &str| {
        let pair = (outer.to_owned(), inner.to_owned());
        nesting.seen.get(&pair).copied().unwrap_or(0)
    };
    assert_eq!(seen("block", "extrinsic"), extrinsics);
    assert_eq!(seen("extrinsic", "call"), extrinsics);
    // Beginning and ending.
    assert_eq!(seen("block", "call"), 2 * blocks);
    assert!(
        seen("call", "host_call") > 10 * extrinsics,
        "{:?}",
        nesting.seen
    );
    let outer: BTreeSet<_> = nesting
        .seen
        .keys()
        .map(|(outer, _)| outer.as_str())
        .collect();
    assert!(outer.contains("call"), "{outer:?}");
}
