//! What modules talk to, played by functions of the test: upstreams behind real loopback listeners, and `fetch`.

use super::{PATIENCE, World};
use crate::js::bridge::body::BodyCell;
use crate::js::bridge::request::Request as JsRequest;
use crate::js::bridge::response::of_value;
use crate::js::invocation::Invocation;
use crate::js::slot::Failure;
use dgate_core::body::boxed;
use dgate_core::{Request, Response};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rquickjs::Class;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use tokio::task::JoinSet;

/// An upstream's address, until it is dropped.
pub(super) enum Listening {
    /// Its connections end with the task.
    Serving(tokio::task::JoinHandle<()>),
    /// Bound, so that nobody else gets the port, and not listening.
    Down { _socket: socket2::Socket },
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Self::Serving(task) = self {
            task.abort();
        }
    }
}

/// Opens a listener for the upstream `id`.
pub(super) fn listen(world: &Arc<World>, id: u64) -> std::io::Result<(SocketAddr, Listening)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let world = Arc::downgrade(world);
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // What fails here is the connection, not the listener.
                    let Ok((stream, _)) = accepted else { continue };
                    let _ = stream.set_nodelay(true);
                    connections.spawn(connection(world.clone(), id, address, stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok((address, Listening::Serving(task)))
}

/// Takes an address at which no connection is taken.
pub(super) fn down() -> std::io::Result<(SocketAddr, Listening)> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    let address = socket.local_addr()?.as_socket();
    let address = address.ok_or_else(|| std::io::Error::other("no address"))?;
    Ok((address, Listening::Down { _socket: socket }))
}

async fn connection(
    world: Weak<World>,
    id: u64,
    address: SocketAddr,
    stream: tokio::net::TcpStream,
) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let world = world.clone();
        async move {
            let path = request.uri().path_and_query().map_or("/", |p| p.as_str());
            let url = format!("http://{address}{path}");
            let world = world.upgrade().ok_or("the test has ended")?;
            // An error breaks the connection off without an answer.
            serve(&world, id, url, request.map(boxed)).await
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

/// Lets the test answer: as upstream `id`, or as a mock of `fetch`, which is 0. What it throws is the error.
pub(super) async fn serve(
    world: &World,
    id: u64,
    url: String,
    request: Request,
) -> Result<Response, String> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|e| e.to_string())?.to_bytes();
    let slot = world.slot.get().and_then(Weak::upgrade);
    let slot = slot.ok_or("the test has ended")?;
    let call = world.call(PATIENCE);
    let mut invocation = Invocation::new(slot, call.clone(), tokio::time::Instant::now());
    let answer = invocation
        .run(
            move |ctx, _| {
                let body = match body.is_empty() {
                    true => BodyCell::default(),
                    false => BodyCell::bytes(body),
                };
                let request = JsRequest::made(head.method, url, head.headers, body);
                let request = Class::instance(ctx.clone(), request)?;
                super::natives::serve(ctx, id, request)
            },
            |ctx, vm, value| of_value(ctx, vm, value, call.background.load(Relaxed) > 0),
        )
        .await;
    invocation.finish();
    answer.map_err(|failure| match failure {
        Failure::Thrown(thrown) => thrown.message,
        Failure::Limit(limit) => format!("the handler reached the limit `{}`", limit.as_str()),
        Failure::Broken(what) => what,
    })
}
