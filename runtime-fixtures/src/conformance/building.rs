//! Building a fixture's blocks anew from what a builder was offered.

use slackwater_executor::{
    Block, BlockBuilder, WasmExecutor,
    block::{BuildError, Included, LeftOut, Offered, compare_writes},
    host_functions::HostFunctions,
    state::{Database, Extensions},
};
use sp_core::H256;
use sp_runtime::DigestItem;

use super::{Difference, Ended};
use crate::{
    BlockFixture, FixtureBlock, FixtureReplayError,
    replay::{decode_blocks, import_fixture_state, stated_writes},
};

/// Builds all blocks. Returns the number of extrinsics offered.
pub(super) fn build<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    fixture: &BlockFixture,
) -> Result<usize, Difference> {
    let blocks = decode_blocks(fixture)?;
    let (first, _) = blocks.front().ok_or(FixtureReplayError::NoBlocks)?;
    import_fixture_state(executor, database, fixture, first)?;
    let mut offered = 0;
    for (block, stated) in blocks {
        offered += build_block(executor, database, block, stated)?;
    }
    Ok(offered)
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
        let expected = Ended::stated(stated);
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

/// What came of an offered extrinsic, as fixtures state it.
fn result(offered: &Offered) -> Ended {
    match offered {
        Offered::Included { result, .. } => included(result),
        Offered::LeftOut(left_out) => Ended {
            outcome: offered.name().to_owned(),
            error: match left_out {
                LeftOut::Invalid(reason) => Some(reason.encoded()),
                _ => None,
            },
        },
    }
}

/// What came of an included extrinsic, as fixtures state it.
pub(super) fn included(result: &Included) -> Ended {
    Ended {
        outcome: result.name().to_owned(),
        error: match result {
            Included::Applied => None,
            Included::DispatchError(error) => Some(error.clone()),
        },
    }
}
