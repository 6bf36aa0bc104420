//! Building a fixture's blocks anew from what a builder was offered.

use slackwater_executor::{
    Block, BlockBuilder, WasmExecutor,
    block::{BuildError, Included, LeftOut, Offered, compare_writes},
    host_functions::HostFunctions,
    state::{Database, Extensions},
};
use sp_core::H256;
use sp_runtime::DigestItem;

use super::{Difference, refusing};
use crate::{
    BlockFixture, FixtureBlock, FixtureReplayError,
    replay::{decode_blocks, import_fixture_state, stated_writes},
};

/// Builds all blocks, and attempts those that must be refused. Returns the number of extrinsics
/// offered and of blocks refused.
pub(super) fn build<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    fixture: &BlockFixture,
) -> Result<(usize, usize), Difference> {
    let blocks = decode_blocks(fixture)?;
    let (first, _) = blocks.front().ok_or(FixtureReplayError::NoBlocks)?;
    import_fixture_state(executor, database, fixture, first)?;
    let (mut offered, mut refused) = (0, 0);
    for (block, stated) in blocks {
        for attempt in &stated.refused {
            refusing::attempt(executor, database, stated.number, attempt)?;
            refused += 1;
        }
        offered += build_block(executor, database, block, stated)?;
    }
    Ok((offered, refused))
}

/// Builds one block and commits it under the hash the chain knows it by.
fn build_block<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    sealed: Block,
    stated: &FixtureBlock,
) -> Result<usize, Difference> {
    let number = stated.number;
    let view = database.view()?;
    let parent = *view.head();
    let unbuildable = |source: BuildError| match source {
        BuildError::Execution(error) => Difference::Execution(error),
        source => Difference::Unbuildable {
            block: number,
            source: Box::new(source),
        },
    };
    let logs = sealed.header.digest.logs.iter();
    let pre_runtime = logs.filter(|item| matches!(item, DigestItem::PreRuntime(..)));
    let mut builder = BlockBuilder::new(
        executor,
        &view,
        &parent,
        pre_runtime.cloned().collect(),
        Extensions::new(),
    )
    .map_err(unbuildable)?;
    let offers = stated.offered.as_deref().unwrap_or_default();
    for (offer, stated) in offers.iter().enumerate() {
        let expected = (stated.outcome.name().to_owned(), stated.error.clone());
        let found = result(&builder.push(&stated.extrinsic).map_err(unbuildable)?);
        if expected != found {
            return Err(Difference::Offered {
                block: number,
                offer,
                expected,
                found,
            });
        }
    }
    let mut built = builder.finish().map_err(unbuildable)?;
    let another = |part| {
        Err(Difference::Built {
            block: number,
            part,
        })
    };
    if built.block.extrinsics != sealed.extrinsics {
        return another("body");
    }
    if built.block.header != sealed.header_unsealed() {
        return another("header");
    }
    if built.changes.state_root != H256(stated.state_root) {
        return another("state root");
    }
    if let Some(expected) = stated_writes(stated) {
        let difference = compare_writes(&view, &expected, &built.changes.writes, false)?;
        if let Some(difference) = difference {
            return Err(Difference::Writes {
                block: number,
                difference: Box::new(difference),
            });
        }
    }
    built.block = sealed;
    let record = built.record();
    database
        .commit(&parent, built.changes, &record)
        .map_err(|error| Difference::Execution(error.into()))?;
    Ok(offers.len())
}

/// Name and error of what came of an offered extrinsic, as fixtures state them.
fn result(offered: &Offered) -> (String, Option<Vec<u8>>) {
    match offered {
        Offered::Included { result, .. } => included(result),
        Offered::LeftOut(LeftOut::Invalid(reason)) => {
            (offered.name().to_owned(), Some(reason.encoded()))
        }
        Offered::LeftOut(_) => (offered.name().to_owned(), None),
    }
}

/// Name and error of an included extrinsic, as fixtures state them.
pub(super) fn included(result: &Included) -> (String, Option<Vec<u8>>) {
    let error = match result {
        Included::Applied => None,
        Included::DispatchError(error) => Some(error.clone()),
    };
    (result.name().to_owned(), error)
}
