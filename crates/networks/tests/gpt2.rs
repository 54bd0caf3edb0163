//! GPT-2 compared with transformers, on random checkpoints from `tests/reference/gpt2_goldens.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod common;

use std::collections::{BTreeMap, HashMap};

use common::{difference, fixture, tensors};
use networks::Pass;
use networks::gpt2::{self, Activation, Gpt2, Gpt2Config, Vocabulary};
use networks::weights::{self, Checkpoint, WeightsError};
use tch::{Device, Kind, Reduction, Tensor, nn};

const CONFIGS: [&str; 3] = ["gelu_new", "relu", "bare"];
const TOLERANCE: f64 = 1e-5;
/// Minimum effect of a mistake, so that the tolerance is sure to catch it.
const NOTICED: f64 = 10.0 * TOLERANCE;
const PREFIX: i64 = 2;

struct Case {
    store: nn::VarStore,
    model: Gpt2,
    expected: HashMap<String, Tensor>,
}

/// Loads the model of a fixture, with its config modified by `change`.
fn case(name: &str, change: impl Fn(&mut Gpt2Config)) -> Case {
    let folder = fixture(&format!("gpt2/{name}"));
    let mut config = Gpt2Config::open(&folder).unwrap();
    change(&mut config);
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = Gpt2::new(store.root(), &config);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    gpt2::load_pretrained(&mut store, "", &checkpoint, Vocabulary::Same).unwrap();
    Case { store, model, expected: tensors(&format!("gpt2/{name}/expected.safetensors")) }
}

impl Case {
    fn inputs(&self, prefix: &Tensor) -> Tensor {
        Tensor::cat(&[prefix, &self.model.embed(&self.expected["ids"])], 1)
    }

    fn logits(&self, mask: Option<&Tensor>, pass: Pass) -> Tensor {
        let inputs = self.inputs(&self.expected["prefix"]);
        self.model.logits(&self.model.forward(&inputs, mask, pass))
    }

    /// Returns the difference of the logits from the reference's, without a mask.
    fn off(&self) -> f64 {
        difference(&self.logits(None, Pass::EVALUATION), &self.expected["logits"])
    }
}

/// Sets logits at padding, which are meaningless, to zero.
fn at_tokens(logits: &Tensor, mask: &Tensor) -> Tensor {
    assert!(bool::try_from(logits.isfinite().all()).unwrap(), "padding must stay finite");
    logits * mask.unsqueeze(-1)
}

#[test]
fn logits_equal_the_references_with_and_without_padding_on_either_side() {
    for name in CONFIGS {
        let case = case(name, |_| ());
        let mut largest = case.off();
        for side in ["right", "left"] {
            let mask = &case.expected[&format!("mask_{side}")];
            let ours = at_tokens(&case.logits(Some(mask), Pass::EVALUATION), mask);
            let theirs = at_tokens(&case.expected[&format!("logits_{side}")], mask);
            largest = largest.max(difference(&ours, &theirs));
        }
        println!("{name}: logits differ by at most {largest:.1e}");
        assert!(largest < TOLERANCE, "{name}: {largest:e}");
    }
}

#[test]
fn left_padding_without_a_mask_changes_the_logits() {
    let case = case("gelu_new", |_| ());
    let mask = &case.expected["mask_left"];
    let theirs = at_tokens(&case.expected["logits_left"], mask);
    assert!(difference(&at_tokens(&case.logits(None, Pass::EVALUATION), mask), &theirs) > NOTICED);
}

#[test]
fn padding_on_the_right_needs_no_mask() {
    let case = case("gelu_new", |_| ());
    let mask = &case.expected["mask_right"];
    let theirs = at_tokens(&case.expected["logits_right"], mask);
    assert!(
        difference(&at_tokens(&case.logits(None, Pass::EVALUATION), mask), &theirs) < TOLERANCE
    );
}

#[test]
fn the_loss_and_every_gradient_equal_the_references() {
    for name in CONFIGS {
        let case = case(name, |_| ());
        let prefix = case.expected["prefix"].copy().set_requires_grad(true);
        let (mask, ids) = (&case.expected["mask_left"], &case.expected["ids"]);
        let states = case.model.forward(&case.inputs(&prefix), Some(mask), Pass::EVALUATION);
        let tokens = ids.size()[1];
        let kept = (mask.narrow(1, PREFIX, tokens) * mask.narrow(1, PREFIX - 1, tokens)).ne(0);
        let places = kept.flatten(0, 1).nonzero().squeeze_dim(1);
        let states = states.narrow(1, PREFIX - 1, tokens).flatten(0, 1).index_select(0, &places);
        let targets = ids.flatten(0, 1).index_select(0, &places);
        let loss = case.model.logits(&states).cross_entropy_loss::<Tensor>(
            &targets,
            None,
            Reduction::Mean,
            -100,
            0.0,
        );
        assert!(difference(&loss, &case.expected["loss"]) < TOLERANCE, "{name}");
        loss.backward();

        let mut compared = 0;
        let mut largest = difference(&prefix.grad(), &case.expected["grad.prefix"]);
        for (parameter, tensor) in case.store.variables() {
            let theirs = &case.expected[&format!("grad.{parameter}")];
            largest = largest.max(difference(&tensor.grad(), theirs));
            compared += 1;
        }
        let references = case.expected.keys().filter(|key| key.starts_with("grad.")).count();
        assert_eq!(compared + 1, references, "{name}");
        println!("{name}: {references} gradients differ by at most {largest:.1e}");
        assert!(largest < TOLERANCE, "{name}: {largest:e}");
    }
}

#[test]
fn a_change_in_any_parameter_is_noticed() {
    for name in CONFIGS {
        let case = case(name, |_| ());
        for (parameter, tensor) in case.store.variables() {
            let mut first = tensor.detach().view(-1).narrow(0, 0, 1);
            let value = first.copy();
            let _ = first.g_add_scalar_(0.01);
            assert!(case.off() > NOTICED, "{name}: {parameter} moved by 0.01 went unnoticed");
            first.copy_(&value);
        }
        assert!(case.off() < TOLERANCE, "all parameters are as they were");
    }
}

#[test]
fn a_missing_bias_is_noticed() {
    for name in CONFIGS {
        let case = case(name, |_| ());
        for (parameter, tensor) in case.store.variables() {
            if parameter.ends_with("bias") {
                let mut bias = tensor.detach();
                let values = bias.copy();
                let _ = bias.zero_();
                assert!(case.off() > NOTICED, "{name}: without {parameter} all is the same");
                bias.copy_(&values);
            }
        }
    }
}

#[test]
fn changing_a_setting_changes_the_logits() {
    let off = |name: &str, change: &dyn Fn(&mut Gpt2Config)| case(name, change).off();
    let activations = [
        ("gelu_new", Activation::Gelu),
        ("gelu_new", Activation::Relu),
        ("relu", Activation::GeluNew),
        ("bare", Activation::GeluNew),
    ];
    for (name, activation) in activations {
        let off = off(name, &|config| config.activation_function = activation);
        assert!(off > NOTICED, "{activation:?} for {name}: {off:e}");
    }
    assert!(off("gelu_new", &|config| config.n_head = 2) > NOTICED);
    assert!(off("relu", &|config| config.layer_norm_epsilon = 1e-5) > NOTICED);
    assert!(
        off("gelu_new", &|config| config.activation_function = Activation::GeluPytorchTanh)
            < TOLERANCE,
        "gelu_pytorch_tanh is gelu_new under another name"
    );
}

#[test]
fn the_cache_is_exact_for_any_split_of_the_tokens() {
    for name in CONFIGS {
        let case = case(name, |_| ());
        let inputs = case.inputs(&case.expected["prefix"]);
        let whole = case.model.forward(&inputs, None, Pass::EVALUATION);
        for pieces in [vec![9], vec![1; 9], vec![2, 1, 1, 5], vec![4, 3, 2]] {
            let mut cache = case.model.cache(3, 9);
            let mut states = Vec::new();
            for &tokens in &pieces {
                let piece = inputs.narrow(1, cache.tokens(), tokens);
                states.push(case.model.forward_cached(&piece, &mut cache));
            }
            let off = difference(&Tensor::cat(&states, 1), &whole);
            assert!(off < TOLERANCE, "{name} in pieces of {pieces:?}: {off:e}");
            assert_eq!(cache.tokens(), 9);
        }
    }
}

#[test]
fn each_dropout_acts_in_training_and_only_there() {
    type Rate = fn(&mut Gpt2Config) -> &mut f64;
    let rates: [Rate; 3] = [
        |config| &mut config.embd_pdrop,
        |config| &mut config.attn_pdrop,
        |config| &mut config.resid_pdrop,
    ];
    let without = |config: &mut Gpt2Config| rates.iter().for_each(|rate| *rate(config) = 0.0);
    let silent = case("gelu_new", without);
    assert!(
        difference(&silent.logits(None, Pass::TRAINING), &silent.expected["logits"]) < TOLERANCE
    );
    for rate in rates {
        let case = case("gelu_new", |config| {
            without(config);
            *rate(config) = 0.5;
        });
        assert!(case.off() < TOLERANCE, "no dropout outside training");
        let (first, second) =
            (case.logits(None, Pass::TRAINING), case.logits(None, Pass::TRAINING));
        assert!(difference(&first, &case.expected["logits"]) > NOTICED);
        assert!(difference(&first, &second) > NOTICED, "another draw each time");
    }
}

#[test]
fn a_model_from_scratch_starts_as_transformers_starts_it() {
    let config = Gpt2Config {
        vocab_size: 500,
        n_positions: 200,
        n_embd: 96,
        n_layer: 8,
        n_head: 4,
        ..Gpt2Config::default()
    };
    let store = nn::VarStore::new(Device::Cpu);
    let _ = Gpt2::new(store.root() / "gpt", &config);
    for (name, tensor) in store.variables() {
        let (mean, deviation) = (tensor.mean(Kind::Double), tensor.std(true));
        let (mean, deviation) = (mean.double_value(&[]), deviation.double_value(&[]));
        let (wanted_mean, wanted) = match name.as_str() {
            _ if name.ends_with("bias") => (0.0, 0.0),
            _ if name.contains(".ln_") => (1.0, 0.0),
            // 0.02 / sqrt(2 * 8)
            _ if name.ends_with("c_proj.weight") => (0.0, 0.005),
            _ => (0.0, 0.02),
        };
        assert!((mean - wanted_mean).abs() < 0.1 * wanted + 1e-12, "{name}: mean {mean}");
        assert!((deviation - wanted).abs() <= 0.05 * wanted, "{name}: deviation {deviation}");
    }
}

#[test]
fn a_module_of_a_larger_store_is_filled_and_the_rest_left_alone() {
    let folder = fixture("gpt2/bare");
    let config = Gpt2Config::open(&folder).unwrap();
    let mut store = nn::VarStore::new(Device::Cpu);
    let mapper = store.root().var("clip_project", &[2], nn::Init::Const(7.0));
    let model = Gpt2::new(store.root() / "gpt", &config);
    gpt2::load_pretrained(&mut store, "gpt", &Checkpoint::open(&folder).unwrap(), Vocabulary::Same)
        .unwrap();
    assert_eq!(mapper, Tensor::from_slice(&[7.0_f32, 7.0]));
    let case = Case { store, model, expected: tensors("gpt2/bare/expected.safetensors") };
    assert!(case.off() < TOLERANCE);
}

fn as_is(_: &mut Gpt2Config) {}

/// Loads the model of a fixture with modified tensors and config.
fn load_changed(
    name: &str,
    config: impl Fn(&mut Gpt2Config),
    tensors_of: impl Fn(&mut BTreeMap<String, Tensor>),
) -> Result<Case, WeightsError> {
    let mut changed = tensors(&format!("gpt2/{name}/model.safetensors")).into_iter().collect();
    tensors_of(&mut changed);
    let folder = tempfile::tempdir().unwrap();
    let changed: Vec<(String, Tensor)> = changed.into_iter().collect();
    weights::save(&folder.path().join("model.safetensors"), &changed, &BTreeMap::new()).unwrap();
    let mut settings = Gpt2Config::open(&fixture(&format!("gpt2/{name}"))).unwrap();
    config(&mut settings);
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = Gpt2::new(store.root(), &settings);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    gpt2::load_pretrained(&mut store, "", &checkpoint, Vocabulary::Same)?;
    let expected = tensors(&format!("gpt2/{name}/expected.safetensors"));
    Ok(Case { store, model, expected })
}

#[test]
fn tensors_that_do_not_belong_are_refused_by_the_files_own_names() {
    let report = |name: &str, change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let loaded = load_changed(name, as_is, change);
        match loaded.map(drop) {
            Err(WeightsError::Mismatch { report, .. }) => report,
            other => panic!("{other:?}"),
        }
    };
    let missing = report("bare", &|tensors| _ = tensors.remove("h.1.mlp.c_fc.bias"));
    assert_eq!(missing.missing, ["h.1.mlp.c_fc.bias"]);
    let gone = "transformer.h.0.ln_1.weight";
    assert_eq!(report("gelu_new", &|tensors| _ = tensors.remove(gone)).missing, [gone]);
    let turned = report("gelu_new", &|tensors| {
        let name = "transformer.h.0.mlp.c_fc.weight";
        let weight = tensors[name].tr();
        tensors.insert(name.to_owned(), weight);
    });
    assert_eq!(turned.misshapen.len(), 1);
    for extra in ["h.0.attn.q_norm.weight", "h.0.crossattention.c_attn.bias", "h.x.attn.bias"] {
        let unexpected = report("bare", &|tensors| {
            tensors.insert(extra.to_owned(), Tensor::from(1.0_f32));
        });
        assert_eq!(unexpected.unexpected, [extra]);
    }
}

#[test]
fn a_head_in_place_of_the_token_embedding_fills_it() {
    let case = load_changed("gelu_new", as_is, |tensors| {
        let embedding = tensors.remove("transformer.wte.weight").unwrap();
        tensors.insert("lm_head.weight".to_owned(), embedding);
    })
    .unwrap();
    assert!(case.off() < TOLERANCE);
}

#[test]
fn heads_of_other_tasks_are_passed_over_and_named() {
    let head = "multiple_choice_head.summary.weight";
    for name in ["gelu_new", "bare"] {
        let case = load_changed(name, as_is, |tensors| {
            tensors.insert(head.to_owned(), Tensor::from(1.0_f32));
        })
        .unwrap();
        assert!(case.off() < TOLERANCE);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.safetensors");
    for names in [["transformer.wpe.weight", "transformer.x"], ["wpe.weight", "h.0.x"]] {
        let all = [names[0], names[1], "lm_head.weight", head];
        let all = all.map(|name| (name.to_owned(), Tensor::from(1.0_f32)));
        weights::save(&file, &all, &BTreeMap::new()).unwrap();
        assert_eq!(gpt2::other_heads(&Checkpoint::open(&file).unwrap()), [head]);
    }
}

#[test]
fn untied_heads_are_used_if_the_config_says_so() {
    let untied = |config: &mut Gpt2Config| config.tie_word_embeddings = false;
    for name in ["gelu_new", "bare"] {
        let embedding = if name == "bare" { "wte.weight" } else { "transformer.wte.weight" };
        let mut case = load_changed(name, untied, |tensors| {
            let head = &tensors[embedding] * 2.0;
            tensors.insert("lm_head.weight".to_owned(), head);
        })
        .unwrap();
        let logits = case.expected.remove("logits").unwrap();
        case.expected.insert("logits".to_owned(), logits * 2.0);
        assert!(case.off() < TOLERANCE, "{name}: {}", case.off());
        assert!(case.store.variables().contains_key("lm_head.weight"));
    }
    let mut store = nn::VarStore::new(Device::Cpu);
    let mut config = Gpt2Config::open(&fixture("gpt2/gelu_new")).unwrap();
    untied(&mut config);
    let _ = Gpt2::new(store.root(), &config);
    let checkpoint = Checkpoint::open(&fixture("gpt2/gelu_new")).unwrap();
    let error = gpt2::load_pretrained(&mut store, "", &checkpoint, Vocabulary::Same).unwrap_err();
    assert!(error.to_string().contains("lm_head.weight"), "{error}");
}

/// Scaling the queries is equivalent to transformers' attention scale.
#[test]
fn attention_is_scaled_by_layer_and_width_as_the_config_says() {
    let scaled = |factor: &dyn Fn(usize) -> f64| {
        load_changed("gelu_new", as_is, |tensors| {
            let layers = tensors.keys().filter(|name| name.ends_with("attn.c_attn.weight")).count();
            for (layer, part) in (0..layers).flat_map(|layer| [(layer, "weight"), (layer, "bias")])
            {
                let name = format!("transformer.h.{layer}.attn.c_attn.{part}");
                let all = &tensors[&name];
                let width = all.size()[all.dim() - 1] / 3;
                let queries = all.narrow(-1, 0, width) * factor(layer);
                let rest = all.narrow(-1, width, 2 * width);
                tensors.insert(name, Tensor::cat(&[queries, rest], -1));
            }
        })
        .unwrap()
    };
    let head_dim = case("gelu_new", |_| {}).model.config().head_dim() as f64;
    for (by_width, by_layer) in [(true, true), (false, false), (false, true)] {
        let flagged = case("gelu_new", |config| {
            config.scale_attn_weights = by_width;
            config.scale_attn_by_inverse_layer_idx = by_layer;
        });
        let other = scaled(&|layer| {
            let width = if by_width { 1.0 } else { head_dim.sqrt() };
            if by_layer { width / (layer + 1) as f64 } else { width }
        });
        let logits = |case: &Case| case.logits(None, Pass::EVALUATION);
        let off = difference(&logits(&flagged), &logits(&other));
        assert!(off < TOLERANCE, "{by_width} {by_layer}: {off:e}");
        assert!(flagged.off() > NOTICED, "{by_width} {by_layer}: the flags change nothing");
    }
}

#[test]
fn an_output_head_is_passed_over_only_where_it_is_the_embedding_again() {
    let head = "lm_head.weight".to_owned();
    for (name, embedding) in [("gelu_new", "transformer.wte.weight"), ("bare", "wte.weight")] {
        load_changed(name, as_is, |tensors| {
            tensors.insert(head.clone(), tensors[embedding].shallow_clone());
        })
        .unwrap();
        let error = load_changed(name, as_is, |tensors| {
            tensors.insert(head.clone(), &tensors[embedding] + 1e-3);
        })
        .map(drop)
        .unwrap_err();
        assert!(matches!(error, WeightsError::UntiedHead { .. }), "{error}");
        assert!(error.to_string().contains("lm_head.weight"), "{error}");
    }
}
