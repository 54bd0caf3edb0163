//! Time to decode, resize, crop and normalise images for CLIP, on one thread.
//!
//! The images are the JPEGs of the folder in `PICTURES`, or small ones from the fixtures.
//! `tests/reference/pillow_bench.py` compares with Pillow.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pictures::{Preprocessing, RgbPixels};

fn jpegs() -> Vec<Vec<u8>> {
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/pictures/decodable");
    let folder =
        std::env::var_os("PICTURES").map_or_else(|| PathBuf::from(fixtures), PathBuf::from);
    let entries = fs::read_dir(&folder).expect("a folder of pictures");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("its entries").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jpg"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has no JPEGs", folder.display());
    paths.iter().map(|path| fs::read(path).expect("a readable picture")).collect()
}

fn decode(jpeg: &[u8]) -> RgbPixels {
    pictures::decode_bytes(jpeg, Path::new("picture")).expect("a whole picture")
}

fn bench(criterion: &mut Criterion) {
    let jpegs = jpegs();
    let preprocessing = Preprocessing::clip(224);
    let decoded: Vec<RgbPixels> = jpegs.iter().map(|jpeg| decode(jpeg)).collect();
    let mut planes = vec![0.0; preprocessing.len()];
    let mut group = criterion.benchmark_group("pictures");
    group.throughput(Throughput::Elements(jpegs.len() as u64));
    group.measurement_time(Duration::from_secs(5)).sample_size(20);
    group.bench_function("decode", |bencher| {
        bencher.iter(|| jpegs.iter().for_each(|jpeg| drop(black_box(decode(jpeg)))));
    });
    group.bench_function("resize, crop and normalise", |bencher| {
        bencher.iter(|| {
            for pixels in &decoded {
                preprocessing.apply_into(pixels, black_box(&mut planes));
            }
        });
    });
    group.bench_function("both", |bencher| {
        bencher.iter(|| {
            for jpeg in &jpegs {
                preprocessing.apply_into(&decode(jpeg), black_box(&mut planes));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
