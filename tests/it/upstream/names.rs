//! Names of upstreams, resolved in the background.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use dgate_core::upstream::{Resolve, Resolved};
use dgate_core::{BoxError, BoxFuture, Exchange};

use super::*;

/// Answers for every host with what is set at the time; `None` fails.
#[derive(Default)]
struct Book {
    addresses: Mutex<Option<Vec<IpAddr>>>,
    asked: Mutex<usize>,
}

impl Book {
    fn with(addresses: &[IpAddr]) -> Arc<Self> {
        let book = Self::default();
        book.set(Some(addresses));
        Arc::new(book)
    }

    fn set(&self, addresses: Option<&[IpAddr]>) {
        *self.addresses.lock().unwrap() = addresses.map(<[_]>::to_vec);
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

impl Resolve for Book {
    fn resolve(&self, host: &str) -> BoxFuture<Result<Resolved, BoxError>> {
        assert_eq!(host, "orders.test");
        let answer = match self.addresses.lock().unwrap().clone() {
            Some(addresses) => Ok(Resolved {
                addresses,
                ttl: Duration::ZERO,
            }),
            None => Err("no server answers".into()),
        };
        *self.asked.lock().unwrap() += 1;
        Box::pin(std::future::ready(answer))
    }
}

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const TWO: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 2));

/// Two upstreams at one port of two addresses.
fn pair() -> (TestUpstream, TestUpstream) {
    let one = TestUpstream::echo();
    let two = TestUpstream::echo_at(SocketAddr::new(TWO, one.addr().port()));
    (one, two)
}

fn url(of: &TestUpstream) -> String {
    format!("http://orders.test:{}", of.addr().port())
}

fn following(url: String, book: &Arc<Book>) -> Upstream {
    let builder = Upstream::builder().endpoint(url).resolver(book.clone());
    builder.build().unwrap()
}

/// How many of ten requests each got; none may fail.
async fn shares(upstream: &Upstream, origins: [&TestUpstream; 2]) -> [usize; 2] {
    let before = origins.map(|o| o.requests().len());
    for _ in 0..10 {
        text(send(upstream, get("/")).await.unwrap()).await;
    }
    let after = origins.map(|o| o.requests().len());
    [after[0] - before[0], after[1] - before[1]]
}

async fn known(book: &Book) {
    poll_until(DEADLINE, "an answer", async || book.asked() > 0).await;
    tokio::task::yield_now().await;
}

#[tokio::test]
async fn every_address_is_an_endpoint_and_the_name_stays_the_host() {
    let (one, two) = pair();
    let book = Book::with(&[TWO, ONE, TWO]);
    let upstream = following(url(&one), &book);
    known(&book).await;
    assert_eq!(shares(&upstream, [&one, &two]).await, [5, 5]);
    let host = format!("orders.test:{}", one.addr().port());
    assert_eq!(one.requests()[0].header("host"), Some(&*host));
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test]
async fn addresses_that_come_and_go_are_followed_and_what_stays_keeps_its_connections() {
    let (one, two) = pair();
    let book = Book::with(&[ONE]);
    let upstream = following(url(&one), &book);
    known(&book).await;
    assert_eq!(shares(&upstream, [&one, &two]).await, [10, 0]);
    book.set(Some(&[ONE, TWO]));
    poll_until(DEADLINE, "both", async || {
        shares(&upstream, [&one, &two]).await == [5, 5]
    })
    .await;
    // A refresh that fails, or finds nothing, changes nothing.
    for nothing in [None, Some(&[][..])] {
        book.set(nothing);
        let asked = book.asked();
        poll_until(DEADLINE, "a failed refresh", async || book.asked() > asked).await;
        assert_eq!(shares(&upstream, [&one, &two]).await, [5, 5]);
    }
    book.set(Some(&[TWO]));
    poll_until(DEADLINE, "the other", async || {
        shares(&upstream, [&one, &two]).await == [0, 10]
    })
    .await;
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test]
async fn an_heir_knows_the_addresses_at_once() {
    let (one, two) = pair();
    let book = Book::with(&[ONE, TWO]);
    let older = following(url(&one), &book);
    known(&book).await;
    assert_eq!(shares(&older, [&one, &two]).await, [5, 5]);
    book.set(None);
    let heir = Upstream::builder().endpoint(url(&one)).inherit(&older);
    let heir = heir.resolver(book.clone()).preserve_host(true);
    let heir = heir.build().unwrap();
    drop(older);
    assert_eq!(shares(&heir, [&one, &two]).await, [5, 5]);
    assert_eq!((one.connections(), two.connections()), (1, 1));
}

#[tokio::test]
async fn an_address_family_that_leads_nowhere_costs_nothing() {
    let origin = TestUpstream::echo();
    let book = Book::with(&[IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), ONE]);
    let upstream = following(url(&origin), &book);
    known(&book).await;
    for _ in 0..10 {
        text(send(&upstream, get("/")).await.unwrap()).await;
    }
    assert_eq!(origin.requests().len(), 10);
}

#[tokio::test]
async fn a_hook_that_names_the_url_means_its_endpoints() {
    let (one, two) = pair();
    let book = Book::with(&[ONE]);
    let upstream = following(url(&one), &book);
    known(&book).await;
    shares(&upstream, [&one, &two]).await;
    let ctx = Exchange::new(Default::default());
    ctx.set_target(Some(url(&one).parse().unwrap()));
    let mut req = get("/");
    ctx.attach(&mut req);
    text(send(&upstream, req).await.unwrap()).await;
    assert_eq!((one.requests().len(), one.connections()), (11, 1));
}

#[tokio::test]
async fn looking_up_ends_with_the_upstream() {
    let book = Book::with(&[ONE]);
    let upstream = following("http://orders.test:9".to_owned(), &book);
    known(&book).await;
    drop(upstream);
    poll_until(DEADLINE, "let go", async || Arc::strong_count(&book) == 1).await;
}
