//! Random modules that end and run long: nested bounded loops, branches out of them, calls.
//!
//! Random modules of general generators do little before they trap or return. These are written for
//! metering: they spend most of their fuel in loops and calls, in every shape of control there is. Some
//! may trap on the way.

use std::fmt::Write;

use crate::random;

/// Functions of a module; each calls only those before it.
const FUNCTIONS: u32 = 6;
/// Nesting of statements.
const DEPTH: u32 = 4;
/// One in so many simple statements may trap, where some may.
const TRAP_ODDS: u32 = 4;

/// A module whose exported function `run` takes and returns an `i32`, as text. The same number gives
/// the same module everywhere.
pub fn looping_module(number: u64) -> String {
    module(number, false)
}

/// As [`looping_module`], with operators here and there that trap for some values.
pub fn trapping_module(number: u64) -> String {
    module(number, true)
}

fn module(number: u64, traps: bool) -> String {
    let mut writer = Writer {
        random: Random::new(number),
        text: String::new(),
        function: 0,
        calls_left: 0,
        traps,
    };
    writer.line("(module (memory 1)");
    writer.line("(table funcref (elem $f0 $f1 $f2))");
    writer.line("(type $call (func (param i32 i32) (result i32)))");
    for function in 0..FUNCTIONS {
        writer.function(function);
    }
    let last = FUNCTIONS - 1;
    let call = format!("(call $f{last} (local.get 0) (i32.const 1))");
    writer.line(&format!(
        r#"(func (export "run") (param i32) (result i32) {call}))"#
    ));
    writer.text
}

struct Writer {
    random: Random,
    text: String,
    function: u32,
    /// Calls the present function may still make, so that work does not explode.
    calls_left: u32,
    /// Whether it may trap.
    traps: bool,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn function(&mut self, function: u32) {
        self.function = function;
        self.calls_left = 2;
        self.line(&format!(
            "(func $f{function} (type $call) (local i32 i32 i32 i32 i32)"
        ));
        for _ in 0..2 + self.random.below(4) {
            self.statement(DEPTH, false);
        }
        self.line("(local.get 0))");
    }

    /// One statement, with statements inside it down to `depth`.
    fn statement(&mut self, depth: u32, looping: bool) {
        if depth == 0 {
            return self.simple();
        }
        match self.random.below(10) {
            0..=2 => self.simple(),
            3 | 4 => self.bounded_loop(depth),
            5 => self.branch(depth, looping),
            6 => self.early_exit(depth, looping),
            7 => self.switch(depth, looping),
            8 => self.call(),
            _ => {
                let value = self.value(2);
                self.line(&format!(
                    "(if (i32.eqz {value}) (then (return (local.get 1))))"
                ));
            }
        }
    }

    fn simple(&mut self) {
        if self.traps && self.random.below(TRAP_ODDS) == 0 {
            return self.trap();
        }
        let (target, value) = (self.random.below(2), self.value(3));
        let line = match self.random.below(6) {
            0 => format!("(i32.store (i32.and {value} (i32.const 0xfffc)) (local.get 0))"),
            1 => "(drop (memory.grow (i32.const 0)))".to_owned(),
            2 => format!("(memory.fill (i32.const 8) {value} (i32.const 16))"),
            3 => "(nop) (drop (i64.const 7))".to_owned(),
            _ => format!("(local.set {target} {value})"),
        };
        self.line(&line);
    }

    /// An operator that traps for some values, with work before it in the same block.
    fn trap(&mut self) {
        let (one, two) = (self.value(2), self.value(1));
        let line = match self.random.below(8) {
            0 => format!("(local.set 0 (i32.div_u {one} (i32.and {two} (i32.const 31))))"),
            1 => format!("(local.set 0 (i32.rem_s {one} (i32.and {two} (i32.const 15))))"),
            2 => format!("(local.set 1 (i32.load (i32.and {one} (i32.const 0x1fffc))))"),
            3 => format!("(i32.store (i32.and {one} (i32.const 0x1fffc)) {two})"),
            4 => format!("(memory.fill (i32.and {one} (i32.const 0x1ffff)) {two} (i32.const 8))"),
            5 => format!("(if (i32.eqz (i32.and {one} (i32.const 15))) (then (unreachable)))"),
            6 => format!(
                "(local.set 1 (i32.trunc_f32_s (f32.mul (f32.convert_i32_s {one}) (f32.const 9))))"
            ),
            // Only the last functions: the table holds the first ones, which must not call themselves.
            _ if self.function > 2 && self.calls_left > 0 => {
                self.calls_left -= 1;
                let index = format!("(i32.and {one} (i32.const 3))");
                format!("(local.set 0 (call_indirect (type $call) {two} {one} {index}))")
            }
            _ => format!("(local.set 0 (i32.div_s {one} (i32.and {two} (i32.const 7))))"),
        };
        self.line(&line);
    }

    /// A value made of locals and constants.
    fn value(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.random.below(3) {
                0 => format!("(i32.const {})", self.random.below(1_000)),
                local => format!("(local.get {})", local - 1),
            };
        }
        let (one, two) = (self.value(depth - 1), self.value(depth - 1));
        match self.random.below(7) {
            0 => format!("(i32.load (i32.and {one} (i32.const 0xfffc)))"),
            1 => format!("(select {one} {two} (local.get 1))"),
            2 => format!("(i32.mul {one} {two})"),
            3 => format!("(i32.xor {one} {two})"),
            4 => format!("(i32.shr_u {one} {two})"),
            5 => format!("(if (result i32) {one} (then {two}) (else (local.get 0)))"),
            _ => format!("(i32.add {one} {two})"),
        }
    }

    /// A loop of its own counter, one for each depth.
    fn bounded_loop(&mut self, depth: u32) {
        let counter = 1 + depth;
        let rounds = 1 + self.random.below(24);
        self.line(&format!("(local.set {counter} (i32.const {rounds}))"));
        self.line("(block (loop");
        for _ in 0..1 + self.random.below(3) {
            self.statement(depth - 1, true);
        }
        let count = format!("(local.tee {counter} (i32.sub (local.get {counter}) (i32.const 1)))");
        let back = match self.random.below(3) {
            0 => format!("(br_if 0 {count})"),
            1 => format!("(br_if 1 (i32.eqz {count})) (br 0)"),
            _ => format!("(br_table 1 0 (i32.ne {count} (i32.const 0)))"),
        };
        self.line(&format!("{back}))"));
    }

    fn branch(&mut self, depth: u32, looping: bool) {
        let value = self.value(2);
        self.line(&format!("(if {value} (then"));
        self.statement(depth - 1, looping);
        if self.random.below(2) == 0 {
            self.line(") (else");
            self.statement(depth - 1, looping);
        }
        self.line("))");
    }

    /// A block that is left in the middle.
    fn early_exit(&mut self, depth: u32, looping: bool) {
        self.line("(block");
        self.statement(depth - 1, looping);
        let value = self.value(2);
        self.line(&format!("(br_if 0 {value})"));
        self.statement(depth - 1, looping);
        self.line(")");
    }

    fn switch(&mut self, depth: u32, looping: bool) {
        let value = self.value(1);
        self.line("(block (block (block");
        self.line(&format!(
            "(br_table 0 1 2 (i32.rem_u {value} (i32.const 4))))"
        ));
        self.statement(depth - 1, looping);
        self.line("(br 1))");
        self.statement(depth - 1, looping);
        self.line(")");
    }

    fn call(&mut self) {
        if self.calls_left == 0 || self.function == 0 {
            return self.simple();
        }
        self.calls_left -= 1;
        let callee = self.random.below(self.function);
        let value = self.value(1);
        let call = if callee < 3 && self.random.below(2) == 0 {
            format!("(call_indirect (type $call) {value} (local.get 0) (i32.const {callee}))")
        } else {
            format!("(call $f{callee} {value} (local.get 0))")
        };
        // Writing to a text does not fail.
        let _written = writeln!(self.text, "(local.set 1 {call})");
    }
}

/// Small numbers.
struct Random(random::Random);

impl Random {
    fn new(seed: u64) -> Self {
        Self(random::Random(seed))
    }

    fn below(&mut self, bound: u32) -> u32 {
        let drawn = self.0.below(u64::from(bound.max(1)));
        u32::try_from(drawn).unwrap_or_default()
    }
}
