//! What a case is, and running it on every machine.
//!
//! Invariant: all that differs is reported, with the machine it differs on; what a case does not say of the state stays as
//! it was.

use std::path::PathBuf;

use slackwater_executor::{CallError, CodeExecutorError, HeapPages, Meter, TrapKind};
use sp_core::{
    Blake2Hasher,
    storage::Storage,
    traits::{CallContext, RuntimeCode, WrappedRuntimeCode},
};
use sp_state_machine::TestExternalities;

use super::machine::{self, Machine, Outcome};

/// A block is being built.
pub(crate) const BUILD: CallContext = CallContext::Onchain { import: false };
/// A block is being imported.
pub(crate) const IMPORT: CallContext = CallContext::Onchain { import: true };

/// Keys and values.
pub(crate) type Pairs = &'static [(&'static [u8], &'static [u8])];

/// Settings other than heaps and meters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// None.
    None,
    /// Floats that are no number have one pattern: our default, a setting of the reference.
    CanonicalNans,
    /// They have the pattern of the processor: the default of the reference, a setting of ours.
    NativeNans,
    /// The depth of calls is limited by the code alone.
    DepthByCode,
    /// Another executor has compiled the code before, and left it in a folder.
    Precompiled,
}

/// How executors are set for a case.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) heap: HeapPages,
    pub(crate) meters: &'static [Meter],
    pub(crate) special: Special,
    /// Where compiled code is kept.
    pub(crate) cache: Option<PathBuf>,
}

/// A fault, as either executor is to tell it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// An import nobody offers was called.
    MissingImport(&'static str),
    /// The guest panicked, and said this.
    Panic(&'static str),
    /// The guest executed `unreachable`.
    Unreachable,
    /// The allocator had no more memory to give.
    HeapExhausted,
    /// The output is not in the memory.
    Output,
    /// The native stack was full: for us no outcome, as it depends on the machine.
    NativeStack,
    /// Too deep by the code's own measure.
    Depth,
}

/// What a call is to give.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    Output(Vec<u8>),
    Fault(Fault),
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    entry: &'static str,
    input: Vec<u8>,
    context: CallContext,
    heap_pages: Option<u64>,
    times: u32,
    expected: Expected,
}

impl Step {
    /// A call with this output.
    pub(crate) fn gives(entry: &'static str, input: &[u8], output: &[u8]) -> Self {
        Self {
            entry,
            input: input.to_vec(),
            context: BUILD,
            heap_pages: None,
            times: 1,
            expected: Expected::Output(output.to_vec()),
        }
    }

    /// A call with this fault.
    pub(crate) fn faults(entry: &'static str, input: &[u8], fault: Fault) -> Self {
        Self {
            expected: Expected::Fault(fault),
            ..Self::gives(entry, input, &[])
        }
    }

    /// In another context.
    pub(crate) fn within(self, context: CallContext) -> Self {
        Self { context, ..self }
    }

    /// With a heap that the state asks for.
    pub(crate) fn with_pages(self, pages: u64) -> Self {
        Self {
            heap_pages: Some(pages),
            ..self
        }
    }

    /// Again and again.
    pub(crate) fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }
}

/// One case.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: &'static str,
    /// The tests of the reference it stands for.
    pub(crate) stands_for: &'static [&'static str],
    module: Vec<u8>,
    settings: Settings,
    before: Pairs,
    after: Pairs,
    steps: Vec<Step>,
}

impl Case {
    /// Calls into `module`, with default settings and nothing in the state.
    pub(crate) fn new(
        name: &'static str,
        stands_for: &'static [&'static str],
        module: &[u8],
        steps: &[Step],
    ) -> Self {
        Self {
            name,
            stands_for,
            module: module.to_vec(),
            settings: Settings::default(),
            before: &[],
            after: &[],
            steps: steps.to_vec(),
        }
    }

    /// With another heap.
    pub(crate) fn heap(mut self, heap: HeapPages) -> Self {
        self.settings.heap = heap;
        self
    }

    /// With a setting.
    pub(crate) fn special(mut self, special: Special) -> Self {
        self.settings.special = special;
        self
    }

    /// With some meters only.
    pub(crate) fn meters(mut self, meters: &'static [Meter]) -> Self {
        self.settings.meters = meters;
        self
    }

    /// With a state, and what is to come of it.
    pub(crate) fn state(mut self, before: Pairs, after: Pairs) -> Self {
        (self.before, self.after) = (before, after);
        self
    }

    /// What differs on this machine.
    fn complaints(&self, machine: &Machine) -> Vec<String> {
        let mut state = externalities(self.before);
        let mut complaints = Vec::new();
        for (number, step) in self.steps.iter().enumerate() {
            let place = format!("{}: call {number}, {}", self.name, step.entry);
            for _ in 0..step.times {
                let code = WrappedRuntimeCode(self.module.as_slice().into());
                let code = RuntimeCode {
                    heap_pages: step.heap_pages,
                    ..runtime_code(&self.module, &code)
                };
                let call = (step.entry, step.input.as_slice());
                let outcome = machine.call(&mut state.ext(), &code, call, step.context);
                if let Err(complaint) = step.check(&outcome) {
                    complaints.push(format!("{place}, {}: {complaint}", machine.name));
                    break;
                }
            }
        }
        if !state.eq(&mut externalities(self.after)) {
            complaints.push(format!(
                "{}, {}: the state differs",
                self.name, machine.name
            ));
        }
        complaints
    }
}

impl Step {
    fn check(&self, outcome: &Outcome) -> Result<(), String> {
        let right = match (&self.expected, outcome) {
            (Expected::Output(expected), Outcome::Output(found)) => expected == found,
            (Expected::Fault(fault), Outcome::Ours(error)) => is_ours(*fault, error, self.entry),
            (Expected::Fault(fault), Outcome::Reference(error)) => is_theirs(*fault, error),
            _ => false,
        };
        let expected = &self.expected;
        right
            .then_some(())
            .ok_or_else(|| format!("found {outcome:?}, expected {expected:?}"))
    }
}

/// Whether our error is that fault, and says where it was.
fn is_ours(fault: Fault, error: &CodeExecutorError, entry: &str) -> bool {
    let trap = match error {
        CodeExecutorError::Trapped { method, trap } if method == entry => trap,
        CodeExecutorError::Call { method, source } => {
            return method == entry
                && matches!(
                    (fault, source),
                    (Fault::NativeStack, CallError::NativeStack)
                );
        }
        _ => return false,
    };
    let backtrace = trap.backtrace.as_deref().unwrap_or_default();
    let function = format!("!{entry}");
    let named = backtrace.lines().any(|line| line.ends_with(&function));
    match fault {
        Fault::MissingImport(name) => {
            trap.kind == TrapKind::MissingHostFunction && trap.message.contains(name) && named
        }
        Fault::Panic(said) => trap.kind == TrapKind::Panic && trap.message == said && named,
        Fault::Unreachable => trap.kind == TrapKind::Unreachable && named,
        Fault::HeapExhausted => {
            let why = "Allocator ran out of space";
            trap.kind == TrapKind::HostFunction && trap.message.contains(why) && named
        }
        Fault::Output => trap.kind == TrapKind::OutputOutOfBounds,
        Fault::Depth => trap.kind == TrapKind::StackExhausted,
        Fault::NativeStack => false,
    }
}

/// Whether the reference's error is that fault.
fn is_theirs(fault: Fault, error: &sc_executor::error::Error) -> bool {
    use sc_executor::error::Error;
    let trapped = |with: &str| matches!(error, Error::AbortedDueToTrap(it) if it.message == with);
    match fault {
        Fault::MissingImport(name) => trapped(&format!("call to a missing function env:{name}")),
        Fault::Panic(said) => matches!(error, Error::AbortedDueToPanic(it) if it.message == said),
        Fault::Unreachable | Fault::Depth => {
            trapped("wasm trap: wasm `unreachable` instruction executed")
        }
        Fault::HeapExhausted => trapped(
            "host code panicked while being called by the runtime: Failed to allocate memory: \
             \"Allocator ran out of space\"",
        ),
        Fault::Output => matches!(error, Error::OutputExceedsBounds),
        Fault::NativeStack => trapped("wasm trap: call stack exhausted"),
    }
}

/// A state with these pairs.
pub(crate) fn externalities(pairs: Pairs) -> TestExternalities<Blake2Hasher> {
    let top = pairs
        .iter()
        .map(|(key, value)| (key.to_vec(), value.to_vec()))
        .collect();
    TestExternalities::new(Storage {
        top,
        ..Storage::default()
    })
}

/// Code as a client names it.
pub(crate) fn runtime_code<'code>(
    module: &[u8],
    fetcher: &'code WrappedRuntimeCode<'code>,
) -> RuntimeCode<'code> {
    RuntimeCode {
        code_fetcher: fetcher,
        heap_pages: None,
        hash: sp_crypto_hashing::blake2_256(module).to_vec(),
    }
}

/// Runs cases on all machines.
pub(crate) fn run(cases: &[Case]) {
    let on_machines = |case: &Case| -> Vec<String> {
        let (_folder, machines) = machine::all(&case.settings, &case.module);
        machines
            .iter()
            .flat_map(|machine| case.complaints(machine))
            .collect()
    };
    let complaints: Vec<_> = cases.iter().flat_map(on_machines).collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
