//! Binding a function set to the imports of one module, by `sp-wasm-interface`'s typed path: no
//! dynamic values at a call.
//!
//! Cost: once per compiled module, one pass over the set.

use sp_wasm_interface::{FunctionContext, HostFunctionRegistry, HostFunctions};
use std::collections::BTreeMap;
use thiserror::Error;
use wasmtime::{ExternType, FuncType, Linker, Module};

use crate::{context::HostContext, state::HostState};

/// The only module name a runtime may import from.
pub const IMPORT_MODULE: &str = "env";

/// Why a module's imports could not be bound.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The module imports from somewhere else than `env`.
    #[error("import `{module}.{name}`: runtimes may import from `env` only")]
    ForeignModule {
        /// The module named by the import.
        module: String,
        /// The name of the import.
        name: String,
    },
    /// The module imports a table, a global, or a second memory.
    #[error("import `env.{name}` is not a function")]
    NotAFunction {
        /// The name of the import.
        name: String,
    },
    /// The module declares an import with another type than the function has.
    #[error("import `env.{name}` does not have the type of the host function: {reason}")]
    Mismatch {
        /// The name of the import.
        name: String,
        /// The engine's explanation.
        reason: String,
    },
}

/// Binds the functions of `H` that `module` imports. An import that `H` does not offer gets a stub
/// that traps when called, so that a runtime which never calls it runs; their names are returned in
/// order.
///
/// # Errors
/// See [`RegisterError`].
pub fn register<H: HostFunctions>(
    linker: &mut Linker<HostState>,
    module: &Module,
) -> Result<Vec<String>, RegisterError> {
    register_pending::<H>(linker, function_imports(module, None)?)
}

/// As [`register`], for a module whose imports from `other` are the caller's to bind.
///
/// # Errors
/// See [`RegisterError`].
pub fn register_beside<H: HostFunctions>(
    linker: &mut Linker<HostState>,
    module: &Module,
    other: &str,
) -> Result<Vec<String>, RegisterError> {
    register_pending::<H>(linker, function_imports(module, Some(other))?)
}

fn register_pending<H: HostFunctions>(
    linker: &mut Linker<HostState>,
    pending: BTreeMap<String, FuncType>,
) -> Result<Vec<String>, RegisterError> {
    let mut registry = Registry { linker, pending };
    H::register_static(&mut registry)?;
    let Registry { linker, pending } = registry;
    for (name, function_type) in &pending {
        let message = MissingFunction { name: name.clone() };
        linker
            .func_new(
                IMPORT_MODULE,
                name,
                function_type.clone(),
                move |_, _, _| Err(message.clone().into()),
            )
            .map_err(|error| mismatch(name, &error))?;
    }
    Ok(pending.into_keys().collect())
}

/// The trap of a guest that called an import nobody offers.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("call to the missing host function `env.{name}`")]
pub struct MissingFunction {
    /// The name of the import.
    pub name: String,
}

/// The functions `module` imports, by name, but those from `other`.
fn function_imports(
    module: &Module,
    other: Option<&str>,
) -> Result<BTreeMap<String, FuncType>, RegisterError> {
    let mut functions = BTreeMap::new();
    for import in module
        .imports()
        .filter(|import| Some(import.module()) != other)
    {
        let name = import.name().to_owned();
        if import.module() != IMPORT_MODULE {
            return Err(RegisterError::ForeignModule {
                module: import.module().to_owned(),
                name,
            });
        }
        match import.ty() {
            ExternType::Func(function_type) => functions.insert(name, function_type),
            _ => return Err(RegisterError::NotAFunction { name }),
        };
    }
    Ok(functions)
}

fn mismatch(name: &str, error: &anyhow::Error) -> RegisterError {
    RegisterError::Mismatch {
        name: name.to_owned(),
        reason: format!("{error:#}"),
    }
}

struct Registry<'a> {
    linker: &'a mut Linker<HostState>,
    pending: BTreeMap<String, FuncType>,
}

impl HostFunctionRegistry for Registry<'_> {
    type State = HostState;
    type Error = RegisterError;
    type FunctionContext = HostContext<'static>;

    fn with_function_context<R>(
        caller: wasmtime::Caller<'_, Self::State>,
        callback: impl FnOnce(&mut dyn FunctionContext) -> R,
    ) -> R {
        callback(&mut HostContext { caller })
    }

    fn register_static<Params, Results>(
        &mut self,
        name: &str,
        function: impl wasmtime::IntoFunc<Self::State, Params, Results> + 'static,
    ) -> Result<(), Self::Error> {
        if self.pending.remove(name).is_some() {
            self.linker
                .func_wrap(IMPORT_MODULE, name, function)
                .map_err(|error| mismatch(name, &error))?;
        }
        Ok(())
    }
}
