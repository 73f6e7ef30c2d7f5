//! `dgate module`: what those who write modules need besides an editor.

mod run;
mod show;
mod sources;
mod test;
mod types;

pub(super) use show::{Texts, report};

use clap::Subcommand;
use std::process::ExitCode;

/// The commands under `dgate module`.
#[derive(Subcommand)]
pub(super) enum Module {
    /// Print dgate.d.ts, the types of everything that a module finds
    ///
    /// With --out they are written into a folder, with a tsconfig.json beside them when there is none, so that an
    /// editor (or `tsc`) checks the modules there.
    Types(types::Types),
    /// Send one request through a module and print the response
    ///
    /// No listener is opened: the gateway, with one route that consists of this module, is in this process. Files
    /// beside the module that it imports come along. Without an upstream, what the module lets through is answered
    /// by an echo of the request.
    ///
    /// The response goes to stdout, what the module logs and throws to stderr. Exit code 0, 1 when the module failed,
    /// 78 when it does not compile.
    Run(Box<run::Run>),
    /// Run the tests of modules: *.test.ts and *.test.js
    ///
    /// A test file imports `dgate/test`, which brings `test`, `expect`, `gateway`, `upstream` and `mockFetch`. The
    /// gateways in it are real ones, the network is played.
    ///
    /// Exit code 0 when all passed, 1 when one failed or there is none, 78 when a test file does not compile.
    Test(test::Test),
}

impl Module {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::Types(types) => types.run(),
            Self::Run(run) => run.run(),
            Self::Test(test) => test.run(),
        }
    }
}
