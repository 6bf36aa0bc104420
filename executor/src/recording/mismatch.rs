//! Where a block differs from its record: which call, in what, and at which key first.
//!
//! Invariant: a block and its record that differ in anything that is compared give a mismatch, the same on every machine;
//! equal ones give none. Cost: one pass over both; values are put together for one key only.

use std::collections::{BTreeMap, BTreeSet};

use sp_core::{Blake2Hasher, H256, Hasher, hexdisplay::HexDisplay};

use super::{RecordedBlock, RecordedCall, RecordedOutcome, Spliced, Writes, recorded::ReadBefore};
use crate::{
    block::{Block, Cause, FuelReceipt, Value, WriteDifference},
    state::{Head, Place, StateError},
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
        /// In the record; `None` where it is missing.
        recorded: Option<FuelReceipt>,
        /// Here.
        computed: Option<FuelReceipt>,
    },
    /// Whether the block came to its end.
    End {
        /// Whether its end is in the record.
        recorded: bool,
        /// Whether it came to it here.
        computed: bool,
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
        /// The block before it in the record.
        recorded: Box<Head>,
        /// The block whose state is given.
        given: Box<Head>,
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
            Self::End { .. } => "end",
            Self::Root { .. } => "root",
            Self::Rebuilt { .. } => "rebuilt",
            Self::Parent { .. } => "parent",
            Self::Header(_) => "header",
        }
    }
}

struct Shown<'f>(&'f Option<FuelReceipt>);

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(FuelReceipt { wasm, size, host }) = self.0 else {
            return formatter.write_str("nothing");
        };
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
            Self::End { recorded, computed } => {
                let shown = |ended| if ended { "is" } else { "is not" };
                let (recorded, computed) = (shown(*recorded), shown(*computed));
                write!(
                    formatter,
                    "the end of the block {recorded} in the record, and {computed} reached here"
                )
            }
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
                "another state to begin with: that of block {}, {:?}, with root {:?} was recorded, that of block {}, {:?}, \
                 with root {:?} is given",
                recorded.number,
                recorded.hash,
                recorded.state_root,
                given.number,
                given.hash,
                given.state_root
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
    /// The block that was given, where that is another one.
    pub given: Option<Box<Block>>,
    /// Values before the block, under the keys of which a part is kept in either.
    pub before: BTreeMap<Place, Option<Vec<u8>>>,
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

/// The first difference of a block to its record. `before` gives values of the state it was executed on; fuel is compared if
/// both count it.
pub(super) fn compare(
    recorded: &RecordedBlock,
    computed: &RecordedBlock,
    both_count: bool,
    before: &mut ReadBefore<'_>,
) -> Result<Option<Mismatch>, StateError> {
    let Some(Found {
        part,
        difference,
        writes,
    }) = find(recorded, computed, both_count)
    else {
        return Ok(None);
    };
    let mut values = BTreeMap::new();
    let lists = [recorded, computed].map(|block| block.all_writes().filter_map(Writes::list));
    for (place, spliced) in lists.into_iter().flatten().flatten() {
        if let (Spliced::Kept { .. }, false) = (spliced, values.contains_key(place)) {
            values.insert(place.clone(), before(place)?);
        }
    }
    let key = match writes {
        Some(at) => first_key([recorded, computed], at, &values),
        None => None,
    };
    Ok(Some(Mismatch {
        block: recorded.number,
        part,
        difference,
        key,
        recorded: Box::new(recorded.clone()),
        computed: Some(Box::new(computed.clone())),
        given: None,
        before: values,
    }))
}

/// What differs first.
struct Found {
    part: BlockPart,
    difference: Difference,
    /// The writes that may differ as well: their position among all of the block's.
    writes: Option<usize>,
}

impl Found {
    fn whole(difference: Difference) -> Option<Self> {
        Some(Self {
            part: BlockPart::Whole,
            difference,
            writes: None,
        })
    }
}

fn find(recorded: &RecordedBlock, computed: &RecordedBlock, both_count: bool) -> Option<Found> {
    if recorded.code != computed.code {
        return Found::whole(Difference::Code {
            recorded: recorded.code,
            computed: computed.code,
        });
    }
    if recorded.state_version != computed.state_version {
        return Found::whole(Difference::StateVersion {
            recorded: recorded.state_version,
            computed: computed.state_version,
        });
    }
    let count = recorded.extrinsics.len();
    for (index, (one, other)) in recorded.calls().zip(computed.calls()).enumerate() {
        if let Some(difference) = of_calls(one, other, both_count) {
            let part = match index.checked_sub(1) {
                None => BlockPart::Initialize,
                Some(index) if index < count => {
                    BlockPart::Extrinsic(u32::try_from(index).unwrap_or(u32::MAX))
                }
                Some(_) => BlockPart::Finalize,
            };
            return Some(Found {
                part,
                difference,
                writes: Some(index),
            });
        }
    }
    let (one, other) = (recorded.calls().count(), computed.calls().count());
    if one != other {
        return Found::whole(Difference::End {
            recorded: recorded.finalize.is_some(),
            computed: computed.finalize.is_some(),
        });
    }
    if !recorded.rest.agrees(&computed.rest) {
        return Some(Found {
            part: BlockPart::Whole,
            difference: of_writes(&recorded.rest, &computed.rest),
            writes: Some(one),
        });
    }
    if recorded.state_root != computed.state_root {
        return Found::whole(Difference::Root {
            recorded: recorded.state_root,
            computed: computed.state_root,
        });
    }
    None
}

fn of_calls(
    recorded: &RecordedCall,
    computed: &RecordedCall,
    both_count: bool,
) -> Option<Difference> {
    if recorded.outcome != computed.outcome {
        return Some(Difference::Outcome {
            recorded: recorded.outcome.clone(),
            computed: computed.outcome.clone(),
        });
    }
    if !recorded.writes.agrees(&computed.writes) {
        return Some(of_writes(&recorded.writes, &computed.writes));
    }
    (both_count && recorded.fuel != computed.fuel).then_some(Difference::Fuel {
        recorded: recorded.fuel,
        computed: computed.fuel,
    })
}

fn of_writes(recorded: &Writes, computed: &Writes) -> Difference {
    Difference::Writes {
        recorded: recorded.digest(),
        computed: computed.digest(),
    }
}

/// The first key under which the writes at this position leave something else. Up to there both blocks are the same.
fn first_key(
    [recorded, computed]: [&RecordedBlock; 2],
    at: usize,
    before: &BTreeMap<Place, Option<Vec<u8>>>,
) -> Option<WriteDifference> {
    let by_place = |block: &'_ RecordedBlock| -> Option<BTreeMap<Place, Spliced>> {
        let list = block.all_writes().nth(at)?.list()?;
        Some(list.iter().cloned().collect())
    };
    let (one, other) = (by_place(recorded)?, by_place(computed)?);
    let places: BTreeSet<_> = one.keys().chain(other.keys()).collect();
    let mut places = places.into_iter();
    let place = places.find(|place| one.get(*place) != other.get(*place))?;
    let mut value = before.get(place).cloned().flatten();
    for list in computed.all_writes().take(at).filter_map(Writes::list) {
        if let Ok(found) = list.binary_search_by(|(other, _)| other.cmp(place)) {
            value = list[found].1.apply(value.as_deref()).flatten();
        }
    }
    let shown = |spliced: Option<&Spliced>| match spliced {
        None => Value::Untouched,
        Some(spliced) => match spliced.apply(value.as_deref()) {
            Some(Some(value)) => Value::Present(value),
            // What cannot be applied is none.
            Some(None) | None => Value::Deleted,
        },
    };
    Some(WriteDifference {
        child: place.0.clone(),
        key: place.1.clone(),
        expected: shown(one.get(place)),
        computed: shown(other.get(place)),
    })
}
