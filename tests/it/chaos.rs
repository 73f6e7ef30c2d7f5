//! Chaos: a gateway under load while its upstreams go down, slow down, stay silent, cut answers off and talk
//! nonsense, and its configuration changes all the time. No request hangs, no answer is another one's or passes for
//! whole when it is not, and nothing is left over in the end.
//!
//! A few seconds in the usual run. `DGATE_CHAOS_SECONDS=600 cargo nextest run -p dgate-tests chaos --no-capture` is the
//! long one, which also looks at the memory and says what it counted.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod client;
mod upstream;

use client::Tally;
use dgate_tests::client::{DEADLINE, get, poll_until};
use dgate_tests::gateway::call;
use dgate_tests::process::Process;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use upstream::Troubled;

const ENDPOINTS: usize = 4;
const CLIENTS: u64 = 16;

/// What all parts of a run share.
#[derive(Default)]
struct Run {
    over: AtomicBool,
    /// The version of the module that the last answered change has put in force.
    in_force: AtomicU64,
    /// The version that a change was last begun with.
    begun: AtomicU64,
}

/// Numbers that look random and are the same in each run (Steele, Lea, Flood: SplitMix64, 2014).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// `len` bytes that only this seed has.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&dice.below(u64::MAX).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn service(urls: &[String], policy: &str) -> Value {
    json!({
        "name": "svc", "urls": urls, "load_balancer": {"policy": policy},
        "timeouts": {"connect": "500ms", "request": "3s", "idle": "2s"},
        "retry": {"attempts": 2, "backoff": {"base": "5ms", "max": "50ms"}},
        "circuit_breaker": {"min_requests": 20, "open_for": "200ms"},
        "health_check": {"passive": {"failures": 10, "eject_for": "300ms"}},
        "max_inflight": {"limit": 500, "queue": 500, "queue_timeout": "1s"},
    })
}

fn module(version: u64) -> Value {
    json!({"name": "stamp", "type": "typescript", "source": format!("
        export function requestModifier(ctx: any) {{ ctx.request.headers.set('X-Stamp', '{version}') }}
        export async function responseModifier(ctx: any) {{
            await null
            ctx.response.headers.set('X-Version', '{version}')
        }}")})
}

fn bundle(urls: &[String]) -> Value {
    let route = |name: &str, more: Value| {
        let mut route = json!({"name": name, "paths": [format!("/{name}/**")], "strip_path": true, "service": "svc"});
        let more = more.as_object().unwrap().clone();
        route.as_object_mut().unwrap().extend(more);
        route
    };
    json!({
        "namespaces": [{"name": "default"}],
        "services": [service(urls, "round_robin")],
        "modules": [module(1)],
        "routes": [
            route("plain", json!({})),
            route("module", json!({"modules": ["stamp"]})),
            route("plugins", json!({"plugins": [{"name": "request-id"}]})),
        ],
    })
}

/// One change of the configuration after another, of each kind in turn, each answered as it should be.
async fn change(run: Arc<Run>, admin: SocketAddr, urls: Vec<String>, pause: Duration) -> u64 {
    let policies = ["least_request", "peak_ewma", "random", "round_robin"];
    let mut changes = 0;
    while !run.over.load(Relaxed) {
        let turn = changes as usize;
        let version = run.begun.load(Relaxed) + 1;
        let (bundle, status) = match turn % 6 {
            0 => {
                run.begun.store(version, Relaxed);
                (json!({"modules": [module(version)]}), 200)
            }
            1 => (
                json!({"services": [service(&urls, policies[turn / 6 % policies.len()])]}),
                200,
            ),
            2 => (
                json!({"services": [service(&urls[turn / 6 % 2..], "round_robin")]}),
                200,
            ),
            3 => {
                let limit = json!({"name": "rate-limit", "config": {"limit": 100_000 + turn, "window": "1s", "by": "route"}});
                let plugins = json!([{"name": "request-id"}, limit]);
                let route = json!({"name": "plugins", "paths": ["/plugins/**"], "strip_path": true, "service": "svc", "plugins": plugins});
                (json!({"routes": [route]}), 200)
            }
            4 => {
                let other = json!({"name": "other", "tags": [turn.to_string()]});
                let secret = json!({"name": "s", "namespace": "other", "data": turn.to_string()});
                (json!({"namespaces": [other], "secrets": [secret]}), 200)
            }
            _ => {
                let wrong = json!({"name": "plain", "paths": ["/plain/**"], "service": "nowhere"});
                (
                    json!({"routes": [wrong], "modules": [{"name": "stamp", "source": "export const = 1"}]}),
                    422,
                )
            }
        };
        let answer = call(admin, "POST", "/api/v1/apply", &[], Some(bundle)).await;
        assert_eq!(answer.status, status, "change {turn}: {}", answer.text());
        if turn.is_multiple_of(6) {
            run.in_force.store(version, Relaxed);
        }
        changes += 1;
        tokio::time::sleep(pause).await;
    }
    changes
}

/// Gives one upstream after another another mood; the first one is always well, so that there is somewhere to go.
async fn trouble(run: Arc<Run>, upstreams: Vec<Arc<Troubled>>, pause: Duration) -> u64 {
    let mut dice = Dice(4);
    let mut moods = 0;
    while !run.over.load(Relaxed) {
        let which = 1 + dice.below(upstreams.len() as u64 - 1) as usize;
        upstreams[which].turn(&mut dice);
        moods += 1;
        tokio::time::sleep(pause).await;
    }
    for upstream in &upstreams {
        upstream.recover();
    }
    moods
}

/// What the endpoints of the service and the service itself say is under way.
async fn under_way(admin: SocketAddr) -> u64 {
    let stats = call(admin, "GET", "/api/v1/stats", &[], None).await.json();
    let rows =
        ["endpoints", "services"].map(|rows| stats[rows].as_array().cloned().unwrap_or_default());
    let of = |row: &Value, field: &str| row[field].as_u64().unwrap_or(0);
    let all = rows.iter().flatten();
    all.map(|row| of(row, "inflight") + of(row, "waiting"))
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_hangs_or_gets_a_wrong_answer() {
    let seconds = std::env::var("DGATE_CHAOS_SECONDS").map_or(4, |s| s.parse().unwrap());
    let long = seconds >= 60;
    // A short run has as many changes as it can take.
    let pause = Duration::from_millis(if long { 1000 } else { 100 });
    let upstreams: Vec<_> = (0..ENDPOINTS)
        .map(|_| Arc::new(Troubled::start()))
        .collect();
    let urls: Vec<_> = upstreams.iter().map(|upstream| upstream.url()).collect();
    let process = Process::start(json!({
        "log": {"access": false},
        "storage": {"path": "data"},
        "resources": bundle(&urls),
    }));
    let (addr, admin) = (process.addr(), process.admin_addr());
    let run = Arc::new(Run::default());
    run.in_force.store(1, Relaxed);
    run.begun.store(1, Relaxed);

    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client::ask_on(run.clone(), addr, number)))
        .collect();
    let changing = tokio::spawn(change(run.clone(), admin, urls, pause));
    let troubling = tokio::spawn(trouble(run.clone(), upstreams.clone(), pause / 3));
    let (began, length) = (Instant::now(), Duration::from_secs(seconds));
    let mut memory = Vec::new();
    while began.elapsed() < length {
        tokio::time::sleep(length / 20).await;
        memory.push(process.status_kib("VmRSS"));
    }
    run.over.store(true, Relaxed);

    let mut tally = Tally::default();
    for client in clients {
        tally.add(client.await.unwrap());
    }
    let (changes, moods) = (changing.await.unwrap(), troubling.await.unwrap());
    println!(
        "{seconds} s, {changes} changes, {moods} moods of upstreams: {tally}; RSS in KiB: {memory:?}"
    );
    assert!(tally.hung.is_empty(), "{:#?}", tally.hung);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert!(tally.right > 100 && changes > 5, "too little happened");
    if long {
        let third = memory.len() / 3;
        let most = |samples: &[u64]| samples.iter().copied().max().unwrap();
        let (early, late) = (most(&memory[..2 * third]), most(&memory[2 * third..]));
        assert!(
            late < early + early / 10 + (8 << 10),
            "RSS grew from {early} to {late} KiB"
        );
    }

    // Once all is well, all is well: nothing is stuck, and nothing is held.
    let mut in_a_row = 0;
    poll_until(3 * DEADLINE, "twenty good answers in a row", async || {
        let answer = get(addr, "/module/g/10/1").await;
        in_a_row = if answer.status == 200 {
            in_a_row + 1
        } else {
            0
        };
        in_a_row == 20
    })
    .await;
    poll_until(DEADLINE, "nothing under way", async || {
        under_way(admin).await == 0
    })
    .await;
}
