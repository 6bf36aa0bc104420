//! The executors that are compared, each behind a client of its own.
//!
//! Invariant: they have the same settings, and the first two the same host functions, those of the client's release; the
//! third has Slackwater's own, which answer the same.

use std::time::Duration;

use sc_executor::{
    RuntimeVersionOf, WasmExecutionMethod, WasmExecutor, WasmtimeInstantiationStrategy,
};
use slackwater_executor::{SlackwaterExecutor, host_functions::SlackwaterHostFunctions};
use sp_core::{H256, traits::CodeExecutor};
use sp_io::SubstrateHostFunctions;
use sp_runtime::traits::Header as _;

use crate::{
    api::Block,
    chain::Chain,
    client::{Answers, Node},
    error::{Error, same_hash},
};

/// A chain that a client built, block by block, importing each before the next.
pub(crate) struct Authored {
    /// The blocks.
    pub(crate) blocks: Vec<Block>,
    /// Time all builds took.
    pub(crate) building: Duration,
    /// What importing them led to.
    pub(crate) imported: Imported,
}

/// What a client has after it imported a chain.
pub(crate) struct Imported {
    /// Time all imports took.
    pub(crate) importing: Duration,
    /// Its best block.
    pub(crate) head: H256,
    /// What it answers there.
    pub(crate) answers: Answers,
}

type Author = Box<dyn Fn(&Chain) -> Result<Authored, Error>>;
type Import = Box<dyn Fn(&Chain, &[Block]) -> Result<Imported, Error>>;

/// An executor.
pub(crate) struct Contender {
    /// Its name.
    pub(crate) name: &'static str,
    author: Author,
    import: Import,
}

/// All of them, the one that is right by definition first.
pub(crate) fn contenders() -> Result<Vec<Contender>, Error> {
    let reference = WasmExecutor::<SubstrateHostFunctions>::builder()
        .with_execution_method(WasmExecutionMethod::Compiled {
            instantiation_strategy: WasmtimeInstantiationStrategy::PoolingCopyOnWrite,
        })
        .with_allow_missing_host_functions(true)
        .build();
    let swapped = SlackwaterExecutor::<SubstrateHostFunctions>::builder()
        .with_allow_missing_host_functions(true)
        .build()?;
    let own = SlackwaterExecutor::<SlackwaterHostFunctions>::builder()
        .with_allow_missing_host_functions(true)
        .build()?;
    Ok(vec![
        Contender::new("sc-executor", reference),
        Contender::new("slackwater", swapped),
        Contender::new("slackwater, own functions", own),
    ])
}

impl Contender {
    fn new<E: CodeExecutor + RuntimeVersionOf>(name: &'static str, executor: E) -> Self {
        let importing = executor.clone();
        Self {
            name,
            author: Box::new(move |chain| author(name, &executor, chain)),
            import: Box::new(move |chain, blocks| import(name, &importing, chain, blocks)),
        }
    }

    /// Builds the chain.
    pub(crate) fn author(&self, chain: &Chain) -> Result<Authored, Error> {
        (self.author)(chain)
    }

    /// Imports the blocks of another into a client that has none.
    pub(crate) fn import(&self, chain: &Chain, blocks: &[Block]) -> Result<Imported, Error> {
        (self.import)(chain, blocks)
    }
}

/// A client with the genesis block of the chain.
fn begin<E: CodeExecutor + RuntimeVersionOf>(
    name: &'static str,
    executor: &E,
    chain: &Chain,
) -> Result<Node<E>, Error> {
    let node = Node::new(executor.clone(), chain)?;
    let what = || "genesis block".to_owned();
    let expected = ("slackwater's own path", chain.genesis_hash);
    same_hash(what, (name, node.best()), expected)?;
    Ok(node)
}

fn author<E: CodeExecutor + RuntimeVersionOf>(
    name: &'static str,
    executor: &E,
    chain: &Chain,
) -> Result<Authored, Error> {
    let node = begin(name, executor, chain)?;
    let (mut building, mut importing) = (Duration::ZERO, Duration::ZERO);
    let mut blocks = Vec::new();
    for _ in 0..chain.blocks {
        let (block, took) = node.build(chain)?;
        building += took;
        importing += node.import(&block)?;
        blocks.push(block);
    }
    let imported = end(&node, chain, importing)?;
    Ok(Authored {
        blocks,
        building,
        imported,
    })
}

fn import<E: CodeExecutor + RuntimeVersionOf>(
    name: &'static str,
    executor: &E,
    chain: &Chain,
    blocks: &[Block],
) -> Result<Imported, Error> {
    let node = begin(name, executor, chain)?;
    if let Some(first) = blocks.first() {
        let mut wrong = first.clone();
        wrong.header.set_state_root(H256::repeat_byte(1));
        if node.import(&wrong).is_ok() {
            return Err(Error::WrongTaken { executor: name });
        }
    }
    let mut importing = Duration::ZERO;
    for block in blocks {
        importing += node.import(block)?;
    }
    end(&node, chain, importing)
}

fn end<E: CodeExecutor + RuntimeVersionOf>(
    node: &Node<E>,
    chain: &Chain,
    importing: Duration,
) -> Result<Imported, Error> {
    Ok(Imported {
        importing,
        head: node.best(),
        answers: node.answers(&chain.sender)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sc_executor::error::{Error as ClientError, WasmError};
    use slackwater_runtime_fixtures::{ChainSpec, crate_file};
    use sp_core::{
        storage::well_known_keys::CODE, traits::RuntimeCode, traits::WrappedRuntimeCode,
    };
    use sp_state_machine::BasicExternalities;
    use sp_version::RuntimeVersion;

    fn version(
        executor: &impl RuntimeVersionOf,
        code: &RuntimeCode<'_>,
    ) -> Result<RuntimeVersion, ClientError> {
        executor.runtime_version(&mut BasicExternalities::default(), code)
    }

    fn executors() -> (
        WasmExecutor<SubstrateHostFunctions>,
        SlackwaterExecutor<SubstrateHostFunctions>,
    ) {
        let reference = WasmExecutor::builder().with_allow_missing_host_functions(true);
        let ours = SlackwaterExecutor::builder().with_allow_missing_host_functions(true);
        (reference.build(), ours.build().expect("an engine"))
    }

    #[test]
    fn versions_are_those_of_the_reference() {
        let (reference, ours) = executors();
        // Runtimes that say it in a section, and older ones that have to be called.
        for chain in ["kusama", "paseo", "polkadot", "rococo", "westend"] {
            let path = format!("chain-specs/{chain}.json");
            let Some(spec) = crate_file("polkadot-service", "31.0.0", &path) else {
                eprintln!("skipped: {chain}: run scripts/fetch-crate-fixtures.sh");
                continue;
            };
            let spec = ChainSpec::load(&spec).expect("a chain spec");
            let fetched = WrappedRuntimeCode(spec.genesis.top[CODE].as_slice().into());
            let code = RuntimeCode {
                code_fetcher: &fetched,
                heap_pages: None,
                hash: chain.as_bytes().to_vec(),
            };
            let expected = version(&reference, &code).expect("a version");
            assert_eq!(version(&ours, &code).expect("a version"), expected);
            assert!(!expected.apis.is_empty(), "{chain}");
        }
    }

    #[test]
    fn what_has_no_version_is_refused_as_by_the_reference() {
        let (reference, ours) = executors();
        let none = RuntimeCode::empty();
        let wasm = wat::parse_str(
            r#"(module (memory (export "memory") 17)
                (global (export "__heap_base") i32 (i32.const 1048576)))"#,
        );
        let fetched = WrappedRuntimeCode(wasm.expect("a module").into());
        let silent = RuntimeCode {
            code_fetcher: &fetched,
            heap_pages: None,
            hash: vec![1],
        };
        let [expected, found] = [&reference as &dyn RuntimeVersionOf, &ours].map(|executor| {
            let mut ext = BasicExternalities::default();
            let refused = executor.runtime_version(&mut ext, &none);
            let absent = WasmError::CodeNotFound.to_string();
            assert_eq!(refused.expect_err("no code").to_string(), absent);
            let refused = executor.runtime_version(&mut ext, &silent);
            refused.expect_err("no version").to_string()
        });
        assert_eq!(found, expected);
    }
}
