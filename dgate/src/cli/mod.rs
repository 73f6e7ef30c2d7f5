//! The command line: floor 10. Data goes to stdout, everything else to stderr.

mod check;
mod client;
mod demo;
#[cfg(feature = "js")]
mod dev;
mod healthcheck;
mod logging;
#[cfg(feature = "js")]
mod module;
mod serve;

use clap::{CommandFactory, Parser, Subcommand, ValueHint};
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code of an invalid configuration (`EX_CONFIG` of sysexits.h).
pub const INVALID: u8 = 78;

/// A function-native API gateway.
///
/// `dgate serve` runs it with no configuration at all: the proxy on 127.0.0.1:8080, the Admin API on
/// 127.0.0.1:9080. `dgate serve --demo` adds something to look at.
#[derive(Parser)]
#[command(name = "dgate", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway
    ///
    /// The configuration file is the first of: --config, $DGATE_CONFIG, ./dgate.{yaml,yml,json,toml},
    /// /etc/dgate/dgate.yaml. Variables such as DGATE_PROXY__LISTEN=0.0.0.0:80 override its keys.
    ///
    /// SIGHUP reads the file again, SIGTERM lets requests in flight finish (proxy.shutdown_timeout).
    Serve(serve::Serve),
    /// Check configuration files and bundles without a running gateway
    ///
    /// Prints every error as `file:line:col: message`. Exit code 0 when all is well, 78 when not.
    Check(check::Check),
    /// Write modules: types for the editor, one request, tests
    #[cfg(feature = "js")]
    Module {
        #[command(subcommand)]
        command: module::Module,
    },
    /// Serve a folder of modules and take over every change when it is saved
    ///
    /// Each *.ts and *.js in the folder, other than tests and *.d.ts, is a module of its name. With a dgate.yaml (or
    /// .yml, .json, .toml) there, that is the configuration. Without one, every module that has a requestHandler gets
    /// the route /<module>/**.
    ///
    /// A change that is wrong is reported with its place, and the last good version goes on serving. Clients are
    /// told what a module threw.
    #[cfg(feature = "js")]
    Dev(dev::Dev),
    #[command(flatten)]
    Client(client::Command),
    /// Ask a running gateway whether it is ready; exit code 0 or 1
    Healthcheck(healthcheck::Healthcheck),
    /// Print the completion script of a shell
    ///
    /// For example: dgate completions bash > /etc/bash_completion.d/dgate
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A configuration file, as an option of commands.
#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration file (YAML, JSON or TOML by its extension)
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    config: Option<PathBuf>,
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Check(check) => check.run(),
        #[cfg(feature = "js")]
        Command::Module { command } => command.run(),
        #[cfg(feature = "js")]
        Command::Dev(dev) => dev.run(),
        Command::Client(command) => command.run(),
        Command::Healthcheck(healthcheck) => healthcheck.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "dgate", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// Says what went wrong, and what to do.
fn complain(what: &str, hint: Option<&str>) {
    eprintln!("dgate: {what}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_no_command_contradict_each_other() {
        Cli::command().debug_assert();
    }
}
