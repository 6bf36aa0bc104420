//! The chain that is tortured: blocks drawn from a seed, and what is known of them.

use std::collections::HashMap;

use codec::Encode;
use slackwater_executor::state::{
    BlockChanges, BlockLayers, BlockRecord, Extensions, Head, StateError, StateView,
};
use slackwater_tests::random::Random;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion},
};
use sp_externalities::Externalities;

/// Blocks that can be undone.
pub(crate) const HISTORY_BLOCKS: u64 = 12;
/// Keys a block may write: so few that blocks write over each other.
const KEYS: u64 = 300;
/// Writes of a block.
const WRITES: u64 = 40;
/// The longest value.
const VALUE_BYTES: u64 = 120;

/// Changes that come from `seed`.
pub(crate) fn changes(view: &StateView<'_>, seed: u64) -> Result<BlockChanges, StateError> {
    let mut random = Random(seed);
    let mut layers = BlockLayers::new(view, Extensions::new());
    for _ in 0..3 {
        let kept = random.below(4) > 0;
        let run = layers.layered(
            |layers| layers.run(|ext| operate(ext, &mut random)),
            |_| kept,
        );
        run?;
    }
    layers.finish(StateVersion::V1)
}

fn operate(ext: &mut dyn Externalities, random: &mut Random) {
    for _ in 0..random.below(WRITES) {
        let child = ChildInfo::new_default(&[b'a' + u8::from(random.below(2) == 0)]);
        let key = random.below(KEYS).to_be_bytes()[6..].to_vec();
        let length = random.below(VALUE_BYTES);
        let value = random.bytes(usize::try_from(length).unwrap_or(0));
        match random.below(12) {
            0..=4 => ext.set_storage(key, value),
            5 | 6 => ext.clear_storage(&key),
            7 => ext.storage_append(b"list".to_vec(), value.encode()),
            8 if random.below(8) == 0 => ext.clear_storage(b"list"),
            9 if random.below(8) == 0 => {
                let _ = ext.kill_child_storage(&child, None, None);
            }
            10 => ext.clear_child_storage(&child, &key),
            _ => ext.set_child_storage(&child, key, value),
        }
    }
}

/// The record of a block that `seed` and its root make.
pub(crate) fn record(number: u64, seed: u64, root: H256) -> BlockRecord {
    let hash = H256(sp_crypto_hashing::blake2_256(
        &(number, seed, root).encode(),
    ));
    let mut random = Random(seed);
    let extrinsics = (0..random.below(4)).map(|_| random.bytes(50)).collect();
    BlockRecord {
        number,
        hash,
        header: hash.encode(),
        extrinsics,
        receipts: random.bytes(60),
    }
}

/// What is about to happen, said before it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The database was opened, and this is its head.
    Opened(Option<Head>),
    /// The first state is imported.
    Genesis(Head),
    /// A block drawn from a seed is committed.
    Commit { head: Head, seed: u64 },
    /// Blocks behind this number are undone.
    Revert(u64),
    /// What was said last has been done.
    Done,
}

/// A block that was committed, or may have been.
#[derive(Debug, Clone)]
struct Known {
    head: Head,
    parent: Option<H256>,
    seed: Option<u64>,
}

/// All that a database may hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knowledge {
    blocks: HashMap<H256, Known>,
    head: Option<Head>,
    next: Option<Mark>,
    /// The earliest block that can be reverted to.
    oldest: u64,
    /// What was said and cannot be.
    wrong: Option<String>,
}

impl Knowledge {
    /// Takes note of what was said.
    pub(crate) fn hear(&mut self, mark: Mark) {
        match mark {
            Mark::Genesis(head) => self.learn(head, None),
            Mark::Commit { head, seed } => self.learn(head, Some(seed)),
            Mark::Revert(_) => {}
            Mark::Opened(found) => {
                if !self.may_be(found) {
                    let last = self.head;
                    self.wrong = Some(format!("opened at {found:?}, known is {last:?}"));
                }
                self.settle(found);
                return;
            }
            Mark::Done => {
                self.head = match self.next {
                    Some(Mark::Genesis(head) | Mark::Commit { head, .. }) => Some(head),
                    Some(Mark::Revert(number)) => self.ancestor(number),
                    Some(Mark::Done | Mark::Opened(_)) | None => self.head,
                };
                self.settle(self.head);
                return;
            }
        }
        self.next = Some(mark);
    }

    fn learn(&mut self, head: Head, seed: Option<u64>) {
        let parent = self.head.map(|head| head.hash);
        self.blocks.insert(head.hash, Known { head, parent, seed });
    }

    /// The block of this number that the head stands on.
    pub(crate) fn ancestor(&self, number: u64) -> Option<Head> {
        let mut known = self.blocks.get(&self.head?.hash)?;
        while known.head.number > number {
            known = self.blocks.get(&known.parent?)?;
        }
        Some(known.head)
    }

    /// Whether the head may be this one: the last acknowledged one, or what was being done is done, or in part.
    pub(crate) fn may_be(&self, found: Option<Head>) -> bool {
        let done = match self.next {
            Some(Mark::Genesis(head) | Mark::Commit { head, .. }) => found == Some(head),
            Some(Mark::Revert(number)) => found.is_some_and(|found| {
                found.number >= number && self.ancestor(found.number) == Some(found)
            }),
            Some(Mark::Done | Mark::Opened(_)) | None => false,
        };
        done || found == self.head
    }

    /// Whether this was ever a head. What a chain begins with is kept once it is acknowledged.
    pub(crate) fn was(&self, found: Option<Head>) -> bool {
        match found {
            None => self.head.is_none(),
            Some(found) => {
                let known = self.blocks.get(&found.hash);
                known.is_some_and(|known| known.head == found)
            }
        }
    }

    /// Goes on from the head that was found.
    pub(crate) fn settle(&mut self, found: Option<Head>) {
        self.head = found;
        self.next = None;
        let number = found.map_or(0, |head| head.number);
        self.oldest = self.oldest.max(number.saturating_sub(HISTORY_BLOCKS));
    }

    /// The earliest block that can be reverted to.
    pub(crate) fn oldest(&self) -> u64 {
        self.oldest
    }

    /// What was said and cannot be.
    pub(crate) fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    /// What the changes of a block came from; `None` for the first.
    pub(crate) fn seed_of(&self, head: &Head) -> Option<u64> {
        self.blocks.get(&head.hash)?.seed
    }

    /// The head that was acknowledged last.
    pub(crate) fn head(&self) -> Option<Head> {
        self.head
    }

    /// What is to be stored of a block; `None` for the first.
    pub(crate) fn record_of(&self, head: &Head) -> Option<BlockRecord> {
        let seed = self.blocks.get(&head.hash)?.seed?;
        Some(record(head.number, seed, head.state_root))
    }
}
