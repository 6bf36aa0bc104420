//! A bytecode interpreter with a stack.

use core::hint::black_box;

#[derive(Clone, Copy)]
enum Op {
    Push(i32),
    Load(u8),
    Store(u8),
    Add,
    Sub,
    Mul,
    Xor,
    JumpIf(u8),
    Jump(u8),
    Call(u8),
    Return,
    Halt,
}

/// Sums squares by a loop with a call in it.
const PROGRAM: [Op; 23] = [
    Op::Push(0),
    Op::Store(1),
    // 2: while local 0 is not zero
    Op::Load(0),
    Op::JumpIf(6),
    Op::Load(1),
    Op::Halt,
    // 6: add its square
    Op::Load(0),
    Op::Call(16),
    Op::Load(1),
    Op::Add,
    Op::Store(1),
    Op::Load(0),
    Op::Push(1),
    Op::Sub,
    Op::Store(0),
    Op::Jump(2),
    // 16: a square, and something to decide
    Op::Store(2),
    Op::Load(2),
    Op::Load(2),
    Op::Mul,
    Op::Push(77),
    Op::Xor,
    Op::Return,
];

/// Runs the program with so many iterations.
pub fn interpreter(iterations: u32) -> u64 {
    let program = black_box(&PROGRAM);
    let (mut stack, mut height) = ([0_i32; 64], 0_usize);
    let (mut calls, mut deep) = ([0_u8; 16], 0_usize);
    let mut locals = [0_i32; 8];
    locals[0] = iterations as i32;
    let mut next = 0_usize;
    macro_rules! pop {
        () => {{
            height -= 1;
            stack[height & 63]
        }};
    }
    macro_rules! push {
        ($value:expr) => {{
            stack[height & 63] = $value;
            height += 1;
        }};
    }
    loop {
        let op = program[next];
        next += 1;
        match op {
            Op::Push(value) => push!(value),
            Op::Load(local) => push!(locals[usize::from(local & 7)]),
            Op::Store(local) => locals[usize::from(local & 7)] = pop!(),
            Op::Add => {
                let right = pop!();
                let left = pop!();
                push!(left.wrapping_add(right));
            }
            Op::Sub => {
                let right = pop!();
                let left = pop!();
                push!(left.wrapping_sub(right));
            }
            Op::Mul => {
                let right = pop!();
                let left = pop!();
                push!(left.wrapping_mul(right));
            }
            Op::Xor => {
                let right = pop!();
                let left = pop!();
                push!(left ^ right);
            }
            Op::JumpIf(target) => {
                if pop!() != 0 {
                    next = usize::from(target);
                }
            }
            Op::Jump(target) => next = usize::from(target),
            Op::Call(target) => {
                calls[deep & 15] = next as u8;
                deep += 1;
                next = usize::from(target);
            }
            Op::Return => {
                deep -= 1;
                next = usize::from(calls[deep & 15]);
            }
            Op::Halt => return pop!() as u64,
        }
    }
}
