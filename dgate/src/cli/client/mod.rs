//! Commands that ask a running gateway, or change it: they know nothing but its Admin API.

mod apply;
mod bundle;
mod changes;
mod columns;
mod failure;
mod fields;
mod history;
mod http;
mod logs;
mod output;
mod resources;
mod stats;
mod table;
mod target;

pub(super) use http::Connection;

use std::process::ExitCode;

/// What all of these commands take.
#[derive(clap::Args)]
pub(super) struct Client {
    #[command(flatten)]
    pub(super) connection: Connection,
    #[command(flatten)]
    pub(super) output: output::Output,
}

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the resources of a kind
    List(resources::List),
    /// Show one resource
    Get(resources::Get),
    /// Create one resource, or replace it
    ///
    /// For example: dgate put service api 'urls:=["http://127.0.0.1:9000"]' timeouts.request=5s
    Put(resources::Put),
    /// Delete one resource
    Delete(resources::Delete),
    /// Apply files as one changeset: all of it, or nothing
    Apply(apply::Apply),
    /// Show what applying files would change
    Diff(apply::Diff),
    /// List revisions, or show one with what it changed
    Revisions(history::Revisions),
    /// Make a new revision whose state is that of an old one; documents and secrets stay
    Rollback(history::Rollback),
    /// Print the whole state as a bundle, in YAML unless it is to be JSON
    ///
    /// Sensitive fields are left out: applied where they are stored, they stay as they are.
    Export(history::Export),
    /// Print the newest lines of the gateway's log, or follow it
    ///
    /// With -o json each line is a JSON object.
    Logs(logs::Logs),
    /// Print counters and latencies since the gateway started
    Stats(stats::Stats),
}

impl Command {
    pub(super) fn run(self) -> ExitCode {
        let result = match self {
            Self::List(list) => list.run(),
            Self::Get(get) => get.run(),
            Self::Put(put) => put.run(),
            Self::Delete(delete) => delete.run(),
            Self::Apply(apply) => apply.run(),
            Self::Diff(diff) => diff.run(),
            Self::Revisions(revisions) => revisions.run(),
            Self::Rollback(rollback) => rollback.run(),
            Self::Export(export) => export.run(),
            Self::Logs(logs) => logs.run(),
            Self::Stats(stats) => stats.run(),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}
