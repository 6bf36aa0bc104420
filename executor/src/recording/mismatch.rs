//! Where a block differs from its record: which call, in what, and at which key first.
//!
//! Invariant: a block and its record that differ in anything that is compared give a mismatch, the same on every machine;
//! equal ones give none. Cost: one pass over both; values are put together for one key only.

use sp_core::{H256, hexdisplay::HexDisplay};

use super::{RecordedBlock, RecordedCall, RecordedOutcome, Spliced, Writes, recorded::ReadBefore};
use crate::{
    block::{Block, Cause, FuelReceipt, Value, WriteDifference},
    state::{Place, StateError},
};

/// A part of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockPart {
    /// Beginning it.
    Initialize,
    /// The extrinsic at this position.
    Extrinsic(u32),
    /// Ending it.
    Finalize,
    /// All of it.
    Whole,
}

impl std::fmt::Display for BlockPart {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Initialize => formatter.write_str("initialize"),
            Self::Extrinsic(index) => write!(formatter, "extrinsic {index}"),
            Self::Finalize => formatter.write_str("finalize"),
            Self::Whole => formatter.write_str("the block"),
        }
    }
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The block is another one.
    Block {
        /// Its hash in the record.
        recorded: H256,
        /// Its hash here.
        given: H256,
    },
    /// Its number of extrinsics.
    Extrinsics {
        /// In the record.
        recorded: usize,
        /// Here.
        given: usize,
    },
    /// The extrinsic at this position is another one, or one of another position.
    Extrinsic {
        /// Its hash in the record.
        recorded: H256,
        /// Its hash here.
        given: H256,
        /// Where in the block given the recorded one stands.
        elsewhere: Option<u32>,
    },
    /// The runtime's code.
    Code {
        /// Its hash in the record.
        recorded: H256,
        /// Its hash here.
        computed: H256,
    },
    /// The version of the tries.
    StateVersion {
        /// In the record.
        recorded: u8,
        /// Here.
        computed: u8,
    },
    /// How a call ended.
    Outcome {
        /// In the record.
        recorded: RecordedOutcome,
        /// Here.
        computed: RecordedOutcome,
    },
    /// What a call wrote.
    Writes {
        /// Digest of the record.
        recorded: H256,
        /// Digest of what was written here.
        computed: H256,
    },
    /// The fuel a call used.
    Fuel {
        /// In the record.
        recorded: FuelReceipt,
        /// Here.
        computed: FuelReceipt,
    },
    /// The state root, though nothing else.
    Root {
        /// In the record.
        recorded: H256,
        /// Here.
        computed: H256,
    },
    /// What is recorded of the blocks so far leads to another state than is recorded.
    Rebuilt {
        /// Root in the record.
        recorded: H256,
        /// Root that the writes lead to; `None` where they do not even apply.
        rebuilt: Option<H256>,
    },
    /// The first block stands on another state.
    Parent {
        /// Root in the record.
        recorded: H256,
        /// Root here.
        given: H256,
    },
    /// The record is right, and the block departs from its own header.
    Header(Cause),
}

impl Difference {
    /// The name used in reports and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Block { .. } => "block",
            Self::Extrinsics { .. } => "extrinsics",
            Self::Extrinsic { .. } => "extrinsic",
            Self::Code { .. } => "code",
            Self::StateVersion { .. } => "state_version",
            Self::Outcome { .. } => "outcome",
            Self::Writes { .. } => "writes",
            Self::Fuel { .. } => "fuel",
            Self::Root { .. } => "root",
            Self::Rebuilt { .. } => "rebuilt",
            Self::Parent { .. } => "parent",
            Self::Header(_) => "header",
        }
    }
}

struct Shown<'f>(&'f FuelReceipt);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let FuelReceipt { wasm, size, host } = self.0;
        let total = wasm.saturating_add(*size).saturating_add(*host);
        write!(
            formatter,
            "{total} ({wasm} wasm, {size} sizes, {host} host)"
        )
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Block { recorded, given } => write!(
                formatter,
                "another block: {recorded:?} was recorded, {given:?} is given"
            ),
            Self::Extrinsics { recorded, given } => write!(
                formatter,
                "{recorded} extrinsics were recorded, {given} are given"
            ),
            Self::Extrinsic {
                recorded,
                given,
                elsewhere,
            } => {
                write!(
                    formatter,
                    "another extrinsic: {recorded:?} was recorded, {given:?} is given"
                )?;
                match elsewhere {
                    Some(index) => write!(formatter, "; the recorded one is now number {index}"),
                    None => Ok(()),
                }
            }
            Self::Code { recorded, computed } => write!(
                formatter,
                "another runtime: code {recorded:?} was recorded, the state has {computed:?}"
            ),
            Self::StateVersion { recorded, computed } => write!(
                formatter,
                "tries of version {recorded} were recorded, the runtime says {computed}"
            ),
            Self::Outcome { recorded, computed } => write!(
                formatter,
                "another outcome: {recorded} was recorded, {computed} came"
            ),
            Self::Writes { recorded, computed } => write!(
                formatter,
                "other writes: their digest was {recorded:?}, and is {computed:?}"
            ),
            Self::Fuel { recorded, computed } => write!(
                formatter,
                "other fuel: {} was recorded, {} was used",
                Shown(recorded),
                Shown(computed)
            ),
            Self::Root { recorded, computed } => write!(
                formatter,
                "another state root: {recorded:?} was recorded, {computed:?} came, of the same writes"
            ),
            Self::Rebuilt {
                recorded,
                rebuilt: Some(rebuilt),
            } => write!(
                formatter,
                "the recorded writes lead to root {rebuilt:?}, {recorded:?} was recorded"
            ),
            Self::Rebuilt { rebuilt: None, .. } => formatter.write_str(
                "the recorded writes cannot be applied: they change values that are not there",
            ),
            Self::Parent { recorded, given } => write!(
                formatter,
                "another state to begin with: root {recorded:?} was recorded, {given:?} is given"
            ),
            Self::Header(cause) => write!(formatter, "as recorded, but not the chain's: {cause}"),
        }
    }
}

/// A block that differs from its record.
#[derive(Debug, Clone)]
pub struct Mismatch {
    /// Number of the block.
    pub block: u64,
    /// The part of it that differs first.
    pub part: BlockPart,
    /// In what.
    pub difference: Difference,
    /// The first key, in order, that this part left another value under; where the record has its writes.
    pub key: Option<WriteDifference>,
    /// The record.
    pub recorded: Box<RecordedBlock>,
    /// What came, as far as it came; `None` where nothing was executed.
    pub computed: Option<Box<RecordedBlock>>,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            block,
            part,
            difference,
            key,
            ..
        } = self;
        write!(formatter, "block {block}, {part}: {difference}")?;
        let Some(key) = key else {
            return Ok(());
        };
        write!(
            formatter,
            "; first differing key 0x{}",
            HexDisplay::from(&key.key)
        )?;
        if let Some(child) = &key.child {
            write!(formatter, " of child trie 0x{}", HexDisplay::from(child))?;
        }
        write!(
            formatter,
            ": recorded {}, computed {}",
            key.expected, key.computed
        )
    }
}

impl std::error::Error for Mismatch {}

/// What is not the recorded block, before anything is executed.
pub(super) fn compare_block(
    recorded: &RecordedBlock,
    block: &Block,
) -> Option<(BlockPart, Difference)> {
    use sp_core::{Blake2Hasher, Hasher};
    let hashes: Vec<_> = block
        .extrinsics
        .iter()
        .map(|it| Blake2Hasher::hash(it))
        .collect();
    for (index, (recorded, given)) in (0_u32..).zip(recorded.extrinsics.iter().zip(&hashes)) {
        if recorded.hash != *given {
            let mut places = (0_u32..).zip(&hashes);
            let elsewhere = places.find(|(_, hash)| **hash == recorded.hash);
            let difference = Difference::Extrinsic {
                recorded: recorded.hash,
                given: *given,
                elsewhere: elsewhere.map(|(index, _)| index),
            };
            return Some((BlockPart::Extrinsic(index), difference));
        }
    }
    let counts = (recorded.extrinsics.len(), hashes.len());
    if counts.0 != counts.1 {
        let difference = Difference::Extrinsics {
            recorded: counts.0,
            given: counts.1,
        };
        return Some((BlockPart::Whole, difference));
    }
    let given = block.hash();
    let difference = Difference::Block {
        recorded: recorded.hash,
        given,
    };
    (recorded.hash != given).then_some((BlockPart::Whole, difference))
}

/// The first difference of a block to its record. `before` gives values of the state it was executed on.
pub(super) fn compare(
    recorded: &RecordedBlock,
    computed: &RecordedBlock,
    before: &mut ReadBefore<'_>,
) -> Result<Option<Mismatch>, StateError> {
    let found = difference(recorded, computed);
    let Some((calls, part, difference)) = found else {
        return Ok(None);
    };
    let key = first_key(recorded, computed, calls, before)?;
    Ok(Some(Mismatch {
        block: recorded.number,
        part,
        difference,
        key,
        recorded: Box::new(recorded.clone()),
        computed: Some(Box::new(computed.clone())),
    }))
}

/// What differs first, in which part, and behind how many calls.
fn difference(
    recorded: &RecordedBlock,
    computed: &RecordedBlock,
) -> Option<(usize, BlockPart, Difference)> {
    let whole = |difference| Some((usize::MAX, BlockPart::Whole, difference));
    if recorded.code != computed.code {
        return whole(Difference::Code {
            recorded: recorded.code,
            computed: computed.code,
        });
    }
    if recorded.state_version != computed.state_version {
        return whole(Difference::StateVersion {
            recorded: recorded.state_version,
            computed: computed.state_version,
        });
    }
    let count = recorded.extrinsics.len();
    for (index, (one, other)) in recorded.calls().zip(computed.calls()).enumerate() {
        if let Some(difference) = of_calls(one, other) {
            let part = match index.checked_sub(1) {
                None => BlockPart::Initialize,
                Some(index) if index < count => {
                    BlockPart::Extrinsic(u32::try_from(index).unwrap_or(u32::MAX))
                }
                Some(_) => BlockPart::Finalize,
            };
            return Some((index, part, difference));
        }
    }
    if !recorded.rest.agrees(&computed.rest) {
        return whole(of_writes(&recorded.rest, &computed.rest));
    }
    if recorded.state_root != computed.state_root {
        return whole(Difference::Root {
            recorded: recorded.state_root,
            computed: computed.state_root,
        });
    }
    None
}

fn of_calls(recorded: &RecordedCall, computed: &RecordedCall) -> Option<Difference> {
    if recorded.outcome != computed.outcome {
        return Some(Difference::Outcome {
            recorded: recorded.outcome.clone(),
            computed: computed.outcome.clone(),
        });
    }
    if !recorded.writes.agrees(&computed.writes) {
        return Some(of_writes(&recorded.writes, &computed.writes));
    }
    match (recorded.fuel, computed.fuel) {
        (Some(recorded), Some(computed)) if recorded != computed => {
            Some(Difference::Fuel { recorded, computed })
        }
        // Who does not count cannot compare.
        _ => None,
    }
}

fn of_writes(recorded: &Writes, computed: &Writes) -> Difference {
    Difference::Writes {
        recorded: recorded.digest(),
        computed: computed.digest(),
    }
}

/// The first key under which the call at `index`, or what the block touched beside its calls, leaves something else.
fn first_key(
    recorded: &RecordedBlock,
    computed: &RecordedBlock,
    index: usize,
    before: &mut ReadBefore<'_>,
) -> Result<Option<WriteDifference>, StateError> {
    let list = |block: &RecordedBlock| -> Option<Vec<(Place, Spliced)>> {
        let writes = match block.calls().nth(index) {
            Some(call) => call.writes.list(),
            None => block.rest.list(),
        };
        writes.map(<[_]>::to_vec)
    };
    let (Some(one), Some(other)) = (list(recorded), list(computed)) else {
        return Ok(None);
    };
    let find = |list: &[(Place, Spliced)], place: &Place| {
        let found = list.iter().find(|(other, _)| other == place);
        found.map(|(_, spliced)| spliced.clone())
    };
    let places = one.iter().chain(&other).map(|(place, _)| place);
    let differs = |place: &&Place| find(&one, place) != find(&other, place);
    let Some(place) = places.filter(differs).min() else {
        return Ok(None);
    };
    let parent = before(place)?;
    // Up to here both are the same.
    let mut value = parent;
    for call in computed.calls().take(index) {
        if let Some(spliced) = find(call.writes.list().unwrap_or_default(), place) {
            value = spliced.apply(value.as_deref()).flatten();
        }
    }
    let shown = |spliced: Option<Spliced>| match spliced {
        None => Value::Untouched,
        Some(spliced) => match spliced.apply(value.as_deref()) {
            Some(Some(value)) => Value::Present(value),
            // What cannot be applied is none.
            Some(None) | None => Value::Deleted,
        },
    };
    Ok(Some(WriteDifference {
        child: place.0.clone(),
        key: place.1.clone(),
        expected: shown(find(&one, place)),
        computed: shown(find(&other, place)),
    }))
}
