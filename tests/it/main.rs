//! The integration tests, one binary: what has to do with order, protocols or the shape of the
//! source tree. One subject a file.

mod ambiguous;
mod docs;
mod floors;
mod forwarding;
mod hooks;
mod layers;
mod limits;
mod routing;
mod upstream;
