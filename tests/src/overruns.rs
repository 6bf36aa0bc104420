//! Guests that never end, or not for a long time, each in its own way; and those that end quickly.

use slackwater_executor::{
    CallContext, CallError, CallLimits, CallOutcome, ExecutionError, GuestProfile, StateCall,
    call_on_state_limited,
    state::{BlockChanges, Extensions, MemoryState},
};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};

use crate::Executor;

/// What each of these guests exports.
pub const METHOD: &str = "run";

/// A guest that does not end by itself before any sensible limit.
pub struct Overrun {
    /// For messages.
    pub name: &'static str,
    /// Whether it ends for want of stack, where the depth is limited and the fuel is not.
    pub deep: bool,
    body: &'static str,
}

/// Imports and memory of every guest. The word at 8 is a fat pointer to the eight bytes at 64.
const FRAME: &str = r#"
    (import "env" "ext_logging_max_level_version_1" (func $level (result i32)))
    (import "env" "ext_storage_set_version_1" (func $set (param i64 i64)))
    (import "env" "ext_storage_get_version_1" (func $get (param i64) (result i64)))
    (import "env" "ext_storage_clear_prefix_version_1" (func $clear_prefix (param i64)))
    (import "env" "ext_storage_next_key_version_1" (func $next_key (param i64) (result i64)))
    (import "env" "ext_storage_root_version_2" (func $root (param i32) (result i64)))
    (import "env" "ext_hashing_blake2_256_version_1" (func $blake2 (param i64) (result i32)))
    (import "env" "ext_allocator_free_version_1" (func $free (param i32)))
    (import "env" "ext_storage_append_version_1" (func $append (param i64 i64)))
    (import "env" "ext_storage_read_version_1" (func $read (param i64 i64 i32) (result i64)))
    (import "env" "ext_storage_start_transaction_version_1" (func $start))
    (import "env" "ext_storage_rollback_transaction_version_1" (func $rollback))
    (import "env" "ext_storage_commit_transaction_version_1" (func $commit))
    (import "env" "ext_default_child_storage_set_version_1"
        (func $set_child (param i64 i64 i64)))
    (import "env" "ext_default_child_storage_storage_kill_version_1"
        (func $kill_child (param i64)))
    (memory (export "memory") 20)
    (global (export "__heap_base") i32 (i32.const 131072))
    (table funcref (elem $nothing $again))
    (type $plain (func))
    (func $nothing)
    (func $again (call_indirect (type $plain) (i32.const 1)))
    (func $write (call $set (i64.const 0x800000040) (i64.const 0x800000040)))
    (data (i32.const 64) "keykeyke")"#;

/// The guest whose entry point writes one key and then does what `body` says.
#[must_use]
pub fn guest(body: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {FRAME} {body}
            (func (export "{METHOD}") (param $pointer i32) (param $length i32) (result i64)
                (call $write) (call $work) (i64.const 0)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

const fn overrun(name: &'static str, body: &'static str) -> Overrun {
    Overrun {
        name,
        deep: false,
        body,
    }
}

/// All of them.
pub const OVERRUNS: &[Overrun] = &[
    overrun("an endless loop", "(func $work (loop (br 0)))"),
    overrun(
        "nested loops that store",
        "(func $work (local $i i32) (loop $outer
            (loop $inner
                (i32.store (i32.const 512) (local.get $i))
                (br_if $inner
                    (local.tee $i (i32.and (i32.add (local.get $i) (i32.const 1)) (i32.const 63)))))
            (br $outer)))",
    ),
    overrun(
        "an exponential tree of calls",
        "(func $work (call $tree (i32.const 60)))
        (func $tree (param $height i32)
            (if (local.get $height) (then
                (call $tree (i32.sub (local.get $height) (i32.const 1)))
                (call $tree (i32.sub (local.get $height) (i32.const 1))))))",
    ),
    Overrun {
        deep: true,
        ..overrun("endless recursion", "(func $work (call $work))")
    },
    Overrun {
        deep: true,
        ..overrun(
            "mutual recursion",
            "(func $work (call $other (i64.const 1)))
            (func $other (param i64) (call $work))",
        )
    },
    Overrun {
        deep: true,
        ..overrun("indirect recursion", "(func $work (call $again))")
    },
    overrun(
        "a loop of host calls",
        "(func $work (loop (drop (call $level)) (br 0)))",
    ),
    overrun(
        "a loop of hashes that are freed",
        "(func $work (loop (call $free (call $blake2 (i64.const 0x1000000000))) (br 0)))",
    ),
    overrun(
        "a loop of reads",
        "(func $work (loop (drop (call $get (i64.const 0x800000100))) (br 0)))",
    ),
    overrun(
        "a loop of growth",
        "(func $work (loop (drop (memory.grow (i32.const 1))) (br 0)))",
    ),
    overrun(
        "a loop of fills",
        "(func $work (loop
            (memory.fill (i32.const 262144) (i32.const 7) (i32.const 1000000)) (br 0)))",
    ),
    overrun(
        "a loop of copies",
        "(func $work (loop
            (memory.copy (i32.const 262144) (i32.const 262145) (i32.const 1000000)) (br 0)))",
    ),
    overrun(
        "one huge removal",
        "(func $work (loop (call $clear_prefix (i64.const 0x400000080)) (br 0)))
        (data (i32.const 128) \"many\")",
    ),
    overrun(
        "a walk over keys",
        "(func $work (loop
            (drop (call $next_key (i64.const 0x400000080))) (br 0)))
        (data (i32.const 128) \"many\")",
    ),
    overrun(
        "a loop of roots",
        "(func $work (loop (call $write) (drop (call $root (i32.const 1))) (br 0)))",
    ),
];

impl Overrun {
    /// Its code.
    #[must_use]
    pub fn code(&self) -> Vec<u8> {
        guest(self.body)
    }

    /// A state with its code and many keys.
    #[must_use]
    pub fn state(&self) -> MemoryState {
        state_with(self.code(), 3_000)
    }
}

/// The profile all of them are valid in.
pub const PROFILE: GuestProfile = GuestProfile::Wide;

/// A state with `code` and so many keys that begin with `many`.
#[must_use]
pub fn state_with(code: Vec<u8>, keys: u32) -> MemoryState {
    let mut storage = Storage::default();
    storage.top.insert(CODE.to_vec(), code);
    for number in 0..keys {
        let key = [b"many".as_slice(), &number.to_be_bytes()].concat();
        storage.top.insert(key, vec![1; 40]);
    }
    MemoryState::new(storage, StateVersion::V1)
}

/// One call.
///
/// # Errors
/// Those of the executor.
pub fn run(
    executor: &Executor,
    state: &MemoryState,
    limits: &CallLimits,
) -> Result<StateCall, ExecutionError> {
    let context = CallContext::Build;
    call_on_state_limited(
        executor,
        state,
        context,
        METHOD,
        &[],
        Extensions::new(),
        limits,
    )
}

/// How a call ended, in one word, as far as it may not depend on when anything was noticed.
#[must_use]
pub fn verdict(ended: &Result<StateCall, ExecutionError>) -> String {
    match ended {
        Ok(call) => {
            let outcome = match &call.outcome {
                CallOutcome::Returned(_) => "returned".to_owned(),
                CallOutcome::Trapped(trap) => format!("{:?}", trap.kind),
            };
            let changes = call.changes.as_ref().map(BlockChanges::keys);
            format!("{outcome}, {:?}, {changes:?} keys", call.fuel)
        }
        Err(error) => match error.call_error() {
            Some(CallError::LocalLimit { limit }) => format!("over {limit} of this machine"),
            Some(CallError::Cancelled) => "cancelled".to_owned(),
            _ => format!("{error}"),
        },
    }
}
