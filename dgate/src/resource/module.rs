//! A module: TypeScript or JavaScript whose exports are hooks.

use super::{NetPermission, default_namespace, is_default};
use crate::config::{Diagnostic, Node, join};
use dgate_core::units::{Duration, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest source. What is larger is generated, and wants to be split or to live in a collection.
pub const MAX_SOURCE: Size = Size::mib(1);

/// A TypeScript or JavaScript module. What it exports under the names of the five hooks runs on the routes that
/// list it; modules of the same namespace can import it as `./name`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name: what routes list, and what other modules import as `./name`.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// The language of the source. Default `typescript`.
    #[serde(rename = "type", default, skip_serializing_if = "is_default")]
    pub language: Language,
    /// The text of the module, at most 1MiB. In configuration files `source_file` may stand instead: the path of a
    /// file, relative to the configuration file.
    pub source: String,
    /// What one invocation may use; passing a limit ends it with the error `module_limit`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ModuleLimits,
    /// What the module may reach.
    #[serde(default, skip_serializing_if = "is_default")]
    pub permissions: Permissions,
    /// What it shares with others. Default `shared`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub isolation: Isolation,
    /// What an error in one of its hooks does to the request. Default `fail`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_error: OnError,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

/// The language of a module's source.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    /// TypeScript; types are dropped, not checked.
    #[default]
    #[serde(rename = "typescript")]
    TypeScript,
    /// JavaScript.
    #[serde(rename = "javascript")]
    JavaScript,
}

/// What one invocation of a module may use.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ModuleLimits {
    /// Time in which JavaScript runs, added up over awaits: `1ms` to `1m`. Default 50ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Duration>,
    /// Time from the start of a hook to its end, waiting included, and for work that goes on after the response:
    /// `1ms` to `1h`. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wall: Option<Duration>,
    /// Memory of the runtime that the invocation is in: `4MiB` to `2GiB`. Default 64MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Size>,
    /// Calls of `fetch`, redirects included; 0 allows none. Default 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub fetches: Option<u32>,
}

impl ModuleLimits {
    /// The limit of time in which JavaScript runs.
    pub fn cpu(&self) -> std::time::Duration {
        // Enough for parsing a megabyte of JSON, short enough that a loop is no outage of its worker.
        self.cpu.unwrap_or(Duration::from_millis(50)).into()
    }

    /// The limit of time from the start of a hook to its end.
    pub fn wall(&self) -> std::time::Duration {
        // As long as the default of `timeouts.request`.
        self.wall.unwrap_or(Duration::from_secs(30)).into()
    }

    /// The limit of memory in bytes.
    pub fn memory(&self) -> usize {
        self.memory.unwrap_or(Size::mib(64)).as_usize()
    }

    /// The limit of calls of `fetch`.
    pub fn fetches(&self) -> u32 {
        self.fetches.unwrap_or(50)
    }
}

/// What a module may reach. A list that is left out has its default, an empty one allows nothing.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Permissions {
    /// Hosts that `fetch` and `fetchUpstream` may name: `host`, `host:port`, `*.host`, IPv6 addresses in brackets.
    /// Left out: all public addresses; loopback, link-local and private ones always need an entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Vec<String>>,
    /// Collections by name. Left out: those of the module's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Vec<String>>,
    /// Secrets by name. Left out: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<Vec<String>>,
}

/// What a module shares with other requests.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Requests share globals and may interleave at `await`.
    #[default]
    Shared,
    /// A fresh runtime for each request.
    Request,
    /// Threads of its own, for code that is not trusted with those of the gateway.
    Thread,
}

/// What an error in a hook does.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// The request fails.
    #[default]
    Fail,
    /// The request goes on as if the hook were not there.
    Continue,
}

impl Module {
    /// A module with this source, and defaults.
    pub fn new(
        namespace: impl Into<String>,
        name: impl Into<String>,
        language: Language,
        source: impl Into<String>,
    ) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
            language,
            source: source.into(),
            limits: ModuleLimits::default(),
            permissions: Permissions::default(),
            isolation: Isolation::default(),
            on_error: OnError::default(),
            tags: Vec::new(),
        }
    }

    /// What its schema cannot say. `node` is what it was read from, `prefix` the pointer to it.
    pub(super) fn check(&self, node: &Node, prefix: &str) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        let mut wrong = |path: &[&str], detail: String| {
            let pointer = path.iter().fold(String::new(), |p, step| join(&p, step));
            let at = node.diagnose(&pointer, detail);
            errors.push(Diagnostic {
                pointer: format!("{prefix}{pointer}"),
                ..at
            });
        };
        let size = self.source.len() as u64;
        if size > MAX_SOURCE.bytes() {
            wrong(&["source"], SourceTooLarge(size).to_string());
        }
        for (name, limit, longest) in [
            ("cpu", self.limits.cpu, Duration::from_secs(60)),
            ("wall", self.limits.wall, Duration::from_secs(3600)),
        ] {
            if let Some(limit) = limit
                && !(Duration::from_millis(1)..=longest).contains(&limit)
            {
                let detail = format!("{name} is between 1ms and {longest}, found {limit}");
                wrong(&["limits", name], detail);
            }
        }
        let (least, most) = (Size::mib(4), Size::mib(2048));
        if let Some(memory) = self.limits.memory
            && !(least..=most).contains(&memory)
        {
            let detail = format!("memory is between {least} and {most}, found {memory}");
            wrong(&["limits", "memory"], detail);
        }
        for (at, entry) in self.permissions.net.iter().flatten().enumerate() {
            if let Err(error) = entry.parse::<NetPermission>() {
                wrong(&["permissions", "net", &at.to_string()], error.to_string());
            }
        }
        errors
    }
}

/// The sentence on a source above [`MAX_SOURCE`].
#[derive(Debug, thiserror::Error)]
#[error(
    "the source has {0} bytes, more than {MAX_SOURCE}: split it into modules that import each other"
)]
pub(crate) struct SourceTooLarge(pub(crate) u64);
