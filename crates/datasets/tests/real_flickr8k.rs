//! Real Flickr8k. Skipped if `../shared` is absent.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod support;

use datasets::{Corpus, Layout, Split, SplitOutcome, SplitSpec, WarningKind, audit};
use support::load;
use test_support::shared;

#[test]
fn flickr8k_is_whole_and_its_splits_have_their_known_sizes() {
    let Some(root) = shared("flickr8k") else { return };
    let corpus = load(&root, None).unwrap();
    assert_eq!(corpus.layout, Layout::Kaggle);
    assert_eq!(corpus.warnings, []);
    assert!(corpus.images.is_sorted_by_key(|image| &image.file_name));
    let sbg = SplitSpec { validation_captions: 5000, ..SplitSpec::PAPER };
    let found = audit(&corpus, &[SplitSpec::PAPER, sbg, SplitSpec::OFFICIAL], |_| {});
    println!("{found}");
    assert!(!found.is_broken());
    assert_eq!((found.images, found.captions), (8091, 40455));
    let outcomes: Vec<_> = found.splits.into_iter().map(|split| split.outcome).collect();
    let made = |train, validation, test| SplitOutcome::Made { train, validation, test };
    assert_eq!(outcomes, [made(7091, 0, 1000), made(6091, 1000, 1000), made(6000, 1000, 1000)]);
}

#[test]
fn both_layouts_of_flickr8k_give_the_same_images_captions_and_paper_split() {
    let Some(root) = shared("flickr8k") else { return };
    let kaggle = load(&root, None).unwrap();
    let original = load(&root, Some(Layout::Original)).unwrap();
    let dropped: Vec<_> = original.warnings.iter().map(|w| (w.kind, w.count)).collect();
    assert_eq!(dropped, [(WarningKind::NoSuchPicture, 5)]);
    assert!(original.warnings[0].to_string().contains("2258277193_586949ec62.jpg"));
    let test_set = |corpus: &Corpus| -> Vec<_> {
        let split = Split::new(corpus, &SplitSpec::PAPER).unwrap();
        split.test.into_iter().map(|index| corpus.images[index].clone()).collect()
    };
    assert_eq!(test_set(&kaggle), test_set(&original));
    let mut images = original.images;
    images.sort_by(|a, b| a.file_name.cmp(&b.file_name));
    assert_eq!(kaggle.images, images);
}
