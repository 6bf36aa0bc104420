//! What embedded processors are compared by: a linked list, a matrix of small integers, a machine of
//! states, a checksum.

use crate::Random;

const NODES: usize = 256;
const SIZE: usize = 12;

#[derive(Clone, Copy)]
struct Node {
    value: u16,
    next: u16,
}

fn checksum(mut crc: u16, value: u16) -> u16 {
    for bit in 0..16 {
        let odd = (crc ^ (value >> bit)) & 1;
        crc >>= 1;
        if odd != 0 {
            crc ^= 0xa001;
        }
    }
    crc
}

#[inline(never)]
fn find(nodes: &[Node; NODES], value: u16) -> u16 {
    let mut at = 0_u16;
    let mut steps = 0;
    while nodes[usize::from(at) % NODES].value != value && steps < NODES as u16 {
        at = nodes[usize::from(at) % NODES].next;
        steps += 1;
    }
    steps
}

#[inline(never)]
fn reverse(nodes: &mut [Node; NODES]) {
    let (mut before, mut at) = (0_u16, 0_u16);
    for _ in 0..NODES {
        let node = &mut nodes[usize::from(at) % NODES];
        (before, at, node.next) = (at, node.next, before);
    }
}

#[inline(never)]
fn multiply(left: &[[i16; SIZE]; SIZE], right: &[[i16; SIZE]; SIZE], by: i16) -> i32 {
    let mut sum = 0_i32;
    for row in left {
        for column in 0..SIZE {
            let mut cell = 0_i32;
            for (inner, value) in row.iter().enumerate() {
                cell = cell.wrapping_add(i32::from(*value) * i32::from(right[inner][column]));
            }
            sum = sum.wrapping_add((cell >> 2).wrapping_mul(by.into()) & 0x7f);
        }
    }
    sum
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Whole,
    Fraction,
    Exponent,
    Invalid,
}

#[inline(never)]
fn states(text: &[u8]) -> u16 {
    let mut counts = [0_u16; 5];
    let mut state = State::Start;
    for byte in text {
        state = match (state, byte) {
            (_, b',') => {
                counts[state as usize] += 1;
                State::Start
            }
            (State::Start, b'+' | b'-') => State::Whole,
            (State::Start | State::Whole, b'0'..=b'9') => State::Whole,
            (State::Start | State::Whole, b'.') => State::Fraction,
            (State::Fraction | State::Exponent, b'0'..=b'9') => state,
            (State::Whole | State::Fraction, b'e') => State::Exponent,
            _ => State::Invalid,
        };
    }
    counts.iter().fold(0, |crc, count| checksum(crc, *count))
}

/// All four, so many times.
pub fn marks(rounds: u32) -> u64 {
    let mut random = Random(9);
    let mut nodes = [Node { value: 0, next: 0 }; NODES];
    for (number, node) in (1_u16..).zip(&mut nodes) {
        *node = Node { value: random.next() as u16 % 512, next: number % NODES as u16 };
    }
    let mut matrix = [[0_i16; SIZE]; SIZE];
    for cell in matrix.iter_mut().flatten() {
        *cell = random.next() as i16 % 100;
    }
    let text = b"5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,+0.6e-12,T0.3e-1F,-T.T++Tq,1T3.4e4z,34.0e-T^,";
    let mut crc = 0_u16;
    for round in 0..rounds {
        crc = checksum(crc, find(&nodes, (round % 512) as u16));
        reverse(&mut nodes);
        crc = checksum(crc, multiply(&matrix, &matrix, round as i16) as u16);
        crc = checksum(crc, states(text));
    }
    crc.into()
}
