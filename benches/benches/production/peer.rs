//! Substrate's own path.

use slackwater_substrate_node::{Node, NodeConfig};
use sp_core::storage::{StateVersion, Storage};
use tempfile::TempDir;

use crate::{
    author::Given,
    cores::{Cores, Taken, timed_on},
    rounds::Question,
};

/// What it is, for reports.
pub(crate) const NAME: &str = "substrate-1";

/// Cores that it uses.
const CORES: usize = 1;

pub(crate) struct Peer {
    node: Node,
    _folder: TempDir,
}

impl Peer {
    pub(crate) fn new(genesis: &Storage, version: StateVersion) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = NodeConfig::default();
        let node = Node::new(folder.path(), genesis.clone(), version, config);
        Self {
            node: node.expect("a chain"),
            _folder: folder,
        }
    }

    /// Does what is asked, and has the block behind it.
    pub(crate) fn answer(&mut self, cores: &Cores, question: Question, given: &Given) -> Taken {
        let node = &mut self.node;
        if question == Question::Produce {
            let (built, taken) = timed_on(cores, CORES, || {
                node.build(&given.encoded_digest, &given.body)
            });
            let built = built.expect("a block");
            assert_eq!(built.header(), given.header, "the peer's block is another");
            node.commit(built).expect("commits");
            return taken;
        }
        let (done, taken) = timed_on(cores, CORES, || {
            let executed = node.execute(&given.header, &given.body)?;
            node.commit(executed)?;
            match question {
                Question::ImportFinal => node.finalize(),
                _ => Ok(()),
            }
        });
        done.expect("the block is valid");
        assert_eq!(
            node.head(),
            given.block.hash(),
            "the peer's block is another"
        );
        taken
    }
}
