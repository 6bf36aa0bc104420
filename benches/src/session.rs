//! Calls of one runtime on an empty storage, by this executor.
//!
//! Invariant: every setting but how instances come about is the default; a call that does not return panics.

use std::sync::Arc;

use slackwater_executor::{
    CallOutcome, ExecutorConfig, HeapPages, InstanceMode, Runtime, WasmExecutor,
    host_functions::SlackwaterHostFunctions,
};
use sp_state_machine::BasicExternalities;

/// A runtime that is called.
pub struct Session {
    executor: WasmExecutor<SlackwaterHostFunctions>,
    runtime: Arc<Runtime>,
    ext: BasicExternalities,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Session")
            .field("runtime", &self.runtime)
            .finish_non_exhaustive()
    }
}

/// An executor with the defaults, and instances that come about so.
///
/// # Panics
/// If this machine cannot run it.
#[must_use]
pub fn executor(mode: InstanceMode) -> WasmExecutor<SlackwaterHostFunctions> {
    let config = ExecutorConfig::default().with_instances(mode);
    WasmExecutor::new(config).expect("the engine")
}

impl Session {
    /// Compiles the runtime, in an executor of its own.
    ///
    /// # Panics
    /// If it cannot be loaded.
    #[must_use]
    pub fn new(mode: InstanceMode, code: &[u8]) -> Self {
        let executor = executor(mode);
        let runtime = executor.runtime(code).expect("loads");
        Self {
            executor,
            runtime,
            ext: BasicExternalities::default(),
        }
    }

    /// Calls it; its answer.
    ///
    /// # Panics
    /// If it does not return.
    pub fn call(&mut self, method: &str, input: &[u8]) -> Vec<u8> {
        let Self {
            executor,
            runtime,
            ext,
        } = self;
        let called = executor.call(runtime, ext, method, input, HeapPages::default());
        match called.expect("an outcome") {
            CallOutcome::Returned(output) => output,
            CallOutcome::Trapped(trap) => panic!("{method}: {trap}"),
        }
    }
}
