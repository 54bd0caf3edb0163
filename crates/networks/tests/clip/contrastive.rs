//! Contrastive loss of CLIP, and CLIPs of locked-image tuning, compared with transformers and
//! PyTorch.

use networks::ModelError;
use networks::clip::{ClipConfig, ClipModel, LockedEncoder, Towers, save_folder};
use networks::weights::{self, Checkpoint};
use tch::{Device, Kind, Tensor, nn};

use super::{difference, fixture, open, text, vision};

/// Compares a loss and its gradients with those that `tensor` returns by name.
fn check_loss(loss: &Tensor, store: &nn::VarStore, tensor: impl Fn(&str) -> Tensor) {
    let error = difference(loss, &tensor("loss"));
    assert!(error < 1e-6, "loss differs by {error}");
    loss.backward();
    let mut worst: f64 = 0.0;
    for (name, variable) in store.variables() {
        let expected = tensor(&format!("gradient.{name}"));
        let error = difference(&variable.grad(), &expected);
        let scale = expected.abs().max().double_value(&[]).max(1e-3);
        assert!(error / scale < 1e-4, "{name}: {error} of {scale}");
        worst = worst.max(error / scale);
    }
    println!("contrastive loss {:.6}; gradients within {worst:.1e}", loss.double_value(&[]));
}

/// Creates the small model with trainable variables in `store`.
fn trainable(store: &mut nn::VarStore) -> ClipModel {
    let folder = fixture("quick_gelu");
    let config = ClipConfig::from_folder(&folder).unwrap();
    let model = ClipModel::new(store.root(), &config).unwrap();
    let checkpoint = Checkpoint::open(&folder).unwrap();
    weights::load(store, &checkpoint, ToOwned::to_owned, |_| false).unwrap();
    model
}

#[test]
fn the_contrastive_loss_and_all_its_gradients_are_those_of_transformers() {
    let golden = Checkpoint::open(&fixture("contrastive.safetensors")).unwrap();
    let tensor = |name: &str| golden.tensor(name, Device::Cpu).unwrap();
    let mut store = nn::VarStore::new(Device::Cpu);
    let model = trainable(&mut store);
    let (pixels, ids, mask) = (tensor("pixels"), tensor("ids"), tensor("attention_mask"));
    let loss = model.contrastive_loss(&pixels, &ids, Some(&mask)).unwrap();
    check_loss(&loss, &store, tensor);
    let error = model.contrastive_loss(&pixels.narrow(0, 0, 3), &ids, None).unwrap_err();
    assert!(error.to_string().contains("images and texts differ in number"), "{error}");
}

/// Returns the config of `quick_gelu`'s text tower with a projection of 12 features.
fn locked_config() -> ClipConfig {
    let identity = serde_json::json!({"model": "any", "model_sha256": "12ab"});
    let identity = identity.as_object().unwrap().clone();
    ClipConfig {
        image_encoder: Some(LockedEncoder { dimension: 12, identity }),
        towers: Towers::Text,
        ..ClipConfig::from_folder(&fixture("quick_gelu")).unwrap()
    }
}

#[test]
fn the_loss_on_features_and_its_gradients_are_those_of_pytorch() {
    let golden = Checkpoint::open(&fixture("locked.safetensors")).unwrap();
    let tensor = |name: &str| golden.tensor(name, Device::Cpu).unwrap();
    let texts = Checkpoint::open(&fixture("contrastive.safetensors")).unwrap();
    let text = |name: &str| texts.tensor(name, Device::Cpu).unwrap();
    let weights = Checkpoint::open(&fixture("quick_gelu")).unwrap();
    let store = nn::VarStore::new(Device::Cpu);
    let model = ClipModel::new(store.root(), &locked_config()).unwrap();
    for (name, variable) in store.variables() {
        let given = if name.starts_with("visual_projection") { &golden } else { &weights };
        let given = given.tensor(&name, Device::Cpu).unwrap();
        tch::no_grad(|| variable.shallow_clone().copy_(&given));
    }
    let (features, ids) = (tensor("features"), text("ids"));
    let mask = text("attention_mask");
    let loss = model.contrastive_loss(&features, &ids, Some(&mask)).unwrap();
    check_loss(&loss, &store, tensor);
    let error = model.contrastive_loss(&features.narrow(0, 0, 3), &ids, None).unwrap_err();
    assert!(error.to_string().contains("images and texts differ in number"), "{error}");
    let error = model.project_features(&features.narrow(1, 0, 11)).unwrap_err();
    assert!(
        error.to_string().contains("shape [5, 11], but this CLIP takes [batch, 12]"),
        "{error}"
    );
}

#[test]
fn a_folder_with_a_locked_encoder_is_read_back_without_a_vision_tower() {
    let store = nn::VarStore::new(Device::Cpu);
    let config = locked_config();
    let model = ClipModel::new(store.root(), &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save_folder(folder.path(), &store, &config).unwrap();
    let again = text(folder.path()).unwrap();
    assert_eq!(again.model.config().image_encoder, config.image_encoder);
    assert!(again.ignored.is_empty());
    let features = Tensor::ones([2, 12], (Kind::Float, Device::Cpu));
    let project = |model: &ClipModel| model.project_features(&features).unwrap();
    assert_eq!(project(&again.model), project(&model));
    assert!(!folder.path().join("preprocessor_config.json").exists());
    let error = vision(folder.path()).unwrap_err().to_string();
    assert!(error.contains("has no vision tower"), "{error}");
    let absent = open(&fixture("quick_gelu")).unwrap().model.project_features(&features);
    assert!(matches!(absent, Err(ModelError::Absent(_))));

    // The digest of the weights covers the locked encoder.
    let mut other = config;
    let encoder = other.image_encoder.as_mut().unwrap();
    encoder.identity.insert("model_sha256".to_owned(), "34cd".into());
    let second = tempfile::tempdir().unwrap();
    save_folder(second.path(), &store, &other).unwrap();
    assert_ne!(open(second.path()).unwrap().identity(), again.identity());
}

#[test]
fn the_similarity_factor_is_held_at_a_hundred() {
    let mut store = nn::VarStore::new(Device::Cpu);
    let mut model = trainable(&mut store);
    let before = model.similarity_factor().unwrap();
    model.limit_similarity_factor().unwrap();
    assert!((model.similarity_factor().unwrap() - before).abs() < 1e-9);
    let mut scale = store.variables()["logit_scale"].shallow_clone();
    let _ = tch::no_grad(|| scale.fill_(6.0));
    model.limit_similarity_factor().unwrap();
    assert!((model.similarity_factor().unwrap() - 100.0).abs() < 1e-3);
}
