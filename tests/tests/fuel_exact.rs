//! Instrumented modules count what wasmtime's own fuel counts, to the unit, and compute the same.
//!
//! Judged on every module of the WebAssembly test suite within the profile `wide`: each is run
//! twice, as it is with `consume_fuel`, and instrumented without it.

use std::collections::BTreeMap;

use slackwater_executor::{
    GuestProfile,
    fuel::{Check, FUEL_MAX, HEADROOM_OFFSET, Instrumentation, START_EXPORT, instrument},
};
use slackwater_tests::{
    metered::{Outcome, empty, engine, meter, operators_fuel, set_word},
    wast_suite::wast_files,
};
use wasmtime::{
    Engine, Extern, Func, FuncType, Global, GlobalType, Instance, Memory, MemoryType, Module,
    Mutability, Ref, RefType, Store, Table, TableType, Val, ValType,
};
use wast::{
    Wast, WastArg, WastDirective, WastExecute, WastInvoke,
    core::WastArgCore,
    parser::{ParseBuffer, parse},
};

/// What the suite must give at least, so that a suite read in part is noticed.
const CALLS_MIN: usize = 40_000;
const MODULES_MIN: usize = 1_500;
/// More than any test uses.
const PLENTY: u64 = 1 << 50;

/// Runs modules one way.
struct Side {
    engine: Engine,
    store: Store<()>,
    /// Instances by name; the latest one under the empty name.
    instances: BTreeMap<String, Instance>,
    /// `None`: as they are, with the engine's own fuel.
    check: Option<Check>,
}

/// An outcome, and the fuel used.
type Run = (Outcome, u64);

impl Side {
    fn new(check: Option<Check>) -> Self {
        let engine = engine(check.is_some());
        let store = Store::new(&engine, ());
        Self {
            engine,
            store,
            instances: BTreeMap::new(),
            check,
        }
    }

    /// A new store, for a new file.
    fn reset(&mut self) {
        self.store = Store::new(&self.engine, ());
        self.instances.clear();
    }

    /// Instantiates a module. `None` if it cannot be linked here.
    fn instantiate(&mut self, name: Option<&str>, wasm: &[u8]) -> Option<Run> {
        self.instances.remove("");
        let instrumented;
        let wasm = match self.check {
            None => wasm,
            Some(check) => {
                instrumented = instrument(wasm, &Instrumentation::new(check)).expect("instruments");
                &instrumented.wasm
            }
        };
        let module = Module::new(&self.engine, wasm).unwrap_or_else(|error| panic!("{error:#}"));
        let imports = self.imports(&module)?;
        if self.check.is_none() {
            self.store.set_fuel(PLENTY).expect("fuel is on");
        }
        match Instance::new(&mut self.store, &module, &imports) {
            Ok(instance) => {
                if let Ok(start) = instance.get_typed_func::<(), ()>(&mut self.store, START_EXPORT)
                    && let Err(error) = start.call(&mut self.store, ())
                {
                    return Some((Outcome::trapped(&error), 0));
                }
                let used = self.used(&instance);
                self.instances.insert(String::new(), instance);
                if let Some(name) = name {
                    self.instances.insert(name.to_owned(), instance);
                }
                Some((Outcome::Returned(Vec::new()), used))
            }
            Err(error) => Some((Outcome::trapped(&error), 0)),
        }
    }

    fn imports(&mut self, module: &Module) -> Option<Vec<Extern>> {
        let imports = module.imports().map(|import| {
            let known = import.module() == "spectest";
            known
                .then(|| spectest(&mut self.store, import.name()))
                .flatten()
        });
        imports.collect()
    }

    /// Fuel used since the last call of [`Self::refill`].
    fn used(&mut self, instance: &Instance) -> u64 {
        if self.check.is_none() {
            return PLENTY - self.store.get_fuel().expect("fuel is on");
        }
        let meter = meter(&mut self.store, instance);
        operators_fuel(&self.store, meter)
    }

    fn refill(&mut self, instance: &Instance) {
        if self.check.is_none() {
            return self.store.set_fuel(PLENTY).expect("fuel is on");
        }
        let meter = meter(&mut self.store, instance);
        empty(&mut self.store, meter);
        set_word(&mut self.store, meter, HEADROOM_OFFSET, FUEL_MAX - PLENTY);
    }

    fn call(&mut self, name: &str, function: &str, arguments: &[Val]) -> Option<Run> {
        let instance = *self.instances.get(name)?;
        let function = instance.get_func(&mut self.store, function)?;
        self.refill(&instance);
        let mut results = vec![Val::I32(0); function.ty(&self.store).results().len()];
        let called = function.call(&mut self.store, arguments, &mut results);
        let outcome = Outcome::of(called, &results);
        Some((outcome, self.used(&instance)))
    }
}

fn spectest(store: &mut Store<()>, name: &str) -> Option<Extern> {
    let engine = store.engine().clone();
    let print = |store: &mut Store<()>, parameters: &[ValType]| -> Extern {
        let ty = FuncType::new(&engine, parameters.iter().cloned(), []);
        Func::new(store, ty, |_, _, _| Ok(())).into()
    };
    let global = |store: &mut Store<()>, ty, value| {
        let ty = GlobalType::new(ty, Mutability::Const);
        Some(Global::new(store, ty, value).expect("a global").into())
    };
    use ValType::{F32, F64, I32, I64};
    Some(match name {
        "print" => print(store, &[]),
        "print_i32" => print(store, &[I32]),
        "print_i64" => print(store, &[I64]),
        "print_f32" => print(store, &[F32]),
        "print_f64" => print(store, &[F64]),
        "print_i32_f32" => print(store, &[I32, F32]),
        "print_f64_f64" => print(store, &[F64, F64]),
        "global_i32" => return global(store, I32, Val::I32(666)),
        "global_i64" => return global(store, I64, Val::I64(666)),
        "global_f32" => return global(store, F32, Val::F32(666.6f32.to_bits())),
        "global_f64" => return global(store, F64, Val::F64(666.6f64.to_bits())),
        "table" => {
            let ty = TableType::new(RefType::FUNCREF, 10, Some(20));
            Table::new(store, ty, Ref::Func(None))
                .expect("a table")
                .into()
        }
        "memory" => {
            let memory = Memory::new(store, MemoryType::new(1, Some(2)));
            memory.expect("a memory").into()
        }
        _ => return None,
    })
}

fn values(arguments: &[WastArg<'_>]) -> Option<Vec<Val>> {
    let values = arguments.iter().map(|argument| {
        let WastArg::Core(argument) = argument else {
            return None;
        };
        Some(match argument {
            WastArgCore::I32(value) => Val::I32(*value),
            WastArgCore::I64(value) => Val::I64(*value),
            WastArgCore::F32(value) => Val::F32(value.bits),
            WastArgCore::F64(value) => Val::F64(value.bits),
            WastArgCore::V128(value) => Val::V128(u128::from_le_bytes(value.to_le_bytes()).into()),
            WastArgCore::RefNull(_) => Val::FuncRef(None),
            _ => return None,
        })
    });
    values.collect()
}

#[derive(Debug, Default)]
struct Tally {
    modules: usize,
    skipped_modules: usize,
    calls: usize,
    skipped_calls: usize,
    fuel: u64,
    traps: usize,
}

/// Runs one file both ways.
fn run_file(name: &str, text: &str, plain: &mut Side, metered: &mut Side, tally: &mut Tally) {
    let Ok(buffer) = ParseBuffer::new(text) else {
        return;
    };
    let Ok(wast) = parse::<Wast<'_>>(&buffer) else {
        return;
    };
    plain.reset();
    metered.reset();
    for directive in wast.directives {
        let line = directive.span().linecol_in(text).0 + 1;
        let place = format!("{name}:{line}");
        match directive {
            WastDirective::Module(mut module) => {
                let id = module.name().map(|id| id.name().to_owned());
                let Ok(wasm) = module.encode() else {
                    continue;
                };
                if GuestProfile::Wide.validate(&wasm).is_err() {
                    tally.skipped_modules += 1;
                    plain.instances.remove("");
                    metered.instances.remove("");
                    continue;
                }
                let one = plain.instantiate(id.as_deref(), &wasm);
                let two = metered.instantiate(id.as_deref(), &wasm);
                compare(&place, one, two, metered.check, tally);
                tally.modules += 1;
            }
            WastDirective::Invoke(invoke)
            | WastDirective::AssertExhaustion { call: invoke, .. }
            | WastDirective::AssertReturn {
                exec: WastExecute::Invoke(invoke),
                ..
            }
            | WastDirective::AssertTrap {
                exec: WastExecute::Invoke(invoke),
                ..
            } => call_both(&place, &invoke, plain, metered, tally),
            _ => {}
        }
    }
}

fn call_both(
    place: &str,
    invoke: &WastInvoke<'_>,
    plain: &mut Side,
    metered: &mut Side,
    tally: &mut Tally,
) {
    let Some(arguments) = values(&invoke.args) else {
        tally.skipped_calls += 1;
        return;
    };
    let instance = invoke.module.map_or("", |id| id.name());
    let one = plain.call(instance, invoke.name, &arguments);
    let two = metered.call(instance, invoke.name, &arguments);
    compare(place, one, two, metered.check, tally);
}

/// Both runs must end alike; if they return, they must have used the same fuel.
fn compare(
    place: &str,
    plain: Option<Run>,
    metered: Option<Run>,
    check: Option<Check>,
    tally: &mut Tally,
) {
    let ((one, fuel), (two, counted)) = match (plain, metered) {
        (Some(one), Some(two)) => (one, two),
        (None, None) => {
            tally.skipped_calls += 1;
            return;
        }
        (one, two) => panic!("{place}: {one:?} is not {two:?}"),
    };
    assert_eq!(one, two, "{place}");
    tally.calls += 1;
    match one {
        Outcome::Returned(_) => {
            assert_eq!(fuel, counted, "{place}: fuel, {check:?}");
            tally.fuel += fuel;
        }
        Outcome::Trapped(_) => tally.traps += 1,
    }
}

fn suite(check: Check) -> Option<Tally> {
    let (mut plain, mut metered) = (Side::new(None), Side::new(Some(check)));
    let mut tally = Tally::default();
    for (name, text) in wast_files()? {
        run_file(&name, &text, &mut plain, &mut metered, &mut tally);
    }
    Some(tally)
}

#[expect(clippy::print_stderr, reason = "what was skipped must be seen")]
fn check_suite(check: Check) {
    let Some(tally) = suite(check) else {
        return;
    };
    eprintln!("{check:?}: {tally:?}");
    assert!(tally.modules >= MODULES_MIN, "{tally:?}");
    assert!(tally.calls >= CALLS_MIN, "{tally:?}");
}

#[test]
fn the_suite_counts_and_computes_the_same() {
    check_suite(Check::None);
}

#[test]
fn the_suite_counts_and_computes_the_same_where_the_guest_compares() {
    check_suite(Check::Synchronous);
}
