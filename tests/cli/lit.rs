//! CLIPs on stored features: pretrained, projected, and before new pictures.

use std::fs;

use precompute::{Embeddings, Identity, Network};
use serde_json::Value;
use tch::{Device, Kind};

use super::stage::{Stage, failure, success};

#[test]
fn a_clip_on_stored_features_embeds_pictures_selects_keywords_and_captions() {
    let (stage, folder) = (Stage::get(), tempfile::tempdir().unwrap());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (pictures, features, lit) = (stage.pictures(), stage.embeddings(), place("lit"));
    let shape = ["--hidden-size", "32", "--layers", "1", "--heads", "2", "--projection-dim", "16"];
    let start = ["pretrain", "clip", "--dataset", &pictures, "--image-features", &features];
    let split = ["--test-captions", "50", "--validation-captions", "50"];
    let course = ["--steps", "3", "--batch-size", "20", "--vocab-size", "600", "--out", &lit];
    let output = success(&[&start[..], &shape, &split, &course].concat());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in ["validation", "test"] {
        let line = format!("{part}: 50 captions find their picture among 10: R@1 0.");
        assert!(said.contains(&line), "{said}");
    }
    let config: Value =
        serde_json::from_slice(&fs::read(place("lit/config.json")).unwrap()).unwrap();
    let encoder = &config["image_encoder"];
    assert_eq!((&encoder["dimension"], &encoder["model"]), (&24.into(), &stage.clip().into()));
    assert!(config.get("vision_config").is_none());

    // The encoder is known here, so that pictures give what their stored features give.
    let (stored, embedded) = (place("stored.safetensors"), place("embedded.safetensors"));
    let precompute = ["precompute", "--dataset", &pictures, "--clip"];
    let project = ["--image-features", &features];
    success(&[&precompute[..], &[&lit, "--out", &stored], &project].concat());
    success(&[&precompute[..], &[&lit, "--out", &embedded]].concat());
    let [stored_rows, embedded_rows] = [&stored, &embedded].map(|path| {
        let file = Embeddings::open(path.as_ref()).unwrap();
        (file.identity().clone(), file.tensor(Device::Cpu).unwrap())
    });
    assert_eq!(stored_rows.0, embedded_rows.0);
    assert_eq!((stored_rows.0.network, stored_rows.0.dimension), (Network::Clip, 16));
    let difference = (stored_rows.1 - embedded_rows.1).abs().max().double_value(&[]);
    assert!(difference < 1e-5, "{difference}");

    let error =
        failure(&[&precompute[..], &[&stage.clip(), "--out", &place("x")], &project].concat());
    assert!(error.contains("vision tower of its own"), "{error}");
    let (keywords, selected) = (place("keywords"), place("selected.jsonl"));
    let data = ["--dataset", &pictures, "--clip", &lit, "--out"];
    success(&[&["keywords", "build"][..], &data, &[&keywords]].concat());
    let select = ["--embeddings", &stored, "--keywords", &keywords];
    success(&[&["keywords", "select"][..], &data, &[&selected], &select].concat());

    let run = folder.path().join("run");
    let set = format!("data.embeddings={stored}");
    success(&stage.train(&run, &["--set", &set]));
    let picture = fs::read_dir(format!("{pictures}/Images")).unwrap().next().unwrap().unwrap();
    let picture = picture.path().display().to_string();
    let run = run.display().to_string();
    let line = success(&["caption", "--run", &run, &picture]);
    assert!(String::from_utf8_lossy(&line.stdout).starts_with(&format!("{picture}\t")));
}

#[test]
fn a_run_on_projected_features_of_an_unknown_encoder_says_so() {
    let (stage, folder) = (Stage::get(), tempfile::tempdir().unwrap());
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (pictures, features, lit) = (stage.pictures(), place("imported.safetensors"), place("lit"));
    let known = Embeddings::open(stage.embeddings().as_ref()).unwrap();
    let identity = Identity {
        network: Network::Imported,
        model: "another program".to_owned(),
        preprocessing: None,
        ..known.identity().clone()
    };
    let names: Vec<&str> = known.names().iter().map(String::as_str).collect();
    let rows = known.tensor(Device::Cpu).unwrap().to_kind(Kind::Float).view([-1]);
    let rows = Vec::<f32>::try_from(rows).unwrap();
    Embeddings::save(features.as_ref(), &identity, &names, &[], &rows).unwrap();
    let pretrain = ["pretrain", "clip", "--dataset", &pictures, "--image-features", &features];
    let shape = ["--hidden-size", "32", "--layers", "1", "--heads", "2", "--projection-dim", "16"];
    let course = ["--steps", "2", "--batch-size", "20", "--vocab-size", "600", "--out", &lit];
    success(&[&pretrain[..], &["--test-captions", "50"], &shape, &course].concat());
    let out = place("out.safetensors");
    let precompute = ["precompute", "--dataset", &pictures, "--clip", &lit, "--out", &out];
    let error = failure(&precompute);
    assert!(error.contains("another program") && error.contains("hint:"), "{error}");
    success(&[&precompute[..], &["--image-features", &features]].concat());
    let error = failure(&[&precompute[..], &["--image-features", &stage.embeddings()]].concat());
    assert!(error.contains("exists"), "{error}");

    let run = folder.path().join("run");
    success(&stage.train(&run, &["--set", &format!("data.embeddings={out}")]));
    let picture = fs::read_dir(format!("{pictures}/Images")).unwrap().next().unwrap().unwrap();
    let picture = picture.path().display().to_string();
    let run = run.display().to_string();
    for words in [&["caption", "--run", &run, &picture][..], &["serve", "--run", &run]] {
        let error = failure(words);
        assert!(error.contains(&lit) && error.contains("hint:"), "{error}");
    }
}
