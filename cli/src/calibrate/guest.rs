//! Modules that do something as often as their input says.
//!
//! Invariant: with the input 0 a guest does all it does otherwise but its body, so that the difference
//! of two calls is the body alone. A round costs five operators beside its body.

/// Bytes of one wasm page.
pub(super) const PAGE_BYTES: u32 = 65_536;
/// Pages below the heap: room for what a body works on.
const PAGES: u32 = 4;
/// Where bodies may use memory at will: beyond the few bytes of heap that the input takes. The
/// executor gives a guest 128 MiB more than it asks for.
pub(super) const FIELD: u32 = 1 << 20;
/// Bytes of [`FIELD`] that bodies walk over: more than caches hold.
pub(super) const FIELD_BYTES: u32 = 64 << 20;

/// The parts of a guest, in the text format.
#[derive(Debug, Clone, Default)]
pub(super) struct Guest {
    /// Imported functions.
    pub(super) imports: String,
    /// Functions, tables, globals, data.
    pub(super) items: String,
    /// Locals of the function that runs.
    pub(super) locals: String,
    /// What is done once.
    pub(super) setup: String,
    /// What is done every round. Rounds left are in `$rounds`.
    pub(super) body: String,
}

/// The function a guest exports.
pub(super) const METHOD: &str = "run";

impl Guest {
    /// The module as text.
    pub(super) fn text(&self) -> String {
        let Self {
            imports,
            items,
            locals,
            setup,
            body,
        } = self;
        let heap_base = PAGES * PAGE_BYTES;
        format!(
            r#"(module {imports}
                (memory (export "memory") {PAGES})
                (global (export "__heap_base") i32 (i32.const {heap_base}))
                {items}
                (func (export "{METHOD}") (param $input i32) (param $length i32) (result i64)
                    (local $rounds i32) {locals}
                    (local.set $rounds (i32.load (local.get $input)))
                    {setup}
                    (if (local.get $rounds) (then (loop $again
                        {body}
                        (br_if $again (local.tee $rounds
                            (i32.sub (local.get $rounds) (i32.const 1)))))))
                    (i64.const 0)))"#
        )
    }
}

/// Does `what` so often, in the text format, by a loop of its own. The count left is in a local that
/// [`COUNT_LOCALS`] declares.
pub(super) fn repeated(times: u32, what: &str) -> String {
    format!(
        "(local.set $count (i32.const {times}))
        (loop $next {what}
            (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))"
    )
}

/// The locals that [`repeated`] and the functions below need; they leave `$at` as zero.
pub(super) const COUNT_LOCALS: &str = "(local $count i32) (local $at i32) (local $seed i64)";

/// Fills the first `bytes` of [`FIELD`] with numbers nobody foresees.
pub(super) fn random_field(bytes: u32) -> String {
    let fill = repeated(
        bytes / 8,
        "(local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 13))))
        (local.set $seed (i64.xor (local.get $seed) (i64.shr_u (local.get $seed) (i64.const 7))))
        (local.set $seed (i64.xor (local.get $seed) (i64.shl (local.get $seed) (i64.const 17))))
        (i64.store (local.get $at) (local.get $seed))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))",
    );
    format!(
        "(local.set $seed (i64.const 0x9E3779B97F4A7C15)) (local.set $at (i32.const {FIELD})) {fill}
        (local.set $at (i32.const 0))"
    )
}

/// Writes to every 4 KiB of the first `bytes` of [`FIELD`], so that it is there.
pub(super) fn written_field(bytes: u32) -> String {
    let write = repeated(
        bytes / 4_096,
        "(i64.store (local.get $at) (i64.const 1))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))",
    );
    format!("(local.set $at (i32.const {FIELD})) {write} (local.set $at (i32.const 0))")
}

/// Makes the slots of 128 bytes in the first `bytes` of [`FIELD`] one circle of addresses in an order
/// that no prefetcher follows. `bytes` is a power of two.
pub(super) fn circle(bytes: u32) -> String {
    let slots = bytes >> 7;
    let mask = slots - 1;
    // A congruential generator of full period visits every slot once, and ends where it began.
    repeated(
        slots,
        &format!(
            "(i32.store
                (i32.add (i32.const {FIELD}) (i32.shl (local.get $at) (i32.const 7)))
                (i32.add (i32.const {FIELD}) (i32.shl
                    (local.tee $at (i32.and (i32.const {mask})
                        (i32.add (i32.mul (local.get $at) (i32.const 1664525))
                            (i32.const 1013904223))))
                    (i32.const 7))))"
        ),
    )
}

/// Bytes as the text format writes them.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// A data segment.
pub(super) fn data(at: u32, bytes: &[u8]) -> String {
    format!("(data (i32.const {at}) \"{}\")\n", escaped(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_guest_is_a_module() {
        let guest = Guest {
            locals: COUNT_LOCALS.to_owned(),
            setup: random_field(64) + &written_field(8_192) + &circle(2_048),
            items: data(16, b"\0\"x"),
            ..Guest::default()
        };
        wat::parse_str(guest.text()).expect("it parses");
    }
}
