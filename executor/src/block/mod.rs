//! Executing blocks. Knows states and guests by their public faces; knows neither RocksDB nor the
//! engine.
//!
//! | module | knows |
//! |---|---|
//! | `block` | a block's bytes: header, seal, body |
//! | `outcome` | what can become of one extrinsic, and how the guest says so |
//! | `receipt` | what is recorded of included extrinsics: consensus data |
//! | `fuel` | what calls of a block may use, and used |
//! | `execution` | the phases initialize, apply, finalize over one block's layers |
//! | `build` | the building policy: what fails is left out |
//! | `produce` | which extrinsics are offered to a builder, and when a block is full |
//! | `replay` | the replaying policy: what fails makes the block invalid |
//! | `divergence` | where a replayed block departs from the chain's |
//! | `import` | replaying onto a database, and committing |

mod ahead;
#[expect(
    clippy::module_inception,
    reason = "the room and the thing share their name"
)]
mod block;
mod build;
mod code;
mod divergence;
mod error;
mod execution;
mod fuel;
mod import;
mod outcome;
mod produce;
mod receipt;
mod replay;

pub use block::{Block, BlockDecodeError, Header, genesis_hash};
pub use build::{BlockBuilder, BuildError, BuiltBlock, InherentData, LeftOut, Offered};
pub use code::{load_runtime, state_version_of};
pub use divergence::{Cause, Divergence, Step, Value, WriteDifference, compare_writes};
pub use error::ExecutionError;
pub use execution::{BlockExecution, ExtrinsicRun, InclusionMode, Phase};
pub use fuel::{BlockFuel, BlockFuelReceipt, FuelReceipt};
pub use import::{ImportError, Imported, import_block, import_parent_state};
pub use outcome::{ExtrinsicOutcome, Invalidity};
pub use produce::{
    BLOCK_BYTES_DEFAULT, BlockEnd, BlockInputs, OfferedExtrinsic, Origin, Overrun, OverrunPolicy,
    Produced, Producer, ProducerConfig, SKIPPED_MAX_DEFAULT, SOFT_DEADLINE_PERCENT_DEFAULT,
    TransactionSource, Uncharged,
};
pub use receipt::{
    BlockReceipts, ExtrinsicReceipt, Included, RECEIPTS_VERSION, RECEIPTS_VERSION_FUEL,
    RECEIPTS_VERSION_PLAIN,
};
pub use replay::{Executed, ExecutionPath, ReplayError, execute};
pub(crate) use replay::{context_of, execute_whole, refused};
