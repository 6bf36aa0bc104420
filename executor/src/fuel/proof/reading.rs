//! Telling added code from the original's, and what it does.
//!
//! Added code is run on a stack of its own: it begins and ends with nothing on it, names the meter and added
//! locals only, and may do nothing but what is listed here. Whatever sets a local or stores leaves nothing on the
//! stack, so a value that was read before is never used behind. The original's code can do neither, so it is not
//! taken for added code.

use wasmparser::{BlockType, MemArg, Operator};

use crate::fuel::{
    UnitPrice,
    layout::{COUNTER_OFFSET, DEPTH_OFFSET, EXHAUSTED_OFFSET, HEADROOM_OFFSET, SIZE_OFFSET},
};

/// What a piece of added code does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Adds to the count, or takes from it.
    Add(i64),
    /// Adds the price of the size on top of the original's stack.
    AddSize(UnitPrice),
    /// Publishes the count.
    Publish,
    /// Compares the count with the limit.
    Compare,
    /// Reads the depth, adds a frame, and traps if it is deeper than this.
    Enter(u32),
    /// Tells a callee the depth.
    Descend,
}

/// Where added code finds things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// The meter's index among the memories.
    pub(super) meter: u32,
    /// The local behind the parameters: the count.
    pub(super) counter: u32,
    /// The first local behind all others: a price. Behind it a size, and the depth.
    pub(super) price: u32,
}

/// A value of added code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    /// The address of every word.
    Zero,
    Number(i64),
    /// The count, with something to add.
    Count {
        plus: i64,
        size: Option<UnitPrice>,
    },
    /// The size, and what has been made of it.
    Size,
    Times(i64),
    Price(UnitPrice),
    /// The price in its local.
    Priced(UnitPrice),
    /// What sizes have cost, without and with that.
    Sizes,
    MoreSizes,
    Headroom,
    Sum,
    Over,
}

/// No piece has more operators.
const OPERATORS_MAX: usize = 32;

/// Reads the piece of added code that begins here; `None` if none does. Returns how many operators it has.
pub(super) fn added(operators: &[Operator<'_>], places: Places) -> Option<(Vec<Action>, usize)> {
    if let Some(found) = depth(operators, places) {
        return Some(found);
    }
    let mut run = Run {
        places,
        stack: Vec::new(),
        actions: Vec::new(),
        price: None,
        noted: false,
        comparing: 0,
    };
    for (number, operator) in operators.iter().take(OPERATORS_MAX).enumerate() {
        run.step(operator)?;
        if run.stack.is_empty() && run.comparing == 0 && run.price.is_none() {
            return (!run.actions.is_empty()).then_some((run.actions, number + 1));
        }
    }
    None
}

/// The two pieces about depth, which are of one form each.
fn depth(operators: &[Operator<'_>], places: Places) -> Option<(Vec<Action>, usize)> {
    let local = places.price + 2;
    let word = |memory: &MemArg, offset| memory.memory == places.meter && memory.offset == offset;
    match operators {
        [
            Operator::I32Const { value: 0 },
            Operator::LocalGet { local_index },
            Operator::I32Store { memarg },
            ..,
        ] if *local_index == local && word(memarg, DEPTH_OFFSET) => {
            Some((vec![Action::Descend], 3))
        }
        [
            Operator::I32Const { value: 0 },
            Operator::I32Load { memarg },
            Operator::I32Const { value: frame },
            Operator::I32Add,
            Operator::LocalTee { local_index },
            Operator::I32Const { value: max },
            Operator::I32GtS,
            Operator::If {
                blockty: BlockType::Empty,
            },
            Operator::I32Const { value: 0 },
            Operator::I32Const { value: 1 },
            Operator::I32Store { memarg: exhausted },
            Operator::Unreachable,
            Operator::End,
            ..,
        ] if *local_index == local
            && word(memarg, DEPTH_OFFSET)
            && word(exhausted, EXHAUSTED_OFFSET)
            && *frame > 0 =>
        {
            Some((vec![Action::Enter(max.cast_unsigned())], 13))
        }
        _ => None,
    }
}

struct Run {
    places: Places,
    stack: Vec<Value>,
    actions: Vec<Action>,
    /// A price that was computed, and is in its local.
    price: Option<UnitPrice>,
    /// Whether it has been added to what sizes have cost.
    noted: bool,
    /// How far the end of a comparison has come.
    comparing: u8,
}

impl Run {
    fn word(&self, memory: &MemArg) -> Option<u64> {
        (memory.memory == self.places.meter).then_some(memory.offset)
    }

    fn pop(&mut self, expected: Value) -> Option<()> {
        (self.stack.pop()? == expected).then_some(())
    }

    /// Takes the only value there is.
    fn last(&mut self) -> Option<Value> {
        let value = self.stack.pop()?;
        self.stack.is_empty().then_some(value)
    }

    fn step(&mut self, operator: &Operator<'_>) -> Option<()> {
        let Places { counter, price, .. } = self.places;
        let size = price + 1;
        match (self.comparing, operator) {
            (1, Operator::Unreachable) => {
                self.comparing = 2;
                return Some(());
            }
            (2, Operator::End) => {
                self.comparing = 0;
                self.actions.push(Action::Compare);
                return Some(());
            }
            (0, _) => {}
            _ => return None,
        }
        let pushed = match operator {
            Operator::I32Const { value: 0 } => Value::Zero,
            Operator::I64Const { value } => Value::Number(*value),
            Operator::I64Load { memarg } => {
                let word = self.word(memarg)?;
                self.pop(Value::Zero)?;
                match word {
                    SIZE_OFFSET => Value::Sizes,
                    HEADROOM_OFFSET => Value::Headroom,
                    _ => return None,
                }
            }
            Operator::I64Store { memarg } => return self.store(memarg),
            Operator::LocalGet { local_index } if *local_index == counter => Value::Count {
                plus: 0,
                size: None,
            },
            Operator::LocalGet { local_index } if *local_index == price => {
                Value::Priced(self.price?)
            }
            Operator::LocalGet { local_index } if *local_index == size => {
                // Kept by this piece, and not by an earlier one.
                self.price?;
                Value::Size
            }
            // The size stays on the original's stack.
            Operator::LocalTee { local_index } if *local_index == size => {
                return self
                    .stack
                    .is_empty()
                    .then(|| self.price = Some(UnitPrice { fuel: 0, shift: 0 }));
            }
            Operator::LocalSet { local_index } if *local_index == price => {
                let Value::Price(found) = self.last()? else {
                    return None;
                };
                self.price = Some(found);
                self.noted = false;
                return Some(());
            }
            Operator::LocalSet { local_index } if *local_index == counter => {
                return self.set();
            }
            Operator::I64ExtendI32U => {
                self.pop(Value::Size)?;
                Value::Size
            }
            Operator::I64Add | Operator::I64Mul | Operator::I64ShrU | Operator::I64LtS => {
                let right = self.stack.pop()?;
                let left = self.stack.pop()?;
                computed(operator, left, right)?
            }
            Operator::If {
                blockty: BlockType::Empty,
            } => {
                self.pop(Value::Over)?;
                self.comparing = 1;
                return Some(());
            }
            _ => return None,
        };
        self.stack.push(pushed);
        Some(())
    }

    /// Ends in the count's local.
    fn set(&mut self) -> Option<()> {
        let Value::Count { plus, size } = self.last()? else {
            return None;
        };
        if plus != 0 {
            self.actions.push(Action::Add(plus));
        }
        if let Some(size) = size {
            if self.price.take() != Some(size) || !self.noted {
                return None;
            }
            self.actions.push(Action::AddSize(size));
        }
        Some(())
    }

    fn store(&mut self, memory: &MemArg) -> Option<()> {
        let word = self.word(memory)?;
        let value = self.stack.pop()?;
        if self.last()? != Value::Zero {
            return None;
        }
        match (word, value) {
            (
                COUNTER_OFFSET,
                Value::Count {
                    plus: 0,
                    size: None,
                },
            ) => self.actions.push(Action::Publish),
            (SIZE_OFFSET, Value::MoreSizes) => self.noted = true,
            _ => return None,
        }
        Some(())
    }
}

fn computed(operator: &Operator<'_>, left: Value, right: Value) -> Option<Value> {
    Some(match (operator, left, right) {
        (Operator::I64Add, Value::Count { plus, size }, Value::Number(more)) => Value::Count {
            plus: plus.checked_add(more)?,
            size,
        },
        (Operator::I64Add, Value::Count { plus, size: None }, Value::Priced(price)) => {
            Value::Count {
                plus,
                size: Some(price),
            }
        }
        (
            Operator::I64Add,
            Value::Count {
                plus: 0,
                size: None,
            },
            Value::Headroom,
        ) => Value::Sum,
        (Operator::I64Add, Value::Sizes, Value::Priced(_)) => Value::MoreSizes,
        (Operator::I64Mul, Value::Size, Value::Number(fuel)) => Value::Times(fuel),
        (Operator::I64ShrU, Value::Times(fuel), Value::Number(shift)) => Value::Price(UnitPrice {
            fuel: fuel.try_into().ok()?,
            shift: shift.try_into().ok()?,
        }),
        (Operator::I64LtS, Value::Sum, Value::Number(0)) => Value::Over,
        _ => return None,
    })
}
