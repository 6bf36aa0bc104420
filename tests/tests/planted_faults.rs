//! A replay that cannot fail is worthless: faults planted into fixtures must be found, and named.

use slackwater_executor::{
    ExecutionPath,
    block::{Cause, Divergence, Step, Value},
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureReplayError, guest};
use slackwater_tests::{PATHS, executor, load_blocks, real_blocks, replay};
use sp_core::storage::well_known_keys::CODE;

/// The first blocks of the guest's chain, and a real chain if there is one.
fn chains() -> Vec<BlockFixture> {
    let mut guest = load_blocks(&guest::fixture_chain_path());
    guest.blocks.truncate(8);
    let real = real_blocks("westend-blocks-1-128").map(|mut fixture| {
        fixture.blocks.truncate(8);
        fixture
    });
    std::iter::once(guest).chain(real).collect()
}

fn diverges(fixture: &BlockFixture, path: ExecutionPath) -> Box<Divergence> {
    match replay(&executor(), fixture, path) {
        Ok(_) => panic!("{}: the fault was not found", fixture.name),
        Err(FixtureReplayError::Import(slackwater_executor::block::ImportError::Replay(
            slackwater_executor::block::ReplayError::Diverged(divergence),
        ))) => divergence,
        Err(error) => panic!("{}: not a divergence: {error}", fixture.name),
    }
}

#[test]
fn a_flipped_byte_in_an_expected_write_names_block_and_key() {
    for chain in chains() {
        for (path, _) in PATHS {
            for at in [0, 3, 7] {
                let mut planted = chain.clone();
                let block = &mut planted.blocks[at];
                let writes = block.expected_writes.as_mut().expect("present");
                // One that the block changes, so that both paths compare it.
                let write = writes
                    .iter_mut()
                    .find(|write| {
                        let before = chain.state.top.get(&write.key);
                        write.child.is_none() && write.value.is_some() && before.is_none()
                    })
                    .expect("a block writes a new key");
                let (key, value) = (write.key.clone(), write.value.as_mut().expect("some"));
                value[0] ^= 1;
                let (number, flipped) = (block.number, write.value.clone().expect("some"));
                let found = diverges(&planted, path);
                assert_eq!((found.block, found.step), (number, Step::Writes), "{found}");
                let difference = found.write.as_ref().expect("a key is named");
                assert_eq!(
                    (&difference.child, &difference.key),
                    (&None, &key),
                    "{found}"
                );
                assert_eq!(difference.expected, Value::Present(flipped));
                assert!(matches!(&difference.computed, Value::Present(_)), "{found}");
            }
        }
    }
}

#[test]
fn a_missing_or_extra_expected_write_is_named() {
    for chain in chains() {
        let mut planted = chain.clone();
        let writes = planted.blocks[2].expected_writes.as_mut().expect("present");
        let removed = writes.remove(writes.len() / 2);
        let found = diverges(&planted, ExecutionPath::Whole);
        let difference = found.write.as_ref().expect("a key is named");
        assert_eq!((found.block, &difference.key), (3, &removed.key), "{found}");
        assert_eq!(difference.expected, Value::Untouched);

        let mut planted = chain.clone();
        let writes = planted.blocks[2].expected_writes.as_mut().expect("present");
        let mut extra = writes[0].clone();
        extra.key = b"nobody writes this".to_vec();
        extra.value = Some(vec![1]);
        writes.push(extra);
        for (path, _) in PATHS {
            let found = diverges(&planted, path);
            let difference = found.write.as_ref().expect("a key is named");
            assert_eq!(difference.key, b"nobody writes this");
            assert_eq!(difference.computed, Value::Untouched);
        }
    }
}

#[test]
fn a_flipped_byte_in_the_parent_state_names_the_first_block() {
    for chain in chains() {
        let keys: Vec<_> = chain.state.top.keys().cloned().collect();
        for key in keys.iter().step_by(7).chain([&CODE.to_vec()]) {
            let mut planted = chain.clone();
            let value = planted.state.top.get_mut(key).expect("present");
            if value.is_empty() {
                continue;
            }
            let at = value.len() / 2;
            value[at] ^= 0x10;
            let found = diverges(&planted, ExecutionPath::Split);
            assert_eq!((found.block, found.step), (1, Step::ParentState), "{found}");
        }
    }
}

/// A fixture that begins later does not show whether its state is right, unless it states the root.
#[test]
fn a_flipped_byte_in_a_later_parent_state_names_the_first_divergent_block() {
    for chain in chains() {
        let mut later = chain.clone();
        let first = later.blocks.remove(0);
        for write in first.expected_writes.as_ref().expect("present") {
            assert!(write.child.is_none(), "this test knows top tries only");
            match &write.value {
                Some(value) => later.state.top.insert(write.key.clone(), value.clone()),
                None => later.state.top.remove(&write.key),
            };
        }
        later.parent_state_root = None;
        replay(&executor(), &later, ExecutionPath::Split).expect("it replays unharmed");

        let mut keys = later.state.top.keys();
        let key = keys.find(|key| *key != CODE).expect("a key").clone();
        later.state.top.get_mut(&key).expect("present").push(0);
        for (path, _) in PATHS {
            let found = diverges(&later, path);
            assert_eq!(found.block, 2, "{found}");
            let computed = found.computed_root().expect("a root");
            assert_ne!(computed.0, later.blocks[0].state_root);
        }
        later.parent_state_root = Some(first.state_root);
        let found = diverges(&later, ExecutionPath::Split);
        assert_eq!((found.block, found.step), (2, Step::ParentState), "{found}");
        assert!(matches!(found.cause, Cause::StateRoot { .. }), "{found}");
    }
}

#[test]
fn a_changed_body_or_header_is_found() {
    for chain in chains() {
        let mut planted = chain.clone();
        planted.blocks[4].body.pop();
        for (path, _) in PATHS {
            let found = diverges(&planted, path);
            assert_eq!(found.block, 5, "{found}");
        }
        let mut planted = chain.clone();
        let body = &mut planted.blocks[4].body;
        body.swap(0, 1);
        assert_eq!(diverges(&planted, ExecutionPath::Split).block, 5);

        let mut planted = chain.clone();
        planted.blocks[5].state_root[0] ^= 1;
        let found = diverges(&planted, ExecutionPath::Split);
        assert_eq!((found.block, found.step), (6, Step::Header), "{found}");
    }
}
