//! The function sets. A node adds its own functions on top with [`ExtendedHostFunctions`]; where a
//! name occurs twice, the right-hand set wins.
//!
//! ```
//! use slackwater_host_functions::{ExtendedHostFunctions, SlackwaterHostFunctions};
//! # use sp_io::hashing::HostFunctions as NodeFunctions;
//! type NodeHostFunctions = ExtendedHostFunctions<SlackwaterHostFunctions, NodeFunctions>;
//! # fn takes<H: slackwater_host_functions::HostFunctions>() {}
//! # takes::<NodeHostFunctions>();
//! ```

use cumulus_primitives_proof_size_hostfunction::storage_proof_size;
use sp_wasm_interface::ExtendedHostFunctions;

use crate::{deterministic, frequent, fuel, verified};

/// What the Polkadot SDK offers to runtimes: `sp-io`'s 110 functions, and
/// `ext_storage_proof_size_storage_proof_size_version_1`, which most parachain runtimes built
/// since 2024 import. Without a `ProofSizeExt` in the externalities it answers `u64::MAX`.
pub type StandardHostFunctions = (
    sp_io::SubstrateHostFunctions,
    storage_proof_size::HostFunctions,
);

/// The default set: [`StandardHostFunctions`] with every function that would show the guest a
/// setting of this host replaced by its counterpart in [`deterministic`], those that verify signatures by
/// theirs in [`verified`], those that are called most by theirs in [`frequent`], and the one in [`mod@fuel`].
pub type SlackwaterHostFunctions = ExtendedHostFunctions<
    StandardHostFunctions,
    (
        deterministic::HostFunctions,
        frequent::HostFunctions,
        fuel::fuel::HostFunctions,
        verified::crypto::HostFunctions,
    ),
>;

#[cfg(test)]
mod tests {
    use super::*;
    use sp_wasm_interface::HostFunctions;
    use std::collections::BTreeSet;

    fn names<H: HostFunctions>() -> Vec<String> {
        H::host_functions()
            .iter()
            .map(|function| function.name().to_owned())
            .collect()
    }

    #[test]
    fn replacing_neither_adds_nor_removes_a_name() {
        let mut standard: BTreeSet<_> = names::<StandardHostFunctions>().into_iter().collect();
        assert!(standard.insert("ext_fuel_left_version_1".to_owned()));
        let ours: BTreeSet<_> = names::<SlackwaterHostFunctions>().into_iter().collect();
        assert_eq!(standard, ours);
        assert_eq!(
            ours.len(),
            names::<SlackwaterHostFunctions>().len(),
            "a name occurs twice"
        );
        assert_eq!(ours.len(), 112);
    }

    #[test]
    fn replaced_functions_keep_their_signature() {
        for replacement in deterministic::HostFunctions::host_functions() {
            let original = StandardHostFunctions::host_functions()
                .into_iter()
                .find(|function| function.name() == replacement.name())
                .unwrap_or_else(|| panic!("{} replaces nothing", replacement.name()));
            assert_eq!(
                original.signature(),
                replacement.signature(),
                "{}",
                original.name()
            );
        }
    }
}
