//! Diversity of predictions, counted by hand.

use std::sync::Arc;

use caption_metrics::{
    Diversity, Error, Metric, Options, Predictions, References, Tokenizer, evaluate,
};

fn diversity(tokenizer: Tokenizer, training: Option<&[&str]>) -> Result<Diversity, Error> {
    let captions = ["A dog runs .", "a dog  runs", "two dogs run and run", ""];
    let id = |(number, _): (usize, &&str)| number.to_string();
    let ids = captions.iter().enumerate().map(id);
    let options = Options {
        tokenizer,
        metrics: vec![Metric::Diversity],
        training_captions: training
            .map(|captions| captions.iter().map(|&text| text.to_owned()).collect::<Arc<_>>()),
        ..Options::default()
    };
    let references = References::new(ids.clone().map(|id| (id, ["a dog"])))?;
    let found = evaluate(&references, &Predictions::new(ids.zip(captions))?, &options)?;
    assert_eq!(found.summary.corpus.iter().count(), 0);
    found.summary.diversity.ok_or(Error::NoImages)
}

#[test]
fn diversity_is_what_is_counted_by_hand() -> Result<(), Error> {
    // Words: A dog runs . | a dog runs | two dogs run and run; 12 words, 9 of them distinct.
    // Pairs: A-dog dog-runs runs-. a-dog two-dogs dogs-run run-and and-run.
    let raw = diversity(Tokenizer::None, None)?;
    let expected = Diversity {
        vocabulary: 9,
        distinct_1: 9.0 / 12.0,
        distinct_2: 8.0 / 12.0,
        novel: None,
        mean_length: 3.0,
    };
    assert_eq!(raw, expected);

    // Lower-cased, without the full stop: a dog runs (twice) and two dogs run and run.
    let ptb = diversity(Tokenizer::Ptb, Some(&["A dog runs!", "two dogs run"]))?;
    let expected = Diversity {
        vocabulary: 7,
        distinct_1: 7.0 / 11.0,
        distinct_2: 6.0 / 11.0,
        novel: Some(0.5),
        mean_length: 11.0 / 4.0,
    };
    assert_eq!(ptb, expected);
    let names: Vec<&str> = ptb.entries().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["vocabulary", "distinct_1", "distinct_2", "novel", "mean_length"]);
    Ok(())
}

#[test]
fn novelty_without_tokenizer_regards_case_but_no_white_space() -> Result<(), Error> {
    let cases: [(&[&str], f64); 3] =
        [(&[], 1.0), (&["a dog runs", "A DOG runs ."], 0.75), (&["A  dog runs .", "  "], 0.5)];
    for (training, novel) in cases {
        assert_eq!(diversity(Tokenizer::None, Some(training))?.novel, Some(novel));
    }
    Ok(())
}
