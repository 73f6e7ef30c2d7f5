//! `/metrics`: what the `metrics` facade collected, as Prometheus text.

use super::Shared;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Seconds: from a cached answer on loopback to the default time limit.
const BUCKETS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Histograms keep single samples until they are drained: a second's worth at most.
const UPKEEP: Duration = Duration::from_secs(1);

/// The recorder of this process.
#[derive(Clone)]
pub struct Metrics(Option<PrometheusHandle>);

impl Metrics {
    /// Installs the recorder, once for the process. Where the program has one of its own, that one counts and
    /// `/metrics` says so.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
        let handle = INSTALLED.get_or_init(|| {
            let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).ok()?;
            let handle = builder.install_recorder().ok()?;
            let kept = handle.clone();
            std::thread::Builder::new()
                .name("dgate-metrics".to_owned())
                .spawn(move || {
                    loop {
                        std::thread::sleep(UPKEEP);
                        kept.run_upkeep();
                    }
                })
                .ok()?;
            Some(handle)
        });
        Self(handle.clone())
    }
}

/// `GET /metrics`.
pub(super) async fn render(State(shared): State<Shared>) -> impl IntoResponse {
    let text = match &shared.metrics.0 {
        Some(handle) => {
            dgate_core::metrics::publish();
            handle.render()
        }
        None => "# this program has a metrics recorder of its own\n".to_owned(),
    };
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}
