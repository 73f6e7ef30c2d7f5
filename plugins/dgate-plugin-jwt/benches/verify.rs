//! What a token costs: new, so that its signature is verified, or known from an earlier request. The whole stack of the
//! plugin over a service that does nothing.
//!
//! `cargo bench -p dgate-plugin-jwt --bench verify`

#![allow(clippy::unwrap_used, reason = "in a benchmark the panic is the report")]
#![allow(dead_code, reason = "the support is that of the tests")]

#[path = "../tests/support/mod.rs"]
mod support;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use serde_json::json;
use std::time::Duration;
use support::{Signer, of_ann, send};
use tokio::runtime::Builder;

fn verify(c: &mut Criterion) {
    let rt = Builder::new_current_thread().enable_all().build().unwrap();
    for algorithm in ["HS256", "RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let signer = Signer::new(algorithm);
        let stack = of_ann(json!({}), vec![signer.credential("them", algorithm)]);
        let bearer = |id: u64| {
            let token = signer.sign(
                algorithm,
                json!({}),
                json!({"jti": id, "scope": "read write"}),
            );
            format!("Bearer {token}")
        };
        let known = bearer(0);
        c.bench_function(&format!("{algorithm}/known"), |b| {
            b.iter(|| rt.block_on(send(&stack, &[&known])).unwrap());
        });
        let mut id = 0;
        let mut next = || {
            id += 1;
            bearer(id)
        };
        c.bench_function(&format!("{algorithm}/new"), |b| {
            b.iter_batched(
                &mut next,
                |token| rt.block_on(send(&stack, &[&token])).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(30).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(300));
    targets = verify
}
criterion_main!(benches);
