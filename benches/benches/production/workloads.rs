//! The blocks that are asked about.

use slackwater_benches::calls::Calls;
use slackwater_runtime_fixtures::{ChainSpec, dir::real_fixtures_dir};
use sp_core::storage::Storage;

/// Accounts that send to one another.
const ACCOUNTS: u32 = 1_000;

/// Calls of the guest.
const CALLS: Calls = Calls {
    accounts: ACCOUNTS,
    contract: |sender| sender % 50,
};

/// What a block is full of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Signed transfers of the node template.
    Transfers,
    /// Calls of the guest.
    Calls,
}

/// A kind of block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) content: Content,
    /// How many transactions.
    pub(crate) count: usize,
    /// How many rounds.
    pub(crate) rounds: usize,
}

const ALL: [Workload; 5] = [
    Workload {
        content: Content::Transfers,
        count: 0,
        rounds: 30,
    },
    Workload {
        content: Content::Transfers,
        count: 1_000,
        rounds: 30,
    },
    Workload {
        content: Content::Transfers,
        count: 4_500,
        rounds: 15,
    },
    Workload {
        content: Content::Calls,
        count: 1_000,
        rounds: 30,
    },
    Workload {
        content: Content::Calls,
        count: 5_000,
        rounds: 15,
    },
];

/// Those that the environment asks for, all by default.
pub(crate) fn chosen() -> Vec<Workload> {
    let part = std::env::var("SLACKWATER_BENCH_BLOCKS").unwrap_or_default();
    let rounds = std::env::var("SLACKWATER_BENCH_ROUNDS").ok();
    let rounds = rounds.map(|text| text.parse().expect("a number of rounds"));
    let of = |mut workload: Workload| {
        workload.rounds = rounds.unwrap_or(workload.rounds);
        workload
    };
    let all = ALL.map(of).into_iter();
    all.filter(|workload| workload.name().contains(&part))
        .collect()
}

impl Workload {
    pub(crate) fn name(self) -> String {
        match (self.content, self.count) {
            (_, 0) => "empty".to_owned(),
            (Content::Transfers, count) => format!("transfers-{count}"),
            (Content::Calls, count) => format!("calls-{count}"),
        }
    }

    /// Senders that need funds before they can send.
    pub(crate) fn accounts(self) -> u32 {
        match self.content {
            Content::Transfers if self.count > 0 => ACCOUNTS,
            _ => 0,
        }
    }

    pub(crate) fn genesis(self) -> Storage {
        match self.content {
            Content::Transfers => {
                let folder = real_fixtures_dir().expect("the bench needs the real fixtures");
                let spec = folder.join("genesis/smoldot-substrate-node-template.json");
                ChainSpec::load(&spec).expect("the chain loads").genesis
            }
            Content::Calls => CALLS.genesis(),
        }
    }
}

/// Call number so-and-so of a chain: what contracts do, in turns.
pub(crate) fn call(number: u64) -> Vec<u8> {
    CALLS.mixed(number)
}
