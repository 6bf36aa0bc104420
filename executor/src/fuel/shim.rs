//! Shims: every imported function is called through a function of the guest's own that charges for it
//! and compares with the limit before and after, so that a host function starts only within the
//! limit, and what it charges by itself is noticed when it returns. And entries: what a host calls goes
//! through a function that takes the counter from the meter and leaves it there.
//!
//! A pointer and its length come as one argument of 64 bits, the length in the upper half. The
//! function that tells a guest what is left of its limit is answered by its shim alone.

use wasm_encoder::{BlockType, Function, Instruction, ValType};

use super::{
    Check, Schedule,
    code::Writing,
    host_prices::{FUEL_LEFT, HostPrice, NUMBER_RESULTS, NUMBERS},
    layout::{COUNTER_OFFSET, DEPTH_OFFSET, HOST_OFFSET, STATE_OFFSET, TOLD_OFFSET},
    schedule::UnitPrice,
    shape::{Entry, Shape},
};

/// Where a length stands in an argument, in binary digits.
const LENGTH_SHIFT: i64 = 32;

/// The body of the shim of the imported function with this number.
pub(super) fn write(shape: &Shape, number: usize, schedule: &Schedule) -> Vec<u8> {
    let import = &shape.imports[number];
    let (parameters, results) = match shape.signature(import.ty) {
        Some(ty) => (ty.params(), ty.results()),
        None => (&[][..], &[][..]),
    };
    // The counter, price, result: behind the parameters, of which there are less than 1,000.
    let counter = u32::try_from(parameters.len()).unwrap_or(u32::MAX);
    let mut function = Function::new([(2, ValType::I64)]);
    let mut shim = Shim {
        out: Writing {
            function: &mut function,
            meter: shape.meter(),
        },
        counter,
        price: counter + 1,
        result: counter + 2,
    };
    let name = import.name.as_str();
    let price = schedule.host(name);
    let lengths = (0..counter).zip(parameters);
    let lengths = lengths
        .filter(|(_, ty)| **ty == wasmparser::ValType::I64 && !NUMBERS.contains(&name))
        .map(|(parameter, _)| parameter);
    shim.before(&price, lengths);
    let only_result = match results {
        [wasmparser::ValType::I64] => Some(()),
        _ => None,
    };
    if name == FUEL_LEFT && parameters.is_empty() && only_result.is_some() {
        shim.what_is_left();
    } else {
        for parameter in 0..counter {
            shim.out.add(&Instruction::LocalGet(parameter));
        }
        // Its number is its index: imports come first.
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        shim.out.add(&Instruction::Call(index));
        let length = only_result.filter(|()| !NUMBER_RESULTS.contains(&name));
        shim.after(&price, length.is_some());
    }
    shim.out.add(&Instruction::LocalGet(counter));
    shim.out.add(&Instruction::End);
    function.into_raw_body()
}

/// The body of what a host calls instead of another function. After one that starts an instance the next call
/// begins at the top again; before others the host sees to that.
pub(super) fn write_entry(shape: &Shape, entry: Entry, check: Check) -> Vec<u8> {
    // A valid type has less than 1,000 parameters.
    let parameters = shape.signature(entry.ty).map_or(0, |ty| ty.params().len());
    let counter = u32::try_from(parameters).unwrap_or(u32::MAX);
    let mut body = Function::new([(1, ValType::I64)]);
    let mut out = Writing {
        function: &mut body,
        meter: shape.meter(),
    };
    for parameter in 0..counter {
        out.add(&Instruction::LocalGet(parameter));
    }
    out.load(COUNTER_OFFSET);
    out.add(&Instruction::Call(shape.callee(entry.function)));
    out.add(&Instruction::LocalSet(counter));
    out.publish(counter);
    if check == Check::Synchronous {
        out.check(counter);
    }
    if entry.starts {
        out.address();
        out.add(&Instruction::I32Const(0));
        out.store_small(DEPTH_OFFSET);
    }
    out.add(&Instruction::End);
    body.into_raw_body()
}

struct Shim<'f> {
    out: Writing<'f>,
    counter: u32,
    price: u32,
    result: u32,
}

impl Shim<'_> {
    /// Charges for the call and for what is passed.
    fn before(&mut self, price: &HostPrice, lengths: impl Iterator<Item = u32>) {
        self.out.add(&Instruction::I64Const(price.base.into()));
        if price.passed > 0 {
            for parameter in lengths {
                self.price_of_length(parameter, price.passed);
                self.out.add(&Instruction::I64Add);
            }
        }
        self.charge();
    }

    /// Charges for what came back, which is on the stack and stays there, and notices what the
    /// function charged by itself.
    fn after(&mut self, price: &HostPrice, length: bool) {
        if length && price.returned > 0 {
            self.out.add(&Instruction::LocalSet(self.result));
            self.price_of_length(self.result, price.returned);
            self.charge();
            self.out.add(&Instruction::LocalGet(self.result));
        } else {
            self.out.check(self.counter);
        }
    }

    /// Pushes the price of the bytes that the local `pointer` points to.
    fn price_of_length(&mut self, pointer: u32, price: u16) {
        self.out.add(&Instruction::LocalGet(pointer));
        self.out.add(&Instruction::I64Const(LENGTH_SHIFT));
        self.out.add(&Instruction::I64ShrU);
        self.out.price(UnitPrice::of_bytes(price));
    }

    /// Pops an amount, charges it, publishes the counter and compares.
    fn charge(&mut self) {
        self.out.add(&Instruction::LocalTee(self.price));
        self.out.add(&Instruction::LocalGet(self.counter));
        self.out.add(&Instruction::I64Add);
        self.out.add(&Instruction::LocalSet(self.counter));
        self.out.increase(HOST_OFFSET, self.price);
        self.out.publish(self.counter);
        self.out.check(self.counter);
    }

    /// Pushes the limit told less everything used, or 2^64 - 1 if there is none.
    fn what_is_left(&mut self) {
        self.out.load(TOLD_OFFSET);
        self.out.add(&Instruction::I64Eqz);
        self.out
            .add(&Instruction::If(BlockType::Result(ValType::I64)));
        self.out.add(&Instruction::I64Const(-1));
        self.out.add(&Instruction::Else);
        self.out.load(TOLD_OFFSET);
        self.out.add(&Instruction::I64Const(1));
        self.out.add(&Instruction::I64Sub);
        self.out.add(&Instruction::LocalGet(self.counter));
        self.out.add(&Instruction::I64Sub);
        self.out.load(STATE_OFFSET);
        self.out.add(&Instruction::I64Sub);
        self.out.add(&Instruction::End);
    }
}
