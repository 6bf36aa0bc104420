//! What executing costs, as data: a versioned table with a hash.
//!
//! Every price has a name and is a whole number; [`Schedule::rows`] lists them, [`Schedule::set`]
//! changes one. Invariant: two schedules with the same hash charge every module alike. The default
//! prices WebAssembly's operators as wasmtime 36 does, so that its own fuel is an oracle for ours: an
//! operator costs 1, those that compile to nothing cost 0, and every invocation of a function costs
//! 1 beside them.

use std::collections::BTreeMap;

use blake2b_simd::Params;
use sp_core::H256;
use wasmparser::Operator;

use super::{
    body::FRAME_CONSTANTS,
    host_prices::{self, HostPrice},
    state_prices::{StateCost, StatePrices},
};

/// Number of the format of [`Schedule`], and of the rules by which its prices are charged and published; part of
/// its hash.
pub const SCHEDULE_VERSION: u32 = 5;

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
        pub(crate) fn proposal(operator: &Operator<'_>) -> &'static str {
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

/// Every cycle of calls or loops goes through one of these, so that its counter changes at each turn.
const NEVER_FREE: [&str; 4] = [
    "function",
    "operator Br",
    "operator BrIf",
    "operator BrTable",
];

/// A price per unit: so much for each of so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnitPrice {
    /// Fuel for 2^`shift` units. At most 65,535, so that no count of units makes a counter wrap.
    pub fuel: u16,
    /// Binary logarithm of the units that are paid for together.
    pub shift: u8,
}

/// Bytes are paid for by 64.
pub(super) const BYTES_SHIFT: u8 = 6;

impl UnitPrice {
    /// Fuel for each 64 bytes.
    pub(super) fn of_bytes(fuel: u16) -> Self {
        let shift = BYTES_SHIFT;
        Self { fuel, shift }
    }

    fn of_each(fuel: u16) -> Self {
        Self { fuel, shift: 0 }
    }
}

/// The prices of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SizePrices {
    /// Each 64 bytes of `memory.copy`, `memory.fill` and `memory.init`.
    bytes: u16,
    /// Each element of `table.copy`, `table.fill`, `table.init` and `table.grow`.
    element: u16,
    /// Each page of `memory.grow`.
    page: u16,
}

/// The price of everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Fuel for invoking a function, beside its operators.
    function: u16,
    /// Fuel for each operator, by its number.
    operators: Vec<u16>,
    sizes: SizePrices,
    state: StatePrices,
    /// Prices of host functions that depart from the default ones.
    host: BTreeMap<String, HostPrice>,
}

/// There is no price of this name, or it cannot be so high.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetPriceError {
    /// No such name.
    #[error("there is no price `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Nothing may go on for ever without costing anything.
    #[error("the price `{name}` is at least 1: loops and recursion go through it")]
    Free {
        /// The name.
        name: String,
    },
    /// Too high.
    #[error("the price `{name}` is at most {max}")]
    TooHigh {
        /// The name.
        name: String,
        /// The most it can be.
        max: u32,
    },
}

impl Default for Schedule {
    fn default() -> Self {
        let cost = |name: &&str| u16::from(!FREE.contains(name));
        Self {
            function: 1,
            operators: OPERATORS.iter().map(cost).collect(),
            sizes: SizePrices {
                bytes: 64,
                element: 250,
                page: 40_000,
            },
            state: StatePrices::default(),
            host: BTreeMap::new(),
        }
    }
}

impl Schedule {
    /// Fuel for invoking a function, beside its operators.
    pub fn function(&self) -> u32 {
        self.function.into()
    }

    /// Fuel for executing an operator once, whatever its sizes; one that this version does not know
    /// costs 1.
    pub fn operator(&self, operator: &Operator<'_>) -> u32 {
        let number = number(operator).map(|number| number as usize);
        let cost = number.and_then(|number| self.operators.get(number));
        cost.copied().unwrap_or(1).into()
    }

    /// What each unit of an operator's topmost operand costs, for those that have a size.
    pub fn size(&self, operator: &Operator<'_>) -> Option<UnitPrice> {
        let SizePrices {
            bytes,
            element,
            page,
        } = self.sizes;
        match operator {
            Operator::MemoryCopy { .. }
            | Operator::MemoryFill { .. }
            | Operator::MemoryInit { .. } => Some(UnitPrice::of_bytes(bytes)),
            Operator::TableCopy { .. }
            | Operator::TableFill { .. }
            | Operator::TableInit { .. }
            | Operator::TableGrow { .. } => Some(UnitPrice::of_each(element)),
            Operator::MemoryGrow { .. } => Some(UnitPrice::of_each(page)),
            _ => None,
        }
    }

    /// What a host function costs, by its name.
    pub fn host(&self, name: &str) -> HostPrice {
        let set = self.host.get(name).copied();
        set.unwrap_or_else(|| host_prices::of(name))
    }

    /// The least that changing a key costs, be it one of many that are removed together, or that of a
    /// child trie.
    pub fn write(&self) -> u32 {
        let writers = host_prices::WRITERS.iter();
        let removed = [StateCost::Walked, StateCost::Removed].map(|cost| self.state.of(cost));
        let together = [
            removed
                .iter()
                .fold(0_u32, |sum, cost| sum.saturating_add(*cost)),
            self.state.of(StateCost::Child),
        ];
        let writers = writers.map(|name| self.host(name).base);
        writers.chain(together).min().unwrap_or(0)
    }

    /// What the work of host functions on the state costs.
    pub fn state(&self) -> StatePrices {
        self.state
    }

    /// Every price with its name. Host functions are named as they were set; what all others cost by
    /// default belongs to [`SCHEDULE_VERSION`].
    pub fn rows(&self) -> Vec<(String, u32)> {
        let mut rows = vec![("function".to_owned(), u32::from(self.function))];
        let operators = OPERATORS.iter().zip(&self.operators);
        rows.extend(operators.map(|(name, cost)| (format!("operator {name}"), u32::from(*cost))));
        let SizePrices {
            bytes,
            element,
            page,
        } = self.sizes;
        rows.extend([
            ("size 64 bytes".to_owned(), u32::from(bytes)),
            ("size element".to_owned(), u32::from(element)),
            ("size page".to_owned(), u32::from(page)),
        ]);
        let state = StateCost::ALL.map(|cost| (cost.name().to_owned(), self.state.of(cost)));
        rows.extend(state);
        for (name, price) in &self.host {
            rows.extend([
                (format!("host {name} call"), price.base),
                (format!("host {name} passed"), u32::from(price.passed)),
                (format!("host {name} returned"), u32::from(price.returned)),
            ]);
        }
        rows
    }

    /// Sets a price by the name [`Self::rows`] gives it. A host function's three are named
    /// `host NAME call`, `host NAME passed` and `host NAME returned`, whether they are listed or not.
    ///
    /// # Errors
    /// [`SetPriceError`]; nothing is changed then.
    pub fn set(&mut self, name: &str, fuel: u32) -> Result<(), SetPriceError> {
        let small = || {
            u16::try_from(fuel).map_err(|_too_high| SetPriceError::TooHigh {
                name: name.to_owned(),
                max: u16::MAX.into(),
            })
        };
        let unknown = || SetPriceError::Unknown {
            name: name.to_owned(),
        };
        if fuel == 0 && NEVER_FREE.contains(&name) {
            let name = name.to_owned();
            return Err(SetPriceError::Free { name });
        }
        let words: Vec<_> = name.split(' ').collect();
        match words.as_slice() {
            ["function"] => self.function = small()?,
            ["operator", operator] => {
                let number = OPERATORS.iter().position(|known| known == operator);
                let place = number.and_then(|number| self.operators.get_mut(number));
                *place.ok_or_else(unknown)? = small()?;
            }
            ["size", "64", "bytes"] => self.sizes.bytes = small()?,
            ["size", "element"] => self.sizes.element = small()?,
            ["size", "page"] => self.sizes.page = small()?,
            ["state", _] => *self.state.named(name).ok_or_else(unknown)? = fuel,
            ["host", function, part] => {
                let mut price = self.host(function);
                match *part {
                    "call" => price.base = fuel,
                    "passed" => price.passed = small()?,
                    "returned" => price.returned = small()?,
                    _ => return Err(unknown()),
                }
                self.host.insert((*function).to_owned(), price);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }

    /// BLAKE2b-256 of the version, of every price behind its name, those of host functions by default
    /// among them, and of what frames are estimated by.
    pub fn hash(&self) -> H256 {
        let mut state = Params::new().hash_length(32).to_state();
        state.update(&SCHEDULE_VERSION.to_le_bytes());
        for (name, cost) in self.rows() {
            state.update(name.as_bytes());
            state.update(&[0]);
            state.update(&cost.to_le_bytes());
        }
        host_prices::feed(|bytes| {
            state.update(bytes);
        });
        for constant in FRAME_CONSTANTS {
            state.update(&constant.to_le_bytes());
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
    fn every_price_is_in_the_hash_and_can_be_set() {
        let before = Schedule::default();
        assert_eq!(before.hash(), Schedule::default().hash());
        let mut hashes = std::collections::BTreeSet::from([before.hash()]);
        let host = ["call", "passed", "returned"].map(|part| format!("host ext_f {part}"));
        let names = before.rows().into_iter().map(|(name, _)| name).chain(host);
        for name in names {
            let mut changed = before.clone();
            changed.set(&name, 9).expect("it is a price");
            let listed = changed.rows().into_iter().find(|(row, _)| *row == name);
            assert_eq!(listed, Some((name.clone(), 9)));
            assert!(hashes.insert(changed.hash()), "{name}");
        }
        let mut changed = before.clone();
        for name in [
            "",
            "operator I32Divs",
            "size",
            "host ext_f",
            "host ext_f fee",
        ] {
            let name = name.to_owned();
            assert_eq!(changed.set(&name, 9), Err(SetPriceError::Unknown { name }));
        }
        for name in NEVER_FREE {
            let free = SetPriceError::Free {
                name: name.to_owned(),
            };
            assert_eq!(changed.set(name, 0), Err(free));
        }
        assert!(matches!(
            changed.set("size page", 65_536),
            Err(SetPriceError::TooHigh { max: 65_535, .. })
        ));
        assert_eq!(changed, before);
    }
}
