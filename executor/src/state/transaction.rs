//! What a block is executed in: changes in layers, over the state of its parent.
//!
//! [`BlockLayers`] is what blocks are executed in. The trait is there to put another implementation beside it: one that
//! opens a real RocksDB transaction with a savepoint for every layer is an oracle in the tests, and a line in the
//! benches that shows why it is not used.

use sp_core::storage::StateVersion;
use sp_externalities::Externalities;

use super::{BlockChanges, BlockLayers, BlockState, StateError};

/// Changes of one block in the making.
pub trait BlockTransaction {
    /// Runs `guest` with the changes as its storage. Layers it leaves open are rolled back.
    ///
    /// # Errors
    /// [`StateError`] when reading state failed while the guest ran; its result is void then.
    fn run<R>(&mut self, guest: impl FnOnce(&mut dyn Externalities) -> R) -> Result<R, StateError>;

    /// Runs `work` in a layer of its own, which is kept if `keep` says so of its result and rolled back otherwise.
    fn layered<R>(&mut self, work: impl FnOnce(&mut Self) -> R, keep: impl FnOnce(&R) -> bool)
    -> R;

    /// Calculates the root and takes all changes out.
    ///
    /// # Errors
    /// [`StateError`] when reading state failed.
    fn finish(self, state_version: StateVersion) -> Result<BlockChanges, StateError>;
}

impl<S: BlockState> BlockTransaction for BlockLayers<'_, S> {
    fn run<R>(&mut self, guest: impl FnOnce(&mut dyn Externalities) -> R) -> Result<R, StateError> {
        Self::run(self, guest)
    }

    fn layered<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> R,
        keep: impl FnOnce(&R) -> bool,
    ) -> R {
        Self::layered(self, work, keep)
    }

    fn finish(self, state_version: StateVersion) -> Result<BlockChanges, StateError> {
        Self::finish(self, state_version)
    }
}
