//! From code to the machine code of one form: own memory, template, what counts, what tells functions apart, the compiler;
//! or from the cache, where all that was done before.
//!
//! Invariant: a form from the cache is the one that would be compiled: see [`super::artifact`]. Cost: seconds for a large
//! runtime, some hundredths of that from the cache.

use std::ops::Range;

use wasmtime::Module;

use super::{
    Engine, RuntimeError,
    artifact::{Artifact, Facts, FormKind, MachineCode, key},
    code::{Code, Unpacked},
    own_memory::{initial_pages, own_memory},
    template::{NotResettable, Template, template},
    version,
};
use crate::fuel::{Profiled, instrument_on, profiled};

/// A form's machine code.
pub(super) struct Prepared {
    pub(super) module: Module,
    pub(super) facts: Facts,
    /// What functions are called, where they tell when they begin and end.
    pub(super) names: Option<Vec<String>>,
    pub(super) source: Source,
}

/// Where machine code is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The cache.
    Cache,
    /// The compiler.
    Compiled,
    /// The compiler, with as little effort as possible.
    CompiledQuickly,
}

impl Source {
    /// The name used in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Compiled => "compiler",
            Self::CompiledQuickly => "quick",
        }
    }
}

/// How much effort is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What the configuration says.
    Full,
    /// The least, if the configuration allows it, and there is nothing better in the cache.
    Quick,
}

impl Prepared {
    /// The form of that kind.
    pub(super) fn new(
        engine: &Engine,
        code: &Code,
        kind: FormKind,
        effort: Effort,
    ) -> Result<Self, RuntimeError> {
        // Names of functions are not kept.
        let cache = engine.cache.as_ref().filter(|_| !engine.profile_fuel);
        let cache = cache.map(|cache| (cache, key(engine, code, kind)));
        if let Some((cache, key)) = &cache
            && let Some(bytes) = cache.load(*key)
        {
            match Self::read(engine, bytes) {
                Ok(prepared) => {
                    cache.used();
                    return Ok(prepared);
                }
                // The file is good, and compiling would find the same.
                Err(error @ RuntimeError::Machine { .. }) => return Err(error),
                Err(why) => cache.refuse(*key, &why),
            }
        }
        let prepared = Self::compile(engine, code, kind, effort)?;
        if let Some((cache, key)) = cache
            && prepared.source == Source::Compiled
        {
            match prepared.module.serialize() {
                Ok(machine_code) => {
                    let artifact = Artifact::new(&prepared.facts, &machine_code);
                    cache.store(key, artifact.bytes());
                }
                Err(error) => log::warn!(
                    target: "slackwater::runtime",
                    "compiled code cannot be kept: {error:#}"
                ),
            }
        }
        Ok(prepared)
    }

    fn read(engine: &Engine, bytes: Vec<u8>) -> Result<Self, RuntimeError> {
        let artifact = Artifact::whole(bytes);
        let unreadable = || RuntimeError::Compile {
            reason: "what is known of it cannot be read".to_owned(),
        };
        let (facts, machine_code) = artifact.split().ok_or_else(unreadable)?;
        let module = machine_code.load(wasmtime(engine, facts.pooled))?;
        Ok(Self {
            module,
            facts,
            names: None,
            source: Source::Cache,
        })
    }

    fn compile(
        engine: &Engine,
        code: &Code,
        kind: FormKind,
        effort: Effort,
    ) -> Result<Self, RuntimeError> {
        let unpacked = code.unpacked()?;
        // Code with broken sections is refused in the end; it need not be compiled for that.
        version::from_sections(unpacked.version.as_deref(), unpacked.apis.as_deref())?;
        let wasm = &unpacked.wasm;
        let compiler = Compiler { engine, effort };
        match kind {
            FormKind::Called => Self::called(&compiler, code, unpacked),
            FormKind::Scratch { extra } => {
                let wasm = own_memory(wasm, extra)?;
                compiler.pooled(&wasm, facts(unpacked)?)
            }
            FormKind::Overflow => compiler.compile(wasm, facts(unpacked)?),
        }
    }

    /// What calls use: instances that are put back, if they are wanted and can be.
    fn called(
        compiler: &Compiler<'_>,
        code: &Code,
        unpacked: &Unpacked,
    ) -> Result<Self, RuntimeError> {
        let engine = compiler.engine;
        let wasm = &unpacked.wasm;
        let template = template(wasm);
        let facts = Facts {
            resettable: template.is_ok(),
            ..facts(unpacked)?
        };
        match template {
            Ok(template) if engine.snapshots => {
                let Template {
                    wasm: made,
                    globals,
                    segments,
                } = template;
                let bytes = |range: Range<usize>| wasm.get(range).unwrap_or_default().to_vec();
                let image = segments.into_iter();
                let facts = Facts {
                    snapshot: true,
                    globals,
                    image: image.map(|(at, range)| (at as u64, bytes(range))).collect(),
                    ..facts
                };
                compiler.compile(&made, facts)
            }
            template => {
                if let (true, Err(why)) = (engine.snapshots, &template) {
                    say_from_scratch(code, why);
                }
                let extra = extra(engine, &facts);
                let larger = own_memory(wasm, extra)?;
                match compiler.pooled(&larger, facts.clone()) {
                    // What the pool has no room for is made without it.
                    Err(RuntimeError::Compile { .. }) => compiler.compile(wasm, facts),
                    made => made,
                }
            }
        }
    }
}

fn say_from_scratch(code: &Code, why: &NotResettable) {
    log::info!(
        target: "slackwater::runtime",
        "{:?}: instances are made from scratch: {why}",
        code.hash()
    );
}

/// Pages that the memory of instances from scratch is made larger by. A start function would see a larger one, and data
/// could lie beyond the code's own.
pub(super) fn extra(engine: &Engine, facts: &Facts) -> u32 {
    if facts.resettable {
        engine.heap_extra_min
    } else {
        0
    }
}

pub(super) fn wasmtime(engine: &Engine, pooled: bool) -> &wasmtime::Engine {
    if pooled {
        &engine.wasmtime
    } else {
        &engine.on_demand
    }
}

/// What is known of any form.
fn facts(unpacked: &Unpacked) -> Result<Facts, RuntimeError> {
    Ok(Facts {
        pooled: false,
        snapshot: false,
        resettable: false,
        globals: Vec::new(),
        image: Vec::new(),
        pages: initial_pages(&unpacked.wasm)?,
        version: unpacked.version.clone(),
        apis: unpacked.apis.clone(),
    })
}

/// What `wasm` becomes so that it counts, if it is to, and the names by which it tells its functions apart.
type Metered = (Option<Vec<u8>>, Option<Vec<String>>);

fn metered(engine: &Engine, wasm: &[u8]) -> Result<Metered, RuntimeError> {
    let Some(instrumentation) = &engine.instrumentation else {
        return Ok((None, None));
    };
    let instrumented = instrument_on(wasm, instrumentation, engine.is_parallel)?.wasm;
    if !engine.profile_fuel {
        return Ok((Some(instrumented), None));
    }
    let Profiled { wasm, names } = profiled(&instrumented, wasm)?;
    Ok((Some(wasm), Some(names)))
}

struct Compiler<'e> {
    engine: &'e Engine,
    effort: Effort,
}

impl Compiler<'_> {
    /// Compiles `wasm` for the engine with a pool.
    fn pooled(&self, wasm: &[u8], facts: Facts) -> Result<Prepared, RuntimeError> {
        let facts = Facts {
            pooled: true,
            ..facts
        };
        self.compile(wasm, facts)
    }

    /// Compiles `wasm`, which has a memory of its own.
    fn compile(&self, wasm: &[u8], facts: Facts) -> Result<Prepared, RuntimeError> {
        let (metered, names) = metered(self.engine, wasm)?;
        let wasm = metered.as_deref().unwrap_or(wasm);
        let (module, source) = self.module(facts.pooled, wasm)?;
        Ok(Prepared {
            module,
            facts,
            names,
            source,
        })
    }

    fn module(&self, pooled: bool, wasm: &[u8]) -> Result<(Module, Source), RuntimeError> {
        let failed = |error: wasmtime::Error| RuntimeError::of_engine(&error);
        let target = wasmtime(self.engine, pooled);
        let quick = self.engine.quick.as_ref();
        let Some(quick) = quick.filter(|_| self.effort == Effort::Quick) else {
            let module = Module::new(target, wasm).map_err(failed)?;
            return Ok((module, Source::Compiled));
        };
        let compiler = if pooled {
            &quick.wasmtime
        } else {
            &quick.on_demand
        };
        let machine_code = compiler.precompile_module(wasm).map_err(failed)?;
        let module = MachineCode::made(&machine_code).load(target)?;
        Ok((module, Source::CompiledQuickly))
    }
}

#[cfg(test)]
mod tests {
    use blake2b_simd::Params;

    use super::*;
    use crate::{ConsensusFuel, ExecutorConfig, Fuel, Meter};

    /// A module in which there is something of everything that is rewritten.
    const MODULE: &str = r#"(module
        (import "env" "memory" (memory 17))
        (import "env" "ext_hashing_twox_64_version_1" (func $host (param i64) (result i32)))
        (table 2 funcref) (elem (i32.const 0) $leaf $loops)
        (global $state (mut i32) (i32.const 7))
        (global (export "__heap_base") i32 (i32.const 1048576))
        (data (i32.const 64) "data") (data (i32.const 4096) "more")
        (type $binary (func (param i32 i32) (result i64)))
        (func $leaf (export "leaf") (param i32 i32) (result i64)
            (drop (call $host (i64.const 8))) (i64.const 0))
        (func $loops (export "loops") (param $n i32) (param i32) (result i64)
            (block $done (loop $again
                (br_if $done (i32.eqz (local.get $n)))
                (local.set $n (i32.sub (local.get $n) (i32.const 1)))
                (global.set $state (i32.add (global.get $state) (local.get $n)))
                (br $again)))
            (drop (memory.grow (i32.const 1)))
            (call_indirect (type $binary) (local.get $n) (i32.const 1) (i32.const 0))))"#;

    /// Compiled code of another process is taken if its key is the same, so what was made of wasm before must be as well.
    #[test]
    fn what_is_compiled_has_not_changed_since_the_key_did() {
        let wasm = wat::parse_str(MODULE).expect("a module");
        let own = own_memory(&wasm, 0).expect("valid");
        let larger = own_memory(&wasm, 3).expect("valid");
        let made = template(&own).expect("resettable").wasm;
        let mut hash = Params::new().hash_length(16).to_state();
        for meter in [Meter::Slacked, Meter::Checked, Meter::Off] {
            for ruled in [false, true] {
                let mut config = ExecutorConfig::default().with_meter(meter);
                config.consensus_fuel = ruled.then_some(ConsensusFuel {
                    extrinsic: Fuel(1),
                    block: Fuel(1),
                    initialize: Fuel(1),
                    finalize: Fuel(1),
                    depth_bytes_max: 1 << 19,
                });
                let engine = Engine::new(&config.engine()).expect("an engine");
                for wasm in [&own, &larger, &made] {
                    let (metered, _) = metered(&engine, wasm).expect("it can count");
                    hash.update(metered.as_ref().unwrap_or(wasm));
                }
            }
        }
        assert_eq!(
            hash.finalize().to_hex().as_str(),
            "ba9e323ec2749281466c12f997d575c2",
            "what is compiled has changed: raise `PREPARATION` in `artifact.rs`, and then write this hash here"
        );
    }
}
