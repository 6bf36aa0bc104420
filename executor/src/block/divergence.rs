//! Where a replayed block departs from the chain's: which block, which step, which root, and where
//! the expected writes are known, which key.

use std::fmt;

use sp_core::{H256, hexdisplay::HexDisplay};

use super::{ExtrinsicOutcome, Invalidity};
use crate::{
    instance::Trap,
    state::{BlockChanges, BlockState, StateError, WriteSet},
};

/// A departure from the chain.
#[derive(Debug)]
pub struct Divergence {
    /// Number of the block.
    pub block: u64,
    /// The step at which it was noticed.
    pub step: Step,
    /// What differs.
    pub cause: Cause,
    /// The first key, in order, whose value differs from the expected one, if the expected writes
    /// are known.
    pub write: Option<WriteDifference>,
    /// What became of the block's extrinsics by then, the one that broke it included. Empty on the
    /// whole path.
    pub outcomes: Vec<ExtrinsicOutcome>,
    /// What had been computed by then.
    changes: Option<Box<BlockChanges>>,
}

/// A step of replaying a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// Checking the state the block is to be executed on.
    ParentState,
    /// `Core_initialize_block`.
    Initialize,
    /// `BlockBuilder_apply_extrinsic`, for the extrinsic at this position.
    Extrinsic(u32),
    /// `BlockBuilder_finalize_block` and comparing its header.
    Finalize,
    /// `Core_execute_block`.
    ExecuteBlock,
    /// Comparing the written keys with the expected ones.
    Writes,
    /// Comparing the header with what is stated about it.
    Header,
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The state root.
    StateRoot {
        /// The one in the header.
        expected: H256,
        /// The one computed.
        computed: H256,
    },
    /// The hash of the genesis block that the given parent state would have.
    GenesisHash {
        /// The parent hash in the first block.
        expected: H256,
        /// The hash computed from the given state.
        computed: H256,
        /// Root of the given state.
        state_root: H256,
    },
    /// Another field of the header.
    HeaderField {
        /// Its name.
        field: &'static str,
        /// SCALE of the block's value.
        expected: Vec<u8>,
        /// SCALE of the computed value.
        computed: Vec<u8>,
    },
    /// The guest faulted.
    Trapped(Trap),
    /// The extrinsics together use more fuel than the chain allows a block.
    NoFuelLeft,
    /// The runtime refuses an extrinsic of the body.
    Refused(Invalidity),
    /// The root is right, but the written keys are not the expected ones.
    Writes,
}

/// A value of a key, as a block leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// The key was not written.
    Untouched,
    /// The key was deleted.
    Deleted,
    /// The key has this value.
    Present(Vec<u8>),
}

/// A key whose written value is not the expected one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteDifference {
    /// The child trie, by its storage key without prefix; `None` is the top trie.
    pub child: Option<Vec<u8>>,
    /// The key.
    pub key: Vec<u8>,
    /// What the chain has.
    pub expected: Value,
    /// What was computed.
    pub computed: Value,
}

impl Divergence {
    /// A divergence of `block`, noticed at `step`.
    pub fn new(block: u64, step: Step, cause: Cause) -> Self {
        Self {
            block,
            step,
            cause,
            write: None,
            outcomes: Vec::new(),
            changes: None,
        }
    }

    pub(super) fn with_outcomes(mut self, outcomes: Vec<ExtrinsicOutcome>) -> Self {
        self.outcomes = outcomes;
        self
    }

    pub(super) fn with_changes(mut self, changes: BlockChanges) -> Self {
        self.changes = Some(Box::new(changes));
        self
    }

    /// The root computed, if there is one: of the state after the block, or of the given parent
    /// state at [`Step::ParentState`].
    pub fn computed_root(&self) -> Option<H256> {
        match &self.cause {
            Cause::StateRoot { computed, .. } => Some(*computed),
            Cause::GenesisHash { state_root, .. } => Some(*state_root),
            _ => self.changes.as_ref().map(|changes| changes.state_root),
        }
    }

    /// Whether execution broke off, so that root and writes are those of a block half done.
    pub fn is_partial(&self) -> bool {
        matches!(
            self.cause,
            Cause::Trapped(_) | Cause::Refused(_) | Cause::NoFuelLeft
        )
    }

    /// Looks for the first differing key, given what the block should have written. Where execution
    /// broke off, keys it had not come to are not held against it.
    pub(super) fn locate<S: BlockState>(
        &mut self,
        state: &S,
        expected: &WriteSet,
    ) -> Result<(), StateError> {
        let Some(changes) = &self.changes else {
            return Ok(());
        };
        let whole = !self.is_partial();
        self.write = first_effective_difference(state, expected, &changes.writes, whole)?;
        Ok(())
    }
}

/// Compares what a block wrote with what it should have written, and gives the first difference.
/// `exact` compares the keys touched; otherwise only keys count whose value differs from that in
/// `state`, the parent's.
///
/// # Errors
/// [`StateError`] when the parent's state cannot be read.
pub fn compare_writes<S: BlockState>(
    state: &S,
    expected: &WriteSet,
    computed: &WriteSet,
    exact: bool,
) -> Result<Option<WriteDifference>, StateError> {
    if exact {
        return Ok(first_difference(expected, computed, true));
    }
    first_effective_difference(state, expected, computed, true)
}

/// The first difference among keys whose value differs from that in `state`, shown with all that
/// was written.
fn first_effective_difference<S: BlockState>(
    state: &S,
    expected: &WriteSet,
    computed: &WriteSet,
    whole: bool,
) -> Result<Option<WriteDifference>, StateError> {
    let found = first_difference(
        &effective(state, expected)?,
        &effective(state, computed)?,
        whole,
    );
    Ok(found.map(|difference| {
        let written = |writes: &WriteSet| {
            Value::of(
                writes
                    .get(&difference.child)
                    .and_then(|entries| entries.get(&difference.key)),
            )
        };
        let (expected, computed) = (written(expected), written(computed));
        WriteDifference {
            expected,
            computed,
            ..difference
        }
    }))
}

/// The writes that change something in `state`.
fn effective<S: BlockState>(state: &S, writes: &WriteSet) -> Result<WriteSet, StateError> {
    let mut kept = WriteSet::new();
    for (child, entries) in writes {
        let info = child
            .as_deref()
            .map(sp_core::storage::ChildInfo::new_default);
        for (key, value) in entries {
            let before = match &info {
                None => state.storage(key),
                Some(info) => state.child_storage(info, key),
            };
            state.check()?;
            if before.ok().flatten() != *value {
                kept.entry(child.clone())
                    .or_default()
                    .insert(key.clone(), value.clone());
            }
        }
    }
    Ok(kept)
}

/// The first key in order, top trie first, that differs. Unless `whole`, keys missing from
/// `computed` do not count.
fn first_difference(
    expected: &WriteSet,
    computed: &WriteSet,
    whole: bool,
) -> Option<WriteDifference> {
    let empty = std::collections::BTreeMap::new();
    let children: std::collections::BTreeSet<_> = expected.keys().chain(computed.keys()).collect();
    for child in children {
        let expected = expected.get(child).unwrap_or(&empty);
        let computed = computed.get(child).unwrap_or(&empty);
        let keys: std::collections::BTreeSet<_> = expected.keys().chain(computed.keys()).collect();
        for key in keys {
            let (expected, computed) = (expected.get(key), computed.get(key));
            if expected != computed && (whole || computed.is_some()) {
                return Some(WriteDifference {
                    child: child.clone(),
                    key: key.clone(),
                    expected: Value::of(expected),
                    computed: Value::of(computed),
                });
            }
        }
    }
    None
}

impl Value {
    fn of(write: Option<&Option<Vec<u8>>>) -> Self {
        match write {
            None => Self::Untouched,
            Some(None) => Self::Deleted,
            Some(Some(value)) => Self::Present(value.clone()),
        }
    }
}

/// Bytes of a value shown to people before it is cut.
const VALUE_BYTES_SHOWN: usize = 64;

impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untouched => formatter.write_str("not written"),
            Self::Deleted => formatter.write_str("deleted"),
            Self::Present(value) if value.len() > VALUE_BYTES_SHOWN => write!(
                formatter,
                "0x{}... ({} bytes)",
                HexDisplay::from(&&value[..VALUE_BYTES_SHOWN]),
                value.len(),
            ),
            Self::Present(value) => write!(formatter, "0x{}", HexDisplay::from(value)),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ParentState => formatter.write_str("parent state"),
            Self::Initialize => formatter.write_str("initialize"),
            Self::Extrinsic(index) => write!(formatter, "extrinsic {index}"),
            Self::Finalize => formatter.write_str("finalize"),
            Self::ExecuteBlock => formatter.write_str("execute block"),
            Self::Writes => formatter.write_str("writes"),
            Self::Header => formatter.write_str("header"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StateRoot { expected, computed } => {
                write!(
                    formatter,
                    "state root is {computed:?}, the chain's is {expected:?}"
                )
            }
            Self::GenesisHash {
                expected,
                computed,
                state_root,
            } => write!(
                formatter,
                "the given state has root {state_root:?}, which makes genesis block {computed:?}; \
                 the chain's is {expected:?}",
            ),
            Self::HeaderField {
                field,
                expected,
                computed,
            } => write!(
                formatter,
                "{field} is 0x{}, the chain's is 0x{}",
                HexDisplay::from(computed),
                HexDisplay::from(expected),
            ),
            Self::Trapped(trap) => write!(formatter, "the runtime faulted: {trap}"),
            Self::NoFuelLeft => formatter.write_str("the block has not so much fuel left"),
            Self::Refused(reason) => write!(formatter, "the runtime refuses it: {reason:?}"),
            Self::Writes => formatter.write_str("the written keys are not the expected ones"),
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "block {}, {}: {}",
            self.block, self.step, self.cause
        )?;
        if let Some(write) = &self.write {
            write!(
                formatter,
                "; first differing key 0x{}",
                HexDisplay::from(&write.key)
            )?;
            if let Some(child) = &write.child {
                write!(formatter, " of child trie 0x{}", HexDisplay::from(child))?;
            }
            write!(
                formatter,
                ": computed {}, expected {}",
                write.computed, write.expected
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Divergence {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn writes(entries: &[(&str, Option<&str>)]) -> WriteSet {
        let entries = entries.iter().map(|(key, value)| {
            (
                key.as_bytes().to_vec(),
                value.map(|v| v.as_bytes().to_vec()),
            )
        });
        WriteSet::from([(None, BTreeMap::from_iter(entries))])
    }

    #[test]
    fn the_first_differing_key_is_found_in_order() {
        let expected = writes(&[("a", Some("1")), ("b", None), ("c", Some("3"))]);
        assert_eq!(first_difference(&expected, &expected, true), None);
        let computed = writes(&[("a", Some("1")), ("b", Some("2")), ("d", None)]);
        let found = first_difference(&expected, &computed, true).unwrap();
        assert_eq!(found.key, b"b");
        assert_eq!(
            (found.expected, found.computed),
            (Value::Deleted, Value::Present(b"2".to_vec()))
        );
        let computed = writes(&[("a", Some("1")), ("b", None)]);
        assert_eq!(
            first_difference(&expected, &computed, true).unwrap().key,
            b"c"
        );
        assert_eq!(first_difference(&expected, &computed, false), None);
    }

    #[test]
    fn child_tries_are_compared_too() {
        let expected = writes(&[("a", Some("1"))]);
        let mut computed = expected.clone();
        computed.insert(
            Some(b"child".to_vec()),
            BTreeMap::from([(b"k".to_vec(), None)]),
        );
        let found = first_difference(&expected, &computed, true).unwrap();
        assert_eq!(
            (found.child.as_deref(), found.key.as_slice()),
            (Some(b"child".as_slice()), b"k".as_slice())
        );
    }
}
