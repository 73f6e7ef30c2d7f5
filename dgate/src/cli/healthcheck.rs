//! `dgate healthcheck`: for containers and load balancers.

use super::complain;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `dgate healthcheck`.
#[derive(clap::Args)]
pub(super) struct Healthcheck {
    /// The Admin API
    #[arg(
        long,
        env = "DGATE_ADMIN_API",
        default_value = "http://127.0.0.1:9080",
        value_name = "URL"
    )]
    admin: String,
    /// How long to wait for the answer, in seconds
    #[arg(long, default_value_t = 3, value_name = "SECONDS")]
    timeout: u64,
}

impl Healthcheck {
    pub(super) fn run(self) -> ExitCode {
        match self.ask() {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => ExitCode::SUCCESS,
            Ok(answer) => {
                complain(
                    &format!("not ready: {}", answer.rsplit("\r\n").next().unwrap_or("")),
                    None,
                );
                ExitCode::FAILURE
            }
            Err(error) => {
                complain(
                    &format!("{}: {error}", self.admin),
                    Some(
                        "is `dgate serve` running? --admin or DGATE_ADMIN_API says where its Admin API is",
                    ),
                );
                ExitCode::FAILURE
            }
        }
    }

    /// One request, written by hand: a client library would be most of this command.
    fn ask(&self) -> std::io::Result<String> {
        let invalid =
            |text: &str| std::io::Error::new(std::io::ErrorKind::InvalidInput, text.to_owned());
        let authority = self
            .admin
            .strip_prefix("http://")
            .ok_or_else(|| invalid("the URL must start with http://"))?;
        let authority = authority.trim_end_matches('/');
        let limit = Duration::from_secs(self.timeout.max(1));
        let address = authority
            .to_socket_addrs()?
            .next()
            .ok_or_else(|| invalid("the name has no address"))?;
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        write!(
            stream,
            "GET /readyz HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.take(64 * 1024).read_to_end(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}
