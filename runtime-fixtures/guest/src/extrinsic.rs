//! Extrinsics: who sends, what is called. README.md has the bytes.
//!
//! Invariant: decoding accepts nothing behind the call.

use crate::call::Call;
use crate::error::{self, ValidityError};
use crate::host;
use crate::scale::Reader;

/// Who an extrinsic is from.
pub enum Sender {
    /// Nobody: what a block's author puts in.
    Nobody,
    /// An account, with the nonce and the tip it states.
    Account {
        /// The account.
        who: [u8; 32],
        /// Its nonce.
        nonce: u32,
        /// Paid on top of the fee.
        tip: u64,
    },
}

/// A decoded extrinsic.
pub struct Extrinsic<'a> {
    /// Who it is from.
    pub sender: Sender,
    /// What is to be done.
    pub call: Call<'a>,
    signature: Option<Signature<'a>>,
}

struct Signature<'a> {
    signature: [u8; 64],
    fields: &'a [u8],
    call: &'a [u8],
}

const KIND_TRUSTED: u8 = 0;
const KIND_UNSIGNED: u8 = 1;
const KIND_SIGNED: u8 = 2;
/// Account, nonce and tip.
const SENDER_LEN: usize = 32 + 4 + 8;

impl<'a> Extrinsic<'a> {
    /// Decodes an extrinsic without its length prefix.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let (sender, signature) = match reader.u8()? {
            KIND_UNSIGNED => (Sender::Nobody, None),
            KIND_TRUSTED => (sender(reader.take(SENDER_LEN)?)?, None),
            KIND_SIGNED => {
                let fields = reader.take(SENDER_LEN)?;
                let signature = Signature {
                    fields,
                    signature: reader.array()?,
                    call: reader.rest(),
                };
                (sender(fields)?, Some(signature))
            }
            _ => return None,
        };
        let call = Call::decode(&mut reader)?;
        reader.is_empty().then_some(Self {
            sender,
            call,
            signature,
        })
    }

    /// Checks the signature, where the kind of extrinsic has one.
    pub fn verify(&self) -> Result<(), ValidityError> {
        let (Sender::Account { who, .. }, Some(signature)) = (&self.sender, &self.signature) else {
            return Ok(());
        };
        let message = host::blake2_256(&[signature.fields, signature.call].concat());
        if host::sr25519_verify(&signature.signature, &message, who) {
            Ok(())
        } else {
            Err(error::BAD_PROOF)
        }
    }
}

fn sender(fields: &[u8]) -> Option<Sender> {
    let mut reader = Reader::new(fields);
    Some(Sender::Account {
        who: reader.array()?,
        nonce: reader.u32()?,
        tip: reader.u64()?,
    })
}
