//! Failing on demand, in each way a runtime can fail.
//!
//! Invariant: none of these returns, except for the two that leave the storage transactions
//! unbalanced.

use core::hint::black_box;

use crate::call::Call;
use crate::{host, keys};

/// An address behind any memory a test gives the guest.
const FAR_ADDRESS: u32 = 0xffff_fff0;

/// Executes a call that exists to fail.
pub fn execute(who: &[u8; 32], call: &Call) {
    // Something to undo.
    host::set(&keys::result(b"fault:", who), &[1]);
    match call {
        Call::Panic { message } => {
            panic!("{}", core::str::from_utf8(message).unwrap_or("not UTF-8"))
        }
        Call::Unreachable => core::arch::wasm32::unreachable(),
        Call::EndlessLoop => endless_loop(),
        Call::EndlessRecursion => {
            black_box(recurse(u64::MAX));
        }
        Call::AllocOnce { bytes } => {
            black_box(host::malloc(*bytes));
        }
        Call::AllocLoop { bytes } => loop {
            black_box(host::malloc(*bytes));
        },
        Call::OutOfBounds => out_of_bounds(),
        Call::DivByZero => {
            black_box(divide(7, black_box(0)));
        }
        Call::LeaveTransactionOpen => host::start_transaction(),
        Call::CloseExtraTransaction => host::commit_transaction(),
        Call::BadFree => host::free(FAR_ADDRESS),
        _ => unreachable!("every other call is executed elsewhere"),
    }
    host::set(&keys::result(b"fault:", who), &[2]);
}

fn endless_loop() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Calls itself `depth` times. The rotation keeps the compiler from making a loop of it, and no
/// local has an address, so it uses up the host's stack and not the one in linear memory.
#[inline(never)]
pub fn recurse(depth: u64) -> u64 {
    if depth == 0 {
        return 1;
    }
    (recurse(depth - 1) ^ depth).rotate_left(7)
}

fn out_of_bounds() {
    // SAFETY: not sound by design: the engine must trap here.
    black_box(unsafe { core::ptr::read_volatile(FAR_ADDRESS as *const u8) });
}

/// Division as the engine does it, without the check that the language would put before it.
fn divide(dividend: u32, divisor: u32) -> u32 {
    let quotient: u32;
    // SAFETY: touches its operands only; the engine traps if the divisor is zero.
    unsafe {
        core::arch::asm!(
            "local.get {dividend}",
            "local.get {divisor}",
            "i32.div_u",
            "local.set {quotient}",
            dividend = in(local) dividend,
            divisor = in(local) divisor,
            quotient = lateout(local) quotient,
            options(nomem, nostack),
        );
    }
    quotient
}
