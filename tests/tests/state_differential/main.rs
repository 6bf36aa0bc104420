//! Random programs of storage operations on the database's state through the executor's layers, and
//! on bare `sp-state-machine`: its overlay, its externalities, its trie in memory, nothing of ours.
//! Block after block, with a commit between: the same answers, writes and roots.
//!
//! Each program is some blocks and what may befall a database behind them: blocks are executed on blocks that are not
//! committed yet, and on forks that never are; blocks are reverted; the database is opened again; of some, earlier
//! states are read, and executed on. Programs follow one another on one database, so each begins where the one before
//! has left it.
//!
//! trie-db (as of 0.32) removes another key, or panics, when asked to remove an absent key that
//! others begin with; the state departs from it there. So half of the programs use keys none of
//! which begins another, and there every root is compared with the reference's. The other half uses
//! any keys; there the reference is not asked for roots, and those of the database are compared with
//! the root of the expected contents, calculated without a trie.

mod program;
mod reference;
mod twin;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use slackwater_executor::state::{
    BlockLayers, BlockState, Database, Extensions, Head, MemoryState, WriteSet,
};
use slackwater_tests::{runs, temporary_database};
use sp_core::{
    Blake2Hasher, H256,
    storage::{ChildInfo, StateVersion, Storage},
};
use sp_externalities::Externalities;
use sp_state_machine::{Ext, OverlayedChanges};

use self::{
    program::Keys,
    reference::Reference,
    twin::{Tally, Twin},
};

/// Programs in a short run; `SLACKWATER_STATE_PROGRAMS` says otherwise, and `SLACKWATER_STATE_FIRST` with which number
/// they begin.
const PROGRAMS: usize = 20_000;
/// A database that holds this state only.
fn database_with(storage: &Storage, version: StateVersion) -> (Database, tempfile::TempDir, Head) {
    let (database, folder) = temporary_database();
    let prepared = database.prepare_state(storage, version).expect("state");
    let head = database.import_state(prepared, 0, H256::zero());
    (database, folder, head.expect("imports"))
}

#[expect(clippy::print_stderr, reason = "what a campaign did is for the eyes")]
#[test]
fn random_programs_agree_with_the_reference() {
    let programs = runs("SLACKWATER_STATE_PROGRAMS", PROGRAMS);
    let first = runs("SLACKWATER_STATE_FIRST", 0);
    let versions = [StateVersion::V0, StateVersion::V1];
    let kinds = versions.map(|version| [Keys::Any, Keys::OneLength].map(|keys| (version, keys)));
    let kinds = kinds.concat();
    let tallies: Vec<Tally> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..kinds.len())
            .map(|kind| {
                let (version, keys) = kinds[kind];
                let own = (kind..programs).step_by(kinds.len());
                scope.spawn(move || {
                    let mut twin = Twin::new(version, keys);
                    own.for_each(|number| twin.program(first + number));
                    twin.tally
                })
            })
            .collect();
        let done = threads.into_iter().map(std::thread::ScopedJoinHandle::join);
        done.map(|tally| tally.expect("no difference")).collect()
    });
    eprintln!("{programs} programs from {first} on: {tallies:#?}");
    for tally in &tallies {
        let Tally {
            blocks,
            reverted,
            reopened,
            looked,
            forks,
            savepoints,
            ..
        } = *tally;
        assert!(blocks * 4 >= programs, "{tally:?}");
        let least = [reverted, reopened, looked, forks, savepoints]
            .into_iter()
            .min();
        assert!(
            least.is_some_and(|least| least * 40 >= programs),
            "{tally:?}"
        );
    }
    let outdated: usize = tallies.iter().map(|tally| tally.outdated).sum();
    assert!(outdated > programs / 25, "{outdated} outdated roots");
}

/// A guest asks for a root in a layer it then leaves open. The overlay rolls the layer back and keeps
/// the root; what is committed must not.
#[test]
fn a_root_of_changes_left_open_is_not_the_blocks() {
    let child = ChildInfo::new_default(b"a");
    for version in [StateVersion::V0, StateVersion::V1] {
        let (database, _folder, head) = database_with(&Storage::default(), version);
        let view = database.view().expect("a head");
        let mut layers = BlockLayers::new(&view, Extensions::new());
        let guest = |ext: &mut dyn Externalities| {
            ext.storage_start_transaction();
            ext.set_child_storage(&child, vec![1], vec![1]);
            ext.storage_root(version);
        };
        layers.run(guest).expect("readable");
        let changes = layers.finish(version).expect("a root");
        assert_eq!(changes.writes, WriteSet::from([(None, BTreeMap::new())]));
        assert_eq!(changes.state_root, head.state_root);
    }
}

/// trie-db (as of 0.32), asked to remove an absent key that others begin with, removes one of those
/// or panics. The state must not follow it there. Where this test finds the reference to be right, the
/// trie library is fixed, and the state need not keep absent keys from it any longer.
#[test]
fn removing_an_absent_key_changes_nothing() {
    let entry = |key: &[u8]| (key.to_vec(), vec![7; 40]);
    for extra in [vec![], vec![entry(&[1, 0x10, 0x10])]] {
        for version in [StateVersion::V0, StateVersion::V1] {
            let mut storage = Storage::default();
            storage
                .top
                .extend([entry(&[1, 0x10]), entry(&[1, 0x10, 0]), entry(&[2])]);
            storage.top.extend(extra.clone());
            let (database, _folder, head) = database_with(&storage, version);
            let view = database.view().expect("a head");
            let reference = Reference::from((storage.clone(), version));
            let memory = MemoryState::new(storage, version);
            assert_eq!(memory.state_root(), head.state_root);
            assert_eq!(root_without(&view, &[1], version), head.state_root);
            assert_eq!(root_without(&memory, &[1], version), head.state_root);
            assert_ne!(root_without(&view, &[2], version), head.state_root);
            let by_reference = catch_unwind(AssertUnwindSafe(|| {
                bare_root_without(&reference, &[1], version)
            }));
            assert_ne!(
                by_reference.ok(),
                Some(head.state_root),
                "{extra:?}, {version:?}: the reference neither panics nor changes the root"
            );
            assert_eq!(
                bare_root_without(&reference, &[2], version),
                root_without(&view, &[2], version)
            );
        }
    }
}

fn root_without<S: BlockState>(state: &S, key: &[u8], version: StateVersion) -> H256 {
    let mut layers = BlockLayers::new(state, Extensions::new());
    layers.run(|ext| ext.clear_storage(key)).expect("readable");
    layers.finish(version).expect("a root").state_root
}

fn bare_root_without(reference: &Reference, key: &[u8], version: StateVersion) -> H256 {
    let mut overlay = OverlayedChanges::<Blake2Hasher>::default();
    Ext::new(&mut overlay, reference, None).clear_storage(key);
    overlay.storage_root(reference, version).0
}
