//! Substrate's own client, `sc_service::Client` with its `LocalCallExecutor`, over the executor of the Polkadot SDK and over
//! Slackwater's: the same chain is built and imported by either, and each imports what the others built.
//!
//! Invariant: the exit code is 0 only if every block has the same hash and state root everywhere, and every client answers
//! the same at the head.

mod api;
mod chain;
mod client;
mod contender;
mod error;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use sp_runtime::traits::Header as _;

use crate::{
    api::Block,
    chain::Chain,
    client::Answers,
    contender::{Authored, Contender, Imported, contenders},
    error::{Error, same_hash},
    report::{Report, Run, milliseconds},
};

/// Compares executors behind Substrate's client.
#[derive(Debug, Parser)]
struct Arguments {
    /// A raw chain spec; Paseo's in cargo's cache by default.
    #[arg(long)]
    spec: Option<PathBuf>,
    /// How many blocks.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    blocks: u32,
    /// Signed transfers in each block.
    #[arg(long, default_value_t = 20)]
    transfers: usize,
    /// JSON instead of a table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("substrate-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Error> {
    let chain = Chain::load(
        arguments.spec.as_deref(),
        arguments.blocks,
        arguments.transfers,
    )?;
    let report = compare(&chain)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        report.print_json(&mut out)
    } else {
        report.print(&mut out)
    }
}

/// Has every executor build the chain, and import what the others built.
fn compare(chain: &Chain) -> Result<Report, Error> {
    let contenders = contenders()?;
    let mut runs = Vec::new();
    let mut chains: Vec<(&Contender, Authored)> = Vec::new();
    for contender in &contenders {
        let authored = contender.author(chain)?;
        if let Some((other, expected)) = chains.first() {
            let (this, other) = (contender.name, other.name);
            same_blocks((this, &authored.blocks), (other, &expected.blocks))?;
            same_state((this, &authored.imported), (other, &expected.imported))?;
        }
        let building = Some(milliseconds(authored.building));
        runs.push(row(
            chain,
            [contender.name; 2],
            building,
            &authored.imported,
        ));
        chains.push((contender, authored));
    }
    for contender in &contenders {
        for (author, authored) in &chains {
            if author.name == contender.name {
                continue;
            }
            let imported = contender.import(chain, &authored.blocks)?;
            let expected = (author.name, &authored.imported);
            same_state((contender.name, &imported), expected)?;
            runs.push(row(chain, [contender.name, author.name], None, &imported));
        }
    }
    let (_, first) = chains.first().ok_or(Error::Machine {
        what: "executors",
        reason: "there is none".to_owned(),
    })?;
    let extrinsics = first.blocks.iter().map(|block| block.extrinsics.len());
    let answers = first.imported.answers.iter();
    Ok(Report {
        chain: chain.name.clone(),
        runtime: format!("{} {}", chain.runtime.0, chain.runtime.1),
        extrinsics: extrinsics.sum(),
        answers: answers
            .map(|(what, answer)| (*what, answer.as_ref().map(Vec::len)))
            .collect(),
        runs,
    })
}

fn row(
    chain: &Chain,
    [executor, author]: [&str; 2],
    building_ms: Option<f64>,
    imported: &Imported,
) -> Run {
    Run {
        executor: executor.to_owned(),
        built_by: author.to_owned(),
        blocks: chain.blocks,
        building_ms,
        importing_ms: milliseconds(imported.importing),
        head: format!("{:?}", imported.head),
    }
}

/// That two chains are one.
fn same_blocks(
    (this, found): (&str, &[Block]),
    (other, expected): (&str, &[Block]),
) -> Result<(), Error> {
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (&found.header, &expected.header);
        let number = found.number();
        let root = || format!("state root of block {number}");
        let roots = (*found.state_root(), *expected.state_root());
        same_hash(root, (this, roots.0), (other, roots.1))?;
        let hash = || format!("hash of block {number}");
        same_hash(hash, (this, found.hash()), (other, expected.hash()))?;
    }
    Ok(())
}

/// That two clients came to the same head, and answer the same there.
fn same_state(
    (this, found): (&str, &Imported),
    (other, expected): (&str, &Imported),
) -> Result<(), Error> {
    let head = || "hash of the best block".to_owned();
    same_hash(head, (this, found.head), (other, expected.head))?;
    same_answers((this, &found.answers), (other, &expected.answers))
}

fn same_answers(
    (this, found): (&str, &Answers),
    (other, expected): (&str, &Answers),
) -> Result<(), Error> {
    for (what, expected) in expected {
        let found = found.get(what).cloned().flatten();
        if found != *expected {
            return Err(Error::Difference {
                what: format!("answer of {what} at the best block"),
                this: this.to_owned(),
                other: other.to_owned(),
                found: shown(found.as_deref()),
                expected: shown(expected.as_deref()),
            });
        }
    }
    Ok(())
}

/// An answer, or the hash of a long one.
fn shown(answer: Option<&[u8]>) -> String {
    match answer {
        None => "none".to_owned(),
        Some(bytes) if bytes.len() <= 64 => format!("{bytes:02x?}"),
        Some(bytes) => {
            let hash = sp_core::H256(sp_crypto_hashing::blake2_256(bytes));
            format!("{} bytes with hash {hash:?}", bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp_core::H256;
    use sp_runtime::Digest;

    fn block(state_root: H256) -> Block {
        let zero = H256::zero();
        Block {
            header: api::Header::new(7, zero, state_root, zero, Digest::default()),
            extrinsics: Vec::new(),
        }
    }

    #[test]
    fn a_difference_is_named() {
        let [one, other] = [1, 2].map(|byte| [block(H256::repeat_byte(byte))]);
        same_blocks(("a", &one), ("b", &one)).expect("the same");
        let error = same_blocks(("a", &one), ("b", &other)).expect_err("another");
        let text = error.to_string();
        assert!(text.contains("state root of block 7: a has 0x01"), "{text}");

        let [one, other] = [1, 2].map(|byte| Answers::from([("call", Some(vec![byte]))]));
        same_answers(("a", &one), ("b", &one)).expect("the same");
        for found in [other, Answers::new()] {
            let error = same_answers(("a", &found), ("b", &one)).expect_err("another");
            assert!(error.to_string().contains("answer of call"), "{error}");
        }
    }
}
