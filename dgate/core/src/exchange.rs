//! One request and its response, as every layer and hook sees it: floor 0.
//!
//! An [`Exchange`] is one `Arc` in the request's extensions. The outermost layer makes it (or the first
//! hook layer, in a stack of someone else's); each hook layer clones it before it calls inward, so that
//! response and error hooks see it, and puts it back into a request that a hook replaced.

use crate::body::Request;
use crate::consumer::Consumers;
use crate::metrics::RouteMetrics;
use crate::target::Target;
use http::HeaderValue;
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The context of one request; `ctx` in hooks. Cloning costs one count.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    id: HeaderValue,
    started: Instant,
    client: Client,
    revision: AtomicU64,
    attempt: AtomicU32,
    hooked: AtomicBool,
    route: OnceLock<Arc<RouteInfo>>,
    params: OnceLock<Params>,
    identity: OnceLock<Arc<Identity>>,
    guest: OnceLock<Arc<Identity>>,
    target: Mutex<Option<Target>>,
    upgrade: Mutex<Option<OnUpgrade>>,
    vars: Mutex<http::Extensions>,
    state: Mutex<serde_json::Map<String, serde_json::Value>>,
}

/// Where a request came from.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// The other end of the connection; absent when embedded without `ConnectInfo`.
    pub peer: Option<SocketAddr>,
    /// The one client address: the peer, or what a trusted proxy said.
    pub ip: Option<IpAddr>,
    /// The TLS session of the connection, when there is one.
    pub tls: Option<Arc<ClientTls>>,
}

/// What is known of the TLS session with a client.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// The name that the client asked for.
    pub sni: Option<Arc<str>>,
    /// The certificate that the client showed.
    pub cert: Option<ClientCert>,
}

impl ClientTls {
    /// A session of this version, for this name.
    pub fn new(version: &'static str, sni: Option<Arc<str>>) -> Self {
        Self {
            version,
            sni,
            cert: None,
        }
    }
}

/// A client's certificate.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCert {
    /// Its subject, as RFC 4514 writes names.
    pub subject: String,
    /// SHA-256 of the certificate in DER, in hex digits.
    pub sha256: String,
}

/// The route that took the request.
#[non_exhaustive]
#[derive(Debug, Default)]
pub struct RouteInfo {
    /// Name of the namespace.
    pub namespace: Arc<str>,
    /// Tags of the namespace.
    pub namespace_tags: Vec<String>,
    /// Name of the route.
    pub name: Arc<str>,
    /// Tags of the route.
    pub tags: Vec<String>,
    /// Path patterns of the route, as written.
    pub paths: Vec<String>,
    /// Name of the service, when there is one.
    pub service: Option<Arc<str>>,
    /// Tags of the service.
    pub service_tags: Vec<String>,
    /// URLs of the service, as written.
    pub service_urls: Vec<String>,
    /// The counters of the route.
    pub metrics: RouteMetrics,
    /// The consumers of the namespace, when there are some and a plugin of the route looks for one
    /// ([`Plugin::CONSUMERS`](crate::Plugin::CONSUMERS)).
    pub consumers: Option<Arc<Consumers>>,
}

/// Path parameters, percent-decoded, in the order of the pattern.
pub type Params = Vec<(String, String)>;

/// The consumer that an authentication plugin recognised.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Name of the consumer.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// What else is declared of it, in whatever shape.
    pub metadata: serde_json::Value,
}

impl Exchange {
    /// A new exchange with a random id, begun now.
    pub fn new(client: Client) -> Self {
        Self::with_id(random_id(), client)
    }

    /// A new exchange under an id from elsewhere: visible ASCII.
    pub fn with_id(id: HeaderValue, client: Client) -> Self {
        Self(Arc::new(Inner {
            id,
            started: Instant::now(),
            client,
            revision: AtomicU64::new(0),
            attempt: AtomicU32::new(0),
            hooked: AtomicBool::new(false),
            route: OnceLock::new(),
            params: OnceLock::new(),
            identity: OnceLock::new(),
            guest: OnceLock::new(),
            target: Mutex::new(None),
            upgrade: Mutex::new(None),
            vars: Mutex::new(http::Extensions::new()),
            state: Mutex::new(serde_json::Map::new()),
        }))
    }

    /// The exchange of a request, if a DGate layer has seen it.
    pub fn of<B>(req: &http::Request<B>) -> Option<&Self> {
        req.extensions().get()
    }

    /// The exchange of a request; one is made and put into it when there is none.
    pub fn ensure(req: &mut Request) -> Self {
        if let Some(known) = Self::of(req) {
            return known.clone();
        }
        let made = Self::new(Client::default());
        made.attach(req);
        made
    }

    /// Puts this exchange into a request, and takes over its pending upgrade.
    pub fn attach(&self, req: &mut Request) {
        self.adopt_upgrade(req);
        req.extensions_mut().insert(self.clone());
    }

    /// Takes over the pending upgrade of a request that goes on with this exchange beside it.
    pub fn adopt_upgrade(&self, req: &mut Request) {
        let extensions = req.extensions_mut();
        if !extensions.is_empty()
            && let Some(upgrade) = extensions.remove::<OnUpgrade>()
        {
            *self.0.upgrade.lock() = Some(upgrade);
        }
    }

    /// The request id, as in `X-Request-Id` and the logs.
    pub fn id(&self) -> &str {
        self.0.id.to_str().unwrap_or("")
    }
    /// When the head of the request had arrived.
    pub fn started(&self) -> Instant {
        self.0.started
    }
    /// Where the request came from.
    pub fn client(&self) -> &Client {
        &self.0.client
    }
    /// The one client address.
    pub fn client_ip(&self) -> Option<IpAddr> {
        self.0.client.ip
    }
    /// The revision of the configuration that serves this request; 0 outside a gateway.
    pub fn revision(&self) -> u64 {
        self.0.revision.load(Relaxed)
    }
    /// Notes the revision.
    pub fn set_revision(&self, revision: u64) {
        self.0.revision.store(revision, Relaxed);
    }
    /// The number of the current attempt at the upstream, from 0.
    pub fn attempt(&self) -> u32 {
        self.0.attempt.load(Relaxed)
    }
    /// Notes the number of the current attempt.
    pub fn set_attempt(&self, attempt: u32) {
        self.0.attempt.store(attempt, Relaxed);
    }
    /// The route, once the router has chosen.
    pub fn route(&self) -> Option<&Arc<RouteInfo>> {
        self.0.route.get()
    }
    /// Notes the route and its parameters; the first call wins.
    pub fn set_route(&self, route: Arc<RouteInfo>, params: Params) {
        let _ = self.0.route.set(route);
        if !params.is_empty() {
            let _ = self.0.params.set(params);
        }
    }
    /// Path parameters, percent-decoded.
    pub fn params(&self) -> &[(String, String)] {
        self.0.params.get().map(Vec::as_slice).unwrap_or_default()
    }
    /// One path parameter by name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params()
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
    /// The consumer, once an authentication plugin has recognised one; otherwise the one that it lets requests
    /// without credentials pass as.
    pub fn identity(&self) -> Option<&Identity> {
        self.proven().or(self.0.guest.get()).map(|known| &**known)
    }
    /// The consumer that credentials were shown for.
    pub(crate) fn proven(&self) -> Option<&Arc<Identity>> {
        self.0.identity.get()
    }
    /// Notes the consumer that credentials were shown for; false when there was one already, which stays.
    pub fn set_identity(&self, identity: impl Into<Arc<Identity>>) -> bool {
        self.0.identity.set(identity.into()).is_ok()
    }
    /// Notes the consumer that a request without credentials passes as, until some are shown.
    pub(crate) fn set_guest(&self, identity: Arc<Identity>) -> bool {
        self.0.guest.set(identity).is_ok()
    }
    /// Chooses where the next attempt goes, instead of the balancer.
    pub fn set_target(&self, target: Option<Target>) {
        *self.0.target.lock() = target;
    }
    /// Whether the next attempt's target is chosen.
    pub(crate) fn has_target(&self) -> bool {
        self.0.target.lock().is_some()
    }
    /// Takes the choice for the next attempt.
    pub fn take_target(&self) -> Option<Target> {
        self.0.target.lock().take()
    }
    /// Takes the client's side of a pending upgrade; only the client stage does.
    pub fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.0.upgrade.lock().take()
    }
    /// Whether the request asks for an upgrade that the listener can give.
    pub fn wants_upgrade(&self) -> bool {
        self.0.upgrade.lock().is_some()
    }
    /// Typed values that layers and plugins share; hold the guard only for a moment.
    pub fn vars(&self) -> parking_lot::MutexGuard<'_, http::Extensions> {
        self.0.vars.lock()
    }
    /// JSON values shared by all hooks, modules included: `ctx.state`.
    pub fn state(&self) -> parking_lot::MutexGuard<'_, serde_json::Map<String, serde_json::Value>> {
        self.0.state.lock()
    }
    /// Whether a module left a hook for the stages below: one load, so that a plain proxy pays nothing.
    pub(crate) fn hooked(&self) -> bool {
        self.0.hooked.load(Relaxed)
    }
    /// Says that a module left a hook in [`Self::vars`].
    pub(crate) fn set_hooked(&self) {
        self.0.hooked.store(true, Relaxed);
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange")
            .field("id", &self.id())
            .field("route", &self.route().map(|r| &r.name))
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// 32 random hex digits: a request id and a W3C trace id at once. Unique, not secret.
pub fn random_id() -> HeaderValue {
    let id = random_u128();
    let mut digits = [0; 32];
    write_hex(&mut digits[..16], (id >> 64) as u64);
    write_hex(&mut digits[16..], id as u64);
    HeaderValue::from_bytes(&digits).expect("hex digits are a valid header value")
}

/// What [`random_id`] is made of; its lower half is not 0, so that it is a trace id (W3C).
pub(crate) fn random_u128() -> u128 {
    (u128::from(fastrand::u64(..)) << 64) | u128::from(fastrand::u64(1..))
}

/// Writes 16 hex digits; every request pays for some, and `format!` costs five times as much.
pub(crate) fn write_hex(to: &mut [u8], value: u64) {
    const ONES: u64 = 0x0101_0101_0101_0101;
    for (half, bits) in to
        .chunks_exact_mut(8)
        .zip([value >> 32, value & 0xffff_ffff])
    {
        // Each half byte into a byte of its own, then all eight at once into digits.
        let bits = (bits | (bits << 16)) & 0x0000_ffff_0000_ffff;
        let bits = (bits | (bits << 8)) & 0x00ff_00ff_00ff_00ff;
        let bits = (bits | (bits << 4)) & 0x0f0f_0f0f_0f0f_0f0f;
        let letters = ((bits + 6 * ONES) >> 4) & ONES;
        let digits = bits + u64::from(b'0') * ONES + letters * u64::from(b'a' - b'9' - 1);
        half.copy_from_slice(&digits.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_digits_are_those_of_format() {
        for value in [
            0,
            9,
            10,
            0xfedc_ba98_7654_3210,
            0x0123_4567_89ab_cdef,
            u64::MAX,
        ] {
            let mut digits = [0; 16];
            write_hex(&mut digits, value);
            assert_eq!(digits, format!("{value:016x}").as_bytes());
        }
    }
}
