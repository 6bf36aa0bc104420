//! Versions of runtimes, in every encoding there has been.

use codec::Encode;
use sc_executor::RuntimeVersionOf;
use slackwater_executor::{CallContext, host_functions::StandardHostFunctions};
use slackwater_runtime_fixtures::cases::CASES_WASM;
use sp_core::traits::{ReadRuntimeVersion, WrappedRuntimeCode};
use sp_state_machine::BasicExternalities;
use sp_version::RuntimeVersion;

use super::{
    case::{Settings, runtime_code},
    machine::{ours, references},
    modules,
};

/// The identifier of the API whose version says how much of a runtime's version there is to read.
fn core() -> [u8; 8] {
    sp_crypto_hashing::blake2_64(b"Core")
}

/// The version of code by each executor, where it has one; with the executor's name.
fn versions(module: &[u8]) -> Vec<(String, Option<RuntimeVersion>)> {
    let code = WrappedRuntimeCode(module.into());
    let code = runtime_code(module, &code);
    let settings = Settings::default();
    let ours = ours::<StandardHostFunctions>(&settings).map(|(name, executor)| {
        let runtime = executor.runtime(&code, CallContext::Import).ok();
        (name, runtime.map(|runtime| runtime.version().clone()))
    });
    let theirs = references::<StandardHostFunctions>(&settings).map(|(name, executor)| {
        let mut ext = BasicExternalities::default();
        (name, executor.runtime_version(&mut ext, &code).ok())
    });
    ours.chain(theirs).collect()
}

/// How a runtime answered before there was a version of transactions.
fn old(core_version: u32) -> Vec<u8> {
    let numbers = [1_u32; 3];
    let apis = vec![(core(), core_version)];
    (("test", "test"), numbers, apis).encode()
}

fn new(core_version: u32) -> RuntimeVersion {
    RuntimeVersion {
        spec_name: "test".into(),
        impl_name: "test".into(),
        authoring_version: 1,
        spec_version: 1,
        impl_version: 1,
        apis: vec![(core(), core_version)].into(),
        transaction_version: 3,
        system_version: 4,
    }
}

/// What `Core_version` answers, and the versions of transactions and system read from it.
fn check(answer: &[u8], expected: Option<(u32, u8)>) {
    for (name, version) in versions(&modules::answering_version(answer)) {
        let found = version.map(|it| (it.transaction_version, it.system_version));
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn an_old_version_is_read_with_what_it_lacks() {
    check(&old(1), Some((1, 0)));
}

#[test]
fn an_old_version_that_claims_to_be_newer_is_none() {
    check(&old(3), None);
}

#[test]
fn a_new_version_is_read_as_far_as_its_core_api_says() {
    check(&new(3).encode(), Some((3, 0)));
    check(&new(4).encode(), Some((3, 4)));
}

#[test]
fn an_embedded_version_is_read_without_a_call() {
    let version = RuntimeVersion {
        spec_name: "replaced".into(),
        spec_version: 100,
        system_version: 1,
        ..new(4)
    };
    let module = sp_version::embed::embed_runtime_version(CASES_WASM, version.clone());
    let module = module.expect("a module");
    for (name, found) in versions(&module) {
        assert_eq!(found.as_ref(), Some(&version), "{name}");
    }
    // As those read it that are about to replace a runtime.
    let ours = ours::<StandardHostFunctions>(&Settings::default());
    for (name, executor) in ours {
        let mut ext = BasicExternalities::default();
        let read = executor.read_runtime_version(&module, &mut ext);
        assert_eq!(read, Ok(version.encode()), "{name}");
    }
}
