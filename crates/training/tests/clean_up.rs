//! Captions of a trained run with and without the clean-up of spaces.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

#[allow(dead_code, reason = "each file of tests uses some of it")]
mod stage;

use stage::Stage;
use tch::{Device, Kind, Tensor};
use training::captioner::Captioner;
use training::captions::ImageInputs;

#[test]
fn spaces_are_cleaned_up_before_a_caption_is_cut_where_the_protocol_says_so() {
    let stage = Stage::of_one_caption_written("two boys ' dogs , isn 't 's n't it ! run .");
    let sets =
        ["training.epochs=60", "training.early_stop_epochs=0", "optimizer.learning_rate=0.02"];
    let sets = [&sets[..], &["decoding.max_new_tokens=36", "training.batch_size=5"]].concat();
    let (run, _, records) = stage.trained("run", &sets);
    assert!(records.last().unwrap().loss < 0.05, "the caption is not learned");
    let caption = |sets: &[&str]| {
        let sets: Vec<String> = sets.iter().map(|set| format!("decoding.{set}")).collect();
        let captioner = Captioner::load(&run, Device::Cpu, None, &sets, None).unwrap();
        let embeddings = Tensor::arange_start(0, 8, (Kind::Float, Device::Cpu)).square().sin();
        let embeddings = networks::normalized(&embeddings.unsqueeze(0)).unwrap();
        let pictures = ImageInputs { embeddings, keywords: None, numbers: vec![0] };
        captioner.caption(&pictures, &mut progress::Silent).unwrap()[0][0].text.clone()
    };
    let cleaned = "two boys'dogs, isn 't'sn't it! run .";
    let raw = "two boys ' dogs , isn 't 's n't it ! run .";
    for strategy in
        ["strategy={ kind = \"greedy\" }", "strategy={ kind = \"beam\", num_beams = 2 }"]
    {
        assert_eq!(caption(&[strategy]), cleaned);
        assert_eq!(caption(&[strategy, "clean_up_tokenization_spaces=false"]), raw);
    }
}
