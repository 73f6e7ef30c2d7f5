//! A client that asks for one thing after another and looks hard at what it gets.

use super::{Dice, Run, pattern};
use dgate_tests::client::{Broken, Cause, Conn, Reply};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Above all that the gateway may take: three seconds to a head and the pauses of a slow body.
const HUNG: Duration = Duration::from_secs(20);

/// What a gateway may say while its upstreams are in trouble.
const TROUBLE: [&str; 8] = [
    "upstream_connect_failed",
    "upstream_connect_timeout",
    "upstream_reset",
    "upstream_protocol",
    "upstream_timeout",
    "circuit_open",
    "no_endpoint",
    "overloaded",
];

/// What came of the requests.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) right: u64,
    /// Cut off in the body, in a way that the client notices.
    cut: u64,
    refused: BTreeMap<String, u64>,
    pub(super) wrong: Vec<String>,
    pub(super) hung: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.right += other.right;
        self.cut += other.cut;
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        self.wrong.extend(other.wrong);
        self.hung.extend(other.hung);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            right,
            cut,
            refused,
            wrong,
            hung,
        } = self;
        let (wrong, hung) = (wrong.len(), hung.len());
        write!(
            f,
            "{right} right, {cut} cut off and seen to be, {wrong} wrong, {hung} hung, refused {refused:?}"
        )
    }
}

struct Asked {
    path: String,
    seed: u64,
    body: Vec<u8>,
    expected: Vec<u8>,
    /// The module's version when it was asked, at least.
    version: Option<u64>,
}

/// Asks until the run is over.
pub(super) async fn ask_on(run: Arc<Run>, addr: SocketAddr, number: u64) -> Tally {
    let (mut tally, mut conn, mut count) = (Tally::default(), None, 0);
    let mut dice = Dice(number);
    while !run.over.load(Relaxed) {
        count += 1;
        let asked = something(&run, &mut dice, number * 1_000_000_000 + count);
        let mut open = match conn.take() {
            Some(open) => open,
            None => Conn::open(addr).await.within(HUNG),
        };
        // An answer may come before all was sent.
        let _ = open.try_send(asked.bytes(&mut dice)).await;
        match open.try_response().await {
            Ok(reply) => {
                asked.judge(&run, &reply, &mut tally);
                let close = reply
                    .header("connection")
                    .is_some_and(|c| c.eq_ignore_ascii_case("close"));
                conn = (!close).then_some(open);
            }
            Err(broken) => asked.judge_broken(&broken, &mut tally),
        }
    }
    tally
}

fn something(run: &Run, dice: &mut Dice, seed: u64) -> Asked {
    let route = ["plain", "module", "plugins"][dice.below(3) as usize];
    let length = [0, 1, 100, 10_000, 100_000, 700_000][dice.below(6) as usize];
    let upload = dice.below(3) == 0;
    let (path, body, expected) = if upload {
        let expected = format!("{length} true").into_bytes();
        (
            format!("/{route}/p/{seed}"),
            pattern(seed, length),
            expected,
        )
    } else {
        (
            format!("/{route}/g/{length}/{seed}"),
            Vec::new(),
            pattern(seed, length),
        )
    };
    Asked {
        path,
        seed,
        body,
        expected,
        version: (route == "module").then(|| run.in_force.load(Relaxed)),
    }
}

impl Asked {
    fn bytes(&self, dice: &mut Dice) -> Vec<u8> {
        if !self.path.contains("/p/") {
            return format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", self.path).into_bytes();
        }
        // Half of the uploads may be sent again.
        let method = ["POST", "PUT"][dice.below(2) as usize];
        let head = format!("{method} {} HTTP/1.1\r\nHost: localhost\r\n", self.path);
        let length = self.body.len();
        if dice.below(2) == 0 && length > 0 {
            let mut bytes =
                format!("{head}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n").into_bytes();
            bytes.extend_from_slice(&self.body);
            bytes.extend_from_slice(b"\r\n0\r\n\r\n");
            return bytes;
        }
        let mut bytes = format!("{head}Content-Length: {length}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn judge(&self, run: &Run, reply: &Reply, tally: &mut Tally) {
        let path = &self.path;
        if reply.status != 200 {
            let known = reply.header("content-type") == Some("application/problem+json");
            let code = known.then(|| reply.json()["code"].as_str().unwrap_or_default().to_owned());
            match code.filter(|code| TROUBLE.contains(&code.as_str())) {
                Some(code) => *tally.refused.entry(code).or_default() += 1,
                None => tally
                    .wrong
                    .push(format!("{path}: {} {}", reply.status, reply.text())),
            }
            return;
        }
        let stamped = match (
            self.version,
            reply.header("x-version").map(str::parse::<u64>),
        ) {
            (None, None) => true,
            (Some(at_least), Some(Ok(version))) => {
                (at_least..=run.begun.load(Relaxed)).contains(&version)
            }
            _ => false,
        };
        let seed = self.seed.to_string();
        if reply.header("x-seed") == Some(&seed) && reply.body == self.expected && stamped {
            tally.right += 1;
        } else {
            let (got, want) = (reply.body.len(), self.expected.len());
            let same = if reply.body == self.expected {
                "the"
            } else {
                "another"
            };
            tally.wrong.push(format!(
                "{path}: {same} body of {got} for {want} bytes, {:?}",
                reply.headers
            ));
        }
    }

    fn judge_broken(&self, broken: &Broken, tally: &mut Tally) {
        let path = &self.path;
        match (&broken.cause, broken.head()) {
            (Cause::Deadline, _) => tally.hung.push(format!("{path}: {broken}")),
            // What has begun can only be cut off.
            (Cause::Closed | Cause::Reset, Some(head)) if head.status == 200 => tally.cut += 1,
            _ => tally.wrong.push(format!("{path}: {broken}")),
        }
    }
}
