//! The blocks that each show one thing: every class of error, full blocks, upgrades.

use slackwater_runtime_fixtures::OfferedOutcome::{Applied, DispatchError, Trap};
use slackwater_runtime_fixtures::Refusal;
use sp_core::storage::well_known_keys::{CODE, PENDING_CODE};

use super::extrinsic::{Address, Era, bare, with_length};
use super::plan::{Actor, Planner, refusals};
use super::runtime::SignedChain;
use super::upgrade::with_spec_version;
use crate::author::{Attempt, ChainAuthor, PlannedRefusal};
use crate::error::OracleError;
use crate::header::pre_runtime_item;
use crate::keys::Key;

/// The block that replaces the runtime by `set_code`; the next one runs the new code.
pub const SET_CODE_BLOCK: u32 = 80;
/// The block that leaves new code as pending; the next one runs it.
pub const PENDING_CODE_BLOCK: u32 = 140;
/// The block that puts the pending code in place of the old.
pub const SETTLED_BLOCK: u32 = 143;
/// Blocks filled to the weight limit.
pub const FULL_BLOCKS: [u32; 2] = [20, 160];

/// Plans what a block shows, if it is there to show something.
pub(super) fn plan(plan: &mut Planner, author: &ChainAuthor) -> Result<bool, OracleError> {
    match plan.number {
        1 => empty(plan),
        2 => fund(plan),
        3 | 100 | 170 => validity(plan)?,
        4 | 101 | 171 => dispatch_errors(plan),
        5 | 102 | 172 => traps(plan),
        6 | 103 | 173 => refused_blocks(plan),
        7 => overlong(plan),
        8 | 104 | 174 => fleeting(plan)?,
        20 => full_of_transfers(plan, author)?,
        160 => full_of_heavy_calls(plan, author)?,
        SET_CODE_BLOCK => set_code(plan, author)?,
        81 | 141 => new_version(plan),
        PENDING_CODE_BLOCK => pending_code(plan, author)?,
        SETTLED_BLOCK => settle(plan, author)?,
        _ => return Ok(false),
    }
    Ok(true)
}

/// Nothing but the inherent.
fn empty(_plan: &mut Planner) {}

/// Gives every actor something to spend.
fn fund(plan: &mut Planner) {
    for actor in 0..plan.actors.len() {
        let call = plan
            .chain
            .transfer(&plan.address(actor), plan.chain.funds());
        plan.by_root(&call);
    }
}

/// Every reason why an extrinsic is refused that a signer can bring about.
fn validity(plan: &mut Planner) -> Result<(), OracleError> {
    let chain = plan.chain;
    let call = plan.some_transfer(0);
    plan.include(0, &call, Applied);
    plan.refuse(0, |s| s.nonce -= 1, refusals::STALE);
    plan.refuse(0, |s| s.nonce += 1, refusals::FUTURE);
    plan.refuse(0, |s| s.nonce = u32::MAX, refusals::FUTURE);
    plan.refuse(1, |s| s.genesis = [0; 32], refusals::BAD_PROOF);
    plan.refuse(1, |s| s.spec_version += 1, refusals::BAD_PROOF);
    let other = Address::Account(plan.actors[2].key.account());
    plan.refuse(1, |s| s.address = Some(other), refusals::BAD_PROOF);
    plan.refuse(1, |s| s.tip = u128::from(u64::MAX), refusals::PAYMENT);
    let nobody = Actor {
        key: Key::named("nobody")?,
        nonce: 0,
    };
    let extrinsic = plan.signing(&nobody).extrinsic(&call);
    plan.push_refused(extrinsic, refusals::PAYMENT);
    plan.refuse(1, |s| s.era = Era::Unborn, refusals::ANCIENT);
    plan.refuse(
        1,
        |s| s.address = Some(Address::Ethereum([1; 20])),
        refusals::CANNOT_LOOKUP,
    );
    if chain == SignedChain::NodeTemplate {
        // A signed inherent. Later runtimes execute it: see the blocks that are refused.
        let extrinsic = plan.signing(&plan.actors[1]).extrinsic(&chain.timestamp(1));
        plan.push_refused(extrinsic, refusals::MANDATORY);
    }
    if chain == SignedChain::Subtensor {
        // Not among the system's calls that need no signature.
        plan.push_refused(bare(&chain.remark(b"unsigned")), refusals::CALL);
        plan.refuse(1, |s| s.metadata_mode = 1, refusals::CANNOT_LOOKUP);
        let zero = Actor {
            key: Key::zero()?,
            nonce: 0,
        };
        let extrinsic = plan.signing(&zero).extrinsic(&call);
        plan.push_refused(extrinsic, refusals::BAD_SIGNER);
    }
    Ok(())
}

/// Calls that fail, and are paid for.
fn dispatch_errors(plan: &mut Planner) {
    let chain = plan.chain;
    let (stranger, ethereum) = (plan.stranger(), Address::Ethereum([3; 20]));
    for call in [
        chain.transfer(&stranger, 1),
        chain.transfer(&stranger, u128::from(u64::MAX)),
        chain.transfer(&ethereum, 1),
        chain.transfer_keep_alive(&stranger, u128::from(u64::MAX)),
        chain.note_stalled(),
        chain.set_storage(&[]),
        chain.sudo(&chain.remark(b"")),
    ] {
        plan.include(3, &call, DispatchError);
    }
    // Nobody signed this; it is left to the pool to refuse it.
    plan.push(bare(&chain.transfer(&stranger, 1_000)), DispatchError);
    let batch = chain.batch_all(&[
        chain.remark(b"undone"),
        chain.transfer(&stranger, 1_000_000),
        chain.transfer(&stranger, u128::from(u64::MAX)),
    ]);
    if let Some(batch) = batch {
        plan.include(3, &batch, DispatchError);
    }
    // Root's own call may fail without its extrinsic failing.
    plan.by_root(&chain.sudo(&chain.transfer(&stranger, 1)));
}

/// What makes the runtime trap.
fn traps(plan: &mut Planner) {
    let inherent = plan.inherent();
    plan.push(inherent, Trap);
    for garbage in [&[][..], &[4], &[0x84], &[0xff; 40], &[5, 0, 0]] {
        plan.push(with_length(garbage), Trap);
    }
    // Calls within calls, deeper than the runtime decodes them.
    let nested = (0..20_000).fold(plan.chain.remark(b""), |call, _| plan.chain.sudo(&call));
    plan.push(bare(&nested), Trap);
    // As deep as it does decode them, all of them dispatched.
    let alice = Address::Account(plan.root.key.account());
    let remark = plan.chain.remark(b"deep");
    let nested = (0..240).fold(remark, |call, _| plan.chain.sudo_as(&alice, &call));
    plan.by_root(&nested);
    let call = plan.some_transfer(4);
    plan.include(4, &call, Applied);
}

/// Blocks that are never to be.
fn refused_blocks(plan: &mut Planner) {
    let chain = plan.chain;
    let (digest, inherent) = (plan.digest(), plan.inherent());
    let call = plan.some_transfer(5);
    let transfer = plan.signing(&plan.actors[5]).extrinsic(&call);
    let stale = {
        let mut signing = plan.signing(&plan.actors[5]);
        signing.nonce = 0;
        signing.extrinsic(&call)
    };
    let build = |refusal, digest: &[Vec<u8>], offered: &[&[u8]]| Attempt::Build {
        refusal,
        digest: digest.to_vec(),
        offered: offered.iter().map(|extrinsic| extrinsic.to_vec()).collect(),
    };
    let old_slot = [pre_runtime_item(super::plan::ENGINE, plan.slot() - 1)];
    // Of the class of the call inside, which is mandatory, and signed by nobody.
    let mandatory = bare(&chain.sudo(&chain.timestamp(1)));
    let wrong_time = bare(&chain.timestamp(1));
    let other_slot = [pre_runtime_item(super::plan::ENGINE, plan.slot() + 1)];
    let signed_inherent = plan.signing(&plan.actors[5]).extrinsic(&chain.timestamp(1));
    plan.include(6, &call, Applied);
    plan.refused = vec![
        PlannedRefusal {
            case: "the slot is that of the parent",
            attempt: build(Refusal::BuildInitialize, &old_slot, &[]),
        },
        PlannedRefusal {
            case: "a mandatory extrinsic fails",
            attempt: build(Refusal::BuildMandatory, &digest, &[&inherent, &mandatory]),
        },
        PlannedRefusal {
            case: "a mandatory extrinsic fails after others were included",
            attempt: build(
                Refusal::BuildMandatory,
                &digest,
                &[&inherent, &transfer, &mandatory],
            ),
        },
        PlannedRefusal {
            case: "no inherent states the time",
            attempt: build(Refusal::BuildFinalize, &digest, &[&transfer]),
        },
        PlannedRefusal {
            case: "the inherent traps, so no time is stated",
            attempt: build(Refusal::BuildFinalize, &digest, &[&wrong_time, &transfer]),
        },
        PlannedRefusal {
            case: "the time is not that of the slot, so the inherent traps",
            attempt: build(Refusal::BuildFinalize, &other_slot, &[&inherent]),
        },
        PlannedRefusal {
            case: "the state root is another",
            attempt: Attempt::Edit(|header, _| header.state_root[0] ^= 1),
        },
        PlannedRefusal {
            case: "the extrinsics root is another",
            attempt: Attempt::Edit(|header, _| header.extrinsics_root[31] ^= 1),
        },
        PlannedRefusal {
            case: "the number is another",
            attempt: Attempt::Edit(|header, _| header.number += 1),
        },
        PlannedRefusal {
            case: "an extrinsic is missing",
            attempt: Attempt::Edit(|_, body| drop(body.pop())),
        },
        PlannedRefusal {
            case: "the body is empty",
            attempt: Attempt::Edit(|_, body| body.clear()),
        },
        PlannedRefusal {
            case: "the digest is empty",
            attempt: Attempt::Edit(|header, _| header.items.clear()),
        },
        PlannedRefusal {
            case: "an extrinsic is in the body twice",
            attempt: Attempt::Edit(|_, body| body.extend(body.last().cloned())),
        },
        PlannedRefusal {
            case: "a stale extrinsic is in the body",
            attempt: Attempt::Append(stale),
        },
        PlannedRefusal {
            case: "an extrinsic in the body traps",
            attempt: Attempt::Append(inherent.clone()),
        },
        PlannedRefusal {
            case: "the inherent comes after a transaction",
            attempt: Attempt::Reorder(vec![transfer, inherent.clone()]),
        },
    ];
    if chain == SignedChain::Subtensor {
        let offered = [&inherent[..], &signed_inherent];
        plan.refused.push(PlannedRefusal {
            case: "an inherent is signed",
            attempt: build(Refusal::BuildMandatory, &digest, &offered),
        });
    }
}

/// An extrinsic longer than a block may be.
fn overlong(plan: &mut Planner) {
    let length = plan.chain.block_bytes();
    let call = plan.chain.remark(&vec![0x55; length]);
    let extrinsic = plan.signing(&plan.actors[7]).extrinsic(&call);
    plan.push_refused(extrinsic, refusals::EXHAUSTED);
    let call = plan.some_transfer(7);
    plan.include(7, &call, Applied);
}

/// An account that comes and goes.
fn fleeting(plan: &mut Planner) -> Result<(), OracleError> {
    let chain = plan.chain;
    let mut fleeting = Actor {
        key: Key::named("fleeting")?,
        nonce: 0,
    };
    let (here, there) = (Address::Account(fleeting.key.account()), plan.address(0));
    plan.include(13, &chain.transfer(&here, chain.funds() / 100), Applied);
    for keep_alive in [true, false] {
        let call = chain.transfer_all(&there, keep_alive);
        let extrinsic = plan.signing(&fleeting).extrinsic(&call);
        fleeting.nonce += 1;
        plan.push(extrinsic, Applied);
        // There must be something to pay the next fee with.
        plan.include(13, &chain.transfer(&here, chain.funds() / 100), Applied);
    }
    let call = chain.transfer_all(&there, false);
    // A new account begins anew.
    fleeting.nonce = 0;
    let extrinsic = plan.signing(&fleeting).extrinsic(&call);
    plan.push(extrinsic.clone(), Applied);
    // Gone again, so the same bytes are not stale: there is only nothing to pay with.
    plan.push_refused(extrinsic, refusals::PAYMENT);
    Ok(())
}

/// As many transfers as fit.
fn full_of_transfers(plan: &mut Planner, author: &ChainAuthor) -> Result<(), OracleError> {
    if plan.chain == SignedChain::NodeTemplate {
        return plan.fill(author, Applied, (4_800, 4), Planner::some_transfer);
    }
    full_of_heavy_calls(plan, author)
}

/// Heavy calls until none fits, then transfers until none fits.
fn full_of_heavy_calls(plan: &mut Planner, author: &ChainAuthor) -> Result<(), OracleError> {
    let heavy = |plan: &mut Planner, actor: usize| {
        let to = plan.address((actor + 1) % 8);
        plan.chain.heavy(&to, 150)
    };
    let outcome = match plan.chain {
        // For root only, but it weighs all the same.
        SignedChain::NodeTemplate => DispatchError,
        SignedChain::Subtensor => Applied,
    };
    plan.fill(author, outcome, (120, 2), heavy)?;
    plan.fill(author, Applied, (400, 3), Planner::some_transfer)
}

/// The runtime of the genesis state, under another version.
fn code(plan: &Planner, author: &ChainAuthor, to: u32) -> Result<Vec<u8>, OracleError> {
    let original = author.genesis_code();
    Ok(with_spec_version(original, plan.chain.spec_version(), to)?)
}

fn set_code(plan: &mut Planner, author: &ChainAuthor) -> Result<(), OracleError> {
    let call = plan.some_transfer(8);
    plan.include(8, &call, Applied);
    // Not by somebody else, and not to the version there is.
    let same = code(plan, author, plan.spec_version)?;
    let unauthorized = plan.chain.set_code(&same);
    match plan.chain {
        // It weighs as much as a block.
        SignedChain::NodeTemplate => {
            let extrinsic = plan.signing(&plan.actors[8]).extrinsic(&unauthorized);
            plan.push_refused(extrinsic, refusals::EXHAUSTED);
        }
        SignedChain::Subtensor => plan.include(8, &unauthorized, DispatchError),
    }
    let refused = plan.chain.sudo_unweighed(&plan.chain.set_code(&same));
    plan.by_root(&refused);
    let new = code(plan, author, plan.spec_version + 1)?;
    let call = plan.chain.sudo_unweighed(&plan.chain.set_code(&new));
    plan.by_root(&call);
    // Still the old version in this block.
    let call = plan.some_transfer(9);
    plan.include(9, &call, Applied);
    plan.spec_version += 1;
    Ok(())
}

/// What was signed for the old version is refused from now on.
fn new_version(plan: &mut Planner) {
    let call = plan.some_transfer(10);
    plan.include(10, &call, Applied);
    plan.refuse(10, |s| s.spec_version -= 1, refusals::BAD_PROOF);
    let call = plan.some_transfer(11);
    plan.include(11, &call, Applied);
}

fn pending_code(plan: &mut Planner, author: &ChainAuthor) -> Result<(), OracleError> {
    let new = code(plan, author, plan.spec_version + 1)?;
    let call = plan.chain.set_storage(&[(PENDING_CODE.to_vec(), new)]);
    plan.by_root(&plan.chain.sudo_unweighed(&call));
    let call = plan.some_transfer(12);
    plan.include(12, &call, Applied);
    plan.spec_version += 1;
    Ok(())
}

/// As a runtime does by itself since system version 3, which these have not.
fn settle(plan: &mut Planner, author: &ChainAuthor) -> Result<(), OracleError> {
    let new = code(plan, author, plan.spec_version)?;
    let call = plan.chain.set_storage(&[(CODE.to_vec(), new)]);
    plan.by_root(&plan.chain.sudo_unweighed(&call));
    let call = plan.chain.kill_storage(&[PENDING_CODE.to_vec()]);
    plan.by_root(&plan.chain.sudo(&call));
    Ok(())
}
