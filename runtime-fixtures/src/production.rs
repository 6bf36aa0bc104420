//! Producing blocks onto a database, one after the other.
//!
//! Invariant: a block that is produced is committed, or there is an error; what is reported of it is what was committed.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use codec::DecodeAll;
use slackwater_executor::{
    Block, CallContext, Database, WasmExecutor,
    block::{
        BlockEnd, BlockFuel, BuildError, ExecutionError, Header, Invalidity, LeftOut,
        OfferedExtrinsic, Overrun, Producer, ProducerConfig, TransactionSource, genesis_hash,
        load_runtime, state_version_of,
    },
    host_functions::HostFunctions,
    state::{Head, StateError},
};
use sp_core::{H256, storage::Storage};
use thiserror::Error;

use crate::slots::{SlotError, Slots};

/// Why no block was produced. The database is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProductionError {
    /// The block had to be abandoned.
    #[error("block {number}: {source}")]
    Build {
        /// The number it would have had.
        number: u64,
        /// Why.
        source: BuildError,
    },
    /// What goes in front of a block is not known.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// The machine failed.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
}

/// A block that was produced and committed.
#[derive(Debug)]
pub struct ProducedBlock {
    /// The head now.
    pub head: Head,
    /// The block, without a seal.
    pub block: Block,
    /// What became of everything that was offered, in that order.
    pub offered: Vec<OfferedExtrinsic>,
    /// Transactions that used more fuel than they may.
    pub overruns: Vec<Overrun>,
    /// Why it ended.
    pub end: BlockEnd,
    /// Fuel used, where it is counted.
    pub fuel: Option<BlockFuel>,
    /// How long it took to produce, its root included.
    pub producing: Duration,
    /// How long it took to commit.
    pub committing: Duration,
}

/// Makes the state the genesis of a chain in an empty database; a chain that is there already is left as it is.
///
/// # Errors
/// [`ExecutionError`] when the state has no runtime, or writing it failed.
pub fn begin_chain<H: HostFunctions>(
    executor: &WasmExecutor<H>,
    database: &Database,
    genesis: &Storage,
) -> Result<Head, ExecutionError> {
    if let Some(head) = database.head()? {
        return Ok(head);
    }
    let version = state_version_of(executor, genesis)?;
    let prepared = database.prepare_state(genesis, version)?;
    let hash = genesis_hash(prepared.state_root());
    Ok(database.import_state(prepared, 0, hash)?)
}

/// Hash of the genesis block of the chain in a database.
///
/// # Errors
/// [`ExecutionError`] when reading failed, or there is no chain.
pub fn genesis_of(database: &Database) -> Result<H256, ExecutionError> {
    let head = database.head()?.ok_or(StateError::NoHead)?;
    let first = if head.number == 0 {
        None
    } else {
        header_of(database, 1)?
    };
    Ok(first.map_or(head.hash, |first| first.parent_hash))
}

/// The header of a block in the database; of the genesis there is none.
fn header_of(database: &Database, number: u64) -> Result<Option<Header>, ExecutionError> {
    let record = database.block(number)?;
    Ok(record.and_then(|record| Header::decode_all(&mut record.header.as_slice()).ok()))
}

/// Produces on a database.
#[derive(Debug)]
pub struct ChainProducer<'d, H> {
    executor: WasmExecutor<H>,
    producer: Producer<H>,
    database: &'d Database,
}

impl<'d, H: HostFunctions> ChainProducer<'d, H> {
    /// A producer of blocks that keep to `config`.
    pub fn new(executor: &WasmExecutor<H>, database: &'d Database, config: ProducerConfig) -> Self {
        Self {
            executor: executor.clone(),
            producer: Producer::new(executor.clone(), config),
            database,
        }
    }

    /// Produces the block after the head, of inherents and of `transactions`, and commits it.
    ///
    /// # Errors
    /// [`ProductionError`].
    pub fn produce(
        &self,
        transactions: &mut dyn TransactionSource,
    ) -> Result<ProducedBlock, ProductionError> {
        let view = self.database.view().map_err(ExecutionError::from)?;
        let parent = *view.head();
        let number = parent.number.saturating_add(1);
        let (runtime, _) = load_runtime(&self.executor, &view, CallContext::Build)?;
        let slots = Slots::of_state(&self.executor, &view, &runtime)?;
        let header = header_of(self.database, parent.number)?;
        let inputs = slots.inputs(number, header.as_ref());
        let begun = Instant::now();
        let produced = self.producer.produce(&view, &parent, inputs, transactions);
        let produced = produced.map_err(|source| ProductionError::Build { number, source })?;
        let producing = begun.elapsed();
        let record = produced.built.record();
        let head = self
            .database
            .commit(&parent, produced.built.changes, &record);
        let head = head.map_err(ExecutionError::from)?;
        Ok(ProducedBlock {
            head,
            block: produced.built.block,
            offered: produced.offered,
            overruns: produced.overruns,
            end: produced.end,
            fuel: produced.built.fuel,
            producing,
            committing: begun.elapsed() - producing,
        })
    }
}

/// Transactions in the order they came. What had no room in a block, or came too early, is offered to the next one again.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Vec<u8>>,
    again: Vec<Vec<u8>>,
    /// What was cancelled once. The deadline may have come in the middle of it; if it comes again, it takes too long.
    cancelled: BTreeSet<Vec<u8>>,
}

impl Queue {
    /// Adds a transaction, SCALE with length prefix.
    pub fn push(&mut self, transaction: Vec<u8>) {
        self.waiting.push_back(transaction);
    }

    /// How many wait for the next block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.again.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts what is to be offered again before the others.
    pub fn begin_block(&mut self) {
        for transaction in self.again.drain(..).rev() {
            self.waiting.push_front(transaction);
        }
    }
}

impl TransactionSource for Queue {
    fn next_transaction(&mut self) -> Option<Vec<u8>> {
        self.waiting.pop_front()
    }

    fn peek(&self, others: usize) -> Option<&[u8]> {
        self.waiting.get(others).map(Vec::as_slice)
    }

    fn left_out(&mut self, transaction: &[u8], why: &LeftOut) {
        let again = match why {
            LeftOut::NoBytesLeft { .. }
            | LeftOut::NoFuelLeft
            | LeftOut::Invalid(Invalidity::ExhaustsResources | Invalidity::Future) => true,
            LeftOut::Cancelled => self.cancelled.insert(transaction.to_vec()),
            _ => false,
        };
        if again {
            self.again.push(transaction.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_no_room_comes_first_in_the_next_block_and_what_is_wrong_never_again() {
        let mut queue = Queue::default();
        for number in 0..6 {
            queue.push(vec![number]);
        }
        let left_out = [
            LeftOut::NoFuelLeft,
            LeftOut::Invalid(Invalidity::Stale),
            LeftOut::Invalid(Invalidity::Future),
            LeftOut::Cancelled,
            LeftOut::NoBytesLeft { bytes_max: 1 },
        ];
        for why in left_out {
            let transaction = queue.next_transaction().expect("more");
            queue.left_out(&transaction, &why);
        }
        assert_eq!(queue.len(), 5);
        queue.begin_block();
        let order: Vec<_> = std::iter::from_fn(|| queue.next_transaction()).collect();
        assert_eq!(order, [[0], [2], [3], [4], [5]]);
        queue.left_out(&[3], &LeftOut::Cancelled);
        assert!(queue.is_empty(), "cancelled twice");
    }
}
