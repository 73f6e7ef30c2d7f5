//! Tests of the public API. Where it matters what the code does, the engine of the gateway runs it.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod engine;
mod errors;
mod features;
mod hostile;
mod interface;
mod positions;
