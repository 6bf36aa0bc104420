//! The page that Prometheus reads, served while a command works, and a while longer if that is wanted.

use std::{net::SocketAddr, time::Duration};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use slackwater_executor::metrics::{SECONDS_BUCKETS, describe};

use crate::{args_executor::MetricsArgs, error::CliError};

/// A page that is served until the process ends.
pub(crate) struct Served {
    address: SocketAddr,
    hold: Duration,
}

/// Serves the page, if that is wanted. To be called before anything is to be seen on it.
pub(crate) fn serve(args: &MetricsArgs) -> Result<Option<Served>, CliError> {
    let Some(address) = args.metrics_addr else {
        return Ok(None);
    };
    let failed = |reason: String| CliError::Metrics { address, reason };
    let seconds = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .with_http_listener(address)
        .set_buckets_for_metric(seconds, &SECONDS_BUCKETS)
        .and_then(PrometheusBuilder::install)
        .map_err(|error| failed(error.to_string()))?;
    describe();
    eprintln!("metrics are at http://{address}/metrics");
    Ok(Some(Served {
        address,
        hold: Duration::from_secs(args.metrics_hold),
    }))
}

impl Served {
    /// All is done: waits as long as the page is to be there.
    pub(crate) fn hold(self) {
        if self.hold.is_zero() {
            return;
        }
        let (address, hold) = (self.address, self.hold);
        eprintln!("metrics stay at http://{address}/metrics for {hold:?}");
        std::thread::sleep(hold);
    }
}
