//! Cases about how much memory a guest gets.

use codec::Encode;
use slackwater_executor::HeapPages;
use slackwater_runtime_fixtures::cases::CASES_WASM;

use super::{
    case::{BUILD, Case, Fault, IMPORT, Special, Step},
    modules,
};

const MIB: u32 = 1 << 20;
const EXHAUSTED: Fault = Fault::HeapExhausted;

pub(crate) fn cases() -> Vec<Case> {
    [allocations(), growth()].concat()
}

fn fits(bytes: u32) -> Step {
    Step::gives("allocate", &bytes.encode(), &[])
}

fn does_not_fit(bytes: u32) -> Step {
    Step::faults("allocate", &bytes.encode(), EXHAUSTED)
}

fn allocations() -> Vec<Case> {
    vec![
        Case::new(
            "a heap comes to its end",
            &["should_trap_when_heap_exhausted"],
            CASES_WASM,
            &[does_not_fit(16 * MIB)],
        )
        .heap(HeapPages::Static { extra: 17 }),
        Case::new(
            "more than two gigabytes",
            &["allocate_two_gigabyte"],
            CASES_WASM,
            &[Step::gives(
                "allocate_two_gigabytes",
                &[0],
                &(205 * 10 * MIB).encode(),
            )],
        )
        .heap(HeapPages::Dynamic { maximum: None }),
        Case::new(
            "each call has the heap the state asks for then",
            &["different_heap_strategy_per_instance"],
            CASES_WASM,
            &[
                fits(MIB).with_pages(1_024),
                does_not_fit(MIB).with_pages(8),
                fits(MIB).with_pages(1_024),
            ],
        ),
        Case::new(
            "importing a block has twice the heap of building it",
            &["import_doubles_heap_strategy"],
            CASES_WASM,
            &[
                does_not_fit(3 * MIB).with_pages(32).within(BUILD),
                fits(3 * MIB).with_pages(32).within(IMPORT),
                does_not_fit(3 * MIB).with_pages(32).within(BUILD),
            ],
        )
        .heap(HeapPages::Static { extra: 32 }),
    ]
}

/// One page more: how large the memory was, or none.
fn growth() -> Vec<Case> {
    const IMPORTED: [&[&str]; 2] = [
        &["test_max_memory_pages_imported_memory_without_precompilation"],
        &["test_max_memory_pages_imported_memory_with_precompilation"],
    ];
    const EXPORTED: [&[&str]; 2] = [
        &["test_max_memory_pages_exported_memory_without_precompilation"],
        &["test_max_memory_pages_exported_memory_with_precompilation"],
    ];
    let up_to_ten = HeapPages::Dynamic { maximum: Some(10) };
    let any = HeapPages::Dynamic { maximum: None };
    let fixed = HeapPages::Static { extra: 10 };
    let rows = [
        (up_to_ten, 1, Some(1)),
        (up_to_ten, 9, Some(9)),
        (up_to_ten, 10, None),
        (any, 1, Some(1)),
        (any, 9, Some(9)),
        // Whatever limit the module states itself is none.
        (any, 10, Some(10)),
        (fixed, 1, None),
        (fixed, 9, None),
        (fixed, 10, None),
    ];
    let memories = [
        (true, Special::None, IMPORTED[0]),
        (true, Special::Precompiled, IMPORTED[1]),
        (false, Special::None, EXPORTED[0]),
        (false, Special::Precompiled, EXPORTED[1]),
    ];
    let case = |(imported, special, stands_for), (heap, initial, before): (_, _, Option<u32>)| {
        let name = if imported {
            "a memory that is imported grows as far as the heap allows"
        } else {
            "a memory that is exported grows as far as the heap allows"
        };
        let output = before.unwrap_or(u32::MAX).encode();
        let module = modules::growing((initial, 10), imported);
        let step = Step::gives("main", &[], &output);
        let case = Case::new(name, stands_for, &module, &[step]);
        case.heap(heap).special(special)
    };
    memories
        .into_iter()
        .flat_map(|memory| rows.map(|row| case(memory, row)))
        .collect()
}
