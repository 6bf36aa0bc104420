//! Calls of the runtime on the state of a block, as `sc-service`'s `LocalCallExecutor` makes them.

use std::sync::Arc;

use sc_client_api::{Backend as _, TrieCacheContext};
use sc_client_db::Backend;
use sc_executor::{RuntimeVersionOf, WasmExecutor};
use sp_api::{
    ApiError, ApiRef, CallApiAt, CallApiAtParams, ConstructRuntimeApi, ProvideRuntimeApi,
};
use sp_core::{H256, traits::CallContext};
use sp_externalities::Extensions;
use sp_state_machine::{
    Ext, OverlayedChanges, StateMachine,
    backend::{BackendRuntimeCode, TryPendingCode},
};
use sp_version::RuntimeVersion;

use crate::api::{Block, RuntimeApi, RuntimeApiImpl};

/// What a runtime may import.
pub(crate) type HostFunctions = sp_io::SubstrateHostFunctions;

/// Executor and states, for calls.
pub(crate) struct Calls {
    pub(crate) backend: Arc<Backend<Block>>,
    pub(crate) executor: WasmExecutor<HostFunctions>,
}

/// Only what is called for a block fills the shared cache.
fn cache_context(context: CallContext) -> TrieCacheContext {
    match context {
        CallContext::Onchain { .. } => TrieCacheContext::Trusted,
        CallContext::Offchain => TrieCacheContext::Untrusted,
    }
}

fn pending_code(context: CallContext) -> TryPendingCode {
    match context {
        CallContext::Onchain { .. } => TryPendingCode::Yes,
        CallContext::Offchain => TryPendingCode::No,
    }
}

fn application(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ApiError {
    ApiError::Application(error.into())
}

impl CallApiAt<Block> for Calls {
    type StateBackend = <Backend<Block> as sc_client_api::Backend<Block>>::State;

    fn call_api_at(&self, params: CallApiAtParams<'_, Block>) -> Result<Vec<u8>, ApiError> {
        let context = params.call_context;
        let state = self
            .backend
            .state_at(params.at, cache_context(context))
            .map_err(application)?;
        let code = BackendRuntimeCode::new(&state, pending_code(context));
        let code = code.runtime_code().map_err(application)?;
        let mut overlay = params.overlayed_changes.borrow_mut();
        let mut extensions = params.extensions.borrow_mut();
        StateMachine::new(
            &state,
            &mut overlay,
            &self.executor,
            params.function,
            &params.arguments,
            &mut extensions,
            &code,
            context,
        )
        .set_parent_hash(params.at)
        .execute()
        .map_err(|error| application(error.to_string()))
    }

    fn runtime_version_at(
        &self,
        at: H256,
        context: CallContext,
    ) -> Result<RuntimeVersion, ApiError> {
        let state = self
            .backend
            .state_at(at, cache_context(context))
            .map_err(application)?;
        let code = BackendRuntimeCode::new(&state, pending_code(context));
        let code = code.runtime_code().map_err(application)?;
        let mut overlay = OverlayedChanges::default();
        let mut ext = Ext::new(&mut overlay, &state, None);
        self.executor
            .runtime_version(&mut ext, &code)
            .map_err(application)
    }

    fn state_at(&self, at: H256) -> Result<Self::StateBackend, ApiError> {
        self.backend
            .state_at(at, TrieCacheContext::Trusted)
            .map_err(application)
    }

    fn initialize_extensions(&self, _: H256, _: &mut Extensions) -> Result<(), ApiError> {
        Ok(())
    }
}

impl ProvideRuntimeApi<Block> for Calls {
    type Api = RuntimeApiImpl<Block, Self>;

    fn runtime_api(&self) -> ApiRef<'_, Self::Api> {
        RuntimeApi::construct_runtime_api(self)
    }
}
