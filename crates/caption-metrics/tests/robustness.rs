//! No input causes a panic, and results do not depend on the number of threads.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use caption_metrics::meteor::{Segment, score};
use caption_metrics::{Error, Metric, Options, Predictions, References, Tokenizer, evaluate, ptb};
use proptest::prelude::*;
use support::{resources, scores};

/// Returns text made mostly of characters that the tokenizer and METEOR treat specially.
fn caption() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        3 => "[a-zA-Z]{1,4}",
        3 => "[ .,'`|<>()&;:/@#$0-9-]{1,3}",
        1 => prop::sample::select(vec![
            "n't", "'s", "U.S.", "fig.", "Inc.", "b.", "The", "<a href=\"", "\">", "http://a", ".com",
            "&apos;", "DOTMULTI", "...", "|||", "\u{85}", "\u{ad}", "\u{2019}", "\u{1f436}", "12 345 6789",
            "1 1/2", "\n", "\r\n", "\u{3a3}", "\u{130}", "dogs", "playing", "in front of",
        ]).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_captions_can_be_scored(
        images in prop::collection::vec((caption(), prop::collection::vec(caption(), 1..4)), 1..5),
    ) {
        let references = References::new(
            images.iter().enumerate().map(|(id, (_, list))| (id.to_string(), list.clone())),
        ).unwrap();
        let predictions = Predictions::new(
            images.iter().enumerate().map(|(id, (text, _))| (id.to_string(), text.clone())),
        ).unwrap();
        for tokenizer in [Tokenizer::None, Tokenizer::Ptb] {
            match evaluate(&references, &predictions, &scores::options(tokenizer)) {
                Ok(evaluation) => for image in evaluation.per_image() {
                    for (name, score) in image.scores.iter() {
                        prop_assert!((0.0..=10.0 + 1e-9).contains(&score), "{name} {score}");
                    }
                },
                Err(error) => prop_assert!(matches!(error, Error::NoReferenceWords), "{error}"),
            }
        }
    }

    #[test]
    fn tokens_are_words_without_plain_spaces_and_as_many_lines_as_captions(
        captions in prop::collection::vec(caption(), 0..5),
    ) {
        let tokens = ptb::tokenize(&captions);
        prop_assert_eq!(tokens.captions.len(), captions.len());
        for line in tokens.captions {
            prop_assert!(!line.contains("  ") && !line.contains('\n') && line.trim() == line, "{line:?}");
        }
    }

    /// Plain captions take a short cut; a trailing symbol makes them take the long way.
    #[test]
    fn the_short_cut_gives_what_the_lexer_gives(
        words in prop::collection::vec("(dog|A|st|cannot|St|fig|The|no|b|x|Inc|cat)[.,]{0,2}|[.,]", 0..8),
    ) {
        let caption = words.join(" ");
        let long = format!("{caption} #");
        let short = ptb::tokenize(&[caption.as_str(), "zzz"]).captions.swap_remove(0);
        let lexed = ptb::tokenize(&[long.as_str(), "zzz"]).captions.swap_remove(0);
        // The symbol ends a sentence less surely than the end of the caption does.
        let last = words.last().map_or("", String::as_str);
        prop_assume!(!last.contains('.'));
        prop_assert_eq!(format!("{short} #").trim_start().to_owned(), lexed);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(["a.json", "a.jsonl", "a.csv"][kind as usize]);
        std::fs::write(&path, bytes).unwrap();
        let _ = References::read(&path);
        let _ = Predictions::read(&path);
    }

    #[test]
    fn any_json_is_read_or_refused(text in r#"(\{|\}|\[|\]|,|:|"a"|"annotations"|"image_id"|"caption"|"captions"|1|null|-2|0.5| ){0,24}"#) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.json", "a.jsonl"] {
            let path = folder.path().join(name);
            std::fs::write(&path, &text).unwrap();
            let _ = References::read(&path);
            let _ = Predictions::read(&path);
        }
    }
}

/// A megabyte of any text takes seconds at most.
#[test]
fn captions_of_a_megabyte_are_scored_on_either_side() {
    let size = 1 << 20;
    for unit in ["dog ", ".", "<!a", "a,b@", "\u{1f436} ", "in front of a "] {
        let long: String =
            unit.chars().cycle().take(size / unit.len() * unit.chars().count()).collect();
        for tokenizer in [Tokenizer::None, Tokenizer::Ptb] {
            for (reference, prediction) in
                [("a dog in front of a house", long.as_str()), (&long, "a dog in snow")]
            {
                let r = References::new([("1", [reference]), ("2", ["a cat"])]).unwrap();
                let p = Predictions::new([("1", prediction), ("2", "a cat")]).unwrap();
                let evaluation = evaluate(&r, &p, &scores::options(tokenizer)).unwrap();
                assert_eq!(evaluation.per_image().len(), 2, "{unit}");
            }
        }
    }
}

/// The tokenizer looks past a caption for its last token, and past blank captions only once.
#[test]
fn many_blank_captions_are_tokenized_in_linear_time() {
    let mut captions = vec!["\t"; 200_000];
    captions[0] = "plan b.";
    captions.push("The end");
    let tokens = ptb::tokenize(&captions);
    assert_eq!(tokens.captions[0], "plan b");
    assert!(tokens.captions[1..200_000].iter().all(String::is_empty));
}

#[test]
fn two_captions_of_a_megabyte_are_refused_by_meteor_alone() {
    let long = "dog ".repeat(1 << 18);
    let r = References::new([("1", [long.as_str()])]).unwrap();
    let p = Predictions::new([("1", long.as_str())]).unwrap();
    let without =
        Options { metrics: vec![Metric::Bleu, Metric::Rouge, Metric::Cider], ..Options::default() };
    let scores = evaluate(&r, &p, &without).unwrap().summary.corpus;
    assert!((scores.get("ROUGE_L").unwrap() - 1.0).abs() < 1e-12);
    let Some(resources) = resources() else { return };
    let segment = Segment { id: "1", hypothesis: &long, references: &[&long] };
    let error = score(&resources, &[segment]).unwrap_err().to_string();
    assert!(error.contains("262144 words"), "{error}");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let words = [
        "a", "dog", "dogs", "runs", "in", "front", "of", "the", "snow", "two", "men", "can't",
        "U.S.",
    ];
    let sentence = |seed: usize| -> String {
        (0..8)
            .map(|k| words[(seed * 7 + k * k * 3 + seed / 5) % words.len()])
            .collect::<Vec<_>>()
            .join(" ")
    };
    let images = 300;
    let r = References::new(
        (0..images).map(|i| (i.to_string(), [sentence(i), sentence(i + 3), sentence(i * 2)])),
    );
    let p = Predictions::new((0..images).map(|i| (i.to_string(), sentence(i + 1))));
    let (r, p) = (r.unwrap(), p.unwrap());
    let results: Vec<String> = [1, 2, 7]
        .into_iter()
        .map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut evaluation = evaluate(&r, &p, &scores::options(Tokenizer::Ptb)).unwrap();
                evaluation.add_confidence(caption_metrics::significance::Resampling {
                    resamples: 20,
                    seed: 3,
                });
                scores::to_json(&evaluation)
            })
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}
