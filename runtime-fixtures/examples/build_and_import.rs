//! Builds a block on one database and imports it on another, as an author and a validator would.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use slackwater_executor::{
    Database, Durability, ExecutionPath, ExecutorConfig, WasmExecutor,
    block::{BlockBuilder, genesis_hash, import_block},
    host_functions::SlackwaterHostFunctions,
    state::Extensions,
};
use slackwater_runtime_fixtures::guest::{GuestCall, GuestExtrinsic, Sender, genesis};
use sp_core::storage::StateVersion;

const ALICE: [u8; 32] = [1; 32];
const BOB: [u8; 32] = [2; 32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default())?;
    let (author_folder, validator_folder) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let author = Database::open(author_folder.path(), Durability::Sync)?;
    let validator = Database::open(validator_folder.path(), Durability::Sync)?;
    for database in [&author, &validator] {
        let storage = genesis(&[(ALICE, 1_000_000)], &ALICE);
        let state = database.prepare_state(&storage, StateVersion::V1)?;
        let hash = genesis_hash(state.state_root());
        database.import_state(state, 0, hash)?;
    }

    let offered = [
        (
            "a transfer",
            GuestCall::Transfer {
                to: BOB,
                amount: 500,
            },
        ),
        (
            "more than there is",
            GuestCall::Transfer {
                to: BOB,
                amount: 5_000_000,
            },
        ),
        (
            "a panic",
            GuestCall::Panic {
                message: b"on purpose".to_vec(),
            },
        ),
    ];
    let view = author.view()?;
    let parent = *view.head();
    let mut builder = BlockBuilder::new(&executor, &view, &parent, Vec::new(), Extensions::new())?;
    for (nonce, (what, call)) in (0..).zip(offered) {
        let sender = Sender {
            who: ALICE,
            nonce,
            tip: 0,
        };
        let extrinsic = GuestExtrinsic::Trusted(sender, call).encoded();
        println!("{what}: {}", builder.push(&extrinsic)?.name());
    }
    let built = builder.finish()?;
    let (block, record) = (built.block.clone(), built.record());
    let head = author.commit(&parent, built.changes, &record)?;
    println!(
        "built block {} with {} extrinsics",
        head.number,
        block.extrinsics.len()
    );

    let imported = import_block(
        &executor,
        &validator,
        &block,
        ExecutionPath::Whole,
        None,
        &Extensions::new,
    )?;
    println!("imported it: state root {:?}", imported.head.state_root);
    if imported.head != head {
        return Err("author and validator disagree".into());
    }
    Ok(())
}
