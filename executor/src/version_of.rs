//! What `sc-service`'s client asks of an executor beyond `sp-core`'s traits: `sc-executor`'s `RuntimeVersionOf`.
//!
//! Invariant: a runtime has the version that the Polkadot SDK's executor would read from it, and one that states none is
//! refused as there. Cost: the runtime is compiled, once, as for a call; one without sections that say its version is asked.

use sc_executor::{
    RuntimeVersion, RuntimeVersionOf,
    error::{Error, Result, WasmError},
};
use slackwater_host_functions::HostFunctions;
use sp_core::traits::RuntimeCode;
use sp_externalities::Externalities;

use crate::{CallContext, CodeExecutorError, SlackwaterExecutor};

impl<H: HostFunctions> RuntimeVersionOf for SlackwaterExecutor<H> {
    fn runtime_version(
        &self,
        _: &mut dyn Externalities,
        runtime_code: &RuntimeCode<'_>,
    ) -> Result<RuntimeVersion> {
        let runtime = self.runtime(runtime_code, CallContext::Offchain);
        let runtime = runtime.map_err(refusal)?;
        let version = runtime.version();
        if *version == Default::default() {
            return Err(Error::ApiError("Unknown version".into()));
        }
        // Field by field: the client's type may be that of the release before.
        Ok(RuntimeVersion {
            spec_name: version.spec_name.clone(),
            impl_name: version.impl_name.clone(),
            authoring_version: version.authoring_version,
            spec_version: version.spec_version,
            impl_version: version.impl_version,
            apis: version.apis.clone(),
            transaction_version: version.transaction_version,
            system_version: version.system_version,
        })
    }
}

/// Why there is no version, in the client's words.
fn refusal(error: CodeExecutorError) -> Error {
    match error {
        CodeExecutorError::NoCode => WasmError::CodeNotFound.into(),
        CodeExecutorError::Runtime(error) => WasmError::Instantiation(error.to_string()).into(),
        other => Error::ApiError(Box::new(other)),
    }
}
