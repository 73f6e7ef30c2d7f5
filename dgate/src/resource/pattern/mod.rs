//! What the texts in routes and domains mean: paths, hosts, conditions. They are read here so that one that is wrong
//! is told with whatever else is wrong with its resource; the snapshot matches requests with them.

pub mod host;
pub mod matcher;
pub mod path;
pub mod route;
