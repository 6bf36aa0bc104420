//! Views of a database: the snapshot they see, and the blocks of the journal that stand between it and their state.

use sp_core::Blake2Hasher;
use sp_trie::{LayoutV1, empty_trie_root};

use super::{
    Database, Head, StateError, StateView,
    db::decoded,
    journal::{between, decode_stored},
    schema::{CF_META, META_HEAD, META_STORED},
};

impl Database {
    /// A view of the state after the head block, unaffected by later commits.
    ///
    /// # Errors
    /// [`StateError::NoHead`] before a genesis is imported.
    pub fn view(&self) -> Result<StateView<'_>, StateError> {
        loop {
            self.check_poison()?;
            let recent = self.journal().recent();
            let epoch = self.cache().epoch();
            let snapshot = self.rocksdb().snapshot();
            // If nothing was written meanwhile, cached values are of the state that the snapshot shows.
            let epoch = epoch.filter(|epoch| self.cache().epoch() == Some(*epoch));
            let meta = self.column(CF_META);
            let head: Option<Head> = decoded("head", snapshot.get_cf(meta, META_HEAD)?)?;
            let head = head.ok_or(StateError::NoHead)?;
            let stored = decode_stored(snapshot.get_cf(meta, META_STORED)?)?;
            if stored.number > head.number {
                return Err(StateError::Damaged {
                    record: "stored",
                    reason: format!("it is behind block {}, the head", head.number),
                });
            }
            // Where a block was committed since the journal was looked at, the snapshot is behind it.
            if let Some(recent) = between(&recent, &stored, &head) {
                return Ok(StateView::new(self, snapshot, head, epoch, recent));
            }
        }
    }

    /// A view of the empty state, for importing a genesis.
    pub(super) fn empty_view(&self) -> StateView<'_> {
        let state_root = empty_trie_root::<LayoutV1<Blake2Hasher>>();
        let head = Head {
            number: 0,
            hash: Default::default(),
            state_root,
        };
        self.view_of(head)
    }

    /// A view of all that was written, as the state of `head`, while nothing is.
    pub(super) fn view_of(&self, head: Head) -> StateView<'_> {
        let recent = self.journal().recent();
        let patches = recent.iter().rev().map(|block| block.patch.clone());
        let snapshot = self.rocksdb().snapshot();
        StateView::new(self, snapshot, head, None, patches.collect())
    }

    /// Reads what is in the journal of a database that was opened, and tells its head.
    pub(super) fn load(&self) -> Result<Option<Head>, StateError> {
        let head = self.head()?;
        if let Some(head) = &head {
            self.journal().load(head)?;
        }
        Ok(head)
    }
}
