//! What the Admin API is told and never tells: the keys of services.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::gateway::{TestGateway, proxy_to};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

const SVC: &str = "/api/v1/service/default/svc";

/// A service with a client certificate, and with its key unless that is null.
fn service(cert: &str, key: Value) -> Value {
    let mut service = json!({"urls": ["https://127.0.0.1:9"], "tls": {"client_cert": cert}});
    if !key.is_null() {
        service["tls"]["client_key"] = key;
    }
    service
}

#[tokio::test]
async fn the_key_of_a_service_is_never_given_out_and_stays_when_a_change_leaves_it_out() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["gateway.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    // As JSON has it, and a line of it, whatever is made of the line ends.
    let secret = key.lines().nth(1).unwrap();
    let gateway = TestGateway::start(proxy_to("http://127.0.0.1:9"));
    let ask = async |method: &str, path: &str, body: Option<Value>| {
        let answer = gateway.admin(method, path, body).await;
        let text = answer.text();
        assert!(
            !text.contains(secret) && !text.contains("\"client_key\":"),
            "{method} {path} tells the key: {text}"
        );
        answer
    };
    // Without a key that is stored there is none to keep: what follows would be refused too.
    let other = "/api/v1/service/default/other";
    let keyless = ask("PUT", other, Some(service(&cert, Value::Null))).await;
    assert_eq!(keyless.status, 422, "{}", keyless.text());

    let put = ask("PUT", SVC, Some(service(&cert, key.clone().into()))).await;
    assert_eq!(put.status, 200, "{}", put.text());
    for path in [SVC, "/api/v1/service", "/api/v1/export"] {
        let answer = ask("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        // The certificate is no secret: the service is in the answer, with its TLS.
        assert!(answer.text().contains("client_cert"), "{path}");
    }

    let read = ask("GET", SVC, None).await.json();
    let patch = json!({"tags": ["x"]});
    let in_tls = json!({"tls": {"server_name": "upstream.test"}});
    for (method, body) in [
        ("PUT", service(&cert, Value::Null)),
        ("PATCH", patch),
        ("PATCH", in_tls),
        ("PUT", read),
        ("PUT", service(&cert, Value::Null)),
    ] {
        let kept = ask(method, SVC, Some(body)).await;
        assert_eq!(kept.status, 200, "{method}: {}", kept.text());
    }
    let bundle = ask("GET", "/api/v1/export", None).await.json();
    let applied = ask("POST", "/api/v1/apply", Some(bundle)).await;
    assert_eq!(applied.status, 200, "{}", applied.text());
}
