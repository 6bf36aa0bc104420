//! The determinism matrix: all of it on our guest's chain, and a seeded slice of it on real chains. `SLACKWATER_MATRIX_SEED` takes
//! another slice and `SLACKWATER_MATRIX_CELLS` another number of cells; the whole is `make matrix`.

use slackwater_executor::{Meter, host_functions::SlackwaterHostFunctions, recording::Recording};
use slackwater_runtime_fixtures::{BlockFixture, FixtureChain, Matrix, MatrixError, guest};
use slackwater_substrate_path::signed::SignedChain;
use slackwater_tests::{REAL_BLOCKS, executor, load_blocks, real_blocks, runs, signed_chain};

const SEED: usize = 1;

fn check(matrix: &Matrix, fixture: &BlockFixture) {
    let mut passed = 0;
    matrix
        .check::<SlackwaterHostFunctions>(fixture, |_cell| passed += 1)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(passed, matrix.cells().len());
}

fn slice(matrix: Matrix, cells: usize) -> Matrix {
    let seed = runs("SLACKWATER_MATRIX_SEED", SEED);
    let cells = runs("SLACKWATER_MATRIX_CELLS", cells);
    matrix.slice(seed as u64, cells)
}

#[test]
fn slices_are_of_the_matrix_and_follow_from_the_seed() {
    let whole = Matrix::native();
    assert_eq!(whole.cells().len(), 2 * 3 * 3 * 3 * 3);
    let one = Matrix::native().slice(1, 7);
    assert_eq!(one.cells().len(), 7);
    assert!(one.cells().iter().all(|cell| whole.cells().contains(cell)));
    assert_eq!(one.cells(), Matrix::native().slice(1, 7).cells());
    assert_ne!(one.cells(), Matrix::native().slice(2, 7).cells());
    assert_eq!(Matrix::native().slice(1, 1_000).cells(), whole.cells());
}

/// The matrix can fail: what another run did is not what this one does.
#[test]
fn a_cell_that_differs_is_named() {
    let executor = executor();
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(8);
    let chain = FixtureChain::open(&executor, &fixture).expect("a chain");
    let Recording::Memory(head, mut blocks) = chain.record(&executor, "planted").expect("records")
    else {
        panic!("it is in memory");
    };
    let fuel = blocks[5].initialize.fuel.as_mut().expect("counted");
    fuel.wasm += 1;
    let planted = Recording::Memory(head, blocks);
    let mut passed = Vec::new();
    let checked =
        Matrix::native().check_recording::<SlackwaterHostFunctions>(&chain, &planted, |cell| {
            passed.push(*cell);
        });
    let error = checked.expect_err("it differs");
    // Where nobody counts, fuel is not compared.
    assert!(
        !passed.is_empty() && passed.iter().all(|cell| cell.meter == Meter::Off),
        "{passed:?}"
    );
    let MatrixError::Cell { cell, .. } = &error else {
        panic!("not a cell: {error}");
    };
    assert_ne!(cell.meter, Meter::Off);
    let message = error.to_string();
    for part in ["planted", "block 6, initialize", "fuel", "threads 1"] {
        assert!(message.contains(part), "{part} is not in: {message}");
    }
}

#[test]
fn our_guest_has_one_result_in_every_cell() {
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(48);
    check(&Matrix::native(), &fixture);
}

#[test]
fn our_guest_has_the_same_result_on_another_instruction_set() {
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(24);
    check(&slice(Matrix::interpreted(), 12), &fixture);
}

#[test]
fn real_blocks_have_one_result() {
    for name in REAL_BLOCKS {
        if let Some(mut fixture) = real_blocks(name) {
            fixture.blocks.truncate(32);
            check(&slice(Matrix::native(), 3), &fixture);
        }
    }
}

#[test]
fn signed_chains_have_one_result() {
    for chain in [SignedChain::NodeTemplate, SignedChain::Subtensor] {
        if let Some(mut fixture) = signed_chain(chain) {
            fixture.blocks.truncate(16);
            check(&slice(Matrix::native(), 2), &fixture);
        }
    }
}
