//! The defaults of each system.

use std::path::PathBuf;

use datasets::SplitKind;

use crate::config::Config;
use crate::constraints::Constraints;
use crate::sections::{
    Data, Decoding, DecodingDtype, EarlyStopOn, Optimizer, Precision, Rule, Schedule, Training,
};
use crate::strategy::{Sampling, Strategy};
use crate::systems::{
    Architecture, ClipPrefix, Gpt2, Keywords, LanguageModel, Mapper, MapperKind, MergeRnn, Network,
    Reranking, Sbg, System, Text, TextLoss, Tokenizer, Tuning, Vocabulary,
};

impl Config {
    /// Returns the defaults of a system, or `None` if no system has this name.
    ///
    /// These are the paper's rows on Flickr8k: "CLIP-prefix (Original)", SBG and Merge-RNN. The
    /// comment of each field names the source of its default.
    #[must_use]
    pub fn default_of(system: &str) -> Option<Self> {
        match system {
            "clip-prefix" => Some(clip_prefix()),
            "sbg" => Some(sbg()),
            "merge-rnn" => Some(merge_rnn()),
            _ => None,
        }
    }
}

fn clip_prefix() -> Config {
    let system = ClipPrefix {
        gpt2: Gpt2 { model: "weights/gpt2".to_owned(), tuning: Tuning::Full },
        tokenizer: Tokenizer::Pretrained {},
        mapper: Mapper {
            kind: MapperKind::Mlp,
            prefix_length: 10,
            dropout: 0.0,
            standardize: false,
        },
    };
    Config {
        system: System::ClipPrefix(system),
        data: Data {
            dataset: "data/flickr8k".into(),
            layout: "auto".to_owned(),
            captions: PathBuf::new(),
            image_column: String::new(),
            caption_column: String::new(),
            images: PathBuf::new(),
            split: SplitKind::Paper,
            split_seed: 42,
            test_captions: 5_000,
            validation_captions: 0,
            embeddings: "data/flickr8k/clip-vit-large-patch14.safetensors".into(),
            normalize_embeddings: false,
        },
        training: Training {
            device: "cuda:0".to_owned(),
            threads: 0,
            peer_timeout_seconds: 600,
            seed: 42,
            epochs: 30,
            batch_size: 40,
            gradient_accumulation_steps: 1,
            sort_by_length: false,
            precision: Precision::F32,
            deterministic: false,
            gradient_checkpointing: false,
            drop_last_batch: true,
            early_stop_epochs: 3,
            early_stop_on: EarlyStopOn::LastBatch,
            log_every_steps: 10,
            checkpoint_every_steps: 500,
            save_total_limit: 2,
            keep_best_checkpoint: true,
            keep_every_steps: 0,
            scored_pictures: 200,
        },
        optimizer: Optimizer {
            rule: Rule::Transformers,
            schedule: Schedule::Linear,
            learning_rate: 2e-5,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.0,
            warmup_steps: 100,
            max_grad_norm: 0.0,
        },
        decoding: Decoding {
            max_new_tokens: 67,
            clean_up_tokenization_spaces: Some(true),
            dtype: DecodingDtype::F32,
            batch_size: 0,
            constraints: Constraints::default(),
            strategy: Strategy::Greedy {},
        },
    }
}

fn sbg() -> Config {
    let Config { data, training, optimizer, decoding, .. } = clip_prefix();
    let keywords = |file: &str| PathBuf::from("data/flickr8k/keywords").join(file);
    let system = Sbg {
        gpt2: LanguageModel { model: "weights/gpt2".to_owned() },
        keywords: Keywords {
            selected: keywords("selected.jsonl"),
            labels: keywords("labels.json"),
            encyclopedia: keywords("encyclopedia.json"),
        },
        text: Text { block_size: 480, texts_together: 1_000, loss: TextLoss::All },
        reranking: Reranking {
            clip: "weights/clip-vit-large-patch14".to_owned(),
            best_of: vec![1, 2, 5],
        },
    };
    Config {
        system: System::Sbg(system),
        data: Data { validation_captions: 5_000, normalize_embeddings: true, ..data },
        training: Training {
            epochs: 10,
            batch_size: 8,
            drop_last_batch: false,
            early_stop_epochs: 0,
            early_stop_on: EarlyStopOn::HeldOut,
            ..training
        },
        optimizer: Optimizer {
            rule: Rule::Torch,
            learning_rate: 5e-5,
            epsilon: 1e-8,
            warmup_steps: 0,
            max_grad_norm: 1.0,
            ..optimizer
        },
        decoding: Decoding {
            max_new_tokens: 256,
            strategy: Strategy::Sampling(Sampling::default()),
            ..decoding
        },
    }
}

fn merge_rnn() -> Config {
    let Config { data, training, optimizer, decoding, .. } = clip_prefix();
    let system = MergeRnn {
        vocabulary: Vocabulary { min_frequency: 3 },
        network: Network {
            architecture: Architecture::Merge,
            layer_size: 256,
            dropout: 0.0,
            standardize: false,
        },
    };
    Config {
        system: System::MergeRnn(system),
        data: Data {
            split: SplitKind::Official,
            validation_captions: 5_000,
            embeddings: "data/flickr8k/vgg16.safetensors".into(),
            normalize_embeddings: true,
            ..data
        },
        training: Training {
            device: "cpu".to_owned(),
            epochs: 100,
            batch_size: 50,
            drop_last_batch: false,
            early_stop_epochs: 1,
            early_stop_on: EarlyStopOn::HeldOut,
            checkpoint_every_steps: 0,
            ..training
        },
        optimizer: Optimizer {
            schedule: Schedule::Constant,
            learning_rate: 1e-3,
            epsilon: 1e-8,
            warmup_steps: 0,
            ..optimizer
        },
        decoding: Decoding {
            max_new_tokens: 20,
            clean_up_tokenization_spaces: None,
            strategy: Strategy::Beam { num_beams: 3 },
            ..decoding
        },
    }
}
