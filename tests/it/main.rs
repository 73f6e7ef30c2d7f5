//! The integration tests, one binary: what has to do with order, protocols or the shape of the
//! source tree. One subject a file.

mod docs;
mod floors;
mod hooks;
mod layers;
mod upstream;
