//! Durations of the parts of an evaluation on 200 synthetic images with 5 references each.

use std::hint::black_box;
use std::time::Duration;

use caption_metrics::meteor::Resources;
use caption_metrics::{Metric, Options, Predictions, References, Tokenizer, evaluate, ptb};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const IMAGES: usize = 200;
const REFERENCES: usize = 5;

/// Sentences of a small grammar, with now and then something for the tokenizer to do.
fn sentence(seed: usize) -> String {
    const SUBJECTS: [&str; 6] = [
        "A man",
        "Two dogs",
        "The boy's sister",
        "A black-and-white cat",
        "People",
        "A young woman",
    ];
    const VERBS: [&str; 5] = ["is running", "plays", "are standing", "jumps", "doesn't look"];
    const PLACES: [&str; 6] = [
        "in the snow",
        "on a beach",
        "in front of a building",
        "near St. Mary's church",
        "at 5 p.m.",
        "across the street",
    ];
    let pick = |list: &[&'static str], salt: usize| {
        list[(seed * 31 + salt * seed / 7 + salt) % list.len()]
    };
    format!("{} {} {} .", pick(&SUBJECTS, 1), pick(&VERBS, 2), pick(&PLACES, 3))
}

fn bench(criterion: &mut Criterion) {
    let references = References::new((0..IMAGES).map(|image| {
        (image.to_string(), (0..REFERENCES).map(move |k| sentence(image * 7 + k * 3)))
    }))
    .expect("distinct images with references");
    let predictions =
        Predictions::new((0..IMAGES).map(|image| (image.to_string(), sentence(image * 7 + 1))))
            .expect("distinct images");
    let mut group = criterion.benchmark_group("200 images x 5");
    group.throughput(Throughput::Elements(IMAGES as u64));
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500))
        .sample_size(20);

    let captions: Vec<String> = references.iter().flat_map(|(_, captions)| captions).collect();
    group.bench_function("PTB tokens of the references", |b| {
        b.iter(|| ptb::tokenize(black_box(&captions)));
    });
    let resources = Resources::open_default().ok();
    if resources.is_none() {
        eprintln!("METEOR is left out: its resources have not been fetched");
    }
    for (name, metric) in [
        ("BLEU", Metric::Bleu),
        ("METEOR", Metric::Meteor),
        ("ROUGE-L", Metric::Rouge),
        ("CIDEr", Metric::Cider),
    ] {
        if metric == Metric::Meteor && resources.is_none() {
            continue;
        }
        let options = Options {
            tokenizer: Tokenizer::None,
            metrics: vec![metric],
            meteor: resources.clone(),
            ..Options::default()
        };
        group.bench_function(name, |b| {
            b.iter(|| evaluate(black_box(&references), black_box(&predictions), &options));
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
