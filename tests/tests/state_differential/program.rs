//! Random programs of storage operations, the same on every side they are run on.

use slackwater_tests::random;
use sp_core::{
    H256,
    storage::{ChildInfo, StateVersion, well_known_keys::is_child_storage_key},
};
use sp_externalities::Externalities;

/// Layers of a block, one after the other.
pub(crate) const GROUPS: u64 = 6;
const OPERATIONS_PER_GROUP: u64 = 10;

/// A key of its own, which only ever holds a list.
const LIST: &[u8] = b"list";

/// Which keys a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keys {
    /// Any, also the empty one and such that others begin with.
    Any,
    /// Of one length, child tries too: none begins another.
    OneLength,
}

/// What programs are drawn from.
#[derive(Clone)]
pub(crate) struct Random {
    pub(crate) numbers: random::Random,
    pub(crate) keys: Keys,
}

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.numbers.draw()
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Few and short, so that keys meet, border on each other, and may contain each other.
    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length)
            .map(|_| [0, 1, 0x10, 0xff][self.index(4)])
            .collect()
    }

    /// A key to write or remove.
    fn key(&mut self) -> Vec<u8> {
        let length = self.below(4);
        match self.keys {
            Keys::Any => self.bytes(length),
            Keys::OneLength => self.bytes(2),
        }
    }

    /// A key to look for, or a prefix; of any length.
    pub(crate) fn lookup(&mut self) -> Vec<u8> {
        let length = self.below(4);
        self.bytes(length)
    }

    /// Empty, short, or longer than what the second trie version keeps within a node.
    fn value(&mut self) -> Vec<u8> {
        let length = [0, 1, 4, 31, 32, 33, 90][self.index(7)];
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// An encoded element of a list; some are empty, and some encode to nothing.
    fn element(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => Vec::new(),
            1 => vec![0],
            _ => codec::Encode::encode(&self.value()),
        }
    }

    pub(crate) fn child(&mut self) -> ChildInfo {
        let names = match self.keys {
            Keys::Any => [b"a".as_slice(), b"ab", b"b"],
            Keys::OneLength => [b"a".as_slice(), b"b", b"c"],
        };
        ChildInfo::new_default(names[self.index(3)])
    }

    pub(crate) fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.below(bound as u64)).expect("small")
    }

    fn limit(&mut self) -> Option<u32> {
        [None, Some(0), Some(1), Some(3)][self.index(4)]
    }
}

/// What an operation answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Appended,
    /// Layers were still open when the guest returned, and are rolled back.
    Abandoned,
    Text(String),
    Root(H256),
    ChildRoot(Vec<u8>),
    /// A root was not asked for, or does not count.
    NoRoot,
}

/// The answers, but for roots.
pub(crate) fn without_roots(answers: &[Answer]) -> Vec<Answer> {
    let blank = |answer: &Answer| match answer {
        Answer::Root(_) | Answer::ChildRoot(_) => Answer::NoRoot,
        other => other.clone(),
    };
    answers.iter().map(blank).collect()
}

/// A block of operations, on either side.
pub(crate) struct Run {
    pub(crate) random: Random,
    version: StateVersion,
    /// Whether roots are asked for.
    roots: bool,
    /// Layers opened within the group.
    open: u32,
    pub(crate) answers: Vec<Answer>,
}

impl Run {
    pub(crate) fn new(random: &Random, version: StateVersion, roots: bool) -> Self {
        Self {
            random: random.clone(),
            version,
            roots,
            open: 0,
            answers: Vec::new(),
        }
    }

    pub(crate) fn group(&mut self, ext: &mut dyn Externalities) {
        self.open = 0;
        for _ in 0..OPERATIONS_PER_GROUP {
            let answer = match self.random.below(4) {
                0 => self.operate_on_child(ext),
                1 => self.operate_on_whole(ext),
                _ => self.operate_on_top(ext),
            };
            self.answers.push(answer);
        }
        if self.open > 0 {
            self.answers.push(Answer::Abandoned);
        }
    }

    fn operate_on_top(&mut self, ext: &mut dyn Externalities) -> Answer {
        let random = &mut self.random;
        match random.below(10) {
            0..=2 => ext.set_storage(random.key(), random.value()),
            3 => ext.clear_storage(&random.key()),
            4 if random.below(4) == 0 => ext.clear_storage(LIST),
            4 | 5 => {
                ext.storage_append(LIST.to_vec(), random.element());
                return Answer::Appended;
            }
            6 => {
                let key = random.lookup();
                let (exists, hash) = (ext.exists_storage(&key), ext.storage_hash(&key));
                return Answer::Text(format!("{exists} {hash:?} {:?}", ext.storage(&key)));
            }
            7 => return Answer::Text(format!("{:?}", ext.storage(LIST))),
            8 => {
                let mut next = ext.next_storage_key(&random.lookup());
                // Asking for a child's root leaves it in the overlay, where only one side asks.
                while let Some(key) = next.take_if(|key| is_child_storage_key(key)) {
                    next = ext.next_storage_key(&key);
                }
                return Answer::Text(format!("{next:?}"));
            }
            _ => {
                let results = ext.clear_prefix(&random.lookup(), random.limit(), None);
                return removed(&results);
            }
        }
        Answer::Nothing
    }

    fn operate_on_child(&mut self, ext: &mut dyn Externalities) -> Answer {
        let random = &mut self.random;
        let child = random.child();
        match random.below(7) {
            0..=2 => ext.set_child_storage(&child, random.key(), random.value()),
            3 => ext.clear_child_storage(&child, &random.key()),
            4 => {
                let key = random.lookup();
                let value = ext.child_storage(&child, &key);
                let next = ext.next_child_storage_key(&child, &key);
                return Answer::Text(format!("{value:?} {next:?}"));
            }
            5 => return removed(&ext.kill_child_storage(&child, random.limit(), None)),
            _ => {
                let (prefix, limit) = (random.lookup(), random.limit());
                return removed(&ext.clear_child_prefix(&child, &prefix, limit, None));
            }
        }
        Answer::Nothing
    }

    /// Layers and roots.
    fn operate_on_whole(&mut self, ext: &mut dyn Externalities) -> Answer {
        match self.random.below(5) {
            0 | 1 => {
                ext.storage_start_transaction();
                self.open += 1;
            }
            2 if self.open > 0 => {
                self.open -= 1;
                if self.random.below(2) == 0 {
                    ext.storage_commit_transaction().expect("one is open");
                } else {
                    ext.storage_rollback_transaction().expect("one is open");
                }
            }
            3 => {
                let child = self.random.child();
                if !self.roots {
                    return Answer::NoRoot;
                }
                return Answer::ChildRoot(ext.child_storage_root(&child, self.version));
            }
            _ => return self.root(ext),
        }
        Answer::Nothing
    }

    pub(crate) fn root(&self, ext: &mut dyn Externalities) -> Answer {
        if !self.roots {
            return Answer::NoRoot;
        }
        Answer::Root(H256::from_slice(&ext.storage_root(self.version)))
    }
}

fn removed(results: &sp_externalities::MultiRemovalResults) -> Answer {
    Answer::Text(format!(
        "{:?} {} {} {}",
        results.maybe_cursor, results.backend, results.unique, results.loops
    ))
}
