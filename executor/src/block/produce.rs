//! Producing blocks: which of the extrinsics on offer go into a block, and when it is full. The rules are those of the
//! Polkadot SDK's proposer (`sc-basic-authorship`): inherents first; two deadlines; a limit of bytes; what does not fit
//! any more is skipped, and some more are tried. Limits of fuel are added, and a way to have whoever passes them pay.
//!
//! Invariant: whatever is left out is rolled back, so a block that comes out is valid on every machine, though which
//! block that is depends on the clock. No extrinsic begins behind the deadline. Cost: beside the calls into the guest,
//! one look at the clock for each extrinsic.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use codec::{DecodeAll, Encode};
use slackwater_host_functions::HostFunctions;
use sp_externalities::Extensions;
use sp_runtime::DigestItem;

use super::{
    BlockBuilder, BuildError, BuiltBlock, InclusionMode, InherentData, Invalidity, LeftOut,
    Offered,
    ahead::{Beginning, Feed, is_dalek, with_ahead},
    build::{initial_header, left_out},
};
use crate::{
    fuel::{CancelToken, Fuel},
    instance::{CallOutcome, Trap, TrapKind},
    runtime::CallContext,
    state::{BlockState, Head},
    wasm_executor::WasmExecutor,
};

/// Bytes of a block by default: 4 MiB and 512, as the Polkadot SDK's proposer has it.
pub const BLOCK_BYTES_DEFAULT: usize = (4 << 20) + 512;

/// How many extrinsics are skipped before a block counts as full by default, as the proposer has it.
pub const SKIPPED_MAX_DEFAULT: u32 = 8;

/// Part of the time for extrinsics that is over at the soft deadline by default, in percent, as the proposer has it.
pub const SOFT_DEADLINE_PERCENT_DEFAULT: u8 = 50;

/// How many transactions are looked at ahead of the block.
const LOOKED_AHEAD: usize = 64;

/// The time of a block is divided by it, and so much is left for ending the block.
const TIME_TO_END: u32 = 10;

/// What a producer keeps to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// Time for the block, from its beginning on; default: as long as it takes. A tenth is left for ending it; at the
    /// *hard deadline*, when the rest is over, an extrinsic that runs is cancelled, if guests carry a meter, and none
    /// begins any more.
    pub duration: Option<Duration>,
    /// Part of the time for transactions that is over at the *soft deadline*, in percent; default: 50. Before it, a block
    /// does not end because something does not fit.
    pub soft_deadline_percent: u8,
    /// How many extrinsics that do not fit are skipped before the block counts as full, if the soft deadline is over or
    /// there is none. Default: 8.
    pub skipped_max: u32,
    /// Bytes of the encoded block, its header included; default: 4 MiB and 512.
    pub block_bytes_max: usize,
    /// Fuel each transaction may use; default: what [`crate::ExecutorConfig::local_limit`] says. Needs a meter.
    pub extrinsic_fuel: Option<Fuel>,
    /// Fuel the transactions of a block may use together; default: no limit. Needs a meter.
    pub block_fuel: Option<Fuel>,
    /// What becomes of a transaction that used more than it may by itself.
    pub overrun: OverrunPolicy,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            duration: None,
            soft_deadline_percent: SOFT_DEADLINE_PERCENT_DEFAULT,
            skipped_max: SKIPPED_MAX_DEFAULT,
            block_bytes_max: BLOCK_BYTES_DEFAULT,
            extrinsic_fuel: None,
            block_fuel: None,
            overrun: OverrunPolicy::LeaveOut,
        }
    }
}

/// What becomes of a transaction that used more fuel than it may. In any case it is rolled back, left out, and reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OverrunPolicy {
    /// Nothing more. Its sender pays nothing, so it should not be offered again.
    #[default]
    LeaveOut,
    /// The runtime is asked for an extrinsic that makes the sender pay, and that is put into the block instead, if the
    /// runtime accepts it. Every importer executes it like any other extrinsic.
    Charge {
        /// The entry point that is asked: it takes SCALE `(Vec<u8>, u64)`, the extrinsic with its length prefix and the
        /// limit that it passed, and answers `Option<Vec<u8>>`, an extrinsic without length prefix. What it writes is
        /// rolled back.
        method: String,
    },
}

/// Where a producer takes transactions from. Any iterator over their bytes is one.
pub trait TransactionSource {
    /// The best one left, SCALE with length prefix; `None` when there is none.
    fn next_transaction(&mut self) -> Option<Vec<u8>>;

    /// The transaction that will be handed out after so many others, where that is known: what may be looked at ahead, see
    /// [`crate::ExecutorConfig::verify_ahead_threads`]. That it comes, or is the one, is no promise.
    fn peek(&self, others: usize) -> Option<&[u8]> {
        let _ = others;
        None
    }

    /// The transaction handed out last was left out; what depends on it need not be offered any more.
    fn left_out(&mut self, transaction: &[u8], why: &LeftOut) {
        let _ = (transaction, why);
    }
}

impl<I: Iterator<Item = Vec<u8>>> TransactionSource for I {
    fn next_transaction(&mut self) -> Option<Vec<u8>> {
        self.next()
    }
}

/// What a block is made of beside transactions.
#[derive(Default)]
pub struct BlockInputs {
    /// Pre-runtime digest items of the consensus engine.
    pub digest: Vec<DigestItem>,
    /// What the runtime makes inherents of; it is not asked if this is `None`.
    pub inherent_data: Option<InherentData>,
    /// Inherents that are there already, SCALE with length prefix; they come behind the runtime's.
    pub inherents: Vec<Vec<u8>>,
    /// What host functions find beside the storage.
    pub extensions: Extensions,
}

impl std::fmt::Debug for BlockInputs {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockInputs")
            .field("digest", &self.digest)
            .field("inherent_data", &self.inherent_data)
            .field("inherents", &self.inherents.len())
            .finish_non_exhaustive()
    }
}

/// Where an extrinsic that was offered came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It is an inherent.
    Inherent,
    /// It was taken from the source of transactions.
    Transaction,
    /// The runtime made it to have somebody pay: see [`OverrunPolicy::Charge`].
    Charge,
}

/// What became of one extrinsic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedExtrinsic {
    /// Where it came from.
    pub origin: Origin,
    /// What became of it.
    pub result: Offered,
}

/// A transaction that used more fuel than it may by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// Its bytes, with length prefix.
    pub extrinsic: Vec<u8>,
    /// What it might have used.
    pub limit: Fuel,
    /// Why no extrinsic that makes its sender pay was offered; `None` if one was, which then comes next in
    /// [`Produced::offered`].
    pub uncharged: Option<Uncharged>,
}

/// Why nobody pays for an overrun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uncharged {
    /// By policy.
    Policy,
    /// The runtime wants no payment.
    Declined,
    /// The runtime faulted when it was asked, or answered something else than an optional extrinsic.
    Faulted(Trap),
    /// The runtime was stopped when it was asked.
    Stopped(LeftOut),
}

/// Why a block has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockEnd {
    /// There were no more transactions.
    NoMoreTransactions,
    /// The hard deadline was over.
    Deadline,
    /// What was offered last had too many bytes.
    Bytes,
    /// What was offered last had no room, as the runtime says.
    Resources,
    /// What was offered last needs more fuel than the block has left.
    Fuel,
    /// The runtime takes inherents only.
    OnlyInherents,
}

/// A block, and how it came about.
#[derive(Debug)]
pub struct Produced {
    /// The block.
    pub built: BuiltBlock,
    /// What became of everything that was offered, in that order.
    pub offered: Vec<OfferedExtrinsic>,
    /// Transactions that used more fuel than they may, in the order they were offered.
    pub overruns: Vec<Overrun>,
    /// Why it ended.
    pub end: BlockEnd,
}

/// Produces blocks.
#[derive(Debug)]
pub struct Producer<H> {
    executor: WasmExecutor<H>,
    config: ProducerConfig,
}

impl<H: HostFunctions> Producer<H> {
    /// A producer that keeps to `config`.
    pub fn new(executor: WasmExecutor<H>, config: ProducerConfig) -> Self {
        Self { executor, config }
    }

    /// What it keeps to.
    pub fn config(&self) -> &ProducerConfig {
        &self.config
    }

    /// Produces the block after `parent`, whose state is `state`.
    ///
    /// # Errors
    /// [`BuildError`] when there is no block: a mandatory inherent failed, the runtime faulted outside of extrinsics,
    /// or this machine failed.
    pub fn produce<S: BlockState>(
        &self,
        state: &S,
        parent: &Head,
        inputs: BlockInputs,
        transactions: &mut dyn TransactionSource,
    ) -> Result<Produced, BuildError> {
        self.produce_by(&Instant::now, state, parent, inputs, transactions)
    }

    /// As [`Self::produce`], by another clock, whose instants are not far from the system's.
    ///
    /// # Errors
    /// As [`Self::produce`].
    pub fn produce_by<S: BlockState>(
        &self,
        clock: &dyn Fn() -> Instant,
        state: &S,
        parent: &Head,
        mut inputs: BlockInputs,
        transactions: &mut dyn TransactionSource,
    ) -> Result<Produced, BuildError> {
        let beginning = Beginning {
            header: initial_header(parent, inputs.digest.clone()),
            context: CallContext::Build,
            dalek: is_dalek(&mut inputs.extensions),
        };
        let beginning = || beginning;
        with_ahead(&self.executor, state, beginning, |feed| {
            if let Some(feed) = feed {
                inputs.extensions.register(feed.extension());
            }
            self.produce_fed(clock, state, parent, inputs, transactions, feed)
        })
    }

    fn produce_fed<S: BlockState>(
        &self,
        clock: &dyn Fn() -> Instant,
        state: &S,
        parent: &Head,
        inputs: BlockInputs,
        transactions: &mut dyn TransactionSource,
        feed: Option<&Feed<'static>>,
    ) -> Result<Produced, BuildError> {
        let hard = hard_deadline(&self.config, clock());
        let mut builder = BlockBuilder::new(
            &self.executor,
            state,
            parent,
            inputs.digest,
            inputs.extensions,
        )?;
        let mut inherents = match &inputs.inherent_data {
            Some(data) => builder.inherents(data)?,
            None => Vec::new(),
        };
        inherents.extend(inputs.inherents);
        let mut filling = Filling {
            config: &self.config,
            clock,
            hard,
            builder,
            own: self
                .config
                .extrinsic_fuel
                .or(self.executor.config().local_limit),
            chains: self.executor.fuel_rules().map(|(rules, _)| rules.extrinsic),
            offered: Vec::new(),
            overruns: Vec::new(),
            skipped: 0,
            full: None,
            fuel_used: 0,
            ahead: Ahead { feed, fed: 0 },
        };
        filling.ahead.feed(transactions);
        filling.inherents(&inherents)?;
        let end = filling.transactions(transactions)?;
        Ok(Produced {
            built: filling.builder.finish()?,
            offered: filling.offered,
            overruns: filling.overruns,
            end,
        })
    }
}

/// Until when extrinsics are tried. A deadline that no instant stands for is never over.
fn hard_deadline(config: &ProducerConfig, begun: Instant) -> Option<Instant> {
    let time = config.duration.map(|whole| whole - whole / TIME_TO_END)?;
    begun.checked_add(time)
}

/// Until when what does not fit is skipped, if transactions begin now.
fn soft_deadline(config: &ProducerConfig, now: Instant, hard: Instant) -> Instant {
    let percent = u32::from(config.soft_deadline_percent.min(100));
    now + hard.saturating_duration_since(now) / 100 * percent
}

/// A block that is being filled.
struct Filling<'p, 's, S, H> {
    config: &'p ProducerConfig,
    clock: &'p dyn Fn() -> Instant,
    /// When no transaction begins any more.
    hard: Option<Instant>,
    builder: BlockBuilder<'s, S, H>,
    /// What a transaction may use by itself on this machine.
    own: Option<Fuel>,
    /// What it may use by the rules of the chain.
    chains: Option<Fuel>,
    offered: Vec<OfferedExtrinsic>,
    overruns: Vec<Overrun>,
    /// How many did not fit.
    skipped: u32,
    /// Why the last one that did not fit did not, unless one has fitted since.
    full: Option<BlockEnd>,
    /// Fuel that transactions have used.
    fuel_used: u64,
    ahead: Ahead<'p>,
}

/// Transactions that are looked at ahead.
struct Ahead<'p> {
    feed: Option<&'p Feed<'static>>,
    /// How many of those that the source has not handed out.
    fed: usize,
}

impl Ahead<'_> {
    /// Feeds what comes next.
    fn feed(&mut self, source: &dyn TransactionSource) {
        let Some(feed) = self.feed else {
            return;
        };
        while self.fed < LOOKED_AHEAD {
            let Some(transaction) = source.peek(self.fed) else {
                return;
            };
            feed.push(Cow::Owned(transaction.to_vec()));
            self.fed += 1;
        }
    }
}

impl<S: BlockState, H: HostFunctions> Filling<'_, '_, S, H> {
    fn inherents(&mut self, inherents: &[Vec<u8>]) -> Result<(), BuildError> {
        for inherent in inherents {
            let result = self.builder.push_inherent(inherent)?;
            if let Offered::LeftOut(why) = &result {
                log::warn!(target: "slackwater::produce", "an inherent is left out: {why:?}");
            }
            self.note(Origin::Inherent, result);
        }
        Ok(())
    }

    fn transactions(&mut self, source: &mut dyn TransactionSource) -> Result<BlockEnd, BuildError> {
        if self.builder.mode() == InclusionMode::OnlyInherents {
            return Ok(BlockEnd::OnlyInherents);
        }
        let mut soft = None;
        if let Some(hard) = self.hard {
            self.builder.cancel_extrinsics_by(CancelToken::at(hard));
            soft = Some(soft_deadline(self.config, (self.clock)(), hard));
        }
        loop {
            // Whoever is asked for more must have the time for one.
            let now = (self.clock)();
            if self.hard.is_some_and(|hard| now > hard) {
                return Ok(self.full.unwrap_or(BlockEnd::Deadline));
            }
            let Some(transaction) = source.next_transaction() else {
                return Ok(self.full.unwrap_or(BlockEnd::NoMoreTransactions));
            };
            self.ahead.fed = self.ahead.fed.saturating_sub(1);
            self.ahead.feed(source);
            let result = self.offer(&transaction)?;
            let why = match &result {
                Offered::Included { .. } => {
                    self.included(&result);
                    self.note(Origin::Transaction, result);
                    continue;
                }
                Offered::LeftOut(why) => why.clone(),
            };
            source.left_out(&transaction, &why);
            self.note(Origin::Transaction, result);
            if let Some(full) = no_room(&why) {
                self.full = Some(full);
                if self.skipped < self.config.skipped_max {
                    self.skipped += 1;
                } else if soft.is_none_or(|soft| now >= soft) {
                    return Ok(full);
                }
            }
            let overrun = match &why {
                LeftOut::LocalLimit { limit } => Some(*limit),
                LeftOut::Trapped(trap) if trap.kind == TrapKind::OutOfFuel => self.chains,
                _ => None,
            };
            if let Some(limit) = overrun {
                self.overrun(transaction, limit)?;
            }
        }
    }

    /// Offers a transaction, within what is left of the block.
    fn offer(&mut self, transaction: &[u8]) -> Result<Offered, BuildError> {
        let bytes_max = self.config.block_bytes_max;
        if self.builder.bytes_with(transaction) > bytes_max {
            return Ok(Offered::LeftOut(LeftOut::NoBytesLeft { bytes_max }));
        }
        let left = self.config.block_fuel;
        let left = left.map(|Fuel(block)| Fuel(block.saturating_sub(self.fuel_used)));
        if let Some(limit) = self.own.into_iter().chain(left).min() {
            self.builder.limit_extrinsics(limit);
        }
        let result = self.builder.push(transaction)?;
        Ok(match result {
            // It passed what the block has left, and may fit into another.
            Offered::LeftOut(LeftOut::LocalLimit { limit })
                if self.fuel_used > 0
                    && Some(limit) == left
                    && self.own.is_none_or(|own| limit < own) =>
            {
                Offered::LeftOut(LeftOut::NoFuelLeft)
            }
            result => result,
        })
    }

    /// A transaction has used more fuel than it may.
    fn overrun(&mut self, extrinsic: Vec<u8>, limit: Fuel) -> Result<(), BuildError> {
        let charge = match &self.config.overrun {
            OverrunPolicy::LeaveOut => Err(Uncharged::Policy),
            OverrunPolicy::Charge { method } => {
                let input = (&extrinsic, limit.0).encode();
                match self.builder.ask(method, &input) {
                    Ok(CallOutcome::Trapped(trap)) => Err(Uncharged::Faulted(trap)),
                    Ok(CallOutcome::Returned(output)) => charge_of(method, &output),
                    Err(error) => Err(Uncharged::Stopped(left_out(error)?)),
                }
            }
        };
        match charge {
            Ok(charge) => {
                let result = self.offer(&charge)?;
                self.included(&result);
                self.note(Origin::Charge, result);
                self.overruns.push(Overrun {
                    extrinsic,
                    limit,
                    uncharged: None,
                });
            }
            Err(uncharged) => self.overruns.push(Overrun {
                extrinsic,
                limit,
                uncharged: Some(uncharged),
            }),
        }
        Ok(())
    }

    /// If it was included, there was room.
    fn included(&mut self, result: &Offered) {
        if let Offered::Included { fuel, .. } = result {
            let used = fuel.map_or(0, |fuel| fuel.total.0);
            self.fuel_used = self.fuel_used.saturating_add(used);
            self.full = None;
        }
    }

    fn note(&mut self, origin: Origin, result: Offered) {
        self.offered.push(OfferedExtrinsic { origin, result });
    }
}

/// The extrinsic, with length prefix, in the answer of a runtime that was asked for one.
fn charge_of(method: &str, output: &[u8]) -> Result<Vec<u8>, Uncharged> {
    match Option::<Vec<u8>>::decode_all(&mut &*output) {
        Ok(Some(charge)) => Ok(charge.encode()),
        Ok(None) => Err(Uncharged::Declined),
        Err(_) => {
            let message = format!("the answer of `{method}` is no optional extrinsic");
            let trap = Trap::new(TrapKind::UndecodableOutput, message);
            Err(Uncharged::Faulted(trap))
        }
    }
}

/// If it was left out because the block is full, or nearly: what of.
fn no_room(why: &LeftOut) -> Option<BlockEnd> {
    match why {
        LeftOut::NoBytesLeft { .. } => Some(BlockEnd::Bytes),
        LeftOut::Invalid(Invalidity::ExhaustsResources) => Some(BlockEnd::Resources),
        LeftOut::NoFuelLeft => Some(BlockEnd::Fuel),
        _ => None,
    }
}
