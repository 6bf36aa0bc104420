//! Making a fixture of a state and blocks on it.
//!
//! Invariant: a fixture is made only of blocks that follow each other and execute on the state to
//! the roots in their headers. The writes are those of `Core_execute_block` in this executor, so a
//! fixture made here shows that a result stays the same, and that it is the chain's as far as the
//! roots tell.

use std::collections::BTreeMap;

use codec::Encode;
use slackwater_executor::{
    Block, ExecutionPath, WasmExecutor,
    block::{ExecutionError, ReplayError, execute},
    host_functions::HostFunctions,
    state::{Database, Extensions, WriteSet},
};
use sp_core::storage::Storage;

use crate::{
    BlockFixture, ExpectedWrite, FixtureBlock, FixtureReplayError,
    replay::{check_continuity, decode_blocks, import_fixture_state},
};

/// Puts blocks into the order of their numbers; of equal blocks, one is kept.
#[must_use]
pub fn in_order(blocks: Vec<Block>) -> Vec<Block> {
    let keyed = blocks.into_iter().map(|block| {
        (
            (block.header.number, block.hash(), block.extrinsics.clone()),
            block,
        )
    });
    keyed.collect::<BTreeMap<_, _>>().into_values().collect()
}

/// A fixture of blocks on the state before the first of them; what they write is not known yet.
#[must_use]
pub fn assemble(name: &str, state: Storage, blocks: &[Block]) -> BlockFixture {
    BlockFixture {
        name: name.to_owned(),
        state,
        state_version: None,
        parent_state_root: None,
        blocks: blocks.iter().map(fixture_block).collect(),
    }
}

fn fixture_block(block: &Block) -> FixtureBlock {
    let header = &block.header;
    FixtureBlock {
        number: header.number,
        hash: block.hash().0,
        parent_hash: header.parent_hash.0,
        state_root: header.state_root.0,
        extrinsics_root: header.extrinsics_root.0,
        header: header.encode(),
        header_unsealed: block.header_unsealed().encode(),
        body: block.extrinsics.clone(),
        expected_writes: None,
        offered: None,
        refused: Vec::new(),
    }
}

/// Executes the blocks of a fixture on an empty database and notes what they write, and the root of
/// the state before them. `progress` is told the number of each block done.
///
/// # Errors
/// The blocks do not follow each other, or one does not execute to the roots in its header. The
/// fixture is as it was then.
pub fn note_writes<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    fixture: &mut BlockFixture,
    mut progress: impl FnMut(u64),
) -> Result<(), FixtureReplayError> {
    let blocks = decode_blocks(fixture)?;
    check_continuity(&blocks)?;
    let (first, _) = blocks.front().ok_or(FixtureReplayError::NoBlocks)?;
    let state_version = import_fixture_state(executor, database, fixture, first)?;
    let root = database.view()?.head().state_root;
    let mut noted = Vec::with_capacity(blocks.len());
    for (block, _) in blocks {
        let view = database.view()?;
        let parent = *view.head();
        let path = ExecutionPath::Whole;
        let executed = execute(executor, &view, &block, path, &Extensions::new);
        let executed = executed.map_err(|error: ReplayError| {
            FixtureReplayError::Import(slackwater_executor::block::ImportError::from(error))
        })?;
        noted.push(sorted(&executed.changes.writes));
        let record = block.record(&executed.receipts);
        database
            .commit(&parent, executed.changes, &record)
            .map_err(ExecutionError::from)?;
        progress(block.header.number);
    }
    for (block, writes) in fixture.blocks.iter_mut().zip(noted) {
        block.expected_writes = Some(writes);
    }
    fixture.parent_state_root = Some(root.0);
    fixture.state_version = Some(state_version);
    Ok(())
}

fn sorted(writes: &WriteSet) -> Vec<ExpectedWrite> {
    let tries = writes.iter();
    let mut writes: Vec<_> = tries
        .flat_map(|(child, entries)| {
            entries.iter().map(|(key, value)| ExpectedWrite {
                child: child.clone(),
                key: key.clone(),
                value: value.clone(),
            })
        })
        .collect();
    writes.sort();
    writes
}
