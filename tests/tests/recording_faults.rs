//! A verifier that cannot fail is worthless: faults of every kind, planted into records, blocks and states, are found on any
//! number of threads, and named down to the key.

use std::num::NonZeroUsize;

use slackwater_executor::{
    block::{Value, WriteDifference},
    recording::{
        BlockPart, Mismatch, RecordedBlock, Recorder, Recording, RecordingError, RecordingHead,
        Spliced, Verifier, VerifyError, Writes,
    },
};
use slackwater_runtime_fixtures::{BlockFixture, FixtureChain, guest};
use slackwater_tests::{Executor, executor, load_blocks, real_blocks};
use sp_core::H256;

/// A recorded chain.
struct Recorded {
    executor: Executor,
    chain: FixtureChain,
    head: RecordingHead,
    blocks: Vec<RecordedBlock>,
}

impl Recorded {
    fn new(fixture: &BlockFixture) -> Self {
        let executor = executor();
        let chain = FixtureChain::open(&executor, fixture).expect("a chain");
        let recording = chain.record(&executor, &fixture.name).expect("records");
        let Recording::Memory(head, blocks) = recording else {
            panic!("it is in memory");
        };
        Self {
            executor,
            chain,
            head,
            blocks,
        }
    }

    fn verify(&self, blocks: Vec<RecordedBlock>, threads: usize) -> Result<(), VerifyError> {
        self.verify_on(&self.chain, blocks, threads)
    }

    fn verify_on(
        &self,
        chain: &FixtureChain,
        blocks: Vec<RecordedBlock>,
        threads: usize,
    ) -> Result<(), VerifyError> {
        let recording = Recording::Memory(self.head.clone(), blocks);
        let threads = NonZeroUsize::new(threads).expect("some");
        let verifier = Verifier::new(&self.executor, &recording).with_threads(threads);
        let parent = chain.parent_state().expect("readable");
        verifier.verify(parent, chain.blocks(), &|_block| {})?;
        Ok(())
    }

    /// The mismatch, which is the same on any number of threads.
    fn mismatch(&self, blocks: &[RecordedBlock]) -> Mismatch {
        let found = [1, 2, 8].map(|threads| named(self.verify(blocks.to_vec(), threads)));
        for pair in found.windows(2) {
            assert_eq!(pair[0].to_string(), pair[1].to_string());
        }
        let [first, ..] = found;
        first
    }

    /// Plants a fault into the record of the block at `at`.
    fn plant(&self, at: usize, fault: impl FnOnce(&mut RecordedBlock)) -> Mismatch {
        let mut blocks = self.blocks.clone();
        fault(&mut blocks[at]);
        assert_ne!(blocks[at], self.blocks[at], "a fault was planted");
        let mismatch = self.mismatch(&blocks);
        assert_eq!(*mismatch.recorded, blocks[at], "{mismatch}");
        mismatch
    }

    /// Blocks into which faults are planted: at the beginning, in the middle, at the end.
    fn places(&self) -> [usize; 3] {
        let has_writes = |block: &RecordedBlock| {
            let calls = block.extrinsics.iter().map(|extrinsic| &extrinsic.call);
            calls.filter(|call| list(&call.writes).len() > 1).count() > 1
        };
        let all = self.blocks.iter().enumerate();
        let with: Vec<_> = all.filter(|(_, block)| has_writes(block)).collect();
        let place = |index: usize| with[index].0;
        [place(0), place(with.len() / 2), place(with.len() - 1)]
    }
}

fn named(verified: Result<(), VerifyError>) -> Mismatch {
    match verified {
        Ok(()) => panic!("the fault was not found"),
        Err(VerifyError::Mismatch(mismatch)) => *mismatch,
        Err(error) => panic!("not a mismatch: {error}"),
    }
}

fn list(writes: &Writes) -> &[(slackwater_executor::state::Place, Spliced)] {
    writes.list().expect("listed")
}

fn list_mut(writes: &mut Writes) -> &mut Vec<(slackwater_executor::state::Place, Spliced)> {
    match writes {
        Writes::Listed(writes) => writes,
        Writes::Digest(_) => panic!("listed"),
    }
}

/// The first blocks of the guest's chain, and a real chain if there is one.
fn chains() -> Vec<Recorded> {
    let mut guest = load_blocks(&guest::fixture_chain_path());
    guest.blocks.truncate(40);
    let real = real_blocks("westend-blocks-1-128").map(|mut fixture| {
        fixture.blocks.truncate(40);
        fixture
    });
    let chains = std::iter::once(guest).chain(real);
    chains.map(|fixture| Recorded::new(&fixture)).collect()
}

/// The last extrinsic of a block that writes something, and its position.
fn writer(block: &RecordedBlock) -> (usize, BlockPart) {
    let writes = |index: &usize| list(&block.extrinsics[*index].call.writes).len() > 1;
    let index = (0..block.extrinsics.len())
        .rev()
        .find(writes)
        .expect("one writes");
    (index, BlockPart::Extrinsic(index.try_into().expect("few")))
}

fn assert_found(mismatch: &Mismatch, block: &RecordedBlock, part: BlockPart, name: &str) {
    let found = (mismatch.block, mismatch.part, mismatch.difference.name());
    assert_eq!(found, (block.number, part, name), "{mismatch}");
}

fn key(mismatch: &Mismatch) -> &WriteDifference {
    mismatch.key.as_ref().expect("a key is named")
}

#[test]
fn what_is_right_passes() {
    for chain in chains() {
        for threads in [1, 2, 8] {
            chain
                .verify(chain.blocks.clone(), threads)
                .expect("as recorded");
        }
    }
}

#[test]
fn another_outcome_is_named() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, part) = writer(block);
            let mismatch = chain.plant(at, |block| {
                let outcome = &mut block.extrinsics[index].call.outcome;
                "dispatch_error".clone_into(&mut outcome.name);
                outcome.error = Some(vec![3, 1, 0, 0, 0, 0]);
            });
            assert_found(&mismatch, block, part, "outcome");
            assert!(
                mismatch.to_string().contains("0x030100000000"),
                "{mismatch}"
            );
            let mismatch = chain.plant(at, |block| {
                "trap".clone_into(&mut block.initialize.outcome.name);
            });
            assert_found(&mismatch, block, BlockPart::Initialize, "outcome");
        }
    }
}

#[test]
fn other_fuel_is_named() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, part) = writer(block);
            let mismatch = chain.plant(at, |block| {
                let fuel = block.extrinsics[index].call.fuel.as_mut().expect("counted");
                fuel.wasm += 1;
            });
            assert_found(&mismatch, block, part, "fuel");
            let mismatch = chain.plant(at, |block| {
                let call = block.finalize.as_mut().expect("it ended");
                call.fuel.as_mut().expect("counted").host -= 1;
            });
            assert_found(&mismatch, block, BlockPart::Finalize, "fuel");
        }
    }
}

#[test]
fn missing_fuel_and_a_missing_end_are_named() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, part) = writer(block);
            let mismatch = chain.plant(at, |block| block.extrinsics[index].call.fuel = None);
            assert_found(&mismatch, block, part, "fuel");
            let mismatch = chain.plant(at, |block| block.finalize = None);
            assert_found(&mismatch, block, BlockPart::Whole, "end");
        }
        // In every block: still the first is named.
        let ends = |block: &RecordedBlock| RecordedBlock {
            finalize: None,
            ..block.clone()
        };
        let blocks: Vec<_> = chain.blocks.iter().map(ends).collect();
        let mismatch = chain.mismatch(&blocks);
        assert_found(&mismatch, &chain.blocks[0], BlockPart::Whole, "end");
    }
}

/// Neither lists nor digests, or a block too few: no recorder writes that.
#[test]
fn what_no_recorder_writes_is_refused_on_any_number_of_threads() {
    let chain = &chains()[0];
    let refused = |blocks: &[RecordedBlock], index: usize| {
        for threads in [1, 2, 8] {
            match chain.verify(blocks.to_vec(), threads) {
                Err(VerifyError::Recording(RecordingError::Block { index: found, .. })) => {
                    assert_eq!(found, index, "{threads} threads");
                }
                other => panic!("{threads} threads: {other:?}"),
            }
        }
    };
    let mut mixed = chain.blocks.clone();
    let writes = &mut mixed[20].initialize.writes;
    *writes = Writes::Digest(writes.digest());
    refused(&mixed, 20);
    let mut missing = chain.blocks.clone();
    missing.remove(20);
    refused(&missing, 20);
    // What executing finds goes before it, wherever ranges begin.
    let at = 19;
    "trap".clone_into(&mut mixed[at].initialize.outcome.name);
    let mismatch = chain.mismatch(&mixed);
    assert_found(
        &mismatch,
        &chain.blocks[at],
        BlockPart::Initialize,
        "outcome",
    );
    let verified = chain.verify(Vec::new(), 2);
    assert!(matches!(verified, Err(VerifyError::Empty)), "{verified:?}");
}

#[test]
fn another_value_is_named_with_its_key() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, part) = writer(block);
            for position in [0, 1] {
                let ((child, key_planted), _) =
                    list(&block.extrinsics[index].call.writes)[position].clone();
                let mismatch = chain.plant(at, |block| {
                    let writes = list_mut(&mut block.extrinsics[index].call.writes);
                    writes[position].1 = Spliced::Whole(b"planted".to_vec());
                });
                assert_found(&mismatch, block, part, "writes");
                let key = key(&mismatch);
                assert_eq!((&key.child, &key.key), (&child, &key_planted), "{mismatch}");
                assert_eq!(key.expected, Value::Present(b"planted".to_vec()));
                assert_ne!(key.computed, key.expected);
                assert_ne!(key.computed, Value::Untouched);
            }
        }
    }
}

#[test]
fn a_missing_and_a_foreign_write_are_named() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, part) = writer(block);
            let ((child, missing), _) = list(&block.extrinsics[index].call.writes)[1].clone();
            let mismatch = chain.plant(at, |block| {
                list_mut(&mut block.extrinsics[index].call.writes).remove(1);
            });
            assert_found(&mismatch, block, part, "writes");
            let found = key(&mismatch);
            assert_eq!((&found.child, &found.key), (&child, &missing));
            assert_eq!(found.expected, Value::Untouched);
            assert_ne!(found.computed, Value::Untouched);
            // One that was never written.
            let foreign = (None, vec![0xff; 40]);
            let mismatch = chain.plant(at, |block| {
                let writes = list_mut(&mut block.extrinsics[index].call.writes);
                writes.push((foreign.clone(), Spliced::Whole(vec![1])));
            });
            assert_found(&mismatch, block, part, "writes");
            let found = key(&mismatch);
            assert_eq!((&found.child, &found.key), (&foreign.0, &foreign.1));
            assert_eq!(found.expected, Value::Present(vec![1]));
            assert_eq!(found.computed, Value::Untouched);
            // Of what is touched beside the calls.
            let mismatch = chain.plant(at, |block| {
                list_mut(&mut block.rest).push((foreign.clone(), Spliced::Removed));
            });
            assert_found(&mismatch, block, BlockPart::Whole, "writes");
            assert_eq!(key(&mismatch).key, foreign.1);
            assert_eq!(key(&mismatch).expected, Value::Deleted);
        }
    }
}

#[test]
fn another_order_is_named() {
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            let (index, _) = writer(block);
            let mismatch = chain.plant(at, |block| block.extrinsics.swap(0, index));
            assert_found(&mismatch, block, BlockPart::Extrinsic(0), "extrinsic");
            let now = format!("the recorded one is now number {index}");
            assert!(mismatch.to_string().contains(&now), "{mismatch}");
            let mismatch = chain.plant(at, |block| {
                block.extrinsics.pop();
            });
            assert_found(&mismatch, block, BlockPart::Whole, "extrinsics");
        }
    }
}

#[test]
fn another_root_code_version_or_block_is_named() {
    let wrong = H256::repeat_byte(0x77);
    for chain in chains() {
        for at in chain.places() {
            let block = &chain.blocks[at];
            type Fault = fn(&mut RecordedBlock);
            let faults: [(&str, Fault); 4] = [
                ("root", |block| block.state_root = H256::repeat_byte(0x77)),
                ("code", |block| block.code = H256::repeat_byte(0x77)),
                ("block", |block| block.hash = H256::repeat_byte(0x77)),
                ("state_version", |block| block.state_version ^= 1),
            ];
            for (name, fault) in faults {
                let mismatch = chain.plant(at, fault);
                assert_found(&mismatch, block, BlockPart::Whole, name);
                if name != "state_version" {
                    assert!(
                        mismatch.to_string().contains(&format!("{wrong:?}")),
                        "{mismatch}"
                    );
                }
            }
        }
        let mut recording = chain.head.clone();
        recording.parent.state_root = wrong;
        let recording = Recording::Memory(recording, chain.blocks.clone());
        let parent = chain.chain.parent_state().expect("readable");
        let verified = Verifier::new(&chain.executor, &recording).verify(
            parent,
            chain.chain.blocks(),
            &|_block| {},
        );
        let mismatch = named(verified.map(|_stat| ()));
        assert_found(&mismatch, &chain.blocks[0], BlockPart::Whole, "parent");
    }
}

#[test]
fn of_several_faults_the_first_is_named() {
    for chain in chains() {
        let [first, middle, last] = chain.places();
        let mut blocks = chain.blocks.clone();
        for at in [last, middle, first] {
            let (index, _) = writer(&blocks[at]);
            list_mut(&mut blocks[at].extrinsics[index].call.writes).remove(0);
        }
        for _ in 0..10 {
            let mismatch = chain.mismatch(&blocks);
            assert_eq!(mismatch.block, chain.blocks[first].number);
        }
    }
}

/// A fault of the machine's, not of the record's: the blocks, or the state before them, are others.
#[test]
fn blocks_that_are_not_the_recorded_ones_are_named() {
    let mut fixture = load_blocks(&guest::fixture_chain_path());
    fixture.blocks.truncate(20);
    let recorded = Recorded::new(&fixture);
    // The state before them is that of another block.
    let mut other = fixture.clone();
    other.blocks.truncate(1);
    let folder = tempfile::tempdir().expect("a folder");
    let database = slackwater_executor::Database::open(
        folder.path(),
        slackwater_executor::Durability::Buffered,
    );
    let database = database.expect("opens");
    let path = slackwater_executor::ExecutionPath::Split;
    slackwater_tests::replay_onto(&recorded.executor, &database, &other, path).expect("replays");
    let recording = Recording::Memory(recorded.head.clone(), recorded.blocks.clone());
    let verified = Verifier::new(&recorded.executor, &recording).verify(
        database.stack_at(1).expect("within reach"),
        recorded.chain.blocks(),
        &|_block| {},
    );
    let mismatch = named(verified.map(|_stat| ()));
    assert_found(&mismatch, &recorded.blocks[0], BlockPart::Whole, "parent");
    // Extrinsics of a block in another order.
    let at = recorded.places()[0];
    let mut swapped: Vec<_> = recorded.chain.blocks().to_vec();
    let last = swapped[at].extrinsics.len() - 1;
    swapped[at].extrinsics.swap(0, last);
    let recording = Recording::Memory(recorded.head.clone(), recorded.blocks.clone());
    let parent = recorded.chain.parent_state().expect("readable");
    let verifier = Verifier::new(&recorded.executor, &recording);
    let verified = verifier.verify(parent.clone(), &swapped[..], &|_block| {});
    let mismatch = named(verified.map(|_stat| ()));
    assert_found(
        &mismatch,
        &recorded.blocks[at],
        BlockPart::Extrinsic(0),
        "extrinsic",
    );
    // A block is missing.
    let missing = &recorded.chain.blocks()[..5];
    let verified = verifier.verify(parent, missing, &|_block| {});
    assert!(
        matches!(verified, Err(VerifyError::Source(_))),
        "{verified:?}"
    );
}

#[test]
fn digests_name_block_and_call() {
    for mut chain in chains() {
        chain.head.digest_only = true;
        let parent = chain.chain.parent_state().expect("readable");
        let mut recorder = Recorder::new(&chain.executor, parent, "digests".to_owned(), true);
        let blocks = chain.chain.blocks();
        let digests = blocks
            .iter()
            .map(|_| recorder.next(blocks).expect("records"));
        let digests: Vec<_> = digests.collect();
        for at in chain.places() {
            let (index, part) = writer(&chain.blocks[at]);
            let mut planted = digests.clone();
            planted[at].extrinsics[index].call.writes = Writes::Digest(H256::repeat_byte(1));
            let mismatch = chain.mismatch(&planted);
            assert_found(&mismatch, &chain.blocks[at], part, "writes");
            assert!(mismatch.key.is_none());
        }
        // Neither the one nor the other.
        chain.head.digest_only = false;
        let verified = chain.verify(digests, 1);
        assert!(
            matches!(verified, Err(VerifyError::Recording(_))),
            "{verified:?}"
        );
    }
}
