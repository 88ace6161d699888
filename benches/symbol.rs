//! `symbol/lookup/*`: from the bytes of a native name to its symbol, against std's HashMap in the same run.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use tickwire::market::{Symbol, SymbolIndex};

/// Names as venues list them: mostly 7 to 12 bytes, some dated futures over 16.
fn names(count: usize) -> Vec<Arc<str>> {
    (0..count)
        .map(|id| if id % 50 == 0 { format!("COIN{id}USDT-26DEC25") } else { format!("C{id}USDT") }.into())
        .collect()
}

fn lookup(c: &mut Criterion) {
    for count in [500, 8_192] {
        let names = names(count);
        let mut index = SymbolIndex::new();
        let mut map = HashMap::new();
        for (id, name) in names.iter().enumerate() {
            let symbol = Symbol::new(id).expect("below the limit");
            assert!(index.insert(name, symbol));
            map.insert(name.as_bytes().to_vec(), symbol);
        }
        // A fixed stride visits every name in an order that the table's layout does not give away.
        let order: Vec<&[u8]> = (0..count).map(|at| names[at * 7_919 % count].as_bytes()).collect();
        assert!(order.iter().all(|name| index.find(name) == map.get(*name).copied()));
        let mut group = c.benchmark_group("symbol/lookup");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("index/{count}"), |b| {
            b.iter(|| order.iter().filter_map(|name| index.find(black_box(name))).map(Symbol::index).sum::<usize>());
        });
        group.bench_function(format!("std_hash_map/{count}"), |b| {
            b.iter(|| order.iter().filter_map(|name| map.get(black_box(*name))).map(|s| s.index()).sum::<usize>());
        });
        group.finish();
    }
}

criterion_group!(benches, lookup);
criterion_main!(benches);
