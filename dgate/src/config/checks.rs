//! What the parts of a configuration must mean together, which no schema of one part can say.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::Config;
use super::diagnostic::Diagnostic;
use super::tree::Node;

impl Config {
    /// Checks what concerns several fields; `node` is the tree that this configuration came from.
    pub(super) fn check(&self, node: &Node) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        self.admin.check(node, &mut errors);
        self.check_tls(node, &mut errors);
        self.check_limits(node, &mut errors);
        self.check_listeners(node, &mut errors);
        errors
    }

    fn check_tls(&self, node: &Node, errors: &mut Vec<Diagnostic>) {
        let Some(tls) = &self.proxy.tls else { return };
        match (&tls.cert_file, &tls.key_file) {
            (Some(_), None) => {
                errors
                    .push(node.diagnose("/proxy/tls/cert_file", "`cert_file` needs a `key_file`"));
            }
            (None, Some(_)) => {
                errors.push(node.diagnose("/proxy/tls/key_file", "`key_file` needs a `cert_file`"));
            }
            // Without a default certificate, names that no domain has one for are refused.
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Zero would mean "nothing" where people who write it mean "no limit".
    fn check_limits(&self, node: &Node, errors: &mut Vec<Diagnostic>) {
        let limits = &self.proxy.limits;
        let zero = [
            ("max_connections", limits.max_connections.get() == Some(0)),
            (
                "max_connections_per_ip",
                limits.max_connections_per_ip.get() == Some(0),
            ),
            (
                "idle_timeout",
                limits.idle_timeout.get().is_some_and(|d| d.is_zero()),
            ),
            (
                "header_timeout",
                limits.header_timeout.get().is_some_and(|d| d.is_zero()),
            ),
        ];
        for (name, _) in zero.into_iter().filter(|(_, zero)| *zero) {
            let detail = format!("{name} must be above 0; `none` takes the limit away");
            errors.push(node.diagnose(&format!("/proxy/limits/{name}"), detail));
        }
    }

    fn check_listeners(&self, node: &Node, errors: &mut Vec<Diagnostic>) {
        let tls = self
            .proxy
            .tls
            .as_ref()
            .map(|tls| tls.listen.as_slice())
            .unwrap_or_default();
        if self.proxy.listen.is_empty() && tls.is_empty() {
            errors.push(node.diagnose("/proxy/listen", "nothing to listen on"));
        }
        let mut owners: HashMap<SocketAddr, &str> = HashMap::new();
        let lists = [
            ("/proxy/listen", self.proxy.listen.as_slice()),
            ("/proxy/tls/listen", tls),
        ];
        let admin = self
            .admin
            .listen
            .get()
            .map(|address| ("/admin/listen".to_owned(), address));
        let proxy = lists.into_iter().flat_map(|(pointer, list)| {
            // `listen` may be a single address instead of a list.
            let pointer_of = move |i| match node.at(&format!("{pointer}/{i}")) {
                Some(_) => format!("{pointer}/{i}"),
                None => pointer.to_owned(),
            };
            list.iter()
                .enumerate()
                .map(move |(i, address)| (pointer_of(i), *address))
        });
        for (pointer, address) in proxy.chain(admin) {
            let name = match pointer.as_str() {
                "/admin/listen" => "admin.listen",
                tls if tls.starts_with("/proxy/tls") => "proxy.tls.listen",
                _ => "proxy.listen",
            };
            // Port 0 is another port each time.
            if address.port() == 0 {
                continue;
            }
            if let Some(owner) = owners.insert(*address, name) {
                errors
                    .push(node.diagnose(&pointer, format!("`{address}` is already in `{owner}`")));
            }
        }
    }
}
