//! Pieces of code that several writers add: words of the meter, the comparison with the limit.

use wasm_encoder::{BlockType, Function, Instruction, MemArg};

use super::{
    layout::{COUNTER_OFFSET, HEADROOM_OFFSET},
    schedule::UnitPrice,
};

/// Writes instructions that concern the meter.
pub(super) struct Writing<'f> {
    pub(super) function: &'f mut Function,
    /// Index of the meter among the memories.
    pub(super) meter: u32,
}

impl Writing<'_> {
    pub(super) fn add(&mut self, instruction: &Instruction<'_>) {
        self.function.instruction(instruction);
    }

    fn word(&self, offset: u64, align: u32) -> MemArg {
        MemArg {
            offset,
            align,
            memory_index: self.meter,
        }
    }

    /// Pushes the word at `offset`.
    pub(super) fn load(&mut self, offset: u64) {
        self.add(&Instruction::I32Const(0));
        self.add(&Instruction::I64Load(self.word(offset, 3)));
    }

    /// Pushes the address for a store that follows.
    pub(super) fn address(&mut self) {
        self.add(&Instruction::I32Const(0));
    }

    /// Pops a value into the word at `offset`; its address was pushed before.
    pub(super) fn store(&mut self, offset: u64) {
        self.add(&Instruction::I64Store(self.word(offset, 3)));
    }

    /// As [`Self::load`], 32 bits.
    pub(super) fn load_small(&mut self, offset: u64) {
        self.add(&Instruction::I32Const(0));
        self.add(&Instruction::I32Load(self.word(offset, 2)));
    }

    /// As [`Self::store`], 32 bits.
    pub(super) fn store_small(&mut self, offset: u64) {
        self.add(&Instruction::I32Store(self.word(offset, 2)));
    }

    /// Adds the local `amount` to the word at `offset`.
    pub(super) fn increase(&mut self, offset: u64, amount: u32) {
        self.address();
        self.load(offset);
        self.add(&Instruction::LocalGet(amount));
        self.add(&Instruction::I64Add);
        self.store(offset);
    }

    /// Pops a number of units, pushes their price.
    pub(super) fn price(&mut self, price: UnitPrice) {
        self.add(&Instruction::I64Const(price.fuel.into()));
        self.add(&Instruction::I64Mul);
        self.add(&Instruction::I64Const(price.shift.into()));
        self.add(&Instruction::I64ShrU);
    }

    /// Publishes the counter in the local `counter`.
    pub(super) fn publish(&mut self, counter: u32) {
        self.address();
        self.add(&Instruction::LocalGet(counter));
        self.store(COUNTER_OFFSET);
    }

    /// Traps if the counter in the local `counter` exceeds the limit.
    pub(super) fn check(&mut self, counter: u32) {
        self.add(&Instruction::LocalGet(counter));
        self.load(HEADROOM_OFFSET);
        self.add(&Instruction::I64Add);
        self.add(&Instruction::I64Const(0));
        self.add(&Instruction::I64LtS);
        self.add(&Instruction::If(BlockType::Empty));
        self.add(&Instruction::Unreachable);
        self.add(&Instruction::End);
    }
}
