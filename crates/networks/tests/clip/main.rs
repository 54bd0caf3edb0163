//! CLIP compared with transformers on two small random checkpoints
//! (`tests/reference/clip_goldens.py`).

#![allow(clippy::unwrap_used)] // clippy's exemption of tests leaves out their helpers

mod contrastive;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use networks::ModelError;
use networks::clip::{ClipConfig, ClipModel, LoadedClip, save_folder};
use networks::weights::{self, Checkpoint};
use tch::{Device, IndexOp, Kind, Tensor, nn};

const CHECKPOINTS: [&str; 2] = ["quick_gelu", "gelu_sharded"];
/// Largest allowed difference of embeddings in f32; their standard deviation is about 1.5.
const TOLERANCE: f64 = 1e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/clip")).join(name)
}

/// Inputs and transformers' outputs.
struct Golden(Checkpoint);

impl Golden {
    fn open(name: &str) -> Self {
        Self(Checkpoint::open(&fixture(name).join("golden.safetensors")).unwrap())
    }

    fn tensor(&self, name: &str) -> Tensor {
        self.0.tensor(name, Device::Cpu).unwrap()
    }

    /// Returns the largest differences for images, texts, and texts with a mask.
    fn differences(&self, model: &ClipModel) -> [f64; 3] {
        let (ids, mask) = (self.tensor("ids"), self.tensor("attention_mask"));
        tch::no_grad(|| {
            [
                (model.encode_image(&self.tensor("pixels")).unwrap(), "image_features"),
                (model.encode_text(&ids, None).unwrap(), "text_features"),
                (model.encode_text(&ids, Some(&mask)).unwrap(), "masked_text_features"),
            ]
            .map(|(ours, name)| difference(&ours, &self.tensor(name)))
        })
    }
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    assert_eq!(a.size(), b.size());
    let difference = a.to_kind(Kind::Double) - b.to_kind(Kind::Double);
    difference.abs().max().double_value(&[])
}

fn open(folder: &Path) -> Result<LoadedClip, ModelError> {
    LoadedClip::from_folder(folder, Device::Cpu, Kind::Float)
}

fn vision(folder: &Path) -> Result<LoadedClip, ModelError> {
    LoadedClip::vision_from_folder(folder, Device::Cpu, Kind::Float)
}

fn text(folder: &Path) -> Result<LoadedClip, ModelError> {
    LoadedClip::text_from_folder(folder, Device::Cpu, Kind::Float)
}

/// Copies a checkpoint to a single file, with its tensors modified by `change`.
fn copy(name: &str, change: impl FnOnce(&mut BTreeMap<String, Tensor>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixture(name).join("config.json"), folder.path().join("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
    let tensor = |name: &str| checkpoint.tensor(name, Device::Cpu).unwrap();
    let mut tensors = checkpoint.names().map(|name| (name.to_owned(), tensor(name))).collect();
    change(&mut tensors);
    let tensors: Vec<_> = tensors.into_iter().collect();
    weights::save(&folder.path().join("model.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    folder
}

#[test]
fn both_towers_agree_with_transformers() {
    for name in CHECKPOINTS {
        let clip = open(&fixture(name)).unwrap();
        for (what, difference) in ["pictures", "texts", "masked texts"]
            .iter()
            .zip(Golden::open(name).differences(&clip.model))
        {
            assert!(difference < TOLERANCE, "{name}, {what}: {difference:e}");
        }
    }
}

#[test]
fn rows_of_a_batch_do_not_affect_each_other() {
    for name in CHECKPOINTS {
        let (model, golden) = (open(&fixture(name)).unwrap().model, Golden::open(name));
        let (pixels, ids) = (golden.tensor("pixels"), golden.tensor("ids"));
        let images = model.encode_image(&pixels).unwrap();
        for row in 0..pixels.size()[0] {
            let alone = model.encode_image(&pixels.i(row..=row)).unwrap();
            assert!(difference(&alone, &images.i(row..=row)) < TOLERANCE);
        }
        let texts = model.encode_text(&ids, None).unwrap();
        // The second text has three tokens.
        let alone = model.encode_text(&ids.i((1..2, 0..3)), None).unwrap();
        assert!(difference(&alone, &texts.i(1..2)) < TOLERANCE);
        let none = model.encode_image(&pixels.i(0..0)).unwrap();
        assert_eq!(none.size(), [0, model.config().projection_dim]);
        assert_eq!(model.encode_text(&ids.i(0..0), None).unwrap().size(), none.size());
    }
}

#[test]
fn half_precision_stays_near() {
    for (name, kind, bound) in
        [("quick_gelu", Kind::BFloat16, 0.15), ("gelu_sharded", Kind::Half, 0.02)]
    {
        let clip = LoadedClip::from_folder(&fixture(name), Device::Cpu, kind).unwrap();
        let golden = Golden::open(name);
        let image = clip.model.encode_image(&golden.tensor("pixels")).unwrap();
        assert_eq!(image.kind(), kind);
        for difference in golden.differences(&clip.model) {
            assert!(difference < bound && difference > TOLERANCE, "{kind:?}: {difference}");
        }
    }
}

#[test]
fn a_change_in_any_tensor_changes_an_embedding() {
    for name in CHECKPOINTS {
        let checkpoint = Checkpoint::open(&fixture(name)).unwrap();
        let mut store = nn::VarStore::new(Device::Cpu);
        let config = ClipConfig::from_folder(&fixture(name)).unwrap();
        let model = ClipModel::new(store.root(), &config).unwrap();
        weights::load(&mut store, &checkpoint, ToOwned::to_owned, |_| false).unwrap();
        let golden = Golden::open(name);
        for (tensor, variable) in store.variables() {
            let kept = variable.copy();
            let count = i64::try_from(kept.numel()).unwrap();
            // Different at every position: a norm would remove a constant.
            let noise = (Tensor::arange(count, (Kind::Float, Device::Cpu)) + 1).sin() * 0.01;
            let noise = noise.view_as(&kept);
            tch::no_grad(|| variable.shallow_clone().copy_(&(&kept + noise)));
            let worst = golden.differences(&model).into_iter().fold(0.0, f64::max);
            tch::no_grad(|| variable.shallow_clone().copy_(&kept));
            // A key's bias shifts all scores of a query equally, which a softmax ignores; the scale
            // affects only similarities.
            if tensor.ends_with("k_proj.bias") || tensor == "logit_scale" {
                continue;
            }
            assert!(worst > 10.0 * TOLERANCE, "{name}: {tensor} matters by {worst:e} only");
        }
        assert!(golden.differences(&model).iter().all(|&difference| difference < TOLERANCE));
    }
}

#[test]
fn the_other_activation_or_another_end_rule_gives_other_embeddings() {
    let changed = |name: &str, from: &str, to: &str| {
        let folder = copy(name, |_| {});
        let path = folder.path().join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        Golden::open(name).differences(&open(folder.path()).unwrap().model)
    };
    let same = |difference: f64| difference < TOLERANCE;
    let act = changed("quick_gelu", "\"quick_gelu\"", "\"gelu\"");
    assert!(act.iter().all(|&difference| difference > 1e-2), "{act:?}");
    let act = changed("gelu_sharded", "\"gelu\"", "\"quick_gelu\"");
    assert!(act.iter().all(|&difference| difference > 1e-2), "{act:?}");
    for (name, from, to) in [
        ("gelu_sharded", "\"eos_token_id\": 97", "\"eos_token_id\": 2"),
        ("quick_gelu", "\"eos_token_id\": 2", "\"eos_token_id\": 97"),
    ] {
        let [image, text, _] = changed(name, from, to);
        assert!(same(image) && text > 1e-2, "{name}: {image} {text}");
    }
    // The end token of the obsolete rule, given explicitly: the same positions.
    let named = changed("quick_gelu", "\"eos_token_id\": 2", "\"eos_token_id\": 98");
    assert!(named.into_iter().all(same), "{named:?}");
}

#[test]
fn missing_unexpected_and_misshapen_tensors_are_named() {
    let bias = "vision_model.encoder.layers.1.self_attn.out_proj.bias";
    let folder = copy("quick_gelu", |tensors| {
        assert!(tensors.remove(bias).is_some());
        tensors.insert(
            "vision_model.head.weight".to_owned(),
            Tensor::zeros([2], (Kind::Float, Device::Cpu)),
        );
        let projection = tensors.get_mut("text_projection.weight").unwrap();
        *projection = projection.tr();
    });
    let error = open(folder.path()).unwrap_err().to_string();
    for words in [
        "missing (1)",
        bias,
        "unexpected (1)",
        "vision_model.head.weight",
        "text_projection.weight: [24, 20] in the file, [20, 24] in the model",
    ] {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn the_position_ids_of_old_checkpoints_are_passed_over() {
    let folder = copy("quick_gelu", |tensors| {
        for (tower, positions) in [("vision_model", 10), ("text_model", 16)] {
            let ids = Tensor::arange(positions, (Kind::Int64, Device::Cpu)).unsqueeze(0);
            tensors.insert(format!("{tower}.embeddings.position_ids"), ids);
        }
    });
    let clip = open(folder.path()).unwrap();
    assert!(Golden::open("quick_gelu").differences(&clip.model).iter().all(|&d| d < TOLERANCE));
    let elsewhere = copy("quick_gelu", |tensors| {
        let ids = Tensor::arange(3, (Kind::Int64, Device::Cpu));
        tensors.insert("vision_model.position_ids".to_owned(), ids);
    });
    // Under another name it is no known buffer, so it is reported, but harmless.
    let clip = open(elsewhere.path()).unwrap();
    assert_eq!(clip.ignored, ["vision_model.position_ids"]);
    assert!(Golden::open("quick_gelu").differences(&clip.model).iter().all(|&d| d < TOLERANCE));
}

/// Writes a folder with one tower, like transformers' `CLIPVisionModelWithProjection` and
/// `CLIPTextModelWithProjection`, or with the whole model's config if `model_type` is `None`.
fn one_tower(tower: &str, projection: &str, model_type: Option<&str>) -> tempfile::TempDir {
    let folder = copy("quick_gelu", |tensors| {
        tensors.retain(|name, _| name.starts_with(tower) || name.starts_with(projection));
    });
    if let Some(model_type) = model_type {
        let path = folder.path().join("config.json");
        let whole: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let mut config = whole[tower.replace("_model", "_config")].clone();
        config["projection_dim"] = whole["projection_dim"].clone();
        config["model_type"] = model_type.into();
        fs::write(&path, config.to_string()).unwrap();
    }
    folder
}

#[test]
fn a_tower_alone_gives_what_it_gives_in_the_whole_model() {
    let golden = Golden::open("quick_gelu");
    let (pixels, ids) = (golden.tensor("pixels"), golden.tensor("ids"));
    for model_type in [Some("clip_vision_model"), None] {
        let folder = one_tower("vision_model", "visual_projection", model_type);
        let clip = vision(folder.path()).unwrap();
        assert!(clip.ignored.is_empty());
        let image = clip.model.encode_image(&pixels).unwrap();
        assert!(difference(&image, &golden.tensor("image_features")) < TOLERANCE);
        assert!(matches!(
            clip.model.encode_text(&ids, None),
            Err(ModelError::Absent("text tower"))
        ));
        let error = text(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has no text tower") && error.contains("hint:"), "{error}");
    }
    for model_type in [Some("clip_text_model"), None] {
        let folder = one_tower("text_model", "text_projection", model_type);
        let clip = text(folder.path()).unwrap();
        let text = clip.model.encode_text(&ids, None).unwrap();
        assert!(difference(&text, &golden.tensor("text_features")) < TOLERANCE);
        assert!(vision(folder.path()).is_err());
    }
    // One tower of a whole model.
    let whole = fixture("quick_gelu");
    let (clip, texts) = (vision(&whole).unwrap(), text(&whole).unwrap());
    assert!(clip.ignored.is_empty() && texts.ignored.is_empty());
    let image = clip.model.encode_image(&pixels).unwrap();
    assert!(difference(&image, &golden.tensor("image_features")) < TOLERANCE);
    assert!(matches!(clip.model.encode_text(&ids, None), Err(ModelError::Absent("text tower"))));
    let text = texts.model.encode_text(&ids, None).unwrap();
    assert!(difference(&text, &golden.tensor("text_features")) < TOLERANCE);
    assert!(texts.model.encode_image(&pixels).is_err());
    // Without its projection it is another model.
    let folder = one_tower("vision_model", "vision_model", Some("clip_vision_model"));
    let error = open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("missing (1)") && error.contains("visual_projection.weight"), "{error}");
}

#[test]
fn a_weight_file_selects_its_folder() {
    let folder = copy("quick_gelu", |_| {});
    let file = folder.path().join("model.safetensors");
    let other = folder.path().join("other.safetensors");
    fs::rename(&file, &other).unwrap();
    let clip = open(&other).unwrap();
    assert!(Golden::open("quick_gelu").differences(&clip.model).iter().all(|&d| d < TOLERANCE));
    fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = open(&other).unwrap_err().to_string();
    for words in
        ["other.safetensors has no config.json in its folder", "openai/clip-vit-base-patch32"]
    {
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn end_tokens_may_be_several_or_none() {
    let golden = Golden::open("gelu_sharded");
    let text = |end: &str| {
        let folder = copy("gelu_sharded", |_| {});
        let path = folder.path().join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        fs::write(&path, config.replace("\"eos_token_id\": 97", end)).unwrap();
        let model = open(folder.path()).unwrap().model;
        model.encode_text(&golden.tensor("ids"), None).unwrap()
    };
    let expected = golden.tensor("text_features");
    assert!(difference(&text("\"eos_token_id\": [97]"), &expected) < TOLERANCE);
    // A token that occurs in no text changes nothing.
    let ids = golden.tensor("ids");
    let unused = (0..97).find(|&id| ids.eq(id).any().int64_value(&[]) == 0).unwrap();
    assert!(difference(&text(&format!("\"eos_token_id\": [{unused}, 97]")), &expected) < TOLERANCE);
    // Without end tokens, as with the obsolete value 2, the highest id ends a text.
    let highest = text("\"eos_token_id\": 2");
    assert!(difference(&highest, &expected) > 1e-2);
    for none in ["\"eos_token_id\": null", "\"eos_token_id\": []"] {
        assert_eq!(text(none), highest);
    }
}

#[test]
fn weights_that_are_not_finite_are_refused_by_name() {
    for (value, kind, words) in [
        (f64::NAN, Kind::Float, "is not a number"),
        (f64::INFINITY, Kind::Float, "is infinite"),
        (f64::NEG_INFINITY, Kind::Half, "is infinite"),
        (f64::NAN, Kind::BFloat16, "is not a number"),
    ] {
        let name = "vision_model.encoder.layers.1.mlp.fc2.bias";
        let folder = copy("quick_gelu", |tensors| {
            let tensor = tensors.get_mut(name).unwrap();
            *tensor = tensor.to_kind(kind);
            let _ = tensor.get(3).fill_(value);
        });
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("model.safetensors: tensor ") && error.contains(name), "{error}");
        assert!(error.contains(words) && error.contains("hint:"), "{error}");
    }
    // 70,000 is finite in f32 and bf16, but not in f16.
    let folder = copy("quick_gelu", |tensors| {
        let _ = tensors.get_mut("logit_scale").unwrap().fill_(70_000.0);
    });
    open(folder.path()).unwrap();
    LoadedClip::from_folder(folder.path(), Device::Cpu, Kind::BFloat16).unwrap();
    let error = LoadedClip::from_folder(folder.path(), Device::Cpu, Kind::Half).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("logit_scale") && error.contains("70000"), "{error}");
}

#[test]
fn mismatched_inputs_are_errors_with_the_expected_shape() {
    let model = open(&fixture("quick_gelu")).unwrap().model;
    let pixels = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, Device::Cpu));
    for shape in [&[1, 3, 32, 32][..], &[1, 1, 24, 24], &[3, 24, 24], &[1, 3, 24, 23]] {
        let error = model.encode_image(&pixels(shape)).unwrap_err().to_string();
        assert!(error.contains("[batch, 3, 24, 24]"), "{error}");
    }
    let ids = |shape: &[i64], id: i64| Tensor::full(shape, id, (Kind::Int64, Device::Cpu));
    for (ids, words) in [
        (ids(&[2, 17], 5), "[batch, 1 to 16]"),
        (ids(&[2, 0], 5), "[batch, 1 to 16]"),
        (ids(&[7], 5), "[batch, 1 to 16]"),
        (ids(&[2, 3], 99), "token id 99 is not in the vocabulary of 99 tokens"),
        (ids(&[2, 3], -1), "token id -1"),
    ] {
        let error = model.encode_text(&ids, None).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let error = model.encode_text(&ids(&[2, 3], 5), Some(&ids(&[2, 4], 1))).unwrap_err();
    assert!(error.to_string().contains("the attention mask has shape [2, 4]"), "{error}");
}

#[test]
fn a_model_from_scratch_is_written_and_read_back_the_same() {
    let golden = Golden::open("quick_gelu");
    let config = ClipConfig::from_folder(&fixture("quick_gelu")).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let model = ClipModel::new(store.root(), &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("new/clip");
    save_folder(&folder, &store, &config).unwrap();
    let again = open(&folder).unwrap();
    assert_eq!(again.model.config(), &config);
    let (pixels, ids) = (golden.tensor("pixels"), golden.tensor("ids"));
    let image = |model: &ClipModel| model.encode_image(&pixels).unwrap();
    let text = |model: &ClipModel| model.encode_text(&ids, None).unwrap();
    // Packed weights add in another order.
    assert!(difference(&image(&again.model), &image(&model)) < TOLERANCE);
    assert!(difference(&text(&again.model), &text(&model)) < TOLERANCE);
    let written = Checkpoint::open(&folder.join("model.safetensors")).unwrap();
    for (name, weight) in store.variables() {
        assert_eq!(written.tensor(&name, Device::Cpu).unwrap(), weight, "{name}");
    }
    let preprocessor = fs::read(folder.join("preprocessor_config.json")).unwrap();
    let preprocessor: serde_json::Value = serde_json::from_slice(&preprocessor).unwrap();
    assert_eq!(preprocessor["crop_size"]["height"], 24);
    assert_eq!(preprocessor["size"]["shortest_edge"], 24);
    let factor = again.model.similarity_factor().unwrap();
    assert!((factor - 1.5_f64.exp()).abs() < 1e-6, "{factor}");
}

#[test]
fn initial_weights_deviate_as_transformers_has_them() {
    let config: ClipConfig = serde_json::from_str(
        r#"{
            "projection_dim": 64,
            "text_config": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
                "num_attention_heads": 2, "vocab_size": 500, "initializer_factor": 0.5},
            "vision_config": {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8,
                "num_attention_heads": 2, "image_size": 32, "patch_size": 8, "initializer_range": 0.1}
        }"#,
    )
    .unwrap();
    tch::manual_seed(1);
    let store = nn::VarStore::new(Device::Cpu);
    ClipModel::new(store.root(), &config).unwrap();
    let variables = store.variables();
    for (name, expected) in [
        ("vision_model.embeddings.class_embedding", 256_f64.powf(-0.5)),
        ("vision_model.embeddings.patch_embedding.weight", 0.1),
        ("vision_model.embeddings.position_embedding.weight", 0.1),
        ("vision_model.encoder.layers.7.self_attn.q_proj.weight", (256.0 * 16.0_f64).powf(-0.5)),
        ("vision_model.encoder.layers.7.self_attn.out_proj.weight", 256_f64.powf(-0.5)),
        ("vision_model.encoder.layers.7.mlp.fc1.weight", 512_f64.powf(-0.5)),
        ("vision_model.encoder.layers.7.mlp.fc2.weight", (256.0 * 16.0_f64).powf(-0.5)),
        ("visual_projection.weight", 256_f64.powf(-0.5)),
        ("text_model.embeddings.token_embedding.weight", 0.01),
        ("text_model.embeddings.position_embedding.weight", 0.01),
        ("text_model.encoder.layers.0.self_attn.k_proj.weight", 0.5 * (128.0 * 4.0_f64).powf(-0.5)),
        ("text_model.encoder.layers.0.mlp.fc1.weight", 0.5 * 256_f64.powf(-0.5)),
        ("text_projection.weight", 128_f64.powf(-0.5)),
    ] {
        let variable = &variables[name];
        let found = f64::try_from(variable.std(true)).unwrap();
        // Four standard errors of the standard deviation.
        let bound = 4.0 * expected / (2.0 * variable.numel() as f64).sqrt();
        assert!((found - expected).abs() < bound, "{name}: {found}, not {expected}");
    }
    for (name, variable) in &variables {
        let norm = name.contains("norm") && name.ends_with("weight");
        if norm || name.ends_with("bias") {
            let value = if norm { 1.0 } else { 0.0 };
            assert_eq!(variable, &variable.full_like(value), "{name}");
        }
    }
}

#[test]
fn the_identity_is_that_of_the_bytes() {
    let clip = open(&fixture("quick_gelu")).unwrap();
    let again = open(copy("quick_gelu", |_| {}).path()).unwrap();
    let other = copy("quick_gelu", |tensors| {
        let _ = tensors.get_mut("logit_scale").unwrap().fill_(2.0);
    });
    assert_eq!(clip.identity().len(), 64);
    assert_ne!(clip.identity(), open(other.path()).unwrap().identity());
    assert_eq!(again.identity(), open(copy("quick_gelu", |_| {}).path()).unwrap().identity());
}
