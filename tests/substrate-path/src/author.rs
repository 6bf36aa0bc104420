//! Authors a fixture block by block: each is built in steps, executed whole, compared, kept.
//!
//! Invariant: every block of the fixture came out as planned, was built and executed whole with the
//! same writes, and every refused block beside it was refused.

use slackwater_runtime_fixtures::{
    BlockFixture, FixtureBlock, OfferedOutcome, Refusal, RefusedBlock,
};
use sp_core::Blake2Hasher;
use sp_core::storage::{StateVersion, Storage, well_known_keys};
use sp_trie::{LayoutV0, empty_trie_root};

use crate::error::OracleError;
use crate::header::{self, HeaderFields};
use crate::oracle::{BuiltBlock, Oracle, decode_header};

/// An extrinsic for the builder.
pub(crate) struct Planned {
    /// With its length prefix.
    pub(crate) extrinsic: Vec<u8>,
    /// What must come of it.
    pub(crate) outcome: OfferedOutcome,
    /// The SCALE error that must come with it, where it matters which.
    pub(crate) error: Option<Vec<u8>>,
}

impl Planned {
    /// An extrinsic with a planned outcome, whatever its error.
    pub(crate) fn new(extrinsic: Vec<u8>, outcome: OfferedOutcome) -> Self {
        Self {
            extrinsic,
            outcome,
            error: None,
        }
    }

    /// The same, with a certain error.
    pub(crate) fn with_error(mut self, error: &[u8]) -> Self {
        self.error = Some(error.to_vec());
        self
    }
}

/// A block that must be refused beside the one that is kept.
pub(crate) struct PlannedRefusal {
    /// What it shows.
    pub(crate) case: &'static str,
    /// How it comes about.
    pub(crate) attempt: Attempt,
}

/// How a block that must be refused comes about.
pub(crate) enum Attempt {
    /// A builder begins with these digest items and is offered these extrinsics.
    Build {
        refusal: Refusal,
        digest: Vec<Vec<u8>>,
        offered: Vec<Vec<u8>>,
    },
    /// The block that is kept, with something changed, is executed whole.
    Edit(fn(&mut HeaderFields, &mut Vec<Vec<u8>>)),
    /// The block that is kept, with an extrinsic behind the others, is executed whole.
    Append(Vec<u8>),
    /// A builder makes a block of these extrinsics, and it is executed whole.
    Reorder(Vec<Vec<u8>>),
}

/// A plan for one block.
pub(crate) struct PlannedBlock {
    /// Encoded digest items for the builder to begin with.
    pub(crate) digest: Vec<Vec<u8>>,
    pub(crate) offered: Vec<Planned>,
    pub(crate) refused: Vec<PlannedRefusal>,
}

/// A chain being authored.
pub(crate) struct ChainAuthor {
    oracle: Oracle,
    parent_hash: [u8; 32],
    fixture: BlockFixture,
}

impl ChainAuthor {
    /// A chain whose genesis block has this state.
    pub(crate) fn new(
        name: &str,
        state: Storage,
        state_version: StateVersion,
    ) -> Result<Self, OracleError> {
        let oracle = Oracle::new(state.clone(), state_version)?;
        let root = oracle.state_root();
        Ok(Self {
            oracle,
            parent_hash: genesis_hash(root),
            fixture: BlockFixture {
                name: name.to_owned(),
                state,
                state_version: Some(match state_version {
                    StateVersion::V0 => 0,
                    StateVersion::V1 => 1,
                }),
                parent_state_root: Some(root),
                blocks: Vec::new(),
            },
        })
    }

    /// Number of the block that comes next.
    pub(crate) fn next_number(&self) -> u32 {
        // Blocks are authored one by one; nobody waits for four billion.
        u32::try_from(self.fixture.blocks.len() + 1).unwrap_or(u32::MAX)
    }

    /// Hash of the block that the next one follows.
    pub(crate) fn parent_hash(&self) -> [u8; 32] {
        self.parent_hash
    }

    /// The state that the next block is executed on.
    pub(crate) fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// The runtime code of the genesis state.
    pub(crate) fn genesis_code(&self) -> &[u8] {
        // The oracle was made on this state, and so found code in it.
        let code = self.fixture.state.top.get(well_known_keys::CODE);
        code.map_or(&[], Vec::as_slice)
    }

    /// Authors the next block; `seal` makes the content of its seal out of its unsealed hash.
    pub(crate) fn author(
        &mut self,
        plan: PlannedBlock,
        seal: impl FnOnce(&[u8; 32]) -> Vec<u8>,
    ) -> Result<(), OracleError> {
        let number = self.next_number();
        let fail = |what: &str| {
            let what = what.to_owned();
            Err(OracleError::Plan { number, what })
        };
        let initial = HeaderFields::initial(self.parent_hash, number, &plan.digest).encoded();
        let offered: Vec<_> = plan.offered.iter().map(|p| p.extrinsic.clone()).collect();
        let built = self.oracle.build_block(&initial, &offered)?;
        check_outcomes(number, &plan.offered, &built)?;
        let executed = self.oracle.execute_block(&built.header, &built.body)?;
        if executed.writes != built.changes.writes {
            return fail("building and executing whole write differently");
        }
        let refused = plan.refused.into_iter();
        let refused = refused
            .map(|plan| self.refuse(number, plan, &built))
            .collect::<Result<_, _>>()?;
        let block = fixture_block(built, refused, seal)?;
        self.oracle.advance(executed);
        if self.oracle.state_root() != block.state_root {
            return fail("the state root is not the header's");
        }
        self.parent_hash = block.hash;
        self.fixture.blocks.push(block);
        Ok(())
    }

    /// The fixture authored so far.
    pub(crate) fn finish(self) -> BlockFixture {
        self.fixture
    }

    /// Makes a block that must be refused, and sees it refused.
    fn refuse(
        &self,
        number: u32,
        plan: PlannedRefusal,
        kept: &BuiltBlock,
    ) -> Result<RefusedBlock, OracleError> {
        let initial = |digest: &[Vec<u8>]| HeaderFields::initial(self.parent_hash, number, digest);
        let (refusal, header, extrinsics) = match plan.attempt {
            Attempt::Build {
                refusal,
                digest,
                offered,
            } => (refusal, initial(&digest).encoded(), offered),
            Attempt::Edit(edit) => {
                let mut fields = decode_header(&kept.header)?;
                let mut body = kept.body.clone();
                edit(&mut fields, &mut body);
                (Refusal::Import, fields.encoded(), body)
            }
            Attempt::Append(extrinsic) => {
                let body = [&kept.body[..], &[extrinsic]].concat();
                (Refusal::Import, kept.header.clone(), body)
            }
            Attempt::Reorder(offered) => {
                let digest = pre_runtime_items(&decode_header(&kept.header)?);
                let built = self
                    .oracle
                    .build_block(&initial(&digest).encoded(), &offered)?;
                (Refusal::ImportWhole, built.header, built.body)
            }
        };
        let refused = RefusedBlock {
            case: plan.case.to_owned(),
            refusal,
            header,
            extrinsics,
        };
        self.oracle.check_refused(&refused).map_err(|what| {
            let what = format!("{}: {what}", refused.case);
            OracleError::Plan { number, what }
        })?;
        Ok(refused)
    }
}

/// The items a builder began the block with.
fn pre_runtime_items(fields: &HeaderFields) -> Vec<Vec<u8>> {
    let digest = fields.items.iter();
    digest
        .filter(|item| item.first() == Some(&header::PRE_RUNTIME))
        .cloned()
        .collect()
}

/// Hash of the genesis block: number 0, no parent, no body, the state's root.
fn genesis_hash(state_root: [u8; 32]) -> [u8; 32] {
    let genesis = HeaderFields {
        parent_hash: [0; 32],
        number: 0,
        state_root,
        extrinsics_root: empty_trie_root::<LayoutV0<Blake2Hasher>>().0,
        items: Vec::new(),
    };
    sp_crypto_hashing::blake2_256(&genesis.encoded())
}

fn check_outcomes(number: u32, planned: &[Planned], built: &BuiltBlock) -> Result<(), OracleError> {
    for (index, (plan, found)) in planned.iter().zip(&built.offered).enumerate() {
        let error_is_other = plan.error.is_some() && plan.error != found.error;
        if plan.outcome != found.outcome || error_is_other {
            let wanted = (plan.outcome.name(), &plan.error);
            let got = (found.outcome.name(), &found.error, &built.faults[index]);
            let what = format!("extrinsic {index}: {wanted:?} was planned, {got:?} came");
            return Err(OracleError::Plan { number, what });
        }
    }
    Ok(())
}

fn fixture_block(
    built: BuiltBlock,
    refused: Vec<RefusedBlock>,
    seal: impl FnOnce(&[u8; 32]) -> Vec<u8>,
) -> Result<FixtureBlock, OracleError> {
    let fields = decode_header(&built.header)?;
    let unsealed_hash = sp_crypto_hashing::blake2_256(&built.header);
    let header = fields.sealed(seal(&unsealed_hash)).encoded();
    Ok(FixtureBlock {
        number: u64::from(fields.number),
        hash: sp_crypto_hashing::blake2_256(&header),
        parent_hash: fields.parent_hash,
        state_root: fields.state_root,
        extrinsics_root: fields.extrinsics_root,
        header,
        header_unsealed: built.header,
        body: built.body,
        expected_writes: Some(built.changes.writes),
        offered: Some(built.offered),
        refused,
    })
}
