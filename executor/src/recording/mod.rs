//! Recording runs and executing them again: what every node, thread and mode must agree about, in a file.
//!
//! | module | knows |
//! |---|---|
//! | `recorded` | what is recorded of a block, and under which rules |
//! | `splice` | a value as a change of the one before it |
//! | `file` | the bytes of a recording |
//! | `source` | where blocks come from |
//! | `observe` | executing a block and noting what is recorded of it |
//! | `record` | recording blocks |
//! | `mismatch` | where a block differs from its record |
//! | `verify` | executing recorded blocks again, many ranges at once |

mod file;
mod mismatch;
mod observe;
mod record;
mod recorded;
mod source;
mod splice;
mod verify;

pub use file::{
    RECORDING_MAGIC, RECORDING_VERSION, RecordingError, RecordingFile, RecordingHead,
    RecordingWriter,
};
pub use mismatch::{BlockPart, Difference, Mismatch};
pub use record::{RecordError, Recorder};
pub use recorded::{
    RecordedBlock, RecordedCall, RecordedExtrinsic, RecordedOutcome, Rules, Writes,
};
pub use source::{BlockSource, BlockSourceError};
pub use splice::Spliced;
pub use verify::{Recording, VerifiedBlock, Verifier, VerifyError, VerifyStat};
