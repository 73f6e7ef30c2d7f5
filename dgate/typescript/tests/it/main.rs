//! Tests of the public API. Where it matters what the code does, the engine of the gateway runs it.

mod engine;
mod errors;
mod features;
mod hostile;
mod interface;
mod positions;
