//! Arguments of everything that runs guests: how they are metered, compiled and watched.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, ValueEnum};
use slackwater_executor::{
    ExecutorConfig, Fuel, Meter,
    runtime::{Compilation, RuntimeCacheConfig},
};

#[derive(Debug, Args)]
pub(crate) struct ExecutorArgs {
    /// Fuel a call may use: a number, `unlimited` to count only, or `off`. For a block, a limit
    /// of this machine on each call: the block is not judged if one passes it.
    #[arg(long, value_name = "LIMIT", default_value = "unlimited", value_parser = parse_fuel)]
    pub(crate) fuel: FuelArg,
    /// Threads beside the one of a block that verify its signatures ahead: as many as there are idle cores.
    #[arg(long, value_name = "THREADS", default_value_t = 0)]
    pub(crate) verify_ahead: u32,
    /// Who compares fuel with the limit.
    #[arg(long, value_enum, default_value_t = MeterArg::Slacked)]
    pub(crate) meter: MeterArg,
    /// Compute exactly what the Polkadot SDK's executor computes: NaNs keep the processor's bits.
    #[arg(long)]
    pub(crate) compat: bool,
    /// Keep compiled code in this folder, and take it from there the next time. It is made if it is not there, and must be
    /// nobody else's, for what is in it is run.
    #[arg(long, value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Name the guest's functions in `/tmp/perf-PID.map`, for `perf record` and `perf report`.
    #[arg(long)]
    pub(crate) perf_map: bool,
}

impl ExecutorArgs {
    pub(crate) fn config(&self) -> ExecutorConfig {
        let config = if self.compat {
            ExecutorConfig::compat()
        } else {
            ExecutorConfig::default()
        };
        let compilation = Compilation {
            perf_map: self.perf_map,
            ..Compilation::default()
        };
        let config = match &self.cache_dir {
            Some(folder) => config.with_runtime_cache(RuntimeCacheConfig::new(folder)),
            None => config,
        };
        config
            .with_compilation(compilation)
            .with_meter(match (self.fuel, self.meter) {
                (FuelArg::Off, _) => Meter::Off,
                (_, MeterArg::Slacked) => Meter::Slacked,
                (_, MeterArg::Checked) => Meter::Checked,
            })
    }

    /// As [`Self::config`], with the limit on each call for a block.
    pub(crate) fn block_config(&self) -> ExecutorConfig {
        let config = self.config().with_verify_ahead_threads(self.verify_ahead);
        match self.fuel {
            FuelArg::Limit(limit) => config.with_local_limit(limit),
            FuelArg::Unlimited | FuelArg::Off => config,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeterArg {
    /// A thread beside the guests, which only count.
    Slacked,
    /// The guest, wherever it publishes its count.
    Checked,
}

/// What becomes of fuel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FuelArg {
    /// It is counted, and a call may use so much.
    Limit(Fuel),
    /// It is counted.
    Unlimited,
    /// It is not counted.
    Off,
}

fn parse_fuel(text: &str) -> Result<FuelArg, String> {
    match text {
        "unlimited" => Ok(FuelArg::Unlimited),
        "off" => Ok(FuelArg::Off),
        number => {
            let limit = parse_limit(number);
            let limit =
                limit.map_err(|error| format!("neither `unlimited` nor `off`, and {error}"))?;
            Ok(FuelArg::Limit(limit))
        }
    }
}

pub(crate) fn parse_limit(text: &str) -> Result<Fuel, String> {
    let limit = text.replace('_', "").parse();
    limit
        .map(Fuel)
        .map_err(|error| format!("not a number: {error}"))
}

#[derive(Debug, Args)]
pub(crate) struct MetricsArgs {
    /// Serve metrics at this address, such as 127.0.0.1:9090, in the form that Prometheus reads.
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics_addr: Option<SocketAddr>,
    /// Go on serving them for so many seconds when all is done, so that they are read once more.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        requires = "metrics_addr"
    )]
    pub(crate) metrics_hold: u64,
}
