//! The cost of a row on our side: hashing, summing, and the sketch, without any server.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use verify_core::digest::{HashAlgorithm, HashKey};
use verify_core::layout::Layout;
use verify_core::measure::Measure;
use verify_core::names::Names;
use verify_core::row::RowHasher;
use verify_core::table::{Column, Key, KeySource, Table, TableName};

const ROWS: usize = 10_000;

/// Rows of an integer key and a filler, `bytes` long as tuples.
fn rows(bytes: usize) -> Vec<Vec<u8>> {
    let row = |id: usize| {
        let mut tuple = vec![0, 2, 0, 0, 0, 8];
        tuple.extend((id as u64).to_be_bytes());
        let filler = bytes - tuple.len() - 4;
        tuple.extend((filler as u32).to_be_bytes());
        tuple.resize(bytes, b'x');
        tuple
    };
    (0..ROWS).map(row).collect()
}

fn layout() -> Layout {
    Layout::new(&Table::new(
        TableName::new("public", "t"),
        vec![Column::binary("id", "int8"), Column::binary("v", "text")],
        Key { source: KeySource::PrimaryKey, columns: vec![0] },
    ))
}

fn measure(criterion: &mut Criterion) {
    let layout = layout();
    for (name, algorithm) in [("blake3", HashAlgorithm::Blake3), ("sha256", HashAlgorithm::Sha256)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(ROWS as u64));
        for bytes in [64, 114, 182, 1_000, 4_000] {
            let mut rows = rows(bytes);
            let mut hasher = RowHasher::new(algorithm, HashKey([1; 32]));
            group.bench_function(format!("{bytes} bytes"), |bencher| {
                bencher.iter(|| {
                    let mut measure = Measure::new(Names::sketch(layout.width(), 11));
                    for row in &mut rows {
                        hasher.row(&layout, &mut measure, row).expect("well-formed rows");
                    }
                    hasher.flush(&mut measure);
                    black_box(measure.digest)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, measure);
criterion_main!(benches);
