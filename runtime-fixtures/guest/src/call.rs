//! The calls: their numbers and arguments. README.md has the table.
//!
//! Invariant: each number decodes to one call; an unknown number or a bad argument to none.

use crate::error;
use crate::scale::Reader;

/// A decoded call.
#[allow(missing_docs, reason = "README.md describes the fields")]
pub enum Call<'a> {
    SetTimestamp {
        now: u64,
    },
    Transfer {
        to: [u8; 32],
        amount: u128,
    },
    Put {
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        key: &'a [u8],
    },
    ClearPrefix {
        prefix: &'a [u8],
        limit: Option<u32>,
    },
    Append {
        key: &'a [u8],
        item: &'a [u8],
    },
    Emit {
        events: u32,
        bytes: u32,
    },
    Nested {
        depth: u8,
        writes: u32,
        rollback_mask: u32,
    },
    ChildPut {
        child: &'a [u8],
        key: &'a [u8],
        value: &'a [u8],
    },
    ChildDelete {
        child: &'a [u8],
        key: &'a [u8],
    },
    ChildKill {
        child: &'a [u8],
        limit: Option<u32>,
    },
    ChildClearPrefix {
        child: &'a [u8],
        prefix: &'a [u8],
        limit: Option<u32>,
    },
    Scan {
        prefix: &'a [u8],
        limit: u32,
    },
    ChildScan {
        child: &'a [u8],
        limit: u32,
    },
    Burn {
        iterations: u64,
    },
    GrowMemory {
        pages: u32,
    },
    HostCalls {
        count: u32,
    },
    Fail {
        kind: u8,
    },
    Nan,
    SetCode {
        code: &'a [u8],
    },
    OffchainIndex {
        key: &'a [u8],
        value: &'a [u8],
    },
    Exhaust,
    #[cfg(feature = "upgraded")]
    Note {
        note: &'a [u8],
    },
    Panic {
        message: &'a [u8],
    },
    Unreachable,
    EndlessLoop,
    EndlessRecursion,
    AllocOnce {
        bytes: u32,
    },
    AllocLoop {
        bytes: u32,
    },
    OutOfBounds,
    DivByZero,
    LeaveTransactionOpen,
    CloseExtraTransaction,
    BadFree,
}

impl<'a> Call<'a> {
    /// Reads a call off the front.
    pub fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let number = reader.u8()?;
        match number {
            0..8 => Self::decode_basic(number, reader),
            8..14 => Self::decode_tries(number, reader),
            14..32 => Self::decode_others(number, reader),
            _ => Self::decode_faults(number, reader),
        }
    }

    fn decode_basic(number: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match number {
            0 => Self::SetTimestamp { now: reader.u64()? },
            1 => Self::Transfer {
                to: reader.array()?,
                amount: reader.u128()?,
            },
            2 => Self::Put {
                key: reader.bytes()?,
                value: reader.bytes()?,
            },
            3 => Self::Delete {
                key: reader.bytes()?,
            },
            4 => Self::ClearPrefix {
                prefix: reader.bytes()?,
                limit: reader.option_u32()?,
            },
            5 => Self::Append {
                key: reader.bytes()?,
                item: reader.bytes()?,
            },
            6 => Self::Emit {
                events: reader.u32()?,
                bytes: reader.u32()?,
            },
            7 => Self::Nested {
                depth: reader.u8()?,
                writes: reader.u32()?,
                rollback_mask: reader.u32()?,
            },
            _ => return None,
        })
    }

    fn decode_tries(number: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match number {
            8 => Self::ChildPut {
                child: reader.bytes()?,
                key: reader.bytes()?,
                value: reader.bytes()?,
            },
            9 => Self::ChildDelete {
                child: reader.bytes()?,
                key: reader.bytes()?,
            },
            10 => Self::ChildKill {
                child: reader.bytes()?,
                limit: reader.option_u32()?,
            },
            11 => Self::ChildClearPrefix {
                child: reader.bytes()?,
                prefix: reader.bytes()?,
                limit: reader.option_u32()?,
            },
            12 => Self::Scan {
                prefix: reader.bytes()?,
                limit: reader.u32()?,
            },
            13 => Self::ChildScan {
                child: reader.bytes()?,
                limit: reader.u32()?,
            },
            _ => return None,
        })
    }

    fn decode_others(number: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match number {
            14 => Self::Burn {
                iterations: reader.u64()?,
            },
            15 => Self::GrowMemory {
                pages: reader.u32()?,
            },
            16 => Self::HostCalls {
                count: reader.u32()?,
            },
            17 => Self::Fail {
                kind: reader
                    .u8()
                    .filter(|kind| error::on_demand(*kind).is_some())?,
            },
            18 => Self::Nan,
            19 => Self::SetCode {
                code: reader.bytes()?,
            },
            20 => Self::OffchainIndex {
                key: reader.bytes()?,
                value: reader.bytes()?,
            },
            21 => Self::Exhaust,
            #[cfg(feature = "upgraded")]
            22 => Self::Note {
                note: reader.bytes()?,
            },
            _ => return None,
        })
    }

    fn decode_faults(number: u8, reader: &mut Reader<'a>) -> Option<Self> {
        Some(match number {
            32 => Self::Panic {
                message: reader.bytes()?,
            },
            33 => Self::Unreachable,
            34 => Self::EndlessLoop,
            35 => Self::EndlessRecursion,
            36 => Self::AllocOnce {
                bytes: reader.u32()?,
            },
            37 => Self::AllocLoop {
                bytes: reader.u32()?,
            },
            38 => Self::OutOfBounds,
            39 => Self::DivByZero,
            40 => Self::LeaveTransactionOpen,
            41 => Self::CloseExtraTransaction,
            42 => Self::BadFree,
            _ => return None,
        })
    }
}
