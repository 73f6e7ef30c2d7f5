//! `dgate healthcheck`: for containers and load balancers.

use super::client::Connection;
use super::complain;
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `dgate healthcheck`.
#[derive(clap::Args)]
pub(super) struct Healthcheck {
    /// How long to wait for the answer, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

impl Healthcheck {
    pub(super) fn run(self) -> ExitCode {
        let limit = Duration::from_secs(self.timeout.max(1));
        let api = self.connection.open_within(limit);
        match api.and_then(|api| api.get("/readyz")) {
            Ok(answer) if answer.status == http::StatusCode::OK => ExitCode::SUCCESS,
            Ok(answer) => {
                let text = answer.text();
                let known = serde_json::from_str::<serde_json::Value>(&text);
                let (why, hint) = match known.is_ok_and(|json| json["checks"].is_object()) {
                    true => (text, "the gateway's log says why"),
                    // Another server has whatever it has there.
                    false => (
                        format!("the answer is {}", answer.status),
                        "is --admin the address of a gateway's Admin API?",
                    ),
                };
                let what = format!("{}: not ready: {}", self.connection.admin, why.trim());
                complain(&what, Some(hint));
                ExitCode::FAILURE
            }
            Err(failure) => failure.report(),
        }
    }
}
