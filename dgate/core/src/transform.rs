//! What `request-transform` and `response-transform` are made of: operations on headers and on JSON bodies, for any
//! plugin. They know no request and no response. Floor 3, beside the plugins, for [`FieldError`].
//!
//! ```
//! use dgate_core::transform::{HeaderOperations, Operations};
//! use std::collections::BTreeMap;
//!
//! let (names, values) = (BTreeMap::new(), BTreeMap::new());
//! let remove = ["x-powered-by".to_owned()];
//! let operations = HeaderOperations::new(Operations {
//!     remove: &remove, rename: &names, replace: &values, add: &values, append: &values,
//! })?;
//! let mut headers = http::HeaderMap::new();
//! headers.insert("x-powered-by", "php".parse()?);
//! operations.apply(&mut headers);
//! assert!(headers.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod headers;
mod json;

pub use body::{Rewritten, is_json, rewrite};
pub use headers::{HeaderOperations, is_framing};
pub use json::JsonOperations;

use crate::plugin::FieldError;
use std::collections::BTreeMap;

/// The five operations as configuration has them, in the order in which they are done. `V` is the type of a value:
/// text for headers, anything for JSON.
#[derive(Clone, Copy, Debug)]
pub struct Operations<'c, V> {
    /// Names that are taken away.
    pub remove: &'c [String],
    /// Names that become other ones; what had that name is gone.
    pub rename: &'c BTreeMap<String, String>,
    /// Values for what is there.
    pub replace: &'c BTreeMap<String, V>,
    /// Values for what is not there.
    pub add: &'c BTreeMap<String, V>,
    /// Further values, whether something is there or not.
    pub append: &'c BTreeMap<String, V>,
}

impl<'c, V> Operations<'c, V> {
    /// Every map from names to values with its name in configuration.
    fn values(&self) -> [(&'static str, &'c BTreeMap<String, V>); 3] {
        [
            ("replace", self.replace),
            ("add", self.add),
            ("append", self.append),
        ]
    }
}

/// The error of an entry: `/rename/json/~1a`.
pub fn entry_error(
    operation: &str,
    part: &str,
    entry: &str,
    detail: impl Into<String>,
) -> FieldError {
    let entry = entry.replace('~', "~0").replace('/', "~1");
    FieldError::new(format!("/{operation}/{part}/{entry}"), detail)
}
