//! A compiled runtime, ready to be called any number of times.
//!
//! A runtime has up to four forms: one whose instances are put back after a call, two that are made from
//! scratch in the engine's pool, with the smallest heap that is configured and without one, and one from
//! scratch beyond that. The first is compiled at once if it is wanted and possible, else the second; the
//! others when they are needed first.
//!
//! Invariant: all forms are of the same code. Cost: compiling a form takes seconds for a large runtime.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use slackwater_host_functions::HostFunctions;
use sp_core::H256;
use sp_version::RuntimeVersion;

use super::{
    Engine, HeapPages, RuntimeError,
    artifact::FormKind,
    code::Code,
    form::{ExportLookup, Form},
    prepare::{Effort, Prepared, Source, extra},
    version,
};
use crate::{
    instance::{CallError, InstanceCounts, Pool},
    memory::{Image, MemoryStrategy},
};

/// A form that is compiled when it is needed first.
struct Later {
    compile: Box<dyn Fn() -> Result<Form, RuntimeError> + Send + Sync>,
    compiled: OnceLock<Result<Form, String>>,
    /// Held while it is compiled.
    compiling: Mutex<()>,
}

impl Later {
    fn new<H: HostFunctions>(engine: &Engine, code: &Arc<Code>, kind: FormKind) -> Self {
        let (engine, code) = (engine.clone(), Arc::clone(code));
        let compile = move || {
            let prepared = Prepared::new(&engine, &code, kind, Effort::Full)?;
            Ok(Form::new::<H>(&engine, prepared)?.0)
        };
        Self {
            compile: Box::new(compile),
            compiled: OnceLock::new(),
            compiling: Mutex::new(()),
        }
    }

    fn form(&self) -> Result<&Form, CallError> {
        if let Some(known) = self.compiled.get() {
            return known.as_ref().map_err(failed);
        }
        let compiling = self.compiling.lock();
        let _compiling = compiling.unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = self.compiled.get() {
            return known.as_ref().map_err(failed);
        }
        let made = match (self.compile)() {
            // What this machine lacks now it may have the next time.
            Err(error @ RuntimeError::Machine { .. }) => return Err(failed(&error)),
            made => made.map_err(|error| error.to_string()),
        };
        let known = self.compiled.get_or_init(|| made);
        known.as_ref().map_err(failed)
    }
}

fn failed(reason: &impl ToString) -> CallError {
    CallError::Instantiate {
        reason: reason.to_string(),
    }
}

/// Runtime code, compiled and bound to its host functions.
pub struct Runtime {
    /// What calls use: of the pool, or from scratch.
    form: Form,
    /// Instances that are put back after a call; `None` if this code's cannot be, or are not wanted.
    pool: Option<Pool>,
    /// To be made from scratch, where `form` is the pool's.
    scratch: Later,
    /// The same, with no more pages than the code asks for.
    scratch_small: Later,
    /// To be made from scratch when the engine's pool is used up.
    overflow: Later,
    version: RuntimeVersion,
    code_hash: H256,
    missing_host_functions: Vec<String>,
    source: Source,
}

impl std::fmt::Debug for Runtime {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Runtime")
            .field("spec_name", &self.version.spec_name)
            .field("spec_version", &self.version.spec_version)
            .field("code_hash", &self.code_hash)
            .finish_non_exhaustive()
    }
}

impl Runtime {
    /// Compiles `code`, unless it is in the cache, and binds the functions of `H`. Where the module carries no version,
    /// `call_core_version` is asked to run `Core_version` on the runtime compiled so far. Code that
    /// has no answer either has the default version, all zero.
    pub(crate) fn load<H: HostFunctions>(
        engine: &Engine,
        code: &Arc<Code>,
        effort: Effort,
        call_core_version: impl FnOnce(&Runtime) -> Result<Option<Vec<u8>>, RuntimeError>,
    ) -> Result<Self, RuntimeError> {
        let mut prepared = Prepared::new(engine, code, FormKind::Called, effort)?;
        let facts = &mut prepared.facts;
        let image = std::mem::take(&mut facts.image);
        let (snapshot, extra) = (facts.snapshot, extra(engine, facts));
        let embedded = version::from_sections(facts.version.as_deref(), facts.apis.as_deref());
        let source = prepared.source;
        let (form, missing_host_functions) = Form::new::<H>(engine, prepared)?;
        let pool = snapshot.then(|| {
            let segments = image.iter();
            let place = |at: &u64| usize::try_from(*at).unwrap_or(usize::MAX);
            let mapped = engine.resetter.strategy() != MemoryStrategy::Plain;
            let image = Image::new(segments.map(|(at, bytes)| (place(at), &bytes[..])), mapped);
            Pool::new(image, engine)
        });
        let later = |kind| Later::new::<H>(engine, code, kind);
        let mut runtime = Self {
            form,
            pool,
            scratch: later(FormKind::Scratch { extra }),
            scratch_small: later(FormKind::Scratch { extra: 0 }),
            overflow: later(FormKind::Overflow),
            version: RuntimeVersion::default(),
            code_hash: code.hash(),
            missing_host_functions,
            source,
        };
        if let Some(version) = embedded? {
            runtime.version = version;
        } else if let Some(output) = call_core_version(&runtime)? {
            runtime.version = version::from_call(&output)?;
        }
        Ok(runtime)
    }

    /// Whether better code for it is being made: see [`super::Compilation::quick_first`].
    pub fn is_provisional(&self) -> bool {
        self.source == Source::CompiledQuickly
    }

    /// Where what calls use is from.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// The version the code states of itself.
    pub fn version(&self) -> &RuntimeVersion {
        &self.version
    }

    /// BLAKE2b-256 of the code as it stands in state.
    pub fn code_hash(&self) -> H256 {
        self.code_hash
    }

    /// Imported functions this host does not offer, sorted. Calling one of them traps.
    pub fn missing_host_functions(&self) -> &[String] {
        &self.missing_host_functions
    }

    /// Whether the runtime exports `method` with the signature of a runtime call.
    pub fn has_method(&self, method: &str) -> bool {
        matches!(self.form.entry_point(method), ExportLookup::Found(_))
    }

    /// Whether its instances can be put back after a call; those of other code are made from scratch.
    pub fn is_resettable(&self) -> bool {
        self.pool.is_some()
    }

    /// What has become of its instances that are put back.
    pub fn instances(&self) -> InstanceCounts {
        self.pool.as_ref().map(Pool::counts).unwrap_or_default()
    }

    /// The instances that are put back, and the form they are of.
    pub(crate) fn pool(&self) -> Option<(&Pool, &Form)> {
        self.pool.as_ref().map(|pool| (pool, &self.form))
    }

    /// The form for instances from scratch with this heap.
    pub(crate) fn scratch(&self, heap: HeapPages) -> Result<&Form, CallError> {
        // What the pool has no room for is made without it.
        let form = match self.pool {
            Some(_) => self.scratch.form().or_else(|_| self.overflow())?,
            None => &self.form,
        };
        let pages = form.memory_pages_initial.saturating_add(heap.extra());
        if form.memory_pages_made > pages {
            return self.scratch_small.form().or_else(|_| self.overflow());
        }
        Ok(form)
    }

    /// The form for instances from scratch beyond what the engine's pool holds.
    pub(crate) fn overflow(&self) -> Result<&Form, CallError> {
        self.overflow.form()
    }
}
