//! Spans of the guest, as whoever traces on the host sees them.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use codec::{Decode, Encode};
use slackwater_executor::host_functions::{SlackwaterHostFunctions, StandardHostFunctions};
use slackwater_runtime_fixtures::cases::CASES_WASM;
use sp_core::traits::WrappedRuntimeCode;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use super::{
    case::{BUILD, Settings, externalities, runtime_code},
    machine::{Machine, Outcome, with_functions},
};

/// The name that the host gives to all spans that come from a guest.
const FROM_WASM: &str = "wasm_tracing";

/// What a span says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Said(BTreeMap<String, String>);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

/// Remembers the spans of guests: which are open, and which have been closed.
#[derive(Debug, Clone, Default)]
struct Tracer {
    next: Arc<AtomicU64>,
    open: Arc<Mutex<BTreeMap<u64, Said>>>,
    closed: Arc<Mutex<Vec<Said>>>,
}

impl Tracer {
    fn take_closed(&self) -> Vec<Said> {
        std::mem::take(&mut self.closed.lock().expect("whole"))
    }
}

impl Subscriber for Tracer {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        if span.metadata().name() == FROM_WASM {
            let mut said = Said::default();
            span.record(&mut said);
            self.open.lock().expect("whole").insert(id, said);
        }
        Id::from_u64(id)
    }

    fn exit(&self, span: &Id) {
        let said = self.open.lock().expect("whole").remove(&span.into_u64());
        self.closed.lock().expect("whole").extend(said);
    }

    fn enter(&self, _: &Id) {}

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}
}

/// A call, and what comes back.
fn called(machine: &Machine, entry: &str, input: &[u8]) -> Vec<u8> {
    let code = WrappedRuntimeCode(CASES_WASM.into());
    let code = runtime_code(CASES_WASM, &code);
    let mut state = externalities(&[]);
    match machine.call(&mut state.ext(), &code, (entry, input), BUILD) {
        Outcome::Output(output) => output,
        other => panic!("{}, {entry}: {other:?}", machine.name),
    }
}

/// The number of a span that is opened and closed; and which spans were closed then, and by two nested ones.
fn spans(machine: &Machine) -> (u64, Vec<Said>, Vec<Said>) {
    let tracer = Tracer::default();
    tracing::subscriber::with_default(tracer.clone(), || {
        let number = called(machine, "enter_span", &[]);
        let number = u64::decode(&mut number.as_slice()).expect("a number");
        assert!(tracer.take_closed().is_empty(), "{}", machine.name);
        called(machine, "exit_span", &number.encode());
        let one = tracer.take_closed();
        called(machine, "nest_spans", &[]);
        (number, one, tracer.take_closed())
    })
}

#[test]
fn a_guests_spans_are_opened_and_closed_where_the_host_shows_itself() {
    let machines =
        with_functions::<StandardHostFunctions, StandardHostFunctions>(&Settings::default());
    for machine in machines {
        let (number, one, two) = spans(&machine);
        assert_ne!(number, 0, "{}", machine.name);
        assert_eq!((one.len(), two.len()), (1, 2), "{}", machine.name);
        for Said(said) in one.iter().chain(&two) {
            assert_eq!(said["target"], "default", "{}", machine.name);
            assert_eq!(said["name"], "", "{}", machine.name);
        }
    }
}

/// On purpose: whether the host traces must change nothing that a guest does.
#[test]
fn by_default_the_guest_is_not_told_that_the_host_traces() {
    let machines =
        with_functions::<SlackwaterHostFunctions, StandardHostFunctions>(&Settings::default());
    let ours = machines
        .iter()
        .filter(|machine| machine.name.starts_with("ours"));
    for machine in ours {
        assert_eq!(spans(machine), (0, vec![], vec![]), "{}", machine.name);
    }
}
