//! Ways to run a kernel: without counting, and with every way to count.
//!
//! All run the same code in the same engine but for what counts; a module that has no meter gets a memory as
//! large as one, so that its instances are laid out alike.

use slackwater_executor::fuel::{
    COUNTER_OFFSET, Check, DEPTH_BYTES_DEFAULT, Instrumentation, METER_EXPORT, instrument,
};
use wasm_encoder::{MemorySection, MemoryType, Module as Encoder, RawSection};
use wasmparser::{Parser, Payload};
use wasmtime::{Config, Engine, Instance, Memory, Module, OptLevel, Store, TypedFunc};

/// Who counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variant {
    Unmetered,
    Slacked,
    /// With the limit of depth.
    SlackedDepth,
    Checked,
    ConsumeFuel,
    /// Nobody; the guest can be stopped.
    Epochs,
}

impl Variant {
    pub(crate) const ALL: [Self; 6] = [
        Self::Unmetered,
        Self::Slacked,
        Self::SlackedDepth,
        Self::Checked,
        Self::ConsumeFuel,
        Self::Epochs,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unmetered => "unmetered",
            Self::Slacked => "slacked",
            Self::SlackedDepth => "slacked_depth",
            Self::Checked => "checked",
            Self::ConsumeFuel => "consume_fuel",
            Self::Epochs => "epochs",
        }
    }

    fn engine(self) -> Engine {
        let mut config = Config::new();
        config
            .wasm_multi_memory(true)
            .consume_fuel(self == Self::ConsumeFuel)
            .epoch_interruption(self == Self::Epochs)
            .cranelift_opt_level(OptLevel::SpeedAndSize)
            .cranelift_nan_canonicalization(true);
        Engine::new(&config).expect("an engine")
    }

    fn module(self, wasm: &[u8]) -> Vec<u8> {
        let check = match self {
            Self::Slacked | Self::SlackedDepth => Check::None,
            Self::Checked => Check::Synchronous,
            Self::Unmetered | Self::ConsumeFuel | Self::Epochs => return with_memory(wasm),
        };
        let mut instrumentation = Instrumentation::new(check);
        instrumentation.depth_bytes_max =
            (self == Self::SlackedDepth).then_some(DEPTH_BYTES_DEFAULT);
        instrument(wasm, &instrumentation)
            .expect("it can be metered")
            .wasm
    }
}

/// The module with one more memory of a page.
fn with_memory(wasm: &[u8]) -> Vec<u8> {
    let mut module = Encoder::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                let own = memories.into_iter().map(|memory| memory.expect("valid"));
                for (minimum, maximum) in own
                    .map(|own| (own.initial, own.maximum))
                    .chain([(1, Some(1))])
                {
                    section.memory(MemoryType {
                        minimum,
                        maximum,
                        memory64: false,
                        shared: false,
                        page_size_log2: None,
                    });
                }
                module.section(&section);
            }
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    let data = &wasm[range];
                    module.section(&RawSection { id, data });
                }
            }
        }
    }
    module.finish()
}

/// A kernel in one of these ways, ready to be called.
pub(crate) struct Runner {
    pub(crate) variant: Variant,
    store: Store<()>,
    memory: Memory,
    meter: Option<Memory>,
    function: TypedFunc<(u32, u32), u64>,
    at: u32,
    /// Bytes of machine code.
    pub(crate) code_bytes: usize,
}

impl Runner {
    pub(crate) fn new(variant: Variant, wasm: &[u8], kernel: &str) -> Self {
        let engine = variant.engine();
        let module = Module::new(&engine, variant.module(wasm)).expect("it compiles");
        let mut store = Store::new(&engine, ());
        if variant == Variant::Epochs {
            store.set_epoch_deadline(1 << 40);
        }
        if variant == Variant::ConsumeFuel {
            store.set_fuel(u64::MAX).expect("it counts");
        }
        let instance = Instance::new(&mut store, &module, &[]).expect("it is made");
        let memory = instance.get_memory(&mut store, "memory").expect("its own");
        let heap_base = instance.get_global(&mut store, "__heap_base");
        let heap_base = heap_base.expect("exported").get(&mut store).i32();
        Self {
            variant,
            memory,
            meter: instance.get_memory(&mut store, METER_EXPORT),
            function: instance
                .get_typed_func(&mut store, kernel)
                .expect("an entry point"),
            at: heap_base.expect("a number").cast_unsigned(),
            code_bytes: module.text().len(),
            store,
        }
    }

    /// Calls it; what it answers.
    pub(crate) fn call(&mut self, work: u32) -> u64 {
        let at = usize::try_from(self.at).expect("64 bits");
        let wrote = self.memory.write(&mut self.store, at, &work.to_le_bytes());
        wrote.expect("within memory");
        let packed = self.function.call(&mut self.store, (self.at, 4));
        let packed = packed.expect("it returns");
        let mut answer = [0; 8];
        let at = usize::try_from(packed & 0xffff_ffff).expect("64 bits");
        let read = self.memory.read(&self.store, at, &mut answer);
        read.expect("within memory");
        u64::from_le_bytes(answer)
    }

    /// What one call counts, where anybody does.
    pub(crate) fn fuel(&mut self, work: u32) -> Option<u64> {
        let before = self.counted()?;
        self.call(work);
        Some(self.counted()?.wrapping_sub(before))
    }

    fn counted(&mut self) -> Option<u64> {
        if self.variant == Variant::ConsumeFuel {
            return Some(u64::MAX - self.store.get_fuel().expect("it counts"));
        }
        let mut word = [0; 8];
        let offset = usize::try_from(COUNTER_OFFSET).expect("small");
        let read = self.meter?.read(&self.store, offset, &mut word);
        read.expect("a meter");
        Some(u64::from_le_bytes(word))
    }
}
