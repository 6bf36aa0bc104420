//! Whether an instrumented function is the original but for what was added: its operators, some of them
//! written otherwise, and its locals.

use std::ops::Range;

use wasmparser::{FunctionBody, Operator, ValType};

use super::{ProofFault, reading::Places};
use crate::fuel::shape::Shape;

/// What is wrong, and where in the instrumented module.
pub(super) type Fault = (usize, ProofFault);

/// Operators with where they begin and end.
pub(super) struct Code<'a> {
    pub(super) operators: Vec<Operator<'a>>,
    pub(super) bounds: Vec<usize>,
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Code<'a> {
    pub(super) fn read(body: &FunctionBody<'a>) -> Result<Self, Fault> {
        let unreadable = |error: wasmparser::BinaryReaderError| {
            let fault = ProofFault::Unreadable(error.message().to_owned());
            (error.offset(), fault)
        };
        let mut reader = body.get_operators_reader().map_err(unreadable)?;
        let (mut operators, mut bounds) = (Vec::new(), Vec::new());
        while !reader.eof() {
            bounds.push(reader.original_position());
            operators.push(reader.read().map_err(unreadable)?);
        }
        let Range { start, end } = body.range();
        bounds.push(end);
        Ok(Self {
            operators,
            bounds,
            bytes: body.as_bytes(),
            start,
        })
    }

    pub(super) fn bytes_of(&self, number: usize) -> &'a [u8] {
        let range = self.bounds[number] - self.start..self.bounds[number + 1] - self.start;
        self.bytes.get(range).unwrap_or_default()
    }
}

/// Where the added locals are, if the others are the original's.
pub(super) fn places(
    before: &FunctionBody<'_>,
    after: &FunctionBody<'_>,
    index: usize,
    shape: &Shape,
) -> Result<Places, Fault> {
    let fault = || (after.range().start, ProofFault::Locals);
    let read = |body: &FunctionBody<'_>| -> Option<Vec<(u32, ValType)>> {
        body.get_locals_reader()
            .ok()?
            .into_iter()
            .collect::<Result<_, _>>()
            .ok()
    };
    let (own, all) = (
        read(before).ok_or_else(fault)?,
        read(after).ok_or_else(fault)?,
    );
    let added = all.strip_prefix(own.as_slice()).ok_or_else(fault)?;
    if added != [(1, ValType::I64), (2, ValType::I32)] {
        return Err(fault());
    }
    let index = u32::try_from(index).map_err(|_too_many| fault())?;
    let count: u32 = own.iter().map(|(count, _)| count).sum();
    let counter = shape.parameters(index);
    Ok(Places {
        meter: shape.meter(),
        counter,
        price: counter + 1 + count,
    })
}

/// Whether an operator is written otherwise than it was.
pub(super) fn is_rewritten(operator: &Operator<'_>, places: Places) -> bool {
    match operator {
        Operator::LocalGet { local_index }
        | Operator::LocalSet { local_index }
        | Operator::LocalTee { local_index } => *local_index >= places.counter,
        Operator::Call { .. }
        | Operator::CallIndirect { .. }
        | Operator::RefFunc { .. }
        | Operator::Return => true,
        _ => false,
    }
}

/// Whether an operator that is written otherwise is, here, where it is `depth` blocks deep: of how many
/// operators that consists.
pub(super) fn same(
    operator: &Operator<'_>,
    code: &[Operator<'_>],
    places: Places,
    depth: usize,
    shape: &Shape,
) -> Option<usize> {
    use Operator as O;
    let Places { counter, price, .. } = places;
    let count = |local: &u32| *local == counter;
    let table = |local: &u32| *local == price + 1;
    let length = match (operator, code) {
        (O::LocalGet { local_index: own }, [O::LocalGet { local_index }, ..])
        | (O::LocalSet { local_index: own }, [O::LocalSet { local_index }, ..])
        | (O::LocalTee { local_index: own }, [O::LocalTee { local_index }, ..])
            if *own >= counter && own.checked_add(1) == Some(*local_index) =>
        {
            1
        }
        (
            O::RefFunc {
                function_index: own,
            },
            [O::RefFunc { function_index }, ..],
        ) if shape.callee(*own) == *function_index => 1,
        (O::Return, [O::Br { relative_depth }, ..]) if *relative_depth as usize == depth => 1,
        (
            O::Call {
                function_index: own,
            },
            [
                O::LocalGet { local_index: given },
                O::Call { function_index },
                O::LocalSet { local_index: taken },
                ..,
            ],
        ) if shape.callee(*own) == *function_index && count(given) && count(taken) => 3,
        (
            O::CallIndirect {
                type_index: own,
                table_index: through,
            },
            [
                O::LocalSet { local_index: kept },
                O::LocalGet { local_index: given },
                O::LocalGet { local_index: back },
                O::CallIndirect {
                    type_index,
                    table_index,
                },
                O::LocalSet { local_index: taken },
                ..,
            ],
        ) if shape.counting(*own) == *type_index
            && through == table_index
            && table(kept)
            && table(back)
            && count(given)
            && count(taken) =>
        {
            5
        }
        _ => return None,
    };
    Some(length)
}
