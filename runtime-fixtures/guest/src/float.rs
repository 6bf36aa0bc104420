//! Floating-point operations whose result is no number.
//!
//! WebAssembly leaves the bits of such results open: they differ between machines unless the
//! engine fixes them, so bits go to whoever asks, and only what is certain goes into storage.
//! Invariant: the operations are done at run time, never folded by the compiler.

use alloc::vec::Vec;
use core::hint::black_box;

/// The bits of several such results: eight of f32, then eight of f64, little-endian.
pub fn nan_bits() -> Vec<u8> {
    let singles = singles().map(|value| value.to_bits().to_le_bytes());
    let doubles = doubles().map(|value| value.to_bits().to_le_bytes());
    [singles.concat(), doubles.concat()].concat()
}

/// For each of these results, whether it is no number: 16 times `01` on every machine.
pub fn nan_flags() -> Vec<u8> {
    let singles = singles().map(|value| u8::from(value.is_nan()));
    let doubles = doubles().map(|value| u8::from(value.is_nan()));
    [singles, doubles].concat()
}

fn singles() -> [f32; 8] {
    let zero = black_box(0.0_f32);
    let infinity = black_box(f32::INFINITY);
    let signalling = black_box(f32::from_bits(0x7fa0_0001));
    let negative = black_box(f32::from_bits(0xffc1_2345));
    [
        zero / zero,
        -(zero / zero),
        infinity - infinity,
        zero * infinity,
        signalling + black_box(1.0),
        negative * black_box(2.0),
        signalling - negative,
        black_box(f64::from_bits(0x7ff4_0000_dead_beef)) as f32,
    ]
}

fn doubles() -> [f64; 8] {
    let zero = black_box(0.0_f64);
    let infinity = black_box(f64::INFINITY);
    let signalling = black_box(f64::from_bits(0x7ff4_0000_0000_0001));
    let negative = black_box(f64::from_bits(0xfff8_1234_5678_9abc));
    [
        zero / zero,
        -(zero / zero),
        infinity - infinity,
        zero * infinity,
        signalling + black_box(1.0),
        negative * black_box(2.0),
        signalling - negative,
        f64::from(black_box(f32::from_bits(0x7fa0_0001))),
    ]
}
