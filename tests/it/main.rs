//! The integration tests, one binary: what has to do with order, protocols or the shape of the
//! source tree. One subject a file.

mod admin;
mod ambiguous;
mod authentication;
mod builder;
mod chaos;
mod cli;
mod config;
mod connections;
mod control;
mod docs;
mod drain;
mod floors;
mod forwarding;
mod hooks;
mod http2;
mod js;
mod jwt;
mod layers;
mod limits;
mod logs;
mod module_cli;
mod modules;
mod parity;
mod plugins;
mod routing;
mod sensitive;
mod state;
mod store;
mod streaming;
mod tls;
mod traffic;
mod upgrade;
mod upstream;
