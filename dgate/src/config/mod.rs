//! The configuration file: what it may say, and how a text becomes it.
//!
//! [`Config`] and the structs below it are the file's shape; their field docs are the user's
//! manual. [`load()`] finds and reads a file. On the way there a text becomes a tree of values that
//! know their places ([`parse`]), which one validator ([`validate()`]) checks as a whole, so that
//! all errors come at once; the Admin API and plugins use the same two for what they take.
//!
//! Validation does no I/O: whether a file exists or a port is free is seen by whoever opens it.
//!
//! ```
//! use dgate::config::{Config, Format, parse};
//!
//! let tree = parse("version: 1\nproxy:\n  listen: :8080\n", Format::Yaml).expect("valid YAML");
//! let config = Config::from_node(&tree).expect("valid configuration");
//! assert_eq!(config.proxy.listen[0].port(), 8080);
//! assert_eq!(config.admin.max_body.bytes(), 8 * 1024 * 1024);
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use dgate_core::units::{Duration, Limit, Size};
use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

mod address;
mod admin;
mod checks;
mod diagnostic;
mod environment;
mod files;
mod json;
mod load;
mod plugin_use;
mod toml;
mod tree;
mod validate;
#[cfg(feature = "admin")]
mod write_yaml;
mod yaml;

pub use address::{AddressError, LISTEN_FORMAT, ListenAddr, NETWORK_FORMAT, parse_network};
pub use admin::{
    AdminAuth, AdminConfig, AdminKey, AdminTlsConfig, AdminUser, Jwt, JwtAlgorithm, SecretText,
};
pub use diagnostic::{Diagnostic, Span, Within, join, steps};
pub(crate) use diagnostic::{shortened, told};
pub use environment::Environment;
#[cfg(feature = "cli")]
pub(crate) use environment::escape_variables;
pub use files::Files;
pub(crate) use files::{place_in, read_source};
pub use load::{
    ConfigError, Loaded, Problem, bundle, check, find, load, load_file, looks_like_bundle, read,
};
pub use plugin_use::PluginUse;
pub use tree::{Format, Key, MAX_DATA_DEPTH, MAX_DEPTH, Node, Value, parse};
pub(crate) use validate::{TIME_FORMAT, nearest, parse_time, validate_hiding};
pub use validate::{schema_of, typed, typed_at, validate, validate_at};
#[cfg(feature = "admin")]
pub use write_yaml::to_yaml;

/// The configuration of one gateway process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// The version of the file's format. Always 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// What this process is called.
    #[serde(default)]
    pub node: NodeConfig,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// Where state is kept. Leave it out to keep everything in memory.
    #[serde(default)]
    pub storage: Option<StorageConfig>,
    /// The data plane: what clients connect to.
    #[serde(default)]
    pub proxy: ProxyConfig,
    /// The control plane: the Admin API.
    #[serde(default)]
    pub admin: AdminConfig,
    /// Resources to apply at start and on SIGHUP, as one changeset: kinds in the plural, each a
    /// list. Checked by the schemas of the resources.
    #[serde(default)]
    #[schemars(schema_with = "map_or_null")]
    pub resources: Option<serde_json::Value>,
}

fn map_or_null(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["object", "null"] })
}

impl Default for Config {
    /// What a file of nothing but `version: 1` says: everything in memory.
    fn default() -> Self {
        Self {
            version: 1,
            node: NodeConfig::default(),
            log: LogConfig::default(),
            storage: None,
            proxy: ProxyConfig::default(),
            admin: AdminConfig::default(),
            resources: None,
        }
    }
}

impl Config {
    /// What holds without any configuration file: the defaults, with storage in `.dgate`.
    pub fn default_for_no_file() -> Self {
        Self {
            storage: Some(StorageConfig::default()),
            ..Self::default()
        }
    }

    /// Checks a tree and turns it into a configuration.
    ///
    /// # Errors
    /// Everything that is wrong: first with the shape; then, if the shape is right, with what the
    /// parts mean together.
    pub fn from_node(node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let config = typed::<Self>(node)?;
        let errors = config.check(node);
        if errors.is_empty() {
            Ok(config)
        } else {
            Err(errors)
        }
    }
}

/// What this process is called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NodeConfig {
    /// The number of this node, different for each node of a cluster. From 1.
    #[schemars(range(min = 1))]
    pub id: u64,
    /// Words that tell this node from others.
    pub tags: Vec<String>,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            id: 1,
            tags: Vec::new(),
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LogConfig {
    /// The least level that is logged.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether every exchange is logged, on a target of its own.
    pub access: bool,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            level: LogLevel::default(),
            format: LogFormat::default(),
            access: true,
        }
    }
}

/// How grave a thing must be to be logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[schemars(inline)]
pub enum LogLevel {
    /// Every step.
    Trace,
    /// A line per decision.
    Debug,
    /// Lifecycle and configuration.
    #[default]
    Info,
    /// It works, but less well.
    Warn,
    /// A person must act.
    Error,
}

impl LogLevel {
    /// The level's name, as tracing's filters have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[schemars(inline)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Where state is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct StorageConfig {
    /// The directory, made if it is not there.
    pub path: PathBuf,
    /// How many revisions are kept to look at and roll back to.
    #[schemars(range(min = 1))]
    pub history: u64,
    /// How long to wait at start for another process to leave the directory.
    pub lock_timeout: Duration,
    /// The file with the key that sensitive fields are encrypted with, relative to the configuration file. Made on
    /// the first start, by default as `secret.key` in `path`. `DGATE_SECRET_KEY` holds the key itself and wins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from(".dgate"),
            history: 1000,
            // As long as a predecessor may drain by default, so that a restart overlaps.
            lock_timeout: Duration::from_secs(30),
            secret_key_file: None,
        }
    }
}

/// The data plane: what clients connect to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ProxyConfig {
    /// Where HTTP is served: one address or a list. May be empty if `tls` listens.
    #[serde(deserialize_with = "address::one_or_many")]
    #[schemars(schema_with = "address::one_or_many_schema")]
    pub listen: Vec<ListenAddr>,
    /// Where HTTPS is served.
    pub tls: Option<ProxyTlsConfig>,
    /// How many threads serve. 0 means one per core.
    pub workers: usize,
    /// Plugins that every exchange passes, before those of namespaces, services and routes.
    pub plugins: Vec<PluginUse>,
    /// The name of this gateway in `Via`, where it also recognizes requests that come round again.
    #[schemars(extend(
        "pattern" = "^[!#$%&'*+.^_`|~0-9A-Za-z:-]+$",
        "x-expect" = "a name without spaces"
    ))]
    pub via: Option<String>,
    /// Whether a client is told what a module threw. For development.
    pub expose_module_errors: bool,
    /// Networks whose `X-Forwarded-*` headers are believed: `10.0.0.0/8`, or single addresses.
    #[serde(deserialize_with = "address::networks")]
    #[schemars(schema_with = "address::networks_schema")]
    pub trusted_proxies: Vec<IpNet>,
    /// What a client may use of the gateway.
    pub limits: LimitsConfig,
    /// How long a shutdown waits for exchanges in flight.
    pub shutdown_timeout: Duration,
    /// Headers added to every proxied response.
    #[schemars(schema_with = "headers_schema")]
    pub response_headers: BTreeMap<String, String>,
}

fn headers_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "propertyNames": {
            "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$",
            "x-expect": "a header name",
        },
        "additionalProperties": {
            "type": "string",
            "pattern": r"^[^\x00-\x08\x0a-\x1f\x7f]*$",
            "x-expect": "a header value without control characters",
        },
    })
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::loopback(8080)],
            tls: None,
            workers: 0,
            plugins: Vec::new(),
            via: None,
            expose_module_errors: false,
            trusted_proxies: Vec::new(),
            limits: LimitsConfig::default(),
            // What Kubernetes leaves between SIGTERM and SIGKILL.
            shutdown_timeout: Duration::from_secs(30),
            response_headers: BTreeMap::new(),
        }
    }
}

/// Where HTTPS is served, and the certificate for names that no domain has one for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyTlsConfig {
    /// One address or a list.
    #[serde(deserialize_with = "address::one_or_many")]
    #[schemars(schema_with = "address::one_or_many_schema")]
    pub listen: Vec<ListenAddr>,
    /// The default certificate with its chain, in PEM, for names that no domain has one for. Relative to the
    /// configuration file. Without one, such names are refused.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file`, in PEM. Relative to the configuration file.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Makes a certificate at each start when there is no `cert_file`: for trials, since no client trusts it.
    #[serde(default)]
    pub self_signed: bool,
}

/// What a client may use of the gateway. `none` takes a limit away where it may be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// The bytes of all header lines of a request; above it 431.
    pub max_header_bytes: Size,
    /// The header lines of a request; above it 431.
    #[schemars(range(min = 1))]
    pub max_headers: u32,
    /// The bytes of the request target; above it 414.
    pub max_uri: Size,
    /// The bytes of a request body, unless its route says otherwise; above it 413.
    pub max_body: Limit<Size>,
    /// How long the head of a request may take from its first byte on.
    pub header_timeout: Limit<Duration>,
    /// How long a connection may stay without a request.
    pub idle_timeout: Limit<Duration>,
    /// Connections at one time.
    pub max_connections: Limit<u32>,
    /// Connections at one time from one address.
    pub max_connections_per_ip: Limit<u32>,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_header_bytes: Size::kib(64),
            max_headers: 100,
            max_uri: Size::kib(16),
            max_body: Limit::Of(Size::mib(10)),
            header_timeout: Limit::Of(Duration::from_secs(10)),
            // Above the 60 s that load balancers in front keep idle connections by default.
            idle_timeout: Limit::Of(Duration::from_secs(75)),
            max_connections: Limit::Of(65536),
            max_connections_per_ip: Limit::None,
        }
    }
}

#[cfg(test)]
mod tests;
