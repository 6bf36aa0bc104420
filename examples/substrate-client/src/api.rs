//! The interfaces of a runtime that client and block builder call.
//!
//! The macro wants a runtime that has them, so there is one. It is never executed: every call goes to the wasm code of
//! the state.

use sp_inherents::{CheckInherentsResult, InherentData};
use sp_runtime::{
    ApplyExtrinsicResult, ExtrinsicInclusionMode, OpaqueExtrinsic, generic,
    traits::{BlakeTwo256, Block as BlockT},
};
use sp_version::RuntimeVersion;

/// A header of a chain with blocks of 32 bits.
pub(crate) type Header = generic::Header<u32, BlakeTwo256>;
/// A block whose extrinsics are bytes.
pub(crate) type Block = generic::Block<Header, OpaqueExtrinsic>;

#[expect(dead_code, reason = "it only stands for one that has these interfaces")]
struct Runtime;

sp_api::impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            unreachable!("only wasm is executed")
        }

        fn execute_block(_: <Block as BlockT>::LazyBlock) {
            unreachable!("only wasm is executed")
        }

        fn initialize_block(_: &<Block as BlockT>::Header) -> ExtrinsicInclusionMode {
            unreachable!("only wasm is executed")
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(_: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            unreachable!("only wasm is executed")
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            unreachable!("only wasm is executed")
        }

        fn inherent_extrinsics(_: InherentData) -> Vec<<Block as BlockT>::Extrinsic> {
            unreachable!("only wasm is executed")
        }

        fn check_inherents(_: <Block as BlockT>::LazyBlock, _: InherentData) -> CheckInherentsResult {
            unreachable!("only wasm is executed")
        }
    }
}
