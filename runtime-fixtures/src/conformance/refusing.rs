//! Attempting blocks that must be refused.
//!
//! Invariant: nothing is committed here, so the block beside them, replayed afterwards on the same
//! database, shows that they left no trace.

use slackwater_executor::{
    Block, BlockBuilder, ExecutionPath, WasmExecutor,
    block::{BuildError, Offered, ReplayError, execute},
    host_functions::HostFunctions,
    state::{Database, Extensions, StateView},
};

use super::Difference;
use crate::{Refusal, RefusedBlock};

/// Attempts a block on the head of the database.
pub(super) fn attempt<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    number: u64,
    refused: &RefusedBlock,
) -> Result<(), Difference> {
    let view = database.view()?;
    let decoded = Block::decode(&refused.header, refused.extrinsics.clone());
    let found = match (decoded, refused.refusal) {
        (Err(error), _) => Err(error.to_string()),
        (Ok(block), Refusal::Import) => import(executor, &view, &block, ExecutionPath::Split)
            .and_then(|()| import(executor, &view, &block, ExecutionPath::Whole)),
        (Ok(block), Refusal::ImportWhole) => import(executor, &view, &block, ExecutionPath::Whole),
        (Ok(block), _) => build(executor, &view, &block, refused.refusal),
    };
    found.map_err(|found| Difference::Refused {
        block: number,
        case: refused.case.clone(),
        refusal: refused.refusal,
        found,
    })
}

/// Executes a block along a path. It must be found invalid, and not for want of a working machine.
fn import<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    view: &StateView<'_>,
    block: &Block,
    path: ExecutionPath,
) -> Result<(), String> {
    match execute(executor, view, block, path, &Extensions::new) {
        Err(ReplayError::Diverged(_)) => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(_) => Err(format!("the {path:?} path takes it")),
    }
}

fn build<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    view: &StateView<'_>,
    block: &Block,
    refusal: Refusal,
) -> Result<(), String> {
    let digest = block.header.digest.logs.clone();
    let begun = BlockBuilder::new(executor, view, view.head(), digest, Extensions::new());
    let mut builder = match begun {
        Ok(builder) => builder,
        Err(error) => return expect(refusal, Refusal::BuildInitialize, &error),
    };
    let last = block.extrinsics.len().saturating_sub(1);
    for (offer, extrinsic) in block.extrinsics.iter().enumerate() {
        let offered = match refusal {
            // A transaction that says it is mandatory abandons no block.
            Refusal::BuildMandatory if offer == last => builder.push_inherent(extrinsic),
            _ => builder.push(extrinsic),
        };
        match offered {
            Ok(Offered::Included { .. }) => {}
            Ok(Offered::LeftOut(_)) if refusal != Refusal::BuildMandatory => {}
            Ok(other) => return Err(format!("offer {offer} ends as {}", other.name())),
            Err(error) if offer == last => return expect(refusal, Refusal::BuildMandatory, &error),
            Err(error) => return Err(format!("offer {offer}: {error}")),
        }
    }
    match builder.finish() {
        Ok(_) => Err("it is built".to_owned()),
        Err(error) => expect(refusal, Refusal::BuildFinalize, &error),
    }
}

/// The step that failed must be the one stated, and the runtime must have failed in it.
fn expect(stated: Refusal, found: Refusal, error: &BuildError) -> Result<(), String> {
    if stated == found && !matches!(error, BuildError::Execution(_)) {
        Ok(())
    } else {
        Err(error.to_string())
    }
}
