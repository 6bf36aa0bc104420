//! A processor of 8 bits, with registers, flags, and 4 KiB of memory.

use core::hint::black_box;

struct Machine {
    memory: [u8; 4_096],
    a: u8,
    x: u8,
    y: u8,
    zero: bool,
    carry: bool,
    counter: u16,
}

/// Adds and rotates a table of 256 bytes in place, again and again.
const PROGRAM: [u8; 22] = [
    0xa2, 0x00, // load x, 0
    0xa0, 0x10, // load y, 16
    0xb5, 0x04, // load a from page 4 + x
    0x69, 0x3b, // add 59 and the carry
    0x0a, // shift left into the carry
    0x49, 0x5d, // exclusive or 93
    0x95, 0x04, // store a to page 4 + x
    0xe8, // increase x
    0xd0, 0xf4, // if it is not zero, back to the load
    0x88, // decrease y
    0xd0, 0xf1, // if it is not zero, back to the load
    0x4c, 0x00, 0x00, // again
];

impl Machine {
    fn fetch(&mut self) -> u8 {
        let byte = self.memory[usize::from(self.counter & 0xfff)];
        self.counter = self.counter.wrapping_add(1);
        byte
    }

    fn address(&mut self) -> usize {
        (usize::from(self.fetch()) << 8 | usize::from(self.x)) & 0xfff
    }

    fn flags(&mut self, value: u8) -> u8 {
        self.zero = value == 0;
        value
    }

    #[inline(never)]
    fn step(&mut self) {
        match self.fetch() {
            0xa2 => {
                self.x = self.fetch();
                self.flags(self.x);
            }
            0xa0 => {
                self.y = self.fetch();
                self.flags(self.y);
            }
            0xb5 => {
                let address = self.address();
                self.a = self.memory[address];
                self.flags(self.a);
            }
            0x95 => {
                let address = self.address();
                self.memory[address] = self.a;
            }
            0x69 => {
                let sum = u16::from(self.a) + u16::from(self.fetch()) + u16::from(self.carry);
                self.carry = sum > 255;
                self.a = self.flags(sum as u8);
            }
            0x0a => {
                self.carry = self.a >= 128;
                self.a = self.flags(self.a << 1);
            }
            0x49 => {
                self.a ^= self.fetch();
                self.flags(self.a);
            }
            0xe8 => {
                self.x = self.x.wrapping_add(1);
                self.flags(self.x);
            }
            0x88 => {
                self.y = self.y.wrapping_sub(1);
                self.flags(self.y);
            }
            0xd0 => {
                let offset = self.fetch().cast_signed();
                if !self.zero {
                    self.counter = self.counter.wrapping_add_signed(offset.into());
                }
            }
            0x4c => {
                let low = self.fetch();
                self.counter = u16::from_le_bytes([low, self.fetch()]);
            }
            _ => {}
        }
    }
}

/// Runs so many steps.
pub fn emulator(steps: u32) -> u64 {
    let mut memory = [0; 4_096];
    memory[..PROGRAM.len()].copy_from_slice(black_box(&PROGRAM));
    let mut machine = Machine {
        memory,
        a: 0,
        x: 0,
        y: 0,
        zero: false,
        carry: false,
        counter: 0,
    };
    for _ in 0..steps {
        machine.step();
    }
    let sum: u64 = machine.memory.iter().map(|byte| u64::from(*byte)).sum();
    sum << 32 | u64::from(machine.a) << 16 | u64::from(machine.x)
}
