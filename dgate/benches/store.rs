//! What the store on disk costs: a durable write alone and with others, a batch, a read. Run by `just bench`.
//!
//! The disk decides: run it where the storage will be, by `TMPDIR`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dgate::store::{Batch, SledStore, Store};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const VALUE: [u8; 200] = [b'v'; 200];

fn store(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SledStore::open(dir.path(), Duration::ZERO).expect("a new store");
    let next = AtomicU64::new(0);
    let batch = |size: usize| {
        let mut batch = Batch::new();
        for _ in 0..size {
            // Within 10 000 keys, so that the store does not grow with the time it is measured.
            let key = next.fetch_add(1, Ordering::Relaxed) % 10_000;
            batch.put(key.to_be_bytes(), VALUE);
        }
        batch
    };
    let durable = |size: usize| {
        store.write(batch(size)).expect("room");
        store.sync().expect("a disk");
    };
    durable(10_000);

    let mut group = c.benchmark_group("store");
    group.bench_function("get", |b| {
        let key = 4711_u64.to_be_bytes();
        b.iter(|| store.get(black_box(&key)));
    });
    group.bench_function("write", |b| {
        b.iter(|| store.write(batch(1)).expect("room"));
    });
    group.bench_function("write and sync", |b| b.iter(|| durable(1)));
    group.throughput(Throughput::Elements(100));
    group.bench_function("write and sync, 100 in a batch", |b| {
        b.iter(|| durable(100))
    });
    group.throughput(Throughput::Elements(8));
    group.bench_function("write and sync, 8 threads", |b| {
        b.iter_custom(|rounds| {
            let started = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| (0..rounds).for_each(|_| durable(1)));
                }
            });
            started.elapsed()
        });
    });
    group.throughput(Throughput::Bytes(8 << 20));
    group.sample_size(10);
    group.bench_function("write and sync, 8 MiB", |b| {
        b.iter(|| {
            let mut batch = Batch::new();
            batch.put("large", vec![7; 8 << 20]);
            store.write(batch).expect("room");
            store.sync().expect("a disk");
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
