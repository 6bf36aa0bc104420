//! Calls into the runtime of one state, with everything a guest finds around it.
//!
//! Invariant: whatever kept this machine from answering a nested question, such as the version of
//! other code, is reported with the call that asked, and never becomes an answer the guest sees.

use std::sync::{Arc, Mutex, PoisonError};

use slackwater_host_functions::HostFunctions;
use sp_core::traits::{ReadRuntimeVersion, ReadRuntimeVersionExt};
use sp_externalities::{Extensions, Externalities};

use crate::{
    block::{ExecutionError, load_runtime},
    fuel::CallLimits,
    instance::Called,
    runtime::{CallContext, Runtime},
    state::{BlockLayers, BlockState},
    wasm_executor::{CallForm, VersionError, WasmExecutor},
};

/// A runtime ready to be called, each time in an instance of its own.
pub(crate) struct RuntimeCalls<H> {
    executor: WasmExecutor<H>,
    runtime: Arc<Runtime>,
    form: CallForm,
    nested_fault: NestedFault,
}

/// The first failure of a nested call that says nothing about the code it was about.
type NestedFault = Arc<Mutex<Option<ExecutionError>>>;

impl<H: HostFunctions> RuntimeCalls<H> {
    /// Loads the runtime that calls in `context` run on `state`, and adds to `extensions` what lets
    /// a guest read the version of other code.
    pub(crate) fn new<S: BlockState>(
        executor: &WasmExecutor<H>,
        state: &S,
        context: CallContext,
        extensions: &mut Extensions,
    ) -> Result<Self, ExecutionError> {
        let (runtime, heap) = load_runtime(executor, state, context)?;
        let nested_fault = NestedFault::default();
        extensions.register(ReadRuntimeVersionExt::new(VersionReader {
            executor: executor.clone(),
            fault: Arc::clone(&nested_fault),
        }));
        Ok(Self {
            executor: executor.clone(),
            runtime,
            form: CallForm {
                mode: executor.config().instances(context),
                heap,
                on_chain: context != CallContext::Offchain,
                told: true,
            },
            nested_fault,
        })
    }

    /// Calls of which metrics are told nothing, since others are made for the same purpose.
    pub(crate) fn untold(mut self) -> Self {
        self.form.told = false;
        self
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// One call in an instance of its own, with `layers` as its storage, within `limits`.
    pub(crate) fn call<S: BlockState>(
        &self,
        layers: &mut BlockLayers<'_, S>,
        method: &str,
        input: &[u8],
        limits: &CallLimits,
    ) -> Result<Called, ExecutionError> {
        let state = layers.meter();
        let called = layers.run(|ext| {
            self.executor.call_charged(
                &self.runtime,
                ext,
                (method, input),
                self.form,
                limits,
                Some(&state),
            )
        })?;
        if let Some(fault) = lock(&self.nested_fault).take() {
            return Err(fault);
        }
        called.map_err(|source| ExecutionError::Call {
            method: method.to_owned(),
            source,
        })
    }
}

fn lock(fault: &NestedFault) -> std::sync::MutexGuard<'_, Option<ExecutionError>> {
    fault.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads versions for a guest and keeps failures of this machine for the caller.
struct VersionReader<H> {
    executor: WasmExecutor<H>,
    fault: NestedFault,
}

impl<H: HostFunctions> ReadRuntimeVersion for VersionReader<H> {
    fn read_runtime_version(
        &self,
        wasm_code: &[u8],
        ext: &mut dyn Externalities,
    ) -> Result<Vec<u8>, String> {
        match self.executor.version_of(wasm_code, ext) {
            Ok(version) => Ok(version),
            Err(VersionError::Code(reason)) => Err(reason),
            Err(VersionError::Machine(error)) => {
                let reason = error.to_string();
                lock(&self.fault).get_or_insert(error);
                Err(reason)
            }
        }
    }
}
