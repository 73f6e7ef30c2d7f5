//! Listeners from whoever started this process (`LISTEN_FDS`, sd_listen_fds(3)), found again by their address:
//! a new process takes over the old one's queues, so that no connection is refused in between.

use std::net::{SocketAddr, TcpListener};

/// Listeners that are not taken yet.
pub(crate) struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// None.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Those of the environment, which names them to this process only. Sockets that are no TCP listeners are
    /// left alone.
    pub(crate) fn of_process() -> Self {
        let mut given = listenfd::ListenFd::from_env();
        Self(
            (0..given.len())
                .filter_map(|at| given.take_tcp_listener(at).ok().flatten())
                .collect(),
        )
    }

    /// The one that listens on an address.
    pub(crate) fn take(&mut self, address: SocketAddr) -> Option<TcpListener> {
        let at = self
            .0
            .iter()
            .position(|l| l.local_addr().is_ok_and(|a| a == address))?;
        Some(self.0.swap_remove(at))
    }
}
