//! What a node puts in front of a block that it produces: a slot in the digest, for the consensus engine of the runtime,
//! and the time among the inherents.
//!
//! Invariant: time goes on by one slot a block, from the same moment on, so producing again gives the same blocks. Only
//! what a single node can know is there: a relay chain's or a parachain's runtime wants more, and abandons the block.

use codec::{Decode, Encode};
use slackwater_executor::{
    CallContext, CallOutcome, WasmExecutor,
    block::{BlockInputs, ExecutionError, Header, InherentData},
    call_on_state,
    host_functions::HostFunctions,
    runtime::Runtime,
    state::{BlockState, Extensions},
};
use sp_runtime::DigestItem;
use thiserror::Error;

/// When the block before the first was, in milliseconds since 1970: in September of 2020, for runtimes check that time
/// is not zero.
const BEGUN_MILLIS: u64 = 1_600_000_000_000;

/// Length of a slot where the runtime has no engine that knows slots.
const SLOT_MILLIS_DEFAULT: u64 = 6_000;

const AURA: [u8; 4] = *b"aura";
const BABE: [u8; 4] = *b"BABE";

/// A kind of slot claim that needs no proof, and the authority that makes it.
const BABE_SECONDARY: (u8, u32) = (2, 0);

/// Why slots cannot be known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The runtime could not be asked.
    #[error(transparent)]
    Execution(#[from] ExecutionError),
    /// The runtime did not say how long a slot is.
    #[error("`{method}` did not answer with the length of a slot: {reason}")]
    Length {
        /// What was asked.
        method: &'static str,
        /// What it did instead.
        reason: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Aura,
    Babe,
}

impl Engine {
    fn of(runtime: &Runtime) -> Option<Self> {
        let offers = |api: &str| {
            let id = sp_crypto_hashing::blake2_64(api.as_bytes());
            runtime.version().apis.iter().any(|(known, _)| *known == id)
        };
        match (offers("AuraApi"), offers("BabeApi")) {
            (true, _) => Some(Self::Aura),
            (_, true) => Some(Self::Babe),
            _ => None,
        }
    }

    /// Where the runtime says how long a slot is; the answer begins with it.
    fn method(self) -> &'static str {
        match self {
            Self::Aura => "AuraApi_slot_duration",
            Self::Babe => "BabeApi_configuration",
        }
    }

    fn claim(self, slot: u64) -> DigestItem {
        match self {
            Self::Aura => DigestItem::PreRuntime(AURA, slot.encode()),
            Self::Babe => DigestItem::PreRuntime(BABE, (BABE_SECONDARY, slot).encode()),
        }
    }

    /// The slot that a digest item claims.
    fn claimed(item: &DigestItem) -> Option<u64> {
        let DigestItem::PreRuntime(engine, claim) = item else {
            return None;
        };
        let mut claim = claim.as_slice();
        match *engine {
            AURA => {}
            BABE => {
                // Kind and authority go before the slot in every kind of claim.
                <(u8, u32)>::decode(&mut claim).ok()?;
            }
            _ => return None,
        }
        u64::decode(&mut claim).ok()
    }
}

/// The slots of a chain.
#[derive(Debug, Clone, Copy)]
pub struct Slots {
    engine: Option<Engine>,
    millis: u64,
}

impl Slots {
    /// Those of the runtime in `state`.
    ///
    /// # Errors
    /// [`SlotError`].
    pub fn of_state<S: BlockState, H: HostFunctions>(
        executor: &WasmExecutor<H>,
        state: &S,
        runtime: &Runtime,
    ) -> Result<Self, SlotError> {
        let Some(engine) = Engine::of(runtime) else {
            return Ok(Self {
                engine: None,
                millis: SLOT_MILLIS_DEFAULT,
            });
        };
        let method = engine.method();
        let (context, extensions) = (CallContext::Offchain, Extensions::new());
        let called = call_on_state(executor, state, context, method, &[], extensions)?;
        let length = |reason| SlotError::Length { method, reason };
        let millis = match called.outcome {
            CallOutcome::Trapped(trap) => return Err(length(trap.to_string())),
            CallOutcome::Returned(answer) => u64::decode(&mut answer.as_slice()),
        };
        let millis = millis.map_err(|error| length(error.to_string()))?;
        if millis == 0 {
            return Err(length("it has none".to_owned()));
        }
        Ok(Self {
            engine: Some(engine),
            millis,
        })
    }

    /// What goes into the block of this number, which comes after `parent`, if that is known.
    #[must_use]
    pub fn inputs(&self, number: u64, parent: Option<&Header>) -> BlockInputs {
        let planned = (BEGUN_MILLIS / self.millis).saturating_add(number);
        let claimed = parent.and_then(|parent| parent.digest.logs.iter().find_map(Engine::claimed));
        let slot = claimed.map_or(planned, |claimed| planned.max(claimed.saturating_add(1)));
        let time = slot.saturating_mul(self.millis);
        let mut inherents = InherentData::new();
        inherents.insert(*b"timstap0", time.encode());
        for known in [*b"auraslot", *b"babeslot"] {
            inherents.insert(known, slot.encode());
        }
        BlockInputs {
            digest: self
                .engine
                .iter()
                .map(|engine| engine.claim(slot))
                .collect(),
            inherent_data: Some(inherents),
            ..BlockInputs::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::H256;
    use sp_runtime::traits::Header as _;

    fn header(item: DigestItem) -> Header {
        let mut header = Header::new(
            7,
            H256::zero(),
            H256::zero(),
            H256::zero(),
            Default::default(),
        );
        header.digest.logs.push(item);
        header
    }

    #[test]
    fn slots_go_on_one_by_one_from_the_parents() {
        for engine in [Engine::Aura, Engine::Babe] {
            let slots = Slots {
                engine: Some(engine),
                millis: 6_000,
            };
            let slot = |parent: Option<&Header>| {
                let inputs = slots.inputs(8, parent);
                let [item] = inputs.digest.as_slice() else {
                    panic!("{:?}", inputs.digest)
                };
                let slot = Engine::claimed(item).expect("a slot");
                let data = inputs.inherent_data.expect("a time");
                assert_eq!(data[b"timstap0"], (slot * 6_000).encode());
                slot
            };
            let planned = BEGUN_MILLIS / 6_000 + 8;
            assert_eq!(slot(None), planned);
            assert_eq!(slot(Some(&header(engine.claim(1)))), planned);
            let later = planned + 100;
            assert_eq!(slot(Some(&header(engine.claim(later)))), later + 1);
            let other = DigestItem::PreRuntime(*b"pow_", later.encode());
            assert_eq!(slot(Some(&header(other))), planned);
        }
    }
}
