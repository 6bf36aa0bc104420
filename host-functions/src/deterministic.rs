//! Replacements for host functions whose reference implementation answers with a setting of the
//! host: its log level, and whether something subscribes to its trace spans. Either one changes
//! which instructions the guest runs, and with them its fuel; so both are pinned here.
//!
//! The replacements are registered over the originals by name, see [`crate::set`].

/// Every replacement, to be laid over a set that holds the originals.
pub type HostFunctions = (logging::HostFunctions, wasm_tracing::HostFunctions);

mod interfaces {
    use crate::log_volume::{self, Admitted};
    use sp_core::RuntimeInterfaceLogLevel;
    use sp_runtime_interface::{
        pass_by::{PassAs, PassFatPointerAndRead},
        runtime_interface,
    };

    /// The level every guest is told, whatever the host logs: `Info`.
    const LEVEL_FILTER_INFO: u8 = 3;

    /// The part of the logging interface that answers.
    #[runtime_interface]
    pub trait Logging {
        /// The most verbose level the guest should format messages for: always `Info`. What the
        /// host prints of them is still the host's choice.
        fn max_level() -> u8 {
            LEVEL_FILTER_INFO
        }

        /// Logs what the guest says, as far as it may: see [`crate::LogLimits`]. Not if it runs ahead of a block, which will
        /// say it once more.
        fn log(
            level: PassAs<RuntimeInterfaceLogLevel, u8>,
            target: PassFatPointerAndRead<&str>,
            message: PassFatPointerAndRead<&[u8]>,
        ) {
            if crate::verified::is_ahead() {
                return;
            }
            match log_volume::admit(message) {
                Admitted::Whole => sp_io::logging::log(level, target, message),
                Admitted::Cut(end) => {
                    sp_io::logging::log(level, target, &message[..end]);
                    log::warn!(
                        target: "slackwater::guest",
                        "a message of {} bytes for the target {target:?} was cut to {end}",
                        message.len()
                    );
                }
                Admitted::FirstLeftOut => log::warn!(
                    target: "slackwater::guest",
                    "what else this call logs is left out: it is more than it may log"
                ),
                Admitted::LeftOut => {}
            }
        }
    }

    /// Guest spans: never enabled, and silent should a guest open one all the same.
    #[runtime_interface(wasm_only, no_tracing)]
    pub trait WasmTracing {
        /// Whether a span described by `metadata` (SCALE) should be traced: never.
        fn enabled(&mut self, _metadata: PassFatPointerAndRead<&[u8]>) -> bool {
            false
        }

        /// Opens no span; 0 is the identifier of a span that is not recorded.
        fn enter_span(&mut self, _span: PassFatPointerAndRead<&[u8]>) -> u64 {
            0
        }

        /// Records no event.
        fn event(&mut self, _event: PassFatPointerAndRead<&[u8]>) {}

        /// Closes no span.
        fn exit(&mut self, _span: u64) {}
    }
}

pub use interfaces::{logging, wasm_tracing};
