//! A domain: which hosts belong to a namespace, and how clients reach them over TLS.

use super::{default_namespace, is_default};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Host names whose requests go to a namespace. A host that no domain takes goes to namespace `default`.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Domain {
    /// The namespace that gets the requests. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// `api.example.com`, `*.example.com`, `api.*`, `*shop*`, `*`, or `/regex/`. Case and port do not matter.
    #[schemars(length(min = 1))]
    pub patterns: Vec<String>,
    /// The highest wins; then exact before wildcard before regex, then the longest pattern. Default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// PEM certificate with its chain, served to clients that ask for a host of this domain. In configuration files
    /// `cert_file` may stand instead: the path of a file, relative to the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<String>,
    /// PEM private key of `cert`; in configuration files also `key_file`. Never given out; left out of a change, the
    /// one that is stored stays.
    #[serde(default, skip_serializing)]
    #[schemars(extend("writeOnly" = true))]
    pub key: Option<String>,
    /// Asks clients for a certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtls: Option<Mtls>,
    /// Answers plain HTTP with 308 to the same address over `https`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub redirect_https: bool,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// Which certificates of clients are taken.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mtls {
    /// PEM certificates of the authorities that sign those of clients.
    pub ca_cert: String,
    /// Refuses clients without a certificate, and plain HTTP. Otherwise one that is shown is verified all the same.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub required: bool,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domain")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("patterns", &self.patterns)
            .field("priority", &self.priority)
            .field("cert", &self.cert)
            .field("key", &self.key.as_ref().map(|_| "…"))
            .field("mtls", &self.mtls)
            .field("redirect_https", &self.redirect_https)
            .field("tags", &self.tags)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_neither_written_nor_shown() {
        let json = serde_json::json!({"name": "d", "patterns": ["a.test"], "cert": "C", "key": "hush",
            "mtls": {"ca_cert": "A"}});
        let domain: Domain = serde_json::from_value(json).unwrap();
        assert_eq!(domain.key.as_deref(), Some("hush"));
        let written = serde_json::to_string(&domain).unwrap();
        assert!(!written.contains("hush") && !format!("{domain:?}").contains("hush"));
        assert!(domain.mtls.unwrap().required && !written.contains("required"));
    }
}
