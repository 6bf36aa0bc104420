//! Ways to run a kernel: without counting, and with every way to count.
//!
//! All run the same code in the same engine but for what counts; a module that has no meter gets a memory as
//! large as one, so that its instances are laid out alike.

use crate::{
    counting::{Done, counting},
    layout::laid_out,
};
use slackwater_executor::fuel::{
    COUNTER_OFFSET, Check, DEPTH_BYTES_DEFAULT, DEPTH_OFFSET, HOST_OFFSET, Instrumentation,
    METER_EXPORT, SIZE_OFFSET, instrument,
};
use wasm_encoder::{
    MemorySection, MemoryType, Module as Encoder, RawSection,
    reencode::{Reencode, RoundtripReencoder},
};
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

    pub(crate) fn engine(self) -> Engine {
        let mut config = Config::new();
        config
            .wasm_multi_memory(true)
            .consume_fuel(self == Self::ConsumeFuel)
            .epoch_interruption(self == Self::Epochs)
            .cranelift_opt_level(OptLevel::SpeedAndSize)
            .max_wasm_stack(1 << 20)
            .cranelift_nan_canonicalization(true);
        Engine::new(&config).expect("an engine")
    }

    /// The module as it is run; it has a memory of its own.
    pub(crate) fn module(self, wasm: &[u8]) -> Vec<u8> {
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

impl Variant {
    /// Lets a store run for as long as it likes.
    pub(crate) fn prepare<T>(self, store: &mut Store<T>) {
        if self == Self::Epochs {
            store.set_epoch_deadline(1 << 40);
        }
        if self == Self::ConsumeFuel {
            store.set_fuel(u64::MAX).expect("it counts");
        }
    }

    /// Lets a call begin at the top of the stack.
    pub(crate) fn begin<T: 'static>(self, store: &mut Store<T>, instance: &Instance) {
        if let Some(meter) = instance.get_memory(&mut *store, METER_EXPORT) {
            let offset = usize::try_from(DEPTH_OFFSET).expect("small");
            let wrote = meter.write(store, offset, &[0; 4]);
            wrote.expect("a meter");
        }
    }

    /// What operators have cost so far, where anybody counts.
    pub(crate) fn counted<T: 'static>(
        self,
        store: &mut Store<T>,
        instance: &Instance,
    ) -> Option<u64> {
        if self == Self::ConsumeFuel {
            return Some(u64::MAX - store.get_fuel().expect("it counts"));
        }
        let meter = instance.get_memory(&mut *store, METER_EXPORT)?;
        let word = |offset: u64| {
            let mut word = [0; 8];
            let offset = usize::try_from(offset).expect("small");
            let read = meter.read(&*store, offset, &mut word);
            read.expect("a meter");
            u64::from_le_bytes(word)
        };
        let others = word(SIZE_OFFSET) + word(HOST_OFFSET);
        Some(word(COUNTER_OFFSET) - others)
    }
}

/// A memory of a page.
const PAGE: MemoryType = MemoryType {
    minimum: 1,
    maximum: Some(1),
    memory64: false,
    shared: false,
    page_size_log2: None,
};

/// The module with one more memory of a page.
fn with_memory(wasm: &[u8]) -> Vec<u8> {
    let mut module = Encoder::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.expect("valid") {
            Payload::MemorySection(memories) => {
                let mut section = MemorySection::new();
                let mut roundtrip = RoundtripReencoder;
                roundtrip
                    .parse_memory_section(&mut section, memories)
                    .expect("valid");
                section.memory(PAGE);
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
    instance: Instance,
    memory: Memory,
    function: TypedFunc<(u32, u32), u64>,
    at: u32,
}

impl Runner {
    pub(crate) fn new(variant: Variant, wasm: &[u8], kernel: &str, layout: usize) -> Self {
        let module = laid_out(&variant.module(wasm), layout);
        Self::with(variant, &module, kernel)
    }

    fn with(variant: Variant, module: &[u8], kernel: &str) -> Self {
        let engine = variant.engine();
        let module = Module::new(&engine, module).expect("it compiles");
        let mut store = Store::new(&engine, ());
        variant.prepare(&mut store);
        let instance = Instance::new(&mut store, &module, &[]).expect("it is made");
        let memory = instance.get_memory(&mut store, "memory").expect("its own");
        let heap_base = instance.get_global(&mut store, "__heap_base");
        let heap_base = heap_base.expect("exported").get(&mut store).i32();
        Self {
            variant,
            memory,
            instance,
            function: instance
                .get_typed_func(&mut store, kernel)
                .expect("an entry point"),
            at: heap_base.expect("a number").cast_unsigned(),
            store,
        }
    }

    /// Calls it; what it answers.
    pub(crate) fn call(&mut self, work: u32) -> u64 {
        let at = usize::try_from(self.at).expect("64 bits");
        self.variant.begin(&mut self.store, &self.instance);
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

    /// What counting one call does.
    pub(crate) fn done(wasm: &[u8], kernel: &str, work: u32) -> Done {
        let module = counting(&Variant::Slacked.module(wasm));
        let mut runner = Self::with(Variant::Slacked, &module, kernel);
        runner.call(work);
        Done::of(&mut runner.store, &runner.instance)
    }

    /// What one call counts, where anybody does.
    pub(crate) fn fuel(&mut self, work: u32) -> Option<u64> {
        let before = self.variant.counted(&mut self.store, &self.instance)?;
        self.call(work);
        let after = self.variant.counted(&mut self.store, &self.instance)?;
        Some(after.wrapping_sub(before))
    }
}
