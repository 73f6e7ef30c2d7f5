//! What a TLS handshake needs of a snapshot: for a name, the certificate and whether the client must show one.
//!
//! The certificate is that of the best domain that has one, so that `*.example.com` serves for the domains below it
//! too; client certificates are asked for by the domain that will take the requests, and by no other.

#[cfg(feature = "tls")]
mod handshake;

use std::sync::Arc;

#[cfg(feature = "tls")]
pub(super) use handshake::Mutual;
#[cfg(feature = "tls")]
pub use handshake::{DomainTls, Handshake, Served, TlsError};

/// How a domain wants to be reached; most domains do not mind.
#[derive(Debug)]
pub struct Access {
    /// Plain HTTP is sent to `https`.
    pub redirect_https: bool,
    /// Clients are asked for a certificate.
    pub client_auth: Option<Arc<ClientAuth>>,
}

/// That a domain asks clients for certificates. Another one when authorities change: a connection was let in by the
/// one that its handshake met, and is known by its address.
#[derive(Debug)]
pub struct ClientAuth {
    /// Clients without a certificate are refused.
    pub required: bool,
}
