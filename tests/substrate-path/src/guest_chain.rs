//! Authors the fixture chain of the guest: planned blocks, built and executed by the oracle.
//!
//! Invariant: the same seed gives the same fixture, byte for byte, and every block in it was both
//! built in steps and executed whole with the same writes.

use slackwater_runtime_fixtures::{BlockFixture, FixtureBlock, guest};
use sp_core::{Blake2Hasher, storage::StateVersion};
use sp_trie::{LayoutV0, empty_trie_root};

use crate::error::OracleError;
use crate::header::{HeaderFields, pre_runtime_item};
use crate::oracle::{BuiltBlock, Oracle, decode_header};
use crate::plan::{Planned, Planner};

/// The seed of the chain in the repository.
pub const SEED: u64 = 0x51ac_4a7e;
/// Number of blocks of the chain in the repository.
pub const BLOCKS: u32 = 128;

/// Authors a chain of `blocks` blocks.
///
/// # Errors
/// Something else comes of an extrinsic than planned, building and executing whole disagree, or
/// the oracle fails.
pub fn author(seed: u64, blocks: u32) -> Result<BlockFixture, OracleError> {
    let mut planner = Planner::new(seed)?;
    let state = guest::genesis(&planner.funded(), &planner.sudo());
    let mut oracle = Oracle::new(state.clone(), StateVersion::V1)?;
    let mut fixture = BlockFixture {
        name: "guest-chain".to_owned(),
        state,
        state_version: Some(1),
        parent_state_root: Some(oracle.state_root()),
        blocks: Vec::new(),
    };
    let mut parent_hash = genesis_hash(oracle.state_root());
    for number in 1..=blocks {
        let block = author_block(&mut oracle, &mut planner, parent_hash, number)?;
        parent_hash = block.hash;
        fixture.blocks.push(block);
    }
    Ok(fixture)
}

/// Hash of the genesis block: number 0, no parent, no body, the state's root.
fn genesis_hash(state_root: [u8; 32]) -> [u8; 32] {
    let genesis = HeaderFields {
        parent_hash: [0; 32],
        number: 0,
        state_root,
        extrinsics_root: empty_trie_root::<LayoutV0<Blake2Hasher>>().0,
        items: 0,
        digest: Vec::new(),
    };
    sp_crypto_hashing::blake2_256(&genesis.encoded())
}

fn author_block(
    oracle: &mut Oracle,
    planner: &mut Planner,
    parent_hash: [u8; 32],
    number: u32,
) -> Result<FixtureBlock, OracleError> {
    let planned = planner.block(number);
    let offered: Vec<Vec<u8>> = planned.iter().map(|p| p.extrinsic.clone()).collect();
    // Every other block, so that both kinds of headers occur.
    let digest = number
        .is_multiple_of(2)
        .then(|| pre_runtime_item(u64::from(number)));
    let digest: Vec<Vec<u8>> = digest.into_iter().collect();
    let built = oracle.build_block(parent_hash, number, &digest, &offered)?;
    check_outcomes(number, &planned, &built)?;
    let executed = oracle.execute_block(&built.header, &built.body)?;
    if executed.writes != built.changes.writes {
        let what = "building and executing whole write differently".to_owned();
        return Err(OracleError::Plan { number, what });
    }
    let block = fixture_block(planner, decode_header(&built.header)?, built);
    oracle.advance(executed);
    if oracle.state_root() != block.state_root {
        let what = "the state root is not the header's".to_owned();
        return Err(OracleError::Plan { number, what });
    }
    Ok(block)
}

fn check_outcomes(number: u32, planned: &[Planned], built: &BuiltBlock) -> Result<(), OracleError> {
    for (index, (plan, found)) in planned.iter().zip(&built.offered).enumerate() {
        if plan.outcome != found.outcome {
            let (wanted, got) = (plan.outcome.name(), found.outcome.name());
            let details = (&found.error, &built.faults[index]);
            let what = format!("extrinsic {index}: {wanted} was planned, {got} came: {details:?}");
            return Err(OracleError::Plan { number, what });
        }
    }
    Ok(())
}

fn fixture_block(planner: &Planner, fields: HeaderFields, built: BuiltBlock) -> FixtureBlock {
    let unsealed_hash = sp_crypto_hashing::blake2_256(&built.header);
    let header = fields.sealed(&planner.seal(&unsealed_hash)).encoded();
    FixtureBlock {
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
    }
}
