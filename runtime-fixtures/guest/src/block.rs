//! The life of a block: initialise, apply extrinsics, finalise; or all of it at once.
//!
//! Invariant: between the calls of one block everything is in storage, so executing a block in
//! steps and at once gives the same state.

use alloc::{vec, vec::Vec};

use crate::account;
use crate::call::Call;
use crate::dispatch;
use crate::error::{self, DispatchError, ValidityError};
use crate::event::{self, Kind};
use crate::extrinsic::{Extrinsic, Sender};
use crate::header::{self, Header};
use crate::scale::{self, Reader};
use crate::{host, keys, upgrade};

/// Hashes of so many earlier blocks are kept.
const KEPT_HASHES: u32 = 16;

type Applied = Result<Result<(), DispatchError>, ValidityError>;

/// `Core_initialize_block`: header, to the inclusion mode (0: all extrinsics).
pub fn core_initialize_block(arguments: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(arguments);
    initialize(&Header::decode(&mut reader).expect("bad header"));
    vec![0]
}

/// `BlockBuilder_apply_extrinsic`: extrinsic with its length prefix, to the encoded result.
pub fn block_builder_apply_extrinsic(arguments: &[u8]) -> Vec<u8> {
    match apply(arguments) {
        Ok(Ok(())) => vec![0, 0],
        Ok(Err(dispatch_error)) => [&[0, 1], dispatch_error.as_slice()].concat(),
        Err(validity_error) => [&[1], validity_error].concat(),
    }
}

/// `BlockBuilder_finalize_block`: no arguments, to the header.
pub fn block_builder_finalize_block(_: &[u8]) -> Vec<u8> {
    finalize().encode()
}

/// `BlockBuilder_inherent_extrinsics`: inherent data, to an empty list.
pub fn block_builder_inherent_extrinsics(_: &[u8]) -> Vec<u8> {
    vec![0]
}

/// `BlockBuilder_check_inherents`: block and inherent data, to "okay, not fatal, no errors".
pub fn block_builder_check_inherents(_: &[u8]) -> Vec<u8> {
    vec![1, 0, 0]
}

/// `Core_execute_block`: header and extrinsics, to nothing; panics if anything is wrong.
pub fn core_execute_block(arguments: &[u8]) -> Vec<u8> {
    let mut reader = Reader::new(arguments);
    let expected = Header::decode(&mut reader).expect("bad header");
    let count = reader.compact().expect("bad number of extrinsics");
    initialize(&expected);
    for _ in 0..count {
        let extrinsic = take_extrinsic(&mut reader);
        if apply(extrinsic).is_err() {
            panic!("invalid extrinsic in a block");
        }
    }
    assert!(reader.is_empty(), "bytes behind the block");
    let found = finalize();
    assert!(found.digest == expected.digest, "digest differs");
    assert!(
        found.extrinsics_root == expected.extrinsics_root,
        "extrinsics root differs"
    );
    assert!(
        found.state_root == expected.state_root,
        "state root differs"
    );
    Vec::new()
}

/// An extrinsic with its length prefix.
fn take_extrinsic<'a>(reader: &mut Reader<'a>) -> &'a [u8] {
    let whole = reader.rest();
    reader.bytes().expect("bad extrinsic");
    &whole[..whole.len() - reader.rest().len()]
}

fn initialize(header: &Header) {
    host::clear(keys::EVENTS);
    host::set(keys::EXTRINSIC_INDEX, &0_u32.to_le_bytes());
    host::set(keys::NUMBER, &header.number.to_le_bytes());
    host::set(keys::PARENT, &header.parent);
    host::set(keys::DIGEST, &header.pre_runtime_digest());
    if let Some(parent) = header.number.checked_sub(1) {
        host::set(&keys::block_hash(parent), &header.parent);
        if let Some(old) = parent.checked_sub(KEPT_HASHES) {
            host::clear(&keys::block_hash(old));
        }
    }
    upgrade::on_initialize();
}

/// Index of the present extrinsic, 0 outside of a block.
pub fn extrinsic_index() -> u32 {
    host::get(keys::EXTRINSIC_INDEX)
        .and_then(|bytes| Reader::new(&bytes).u32())
        .unwrap_or(0)
}

/// Appends a digest item of one byte.
pub fn deposit_digest(item: u8) {
    host::append(keys::DIGEST, &[item]);
}

fn apply(encoded: &[u8]) -> Applied {
    let mut reader = Reader::new(encoded);
    let payload = reader.bytes().expect("bad length prefix");
    assert!(reader.is_empty(), "bytes behind the extrinsic");
    let extrinsic = Extrinsic::decode(payload).ok_or(error::CALL)?;
    extrinsic.verify()?;
    let index = extrinsic_index();
    host::set(&keys::extrinsic(index), encoded);
    let result = apply_decoded(&extrinsic, encoded.len())?;
    match &result {
        Ok(()) => event::deposit(Kind::ExtrinsicSuccess, &[]),
        Err(dispatch_error) => event::deposit(Kind::ExtrinsicFailed, dispatch_error),
    }
    host::set(keys::EXTRINSIC_INDEX, &(index + 1).to_le_bytes());
    Ok(result)
}

fn apply_decoded(extrinsic: &Extrinsic, len: usize) -> Applied {
    if matches!(extrinsic.call, Call::Exhaust) {
        return Err(error::EXHAUSTS_RESOURCES);
    }
    match &extrinsic.sender {
        Sender::Nobody => apply_unsigned(&extrinsic.call).map(Ok),
        Sender::Account { who, nonce, tip } => {
            account::charge(who, *nonce, *tip, len)?;
            Ok(dispatch::dispatch(who, &extrinsic.call))
        }
    }
}

fn apply_unsigned(call: &Call) -> Result<(), ValidityError> {
    let Call::SetTimestamp { now } = call else {
        return Err(error::NO_UNSIGNED_VALIDATOR);
    };
    if host::exists(keys::NOW_DONE) {
        return Err(error::SECOND_TIMESTAMP);
    }
    host::set(keys::NOW_DONE, &[1]);
    host::set(keys::NOW, &now.to_le_bytes());
    Ok(())
}

fn finalize() -> Header {
    let extrinsics_root = host::ordered_root(&take_extrinsics());
    host::clear(keys::EXTRINSIC_INDEX);
    host::clear(keys::NOW_DONE);
    let stored = |key| host::get(key).expect("no block was initialized");
    let digest = header::decode_digest(&mut Reader::new(&stored(keys::DIGEST)));
    Header {
        number: Reader::new(&stored(keys::NUMBER)).u32().expect("a u32"),
        parent: Reader::new(&stored(keys::PARENT))
            .array()
            .expect("32 bytes"),
        digest: digest.expect("a digest"),
        extrinsics_root,
        state_root: Reader::new(&host::storage_root())
            .array()
            .expect("32 bytes"),
    }
}

/// Removes the extrinsics of the block from storage; gives them as SCALE `Vec<Vec<u8>>`.
fn take_extrinsics() -> Vec<u8> {
    let count = extrinsic_index();
    let mut out = Vec::new();
    scale::put_compact(&mut out, count);
    for index in 0..count {
        let key = keys::extrinsic(index);
        scale::put_bytes(&mut out, &host::get(&key).expect("noted when applied"));
        host::clear(&key);
    }
    out
}
