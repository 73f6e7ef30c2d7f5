//! What can go wrong with an exchange, classified once: floor 0.
//!
//! Inside a pipeline errors are boxed; [`Error::classify`] gives any of them a kind, an origin and a
//! word on whether trying again makes sense. `reply` turns the result into an answer. Causes go to
//! logs and never to clients.
//!
//! ```
//! use dgate_core::{Error, ErrorKind};
//! let error = Error::new(ErrorKind::UpstreamConnect).with_cause("connection refused");
//! assert_eq!(error.status(), 502);
//! assert_eq!(error.code(), "upstream_connect_failed");
//! assert!(error.retryable());
//! ```

use crate::body::BoxError;
use http::{HeaderName, HeaderValue, StatusCode};
use std::fmt;

/// Who is to blame; the log field `error.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// The request itself.
    Client,
    /// This gateway: its configuration, its limits or a defect.
    Gateway,
    /// A module or a native plugin.
    Module,
    /// The service behind the gateway, or the way to it.
    Upstream,
}

impl Origin {
    /// The lowercase word used in logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Gateway => "gateway",
            Self::Module => "module",
            Self::Upstream => "upstream",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $origin:ident $title:literal;)*) => {
        /// What happened. Each kind has a status, a stable `code` and a title that clients may read.
        #[non_exhaustive]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            /// Every kind, for documentation and tests.
            pub const ALL: &'static [ErrorKind] = &[$(ErrorKind::$name,)*];

            /// The stable machine-readable word: `code` of the problem document, `error.kind` of logs.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
            /// The status a client gets when nothing handles the error.
            pub fn status(self) -> StatusCode {
                let code: u16 = match self { $(Self::$name => $status,)* };
                StatusCode::from_u16(code).expect("the table above holds valid statuses")
            }
            /// One sentence for clients, without any detail of the inside.
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
            /// Who is to blame by default.
            pub fn origin(self) -> Origin {
                match self { $(Self::$name => Origin::$origin,)* }
            }
        }
    };
}

kinds! {
    /// Malformed or ambiguous HTTP (RFC 9112).
    BadRequest = 400 "bad_request" Client "The request is malformed";
    /// The request shows no credentials, or wrong ones; `WWW-Authenticate` says which it takes (RFC 9110 §15.5.2).
    Unauthorized = 401 "unauthorized" Client "The request is not authenticated";
    /// The client may not have this.
    Forbidden = 403 "forbidden" Client "The request is not allowed";
    /// No domain, namespace or route takes the request.
    NoRoute = 404 "no_route" Client "No route takes this request";
    /// A route has the path, none takes the method; `Allow` says which do.
    MethodNotAllowed = 405 "method_not_allowed" Client "The method is not allowed on this path";
    /// The request did not arrive in time.
    RequestTimeout = 408 "request_timeout" Client "The request did not arrive in time";
    /// The request does not declare the length of its body, where it has to (RFC 9110 §15.5.12).
    LengthRequired = 411 "length_required" Client "The length of the request body must be declared";
    /// The body is above `max_body`.
    BodyTooLarge = 413 "body_too_large" Client "The request body is too large";
    /// The request target is above `max_uri`.
    UriTooLong = 414 "uri_too_long" Client "The request target is too long";
    /// The connection was not made for this host, whose domain asks for client certificates (RFC 9110 §15.5.20).
    Misdirected = 421 "misdirected" Client "The request came over a connection that is not for its host";
    /// A limit on requests was reached.
    RateLimited = 429 "rate_limited" Client "Too many requests";
    /// Headers are above `max_header_bytes` or `max_headers`.
    HeadersTooLarge = 431 "headers_too_large" Client "The request headers are too large";
    /// The client went away before its answer was ready; never seen by one.
    ClientClosed = 499 "client_closed" Client "The client closed the connection";
    /// A defect of this gateway or an error that nothing classified.
    Internal = 500 "internal" Gateway "The gateway failed";
    /// A module or a plugin failed.
    Module = 500 "module_error" Module "A module failed";
    /// A module or a plugin ran into one of its limits.
    ModuleLimit = 500 "module_limit" Module "A module reached a limit";
    /// The gateway does not do what the request asks for.
    NotImplemented = 501 "not_implemented" Client "The gateway does not support this request";
    /// No connection to the upstream could be made: nothing was sent.
    UpstreamConnect = 502 "upstream_connect_failed" Upstream "The upstream cannot be reached";
    /// The upstream closed or reset the connection before an answer.
    UpstreamReset = 502 "upstream_reset" Upstream "The upstream closed the connection";
    /// What the upstream sent is not valid HTTP.
    UpstreamProtocol = 502 "upstream_protocol" Upstream "The upstream sent an invalid answer";
    /// All permits and queue places are taken.
    Overloaded = 503 "overloaded" Gateway "The gateway is overloaded";
    /// Credentials cannot be checked now: those who know whether they are right cannot be asked.
    AuthUnavailable = 503 "auth_unavailable" Gateway "Credentials cannot be checked at the moment";
    /// The circuit breaker is open.
    CircuitOpen = 503 "circuit_open" Upstream "The circuit breaker is open";
    /// The service has no endpoint that could take the request.
    NoEndpoint = 503 "no_endpoint" Upstream "The service has no endpoint";
    /// No connection to the upstream within `timeouts.connect`: nothing was sent.
    ConnectTimeout = 504 "upstream_connect_timeout" Upstream "The upstream did not accept a connection in time";
    /// No answer from the upstream in time.
    UpstreamTimeout = 504 "upstream_timeout" Upstream "The upstream did not answer in time";
    /// The request came back to this gateway.
    LoopDetected = 508 "loop_detected" Gateway "The request came back to this gateway";
}

impl ErrorKind {
    /// The kind of the first [`Error`] in a chain of causes.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(link) = next {
            if let Some(own) = link.downcast_ref::<Error>() {
                return Some(own.kind());
            }
            next = link.source();
        }
        None
    }
}

/// An error with its class. Cheap to move: one pointer.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    origin: Origin,
    status: Option<StatusCode>,
    detail: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    attempts: u32,
    upstream: Option<String>,
    cause: Option<BoxError>,
}

impl Error {
    /// An error of a kind, with the kind's own origin and title.
    pub fn new(kind: ErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            origin: kind.origin(),
            status: None,
            detail: None,
            headers: Vec::new(),
            attempts: 0,
            upstream: None,
            cause: None,
        }))
    }

    /// Adds the reason for logs; clients never see it.
    pub fn with_cause(mut self, cause: impl Into<BoxError>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// Replaces the sentence that clients read as `detail`.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Replaces the status of the default answer: what a limit is configured to refuse with.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds a header to the default answer, such as `Allow` or `Retry-After`.
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says how many tries the upstream got and the address of the last one.
    pub fn with_attempts(mut self, attempts: u32, upstream: Option<String>) -> Self {
        self.0.attempts = attempts;
        self.0.upstream = upstream.or(self.0.upstream);
        self
    }

    /// The same after `tries` calls, of which a last one that was [refused](Self::refused) was no attempt.
    pub(crate) fn after(self, tries: u32) -> Self {
        let attempts = tries - u32::from(self.refused());
        self.with_attempts(attempts, None)
    }

    /// Gives any boxed error a class: itself if it is an [`Error`], a known cause in its chain
    /// (a body above its limit, a deadline), and [`ErrorKind::Internal`] otherwise.
    pub fn classify(error: BoxError) -> Self {
        let error = match error.downcast::<Error>() {
            Ok(own) => return *own,
            Err(other) => other,
        };
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error.as_ref());
        while let Some(link) = next {
            if let Some(own) = link.downcast_ref::<Error>() {
                return Self::new(own.kind())
                    .with_detail(own.detail().to_owned())
                    .with_cause(error);
            }
            if link.is::<http_body_util::LengthLimitError>() {
                return Self::new(ErrorKind::BodyTooLarge).with_cause(error);
            }
            next = link.source();
        }
        Self::new(ErrorKind::Internal).with_cause(error)
    }

    /// A failure inside the hook `hook` of the module or plugin `name`; an [`Error`] stays what it is.
    pub fn module(error: BoxError, name: &str, hook: &str) -> Self {
        match error.downcast::<Error>() {
            Ok(own) => *own,
            Err(other) => Self::new(ErrorKind::Module)
                .with_detail(format!("module `{name}` failed in {hook}"))
                .with_cause(other),
        }
    }

    /// What happened.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Who is to blame.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The stable word of the kind.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// The status of the default answer.
    pub fn status(&self) -> StatusCode {
        self.0.status.unwrap_or(self.0.kind.status())
    }

    /// The sentence for clients.
    pub fn detail(&self) -> &str {
        self.0.detail.as_deref().unwrap_or(self.0.kind.title())
    }

    /// Headers of the default answer.
    pub fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.0.headers
    }

    /// How many tries the upstream got; 0 when none was made.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The endpoint of the last try, for logs and error handlers.
    pub fn upstream(&self) -> Option<&str> {
        self.0.upstream.as_deref()
    }

    /// The reason in words, with all that it came from: for logs and error handlers.
    pub fn cause_text(&self) -> Option<String> {
        let mut next = std::error::Error::source(self);
        let mut links = Vec::new();
        while let Some(cause) = next {
            links.push(cause.to_string());
            next = cause.source();
        }
        (!links.is_empty()).then(|| links.join(": "))
    }

    /// Whether another try may end differently, whatever the method: only when nothing was sent.
    pub fn unsent(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::UpstreamConnect | ErrorKind::ConnectTimeout
        )
    }

    /// Whether nobody was asked at all: the circuit is open, there is no endpoint, or all places are taken.
    pub fn refused(&self) -> bool {
        matches!(
            self.0.kind,
            ErrorKind::CircuitOpen | ErrorKind::NoEndpoint | ErrorKind::Overloaded
        )
    }

    /// Whether it speaks against what was asked, as breakers and health checks see it; what the client, a limit or
    /// a module did, does not.
    pub fn blames_inside(&self) -> bool {
        let failed = self.0.origin == Origin::Upstream || self.0.kind == ErrorKind::Internal;
        failed && !self.refused()
    }

    /// Whether another try may end differently, for a request that may be sent twice.
    pub fn retryable(&self) -> bool {
        self.unsent()
            || matches!(
                self.0.kind,
                ErrorKind::UpstreamReset | ErrorKind::UpstreamTimeout
            )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        let mut next = self
            .0
            .cause
            .as_deref()
            .map(|e| e as &(dyn std::error::Error + 'static));
        while let Some(cause) = next {
            write!(f, ": {cause}")?;
            next = cause.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("origin", &self.0.origin)
            .field("detail", &self.0.detail)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.cause.as_deref().map(|e| e as _)
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}
