//! A Substrate node without network, pool and consensus: the parts that build, execute and commit blocks.
//!
//! Builder (`sc-block-builder`), executor (`sc-executor`, pooling and copy on write), state machine and database
//! (`sc-client-db` over RocksDB, trie cache on) are Substrate's own. What is written here is the glue that `sc-service`
//! has between them, which does what that one does and no more: one call of the runtime at a time, one core.
//!
//! Invariant: a node only knows what was given to it by [`Node::new`] and [`Node::commit`]; building a
//! block leaves nothing behind but what caches keep.

mod api;
mod calls;
mod error;
mod node;

pub use error::NodeError;
pub use node::{Executed, Node, NodeConfig, Transactions};
