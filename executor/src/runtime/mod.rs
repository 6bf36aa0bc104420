//! From runtime code to something that can be instantiated: unpacking, validation, versions,
//! compilation, binding of host functions. Knows wasm and the engine, neither state nor blocks.

mod blob;
mod compilation;
mod compile;
mod engine;
mod error;
mod heap;
mod own_memory;
mod profile;
mod template;
mod version;

pub(crate) use blob::blob_version;
pub use blob::{CODE_BYTES_MAX, ModuleFacts, RuntimeBlob, code_hash};
pub use compilation::{Compilation, Optimisation, Target};
pub use compile::Runtime;
pub(crate) use compile::{EntryPoint, ExportLookup, Form};
pub(crate) use engine::EngineConfig;
pub use engine::{Engine, EngineError};
pub use error::RuntimeError;
pub use heap::{CallContext, HeapPages};
pub use profile::GuestProfile;
pub use version::{ApiId, BLOCK_BUILDER_API, CORE_API};
