//! The built-in part of the corpus: small programs as compilers make them.
//!
//! Invariant: each runs without traps for any number of rounds. They stand for ordinary code, so what
//! an operator costs on them is what a unit of fuel is meant to cost.

use super::{
    guest::{COUNT_LOCALS, FIELD, FIELD_BYTES, Guest, circle, random_field, repeated},
    measure::{Bench, Setting},
};

/// Bytes of random numbers that some kernels read.
const RANDOM_BYTES: u32 = 1 << 20;

/// A kernel that needs no memory set up.
struct Plain {
    name: &'static str,
    items: &'static str,
    locals: &'static str,
    body: &'static str,
}

const PLAIN: [Plain; 10] = [
    Plain {
        name: "fib, recursive",
        items: "(func $fib (param $n i32) (result i32)
            (if (result i32) (i32.lt_u (local.get $n) (i32.const 2))
                (then (local.get $n))
                (else (i32.add
                    (call $fib (i32.sub (local.get $n) (i32.const 1)))
                    (call $fib (i32.sub (local.get $n) (i32.const 2)))))))",
        locals: "",
        body: "(drop (call $fib (i32.const 12)))",
    },
    Plain {
        name: "sieve of 8,192 numbers",
        items: "",
        locals: "(local $i i32) (local $j i32)",
        body: "(local.set $i (i32.const 0))
            (loop $clear
                (i64.store offset=65536 (local.get $i) (i64.const 0))
                (br_if $clear (i32.lt_u
                    (local.tee $i (i32.add (local.get $i) (i32.const 8)))
                    (i32.const 8192))))
            (local.set $i (i32.const 2))
            (loop $number
                (if (i32.eqz (i32.load8_u offset=65536 (local.get $i))) (then
                    (local.set $j (i32.mul (local.get $i) (local.get $i)))
                    (block $out (loop $multiple
                        (br_if $out (i32.ge_u (local.get $j) (i32.const 8192)))
                        (i32.store8 offset=65536 (local.get $j) (i32.const 1))
                        (local.set $j (i32.add (local.get $j) (local.get $i)))
                        (br $multiple)))))
                (br_if $number (i32.lt_u
                    (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 91))))",
    },
    Plain {
        name: "call_indirect chain",
        items: "(type $step (func (param i32) (result i32)))
            (table 4 4 funcref) (elem (i32.const 0) $a $b $c $d)
            (func $a (type $step) (i32.add (local.get 0) (i32.const 1)))
            (func $b (type $step) (i32.xor (local.get 0) (i32.const 5)))
            (func $c (type $step) (i32.mul (local.get 0) (i32.const 3)))
            (func $d (type $step) (i32.rotl (local.get 0) (i32.const 7)))",
        locals: "(local $x i32)",
        body: "(local.set $x (call_indirect (type $step)
                (call_indirect (type $step)
                    (call_indirect (type $step)
                        (call_indirect (type $step) (local.get $x) (i32.const 0))
                        (i32.const 1))
                    (i32.const 2))
                (i32.const 3)))",
    },
    Plain {
        name: "machine of br_table",
        items: "",
        locals: "(local $state i32) (local $sum i32)",
        body: "(block $out (block $3 (block $2 (block $1 (block $0
                (br_table $0 $1 $2 $3 (local.get $state)))
                (local.set $sum (i32.add (local.get $sum) (i32.const 7)))
                (local.set $state (i32.const 2)) (br $out))
                (local.set $sum (i32.shl (local.get $sum) (i32.const 1)))
                (local.set $state (i32.const 3)) (br $out))
                (local.set $sum (i32.xor (local.get $sum) (i32.const 99)))
                (local.set $state (i32.const 1)) (br $out))
                (local.set $sum (i32.sub (local.get $sum) (i32.const 3)))
                (local.set $state (i32.const 0)))",
    },
    Plain {
        name: "i64 division: greatest common divisors",
        items: "",
        locals: "(local $a i64) (local $b i64) (local $c i64)",
        body: "(local.set $a (i64.const 12586269025)) (local.set $b (i64.const 7778742049))
            (loop $euclid
                (local.set $c (i64.rem_u (local.get $a) (local.get $b)))
                (local.set $a (local.get $b))
                (br_if $euclid (i64.ne (i64.const 0) (local.tee $b (local.get $c)))))",
    },
    Plain {
        name: "f64 square roots and sums",
        items: "",
        locals: "(local $x f64)",
        body: "(local.set $x (f64.sqrt (f64.add (f64.mul (local.get $x) (local.get $x))
                (f64.const 1.5))))
            (local.set $x (f64.div (local.get $x) (f64.add (local.get $x) (f64.const 0.25))))",
    },
    Plain {
        name: "f32 minimum and maximum",
        items: "",
        locals: "(local $x f32) (local $i f32)",
        body: "(local.set $i (f32.add (local.get $i) (f32.const 0.5)))
            (local.set $x (f32.min (f32.max (f32.sub (local.get $i) (local.get $x))
                (f32.const -8)) (f32.const 8)))",
    },
    Plain {
        name: "i64 bits: popcnt, clz, ctz",
        items: "",
        locals: "(local $x i64)",
        body: "(local.set $x (i64.add
                (i64.mul (local.get $x) (i64.const 6364136223846793005))
                (i64.add (i64.popcnt (local.get $x))
                    (i64.add (i64.clz (local.get $x)) (i64.ctz (local.get $x))))))",
    },
    Plain {
        name: "mandelbrot, f64",
        items: "",
        locals: "(local $x f64) (local $y f64) (local $t f64) (local $i i32)",
        body: "(local.set $x (f64.const 0)) (local.set $y (f64.const 0))
            (local.set $i (i32.const 50))
            (block $out (loop $iterate
                (local.set $t (f64.add (f64.const -0.5) (f64.sub
                    (f64.mul (local.get $x) (local.get $x))
                    (f64.mul (local.get $y) (local.get $y)))))
                (local.set $y (f64.add (f64.const 0.25) (f64.mul (f64.const 2)
                    (f64.mul (local.get $x) (local.get $y)))))
                (local.set $x (local.get $t))
                (br_if $out (f64.gt (f64.add (f64.mul (local.get $x) (local.get $x))
                    (f64.mul (local.get $y) (local.get $y))) (f64.const 4)))
                (br_if $iterate (local.tee $i (i32.sub (local.get $i) (i32.const 1))))))",
    },
    Plain {
        name: "collatz sequences",
        items: "",
        locals: "(local $n i64)",
        body: "(local.set $n (i64.add (i64.const 27) (i64.extend_i32_u (i32.and
                (local.get $rounds) (i32.const 1023)))))
            (loop $step
                (if (i64.eqz (i64.and (local.get $n) (i64.const 1)))
                    (then (local.set $n (i64.shr_u (local.get $n) (i64.const 1))))
                    (else (local.set $n (i64.add (i64.const 1)
                        (i64.mul (local.get $n) (i64.const 3))))))
                (br_if $step (i64.gt_u (local.get $n) (i64.const 1))))",
    },
];

/// Copies 4 KiB, word by word.
const COPY: &str = "(local.set $i (i32.const 0))
    (loop $word
        (i64.store offset=65536 (local.get $i) (i64.load offset=131072 (local.get $i)))
        (br_if $word (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8)))
            (i32.const 4096))))";

/// A checksum by table over 1 KiB of random bytes.
const CHECKSUM: &str = "(local.set $i (i32.const 0)) (local.set $x (i32.const -1))
    (loop $byte
        (local.set $x (i32.xor (i32.shr_u (local.get $x) (i32.const 8))
            (i32.load offset=1048576 (i32.shl (i32.and (i32.const 255)
                (i32.xor (local.get $x) (i32.load8_u offset=1064960 (local.get $i))))
                (i32.const 2)))))
        (br_if $byte (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1)))
            (i32.const 1024))))";

/// Sorts 64 random words by insertion.
const SORT: &str = "(local.set $i (i32.const 0))
    (local.set $from (i32.and (i32.const 0xffc00) (i32.shl (local.get $rounds) (i32.const 8))))
    (loop $insert
        (local.set $x (i32.load offset=1048576 (i32.add (local.get $from) (local.get $i))))
        (local.set $j (local.get $i))
        (block $out (loop $shift
            (br_if $out (i32.eqz (local.get $j)))
            (br_if $out (i32.le_u
                (local.tee $y (i32.load offset=65532 (local.get $j))) (local.get $x)))
            (i32.store offset=65536 (local.get $j) (local.get $y))
            (local.set $j (i32.sub (local.get $j) (i32.const 4)))
            (br $shift)))
        (i32.store offset=65536 (local.get $j) (local.get $x))
        (br_if $insert (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 4)))
            (i32.const 256))))";

/// Counts random words in a table of 64 Ki slots.
const COUNTS: &str = "(local.set $x (i32.load offset=1048576
        (i32.and (i32.const 0xffffc) (i32.shl (local.get $rounds) (i32.const 2)))))
    (local.set $i (i32.add (i32.const 4194304)
        (i32.shl (i32.and (i32.mul (local.get $x) (i32.const 0x9E3779B1)) (i32.const 0xffff))
            (i32.const 2))))
    (i32.store (local.get $i) (i32.add (i32.load (local.get $i)) (i32.const 1)))";

/// Multiplies two matrices of 16 times 16.
const MATRIX: &str = "(local.set $i (i32.const 0))
    (loop $row
        (local.set $j (i32.const 0))
        (loop $column
            (local.set $x (i32.const 0)) (local.set $k (i32.const 0))
            (loop $element
                (local.set $x (i32.add (local.get $x) (i32.mul
                    (i32.load offset=1048576
                        (i32.add (local.get $i) (i32.shl (local.get $k) (i32.const 2))))
                    (i32.load offset=1052672
                        (i32.add (local.get $j) (i32.shl (local.get $k) (i32.const 6)))))))
                (br_if $element (i32.lt_u (local.tee $k (i32.add (local.get $k) (i32.const 1)))
                    (i32.const 16))))
            (i32.store offset=65536 (i32.add (local.get $i) (local.get $j)) (local.get $x))
            (br_if $column (i32.lt_u (local.tee $j (i32.add (local.get $j) (i32.const 4)))
                (i32.const 64))))
        (br_if $row (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 64)))
            (i32.const 1024))))";

/// All kernels.
pub(super) fn benches() -> Vec<Bench> {
    let mut benches: Vec<_> = PLAIN
        .into_iter()
        .map(|plain| {
            let guest = Guest {
                items: plain.items.to_owned(),
                locals: plain.locals.to_owned(),
                body: plain.body.to_owned(),
                ..Guest::default()
            };
            Bench::guest(plain.name, &guest)
        })
        .collect();
    for (name, body) in [
        ("copy of words", COPY),
        ("checksum by table", CHECKSUM),
        ("insertion sort", SORT),
        ("counts in a table", COUNTS),
        ("matrix product, i32", MATRIX),
    ] {
        let locals = "(local $i i32) (local $j i32) (local $k i32) (local $x i32) (local $y i32)
            (local $from i32)";
        let guest = Guest {
            locals: format!("{COUNT_LOCALS} {locals}"),
            setup: random_field(RANDOM_BYTES),
            body: body.to_owned(),
            ..Guest::default()
        };
        benches.push(Bench::guest(name, &guest));
    }
    benches.push(walk());
    benches.push(growth());
    benches
}

/// Reads a word every now and then in memory that no cache holds, and does something with it.
fn walk() -> Bench {
    let guest = Guest {
        locals: format!("{COUNT_LOCALS} (local $x i32) (local $sum i32)"),
        setup: format!("{} (local.set $x (i32.const {FIELD}))", circle(FIELD_BYTES)),
        body: "(local.set $x (i32.load (local.get $x)))
            (local.set $count (i32.const 16))
            (loop $mix
                (local.set $sum (i32.rotl (i32.xor (local.get $sum) (local.get $x))
                    (i32.const 5)))
                (br_if $mix (local.tee $count (i32.sub (local.get $count) (i32.const 1)))))"
            .to_owned(),
        ..Guest::default()
    };
    Bench::guest("walk over 64 MiB", &guest)
}

/// Grows by a page, as allocators do, and writes all over it.
fn growth() -> Bench {
    let write = "(i64.store (local.get $at) (i64.const -1))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))";
    let guest = Guest {
        locals: COUNT_LOCALS.to_owned(),
        body: format!(
            "(local.set $at (i32.shl (memory.grow (i32.const 1)) (i32.const 16))) {}",
            repeated(8_192, write)
        ),
        ..Guest::default()
    };
    Bench::guest("growth by pages, written to", &guest)
        .on(Setting::Growing)
        .at_most(4_000)
}
