//! How many connections there may be, and listeners.

use super::*;

#[tokio::test]
async fn at_max_connections_clients_wait_in_the_queue() {
    let server = Server::bounded(|_| (), Bounds::new(Some(2), None));
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    assert!(a.get("/a").await.contains(" 200 ") && b.get("/b").await.contains(" 200 "));
    let mut third = server.connect().await;
    third.send("GET /c HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        timeout(Duration::from_millis(100), third.0.peek(&mut [0]))
            .await
            .is_err()
    );
    drop(a);
    assert!(third.answer().await.contains(" 200 "));
    // a change of the limit wakes who waits
    let mut fourth = server.connect().await;
    server.bounds.set(None, None);
    assert!(fourth.get("/d").await.contains(" 200 "));
}

#[tokio::test]
async fn above_the_limit_of_a_client_connections_are_closed() {
    let server = Server::bounded(|_| (), Bounds::new(None, Some(1)));
    let mut first = server.connect().await;
    assert!(first.get("/a").await.contains(" 200 "));
    let mut second = server.connect().await;
    assert_eq!(second.rest().await, "");
    drop(first);
    server.until("given back", |s| s.bounds.open() == 0).await;
    assert!(server.connect().await.get("/b").await.contains(" 200 "));
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let any = "127.0.0.1:0".parse().unwrap();
    let one = bind(any, 1).unwrap();
    let many = bind(any, 3).unwrap();
    assert_eq!(many.len(), 3);
    for listener in [&one[0], &many[0], &many[2]] {
        let addr = listener.local_addr().unwrap();
        for workers in [1, 2] {
            let error = bind(addr, workers).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&addr.to_string()), "{error}");
        }
    }
    let ports: Vec<_> = many.iter().map(|l| l.local_addr().unwrap()).collect();
    assert!(ports.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(share(&one[0], 2).unwrap().len(), 2);
}
