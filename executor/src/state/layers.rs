//! Changes of a block in the making, laid over its parent's state in nested layers: one for the
//! block, one per extrinsic, and those the guest opens itself.
//!
//! The layers are `sp-state-machine`'s overlay, whose semantics are the reference for what guests
//! see. Added here: transaction-index operations are rolled back with their layer (the overlay
//! forgets to), extensions are told of layers that a guest leaves open, and changes made after the last
//! root calculation are noticed.
//!
//! Invariant: a layer rolled back leaves no trace. Cost: opening is constant, commit and rollback
//! are proportional to the keys the layer touched.

use std::{collections::BTreeMap, panic::resume_unwind};

use sp_core::{
    Blake2Hasher,
    storage::{ChildInfo, StateVersion},
};
use sp_externalities::{Extensions, Externalities, TransactionType};
use sp_state_machine::{IndexOperation, OverlayedChanges};

use super::{
    Access, BlockChanges, BlockState, StateError, WriteSet,
    access::{AccessLog, Noting},
    delta::DeltaHasher,
    metered_state::MeteredState,
    metered_storage::MeteredStorage,
};
use crate::{
    fuel::StateMeter,
    timing::{self, Phase},
    unwinding::caught,
};

const LOCKSTEP: &str = "layers are opened and closed in pairs";

/// The changes of one block over `state`.
pub struct BlockLayers<'s, S> {
    state: &'s S,
    overlay: OverlayedChanges<Blake2Hasher>,
    extensions: Extensions,
    /// Charges guests for what host functions do with the state.
    meter: StateMeter,
    /// Whether a root is calculated anew in every call.
    forgets_roots: bool,
    /// Operations of committed layers.
    index_kept: Vec<IndexOperation>,
    /// How many operations of the overlay have been kept or dropped.
    index_seen: usize,
    /// Notes about what guests ask for and change, on request.
    access: Option<AccessLog>,
}

impl<S> std::fmt::Debug for BlockLayers<'_, S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockLayers")
            .field("depth", &self.overlay.transaction_depth())
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::missing_panics_doc,
    reason = "only this module opens and closes layers, and it does so in pairs"
)]
impl<'s, S: BlockState> BlockLayers<'s, S> {
    /// No changes yet. `extensions` are what host functions find beside the storage.
    pub fn new(state: &'s S, extensions: Extensions) -> Self {
        Self {
            state,
            overlay: OverlayedChanges::default(),
            extensions,
            meter: StateMeter::default(),
            forgets_roots: false,
            index_kept: Vec::new(),
            index_seen: 0,
            access: None,
        }
    }

    /// Takes notes of what guests ask for and change, from now on.
    pub fn record_access(&mut self) {
        if self.access.is_none() {
            let mut log = AccessLog::default();
            log.begin(&mut self.overlay);
            self.access = Some(log);
        }
    }

    /// What was asked for and changed in the layer that was closed last, if notes are taken.
    pub fn take_access(&mut self) -> Option<Access> {
        self.access.as_mut()?.last.take()
    }

    /// The state below the layers.
    pub fn state(&self) -> &'s S {
        self.state
    }

    /// Has every call calculate roots anew, from now on. A root remembered from an earlier call costs
    /// nothing, and whether it is remembered depends on extrinsics that were left out; so with child
    /// tries that were looked at and not changed. The reference does remember, even where it should
    /// not any more, so this is for chains with rules of fuel.
    pub fn forget_roots(&mut self) {
        self.forgets_roots = true;
    }

    /// What the guests that run on these layers are charged through for what host functions do there.
    pub fn meter(&self) -> StateMeter {
        self.meter.clone()
    }

    /// Runs `guest` with these layers as its storage. Layers it leaves open are rolled back.
    ///
    /// # Errors
    /// [`StateError`] when reading state failed while the guest ran; its result is void then.
    pub fn run<R>(
        &mut self,
        guest: impl FnOnce(&mut dyn Externalities) -> R,
    ) -> Result<R, StateError> {
        if self.forgets_roots {
            self.forget_root();
        }
        let depth = self.overlay.transaction_depth();
        self.overlay.enter_runtime().expect(LOCKSTEP);
        let state = MeteredState {
            state: self.state,
            meter: self.meter.clone(),
        };
        let mut empty = OverlayedChanges::default();
        let mut storage =
            MeteredStorage::new(&mut self.overlay, &state, &mut self.extensions, &mut empty);
        let access = &mut self.access;
        let result = caught(|| match access {
            None => guest(&mut storage),
            Some(AccessLog { notes, .. }) => guest(&mut Noting {
                storage: &mut storage,
                notes,
            }),
        });
        // The overlay rolls back what the guest has left open, and knows nothing of extensions.
        for _ in depth..self.overlay.transaction_depth() {
            self.extensions
                .rollback_transaction(TransactionType::Runtime);
        }
        if let Err(fault) = self.state.check() {
            self.void(depth);
            return Err(fault);
        }
        // The reference panics where a value cannot be read; any other panic is not ours.
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        self.overlay.exit_runtime().expect(LOCKSTEP);
        Ok(result)
    }

    /// Gives up all changes, and keeps so many layers to be closed. Where reading failed the overlay may have been in the
    /// middle of a change, and panics when it is used again.
    fn void(&mut self, depth: usize) {
        self.overlay = OverlayedChanges::default();
        for _ in 0..depth {
            self.overlay.start_transaction();
        }
        self.index_seen = 0;
    }

    /// Runs `work` in a layer of its own, which is committed if `keep` says so of its result and
    /// rolled back otherwise.
    pub fn layered<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> R,
        keep: impl FnOnce(&R) -> bool,
    ) -> R {
        self.keep_index_operations();
        self.settle_access();
        self.overlay.start_transaction();
        self.extensions.start_transaction(TransactionType::Host);
        self.state.open_layer();
        let result = work(self);
        let kept = keep(&result);
        self.state.close_layer(kept);
        if kept {
            self.overlay.commit_transaction().expect(LOCKSTEP);
            self.extensions.commit_transaction(TransactionType::Host);
            self.keep_index_operations();
        } else {
            self.overlay.rollback_transaction().expect(LOCKSTEP);
            self.extensions.rollback_transaction(TransactionType::Host);
            self.index_seen = self.overlay.transaction_index_ops().len();
        }
        self.settle_access();
        result
    }

    /// Ends the notes about what was done since the last layer was closed, if any are taken.
    pub(crate) fn settle_access(&mut self) {
        if let Some(log) = &mut self.access {
            // What is read for the notes is not what the block has read.
            self.state.open_layer();
            log.last = Some(log.settle(&mut self.overlay, self.state));
            self.state.close_layer(false);
        }
    }

    fn keep_index_operations(&mut self) {
        let operations = self.overlay.transaction_index_ops();
        self.index_kept
            .extend_from_slice(&operations[self.index_seen..]);
        self.index_seen = operations.len();
    }

    /// Calculates the root and takes all changes out.
    ///
    /// # Errors
    /// [`StateError`] when reading state failed, or when the trie library panicked.
    pub fn finish(self, state_version: StateVersion) -> Result<BlockChanges, StateError> {
        let _root = timing::enter(Phase::Root);
        // The layers are given up either way, so no broken state is seen afterwards.
        caught(|| self.drain(state_version)).unwrap_or_else(|_panic| {
            let reason = "the trie library panicked while it calculated the root".to_owned();
            Err(StateError::Trie { reason })
        })
    }

    fn drain(mut self, state_version: StateVersion) -> Result<BlockChanges, StateError> {
        assert_eq!(self.overlay.transaction_depth(), 0, "{LOCKSTEP}");
        self.keep_index_operations();
        self.forget_stale_root();
        let child_roots = self.child_roots(state_version);
        let drained = self
            .overlay
            .drain_storage_changes(self.state, state_version)
            .map_err(|reason| StateError::Trie { reason })?;
        self.state.check()?;
        let mut writes = WriteSet::new();
        let top = writes.entry(None).or_default();
        top.extend(drained.main_storage_changes);
        top.extend(child_roots);
        for (child, changes) in drained.child_storage_changes {
            if !changes.is_empty() {
                writes.insert(Some(child), BTreeMap::from_iter(changes));
            }
        }
        Ok(BlockChanges {
            writes,
            state_root: drained.transaction_storage_root,
            nodes: drained.transaction,
            offchain_index: drained.offchain_storage_changes,
            transaction_index: self.index_kept,
            before: self.state.before(),
        })
    }

    /// Neither `storage_append` nor the rolling back of layers a guest left open makes the overlay
    /// forget a root it calculated before. Comparing what the calculation was given with what there
    /// is now finds it; where child tries are involved, the root is not believed at all.
    fn forget_stale_root(&mut self) {
        let mut hasher = DeltaHasher::new();
        for (key, value) in self.overlay.changes_mut() {
            hasher.add(key, value.value().map(Vec::as_slice));
        }
        let top_is_the_same = self.state.last_root_delta() == Some(hasher.finish());
        let has_children = self.overlay.children().next().is_some();
        if has_children || !top_is_the_same {
            self.forget_root();
        }
    }

    /// An empty layer rolled back makes the overlay forget the root it calculated, and child tries without
    /// changes.
    fn forget_root(&mut self) {
        self.overlay.start_transaction();
        self.overlay.rollback_transaction().expect(LOCKSTEP);
    }

    /// The new roots of all child tries touched, under their keys in the top trie. One that was
    /// only looked at, or killed without having existed, was not touched.
    fn child_roots(&mut self, state_version: StateVersion) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let state = self.state;
        self.overlay
            .children_mut()
            .filter_map(|(changes, child)| {
                let mut changes = changes.peekable();
                changes.peek()?;
                let delta =
                    changes.map(|(key, value)| (key.as_slice(), value.value().map(Vec::as_slice)));
                let (root, empty, _) = state.child_storage_root(child, delta, state_version);
                Some((prefixed(child), (!empty).then(|| root.as_bytes().to_vec())))
            })
            .collect()
    }
}

fn prefixed(child: &ChildInfo) -> Vec<u8> {
    child.prefixed_storage_key().into_inner()
}
