//! From runtime code to something that can be instantiated: unpacking, validation, versions,
//! compilation, binding of host functions. Knows wasm and the engine, neither state nor blocks.

mod artifact;
mod blob;
mod code;
mod compilation;
mod compile;
mod engine;
mod error;
mod form;
mod heap;
mod own_memory;
mod prepare;
mod profile;
mod runtime_cache;
mod template;
mod version;

pub(crate) use blob::blob_version;
pub use blob::{CODE_BYTES_MAX, ModuleFacts, RuntimeBlob, code_hash};
pub(crate) use code::Code;
pub use compilation::{Compilation, Optimisation, Target};
pub use compile::Runtime;
pub(crate) use engine::EngineConfig;
pub use engine::{Engine, EngineError};
pub use error::RuntimeError;
pub(crate) use form::{EntryPoint, ExportLookup, Form};
pub use heap::{CallContext, HeapPages};
pub(crate) use prepare::Effort;
pub use profile::GuestProfile;
pub use runtime_cache::{
    CACHE_BYTES_MAX_DEFAULT, RuntimeCacheConfig, RuntimeCacheCounts, RuntimeCacheError,
};
pub use version::{ApiId, BLOCK_BUILDER_API, CORE_API};
