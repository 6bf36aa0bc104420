//! What is checked of a database that is opened: that its head belongs to what it holds.
//!
//! Where the file that lists RocksDB's files ends within a record, as a kill may leave it, all of the state is checked:
//! more may be missing than that record, and then files are not listed whose contents the log does not hold any more.
//!
//! Cost: a few reads; in that rare case all of the state is read.

use sp_core::{Blake2Hasher, Hasher};
use sp_trie::{EMPTY_PREFIX, LayoutV1, empty_trie_root, prefixed_key};

use super::{
    CheckError, Database, Head, StateError,
    schema::{
        CF_BLOCKS, CF_FLAT, CF_JOURNAL, CF_META, CF_NODES, CF_RECEIPTS, CF_UNDO, META_STORED,
        number_key, parse_number_key,
    },
};

impl Database {
    /// The root of the head's trie is there, and the head is the last block.
    pub(super) fn check_head(&self, head: &Head) -> Result<(), StateError> {
        let view = self.view_of(*head);
        check_root(head, |key| view.stored_node(key))?;
        if let Some(stored) = self.record(CF_META, META_STORED)? {
            // What the journal holds is none of the columns'.
            check_root(&stored, |key| self.bytes(CF_NODES, key))?;
        }
        self.check_records(head)
    }

    /// Every value is the trie's, and there are no gaps between blocks.
    pub(super) fn check_all(&self, head: &Head) -> Result<(), StateError> {
        self.view_of(*head)
            .check_values(|_| {})
            .map_err(|error| match error {
                CheckError::State(error) => error,
                CheckError::Differs { .. } => damaged(CF_FLAT, error.to_string()),
            })?;
        let (blocks, receipts) = (self.numbers(CF_BLOCKS)?, self.numbers(CF_RECEIPTS)?);
        for (column, numbers) in [(CF_RECEIPTS, receipts), (CF_UNDO, self.numbers(CF_UNDO)?)] {
            if !blocks.ends_with(&numbers) || (column == CF_RECEIPTS && numbers != blocks) {
                return Err(damaged(column, "records of blocks are missing".to_owned()));
            }
        }
        let first = blocks.first().copied().unwrap_or(head.number);
        if blocks
            .iter()
            .copied()
            .ne(first..first + blocks.len() as u64)
        {
            return Err(damaged(
                CF_BLOCKS,
                "records of blocks are missing".to_owned(),
            ));
        }
        Ok(())
    }

    /// The numbers that a column has records of.
    fn numbers(&self, column: &'static str) -> Result<Vec<u64>, StateError> {
        let mut records = self.entries(column);
        records.seek_to_first();
        let mut numbers = Vec::new();
        while let Some(number) = records.key().and_then(parse_number_key) {
            numbers.push(number);
            records.next();
        }
        records.status()?;
        Ok(numbers)
    }

    /// Of the block whose state was imported there is no record.
    fn check_records(&self, head: &Head) -> Result<(), StateError> {
        let number = head.number;
        let stored = self.block(number)?;
        if let Some(block) = stored.filter(|block| block.hash != head.hash) {
            return Err(damaged(
                "head",
                format!(
                    "it names block {number} as {:?}, whose record is of {:?}",
                    head.hash, block.hash
                ),
            ));
        }
        let Some(next) = number.checked_add(1) else {
            return Err(damaged("head", format!("there is no block {number}")));
        };
        for column in [CF_BLOCKS, CF_RECEIPTS, CF_UNDO, CF_JOURNAL] {
            if self.bytes(column, &number_key(next))?.is_some() {
                let reason = format!("it names block {number}, and there is a later one");
                return Err(damaged("head", reason));
            }
        }
        Ok(())
    }
}

/// The root of a block's trie is among the nodes.
fn check_root(
    head: &Head,
    node: impl FnOnce(&[u8]) -> Result<Option<Vec<u8>>, StateError>,
) -> Result<(), StateError> {
    let root = head.state_root;
    if root == empty_trie_root::<LayoutV1<Blake2Hasher>>() {
        return Ok(());
    }
    let key = prefixed_key::<Blake2Hasher>(&root, EMPTY_PREFIX);
    let reason = match node(&key)? {
        Some(node) if Blake2Hasher::hash(&node) == root => return Ok(()),
        Some(_) => "is not what its hash says",
        None => "is not in the database",
    };
    Err(StateError::Trie {
        reason: format!("the root {root:?} of block {} {reason}", head.number),
    })
}

fn damaged(record: &'static str, reason: String) -> StateError {
    StateError::Damaged { record, reason }
}
