//! What executing costs, as data: a versioned table with a hash.
//!
//! Invariant: two schedules with the same hash charge every module alike. The default prices
//! WebAssembly's operators as wasmtime 36 does, so that its own fuel is an oracle for ours: an
//! operator costs 1, those that compile to nothing cost 0, and every invocation of a function costs
//! 1 beside them.

use blake2b_simd::Params;
use sp_core::H256;
use wasmparser::Operator;

/// Number of the format of [`Schedule`]; part of its hash.
pub const SCHEDULE_VERSION: u32 = 1;

macro_rules! define_operators {
    ($(@$proposal:ident $operator:ident $({ $($argument:ident: $type:ty),* })? => $visit:ident ($($arity:tt)*))*) => {
        /// All operators, so that each has a number.
        #[derive(Clone, Copy)]
        enum Number {
            $($operator,)*
        }

        /// The name of each operator, in the order of the numbers.
        const OPERATORS: &[&str] = &[$(stringify!($operator),)*];

        /// The proposal that brought an operator, as `wasmparser` names it.
        pub(super) fn proposal(operator: &Operator<'_>) -> &'static str {
            match operator {
                $(Operator::$operator { .. } => stringify!($proposal),)*
                _ => "unknown",
            }
        }

        fn number(operator: &Operator<'_>) -> Option<Number> {
            match operator {
                $(Operator::$operator { .. } => Some(Number::$operator),)*
                _ => None,
            }
        }
    };
}
wasmparser::for_each_operator!(define_operators);

/// Operators that cost nothing by default.
const FREE: [&str; 8] = [
    "Nop",
    "Drop",
    "Block",
    "Loop",
    "Unreachable",
    "Return",
    "Else",
    "End",
];

/// The price of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Fuel for invoking a function, beside its operators.
    function: u32,
    /// Fuel for each operator, by its number.
    operators: Vec<u32>,
}

impl Default for Schedule {
    fn default() -> Self {
        let cost = |name: &&str| u32::from(!FREE.contains(name));
        Self {
            function: 1,
            operators: OPERATORS.iter().map(cost).collect(),
        }
    }
}

impl Schedule {
    /// Fuel for invoking a function, beside its operators.
    pub fn function(&self) -> u32 {
        self.function
    }

    /// Fuel for executing an operator once; one that this version does not know costs 1.
    pub fn operator(&self, operator: &Operator<'_>) -> u32 {
        let number = number(operator).map(|number| number as usize);
        let cost = number.and_then(|number| self.operators.get(number));
        cost.copied().unwrap_or(1)
    }

    /// Sets the price of an operator by its name in `wasmparser`, such as `I32DivS`. Returns whether
    /// there is such an operator.
    pub fn set_operator(&mut self, name: &str, fuel: u32) -> bool {
        let number = OPERATORS.iter().position(|known| *known == name);
        let place = number.and_then(|number| self.operators.get_mut(number));
        place.map(|place| *place = fuel).is_some()
    }

    /// BLAKE2b-256 of the table: version, price of a function, and of each operator behind its name.
    pub fn hash(&self) -> H256 {
        let mut state = Params::new().hash_length(32).to_state();
        state.update(&SCHEDULE_VERSION.to_le_bytes());
        state.update(&self.function.to_le_bytes());
        for (name, cost) in OPERATORS.iter().zip(&self.operators) {
            state.update(name.as_bytes());
            state.update(&[0]);
            state.update(&cost.to_le_bytes());
        }
        H256::from_slice(state.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_prices_are_those_of_the_oracle() {
        let schedule = Schedule::default();
        assert_eq!(schedule.function(), 1);
        for (operator, cost) in [
            (Operator::Nop, 0),
            (Operator::Drop, 0),
            (Operator::End, 0),
            (Operator::Unreachable, 0),
            (Operator::I32Add, 1),
            (Operator::Call { function_index: 3 }, 1),
            (Operator::BrIf { relative_depth: 0 }, 1),
            (Operator::MemoryGrow { mem: 0 }, 1),
        ] {
            assert_eq!(schedule.operator(&operator), cost, "{operator:?}");
        }
    }

    #[test]
    fn every_price_is_in_the_hash() {
        let before = Schedule::default();
        assert_eq!(before.hash(), Schedule::default().hash());
        let mut hashes = std::collections::BTreeSet::from([before.hash()]);
        for name in ["I32DivS", "F64Sqrt", "Nop", "MemoryGrow"] {
            let mut changed = before.clone();
            assert!(changed.set_operator(name, 9));
            assert!(hashes.insert(changed.hash()), "{name}");
        }
        assert!(!before.clone().set_operator("I32Divs", 9));
    }
}
