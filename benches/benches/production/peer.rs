//! Substrate's own path.

use slackwater_substrate_node::{Node, NodeConfig};
use sp_core::storage::{StateVersion, Storage};
use tempfile::TempDir;

use crate::{
    author::Given,
    cores::{Cores, Taken, timed_on},
    rounds::Question,
};

/// What it is, for reports, where its process has so many cores.
pub(crate) fn name(cores: usize) -> String {
    format!("substrate-{cores}")
}

pub(crate) struct Peer {
    pub(crate) cores: usize,
    node: Node,
    _folder: TempDir,
}

impl Peer {
    pub(crate) fn new(count: usize, genesis: &Storage, version: StateVersion) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = NodeConfig::default();
        let node = Node::new(folder.path(), genesis.clone(), version, config);
        Self {
            cores: count,
            node: node.expect("a chain"),
            _folder: folder,
        }
    }

    /// Does what is asked, and has the block behind it.
    pub(crate) fn answer(&mut self, cores: &Cores, question: Question, given: &Given) -> Taken {
        let (node, count) = (&mut self.node, self.cores);
        if question == Question::Produce {
            let (built, taken) = timed_on(cores, count, || {
                node.build(&given.encoded_digest, &given.body)
            });
            let built = built.expect("a block");
            assert_eq!(built.header(), given.header, "the peer's block is another");
            node.commit(built).expect("commits");
            return taken;
        }
        let body = given.body.clone();
        let (done, taken) = timed_on(cores, count, || {
            let executed = node.execute(&given.header, body)?;
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
