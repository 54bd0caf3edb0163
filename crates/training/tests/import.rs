//! Import and export of PyTorch's checkpoints and embeddings, compared with Python.
//!
//! The reference is `tests/reference/import_fixtures.py`.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use datasets::{Corpus, Source};
use networks::Pass;
use networks::gpt2::{self, Gpt2, Gpt2Config, Vocabulary};
use networks::prefix::{ClipCaptioner, MapperConfig, TokenBatch};
use networks::weights::{self, Checkpoint};
use pictures::Preprocessing;
use precompute::{Dtype, Embeddings, Identity};
use recipes::CheckpointChoice;
use recipes::{ClipPrefix, Config, Mapper, MapperKind, Rule, System};
use runs::RunFolder;
use runs::checkpoints;
use tch::{Device, Tensor, nn};
use torch_files::StateDict;
use training::captioner::Captioner;
use training::checkpoint;
use training::export::{Format, export};
use training::import::{Import, Imported, import};
use training::optimizer::{AdamW, AdamWOptions};
use training::{features, pickle};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const TOLERANCE: f64 = 1e-5;

fn fixture(name: &str) -> PathBuf {
    Path::new(ROOT).join("tests/fixtures/import").join(name)
}

fn config() -> Config {
    let file = Path::new(ROOT).join("configs/flickr8k/prefix-gradient-clipping.toml");
    Config::load(&file, &["training.device=cpu".to_owned()]).unwrap()
}

fn imported(file: &Path, heads: Option<i64>, out: &Path) -> Result<Imported, String> {
    let tokenizer = fixture("tokenizer");
    import(&Import { file, config: config(), tokenizer: &tokenizer, heads, out })
        .map_err(|error| error.to_string())
}

fn expected(name: &str) -> Tensor {
    let file = Checkpoint::open(&fixture("expected.safetensors")).unwrap();
    file.tensor(name, Device::Cpu).unwrap()
}

fn difference(ours: &Tensor, theirs: &Tensor) -> f64 {
    assert_eq!(ours.size(), theirs.size());
    let largest = tch::no_grad(|| (ours - theirs).abs().max()).double_value(&[]);
    if largest.is_nan() { f64::INFINITY } else { largest }
}

/// Returns the logits that predict the tokens, `[batch, tokens, vocabulary]`, and the loss.
fn computed(run: &RunFolder) -> (Tensor, Tensor) {
    let (config, provenance) = (run.config().unwrap(), run.provenance().unwrap());
    let mut store = nn::VarStore::new(Device::Cpu);
    let mapper = MapperConfig::new(&config.clip_prefix().unwrap().mapper, provenance.clip_dim);
    let gpt2 = Gpt2Config::open(&run.gpt2()).unwrap();
    let captioner = ClipCaptioner::new(store.root(), &gpt2, &mapper);
    let newest = checkpoints::latest(&run.checkpoints()).unwrap().0.unwrap();
    checkpoint::load_model(&newest, &mut store).unwrap();
    let (embeddings, tokens) = (expected("embeddings"), expected("tokens"));
    let inputs = Tensor::cat(&[captioner.prefix(&embeddings), captioner.gpt2().embed(&tokens)], 1);
    let states = captioner.gpt2().forward(&inputs, None, Pass::EVALUATION);
    let states = states.narrow(1, captioner.prefix_length() - 1, tokens.size()[1]);
    let rows: Vec<Vec<i64>> = Vec::<Vec<i64>>::try_from(&tokens).unwrap();
    let rows: Vec<&[i64]> = rows.iter().map(Vec::as_slice).collect();
    let images: Vec<i64> = (0..rows.len() as i64).collect();
    let batch = TokenBatch::new(&rows, &images, captioner.prefix_length(), Device::Cpu);
    let loss = captioner.caption_loss(&embeddings, &batch, Pass::EVALUATION);
    (captioner.gpt2().logits(&states), loss)
}

#[test]
fn an_imported_checkpoint_computes_what_it_did_in_python() {
    let folder = tempfile::tempdir().unwrap();
    for (name, inner) in [("mlp", None), ("untied", None), ("transformer", Some(48))] {
        let out = folder.path().join(name);
        let imported = imported(&fixture(&format!("{name}.pt")), Some(4), &out).unwrap();
        assert_eq!((imported.clip_dim, imported.gpt2.n_inner), (16, inner));
        assert_eq!(imported.gpt2.tie_word_embeddings, name != "untied");
        let kind = match name {
            "mlp" | "untied" => MapperKind::Mlp,
            _ => MapperKind::Transformer { clip_length: 2, layers: 2 },
        };
        let run = RunFolder::open(&out).unwrap();
        let mapper = Mapper { kind, prefix_length: 3, dropout: 0.0, standardize: false };
        let system = ClipPrefix { mapper, ..config().clip_prefix().unwrap().clone() };
        let configured = Config { system: System::ClipPrefix(system), ..config() };
        // Its paths no longer start at the current folder.
        let absolute = |path: &Path| std::path::absolute(path).unwrap();
        let configured = configured.with_paths(&absolute, &Path::to_owned);
        assert_eq!(run.config().unwrap(), configured);
        assert_eq!(run.provenance().unwrap().embeddings, None);
        let (logits, loss) = computed(&run);
        let off = difference(&logits, &expected(&format!("{name}.logits")));
        let loss_off = difference(&loss, &expected(&format!("{name}.loss")));
        println!("{name}: logits differ by {off:.1e}, the loss by {loss_off:.1e}");
        assert!(off < TOLERANCE && loss_off < TOLERANCE, "{name}: {off:e} {loss_off:e}");
    }
}

/// Returns the weights of an imported run.
fn weights_of(out: &Path) -> Vec<u8> {
    let run = RunFolder::open(out).unwrap();
    let newest = checkpoints::latest(&run.checkpoints()).unwrap().0.unwrap();
    fs::read(newest.path.join("model.safetensors")).unwrap()
}

#[test]
fn a_captioner_is_found_under_every_name_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    let wanted = imported(&fixture("names/plain.pt"), Some(2), &plain).unwrap();
    assert_eq!((wanted.tensors, wanted.clip_dim, wanted.gpt2.n_embd), (20, 6, 8));
    for name in [
        "data_parallel.pt",
        "compiled_parts.pt",
        "lightning.pt",
        "deepspeed.pt",
        "gpt2.pt",
        "attributes.pt",
        "list.pt",
        "averaged.pt",
        "save_model.safetensors",
    ] {
        let out = folder.path().join(name);
        let found = imported(&fixture("names").join(name), Some(2), &out).unwrap();
        assert_eq!(found, wanted, "{name}");
        assert!(weights_of(&out) == weights_of(&plain), "{name}");
    }
}

/// Returns the tensors of the small captioner, with its head.
fn small() -> Vec<(String, Tensor)> {
    let dict = StateDict::load(&fixture("names/plain.pt")).unwrap();
    let tensor = |tensor: &torch_files::Tensor| {
        let shape: Vec<i64> = tensor.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_slice(&tensor.to_f32().unwrap()).view(shape.as_slice())
    };
    dict.iter().map(|(name, values)| (name.to_owned(), tensor(values))).collect()
}

/// Change made to each tensor of a file.
type Change = dyn Fn(&str, Tensor) -> Vec<(String, Tensor)>;

#[test]
fn what_is_no_captioner_is_refused_for_the_true_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("changed.safetensors"), folder.path().join("run"));
    let refusal = |change: &Change| {
        let changed: Vec<_> =
            small().into_iter().flat_map(|(name, tensor)| change(&name, tensor)).collect();
        weights::save(&file, &changed, &BTreeMap::new()).unwrap();
        let error = imported(&file, Some(2), &out).unwrap_err();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{error}");
        error
    };
    let renamed = |from: &'static str, to: &'static str| {
        move |name: &str, tensor: Tensor| vec![(name.replace(from, to), tensor)]
    };
    let only = |part: &'static str| {
        move |name: &str, tensor: Tensor| {
            if name.starts_with(part) { vec![(name.to_owned(), tensor)] } else { Vec::new() }
        }
    };
    let filled = |value: f64| {
        move |name: &str, tensor: Tensor| {
            if name.ends_with("ln_f.bias") {
                let _ = tensor.get(3).fill_(value);
            }
            vec![(format!("module.{name}"), tensor)]
        }
    };
    let twice = |name: &str, tensor: Tensor| {
        vec![(format!("model.{name}"), tensor.copy()), (format!("ema.{name}"), tensor)]
    };
    let beside = |name: &str, tensor: Tensor| {
        let mut both = vec![(name.to_owned(), tensor.copy())];
        both.extend(name.strip_prefix("gpt.").map(|rest| (format!("clip.visual.{rest}"), tensor)));
        both
    };
    let frozen = |name: &str, tensor: Tensor| {
        let name = name.replace("gpt.transformer.ln_f.bias", "clip.visual.proj");
        vec![(name, tensor)]
    };
    let cases: [(&Change, &[&str]); 9] = [
        (&renamed("clip_project.", "mapper."), &["no mapper", "mapper.model.0.bias"]),
        (&renamed("transformer.", "decoder."), &["no GPT-2", "gpt.decoder.h.0.attn.c_attn.bias"]),
        (&only("clip_project."), &["no GPT-2", "clip_project.model.0.weight"]),
        (&only("gpt."), &["no mapper", "gpt.lm_head.weight"]),
        (&filled(f64::NAN), &["1 of the 8 values of module.gpt.transformer.ln_f.bias", "finite"]),
        (&filled(f64::NEG_INFINITY), &["module.gpt.transformer.ln_f.bias", "finite"]),
        (&twice, &["several GPT-2s: ema.gpt., model.gpt."]),
        (&beside, &["several GPT-2s: clip.visual., gpt."]),
        (&frozen, &["1 of its tensors belong to no part", "clip.visual.proj"]),
    ];
    for (change, words) in cases {
        let error = refusal(change);
        assert!(error.contains("changed.safetensors"), "{error}");
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
        assert!(!error.contains("clone"), "{error}");
    }
    let error = imported(&fixture("names/two.pt"), Some(2), &out).unwrap_err();
    assert!(error.contains("several captioners: [\"model\"], [\"ema\"]"), "{error}");
}

#[test]
fn what_is_exported_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    for (name, heads) in
        [("mlp.pt", 4), ("untied.pt", 4), ("transformer.pt", 4), ("names/plain.pt", 2)]
    {
        let out = in_folder(&name.replace('/', "-"));
        let first = imported(&fixture(name), Some(heads), &out).unwrap();
        let exported = out.with_extension("safetensors");
        export(&RunFolder::open(&out).unwrap(), Format::ClipCap, &exported).unwrap();
        let again = out.with_extension("again");
        assert_eq!(imported(&exported, None, &again).unwrap(), first);
        assert!(weights_of(&again) == weights_of(&out), "{name}");
    }
}

#[test]
fn an_imported_run_is_its_own_best_and_what_was_left_unfinished_goes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let unfinished = folder.path().join("run.unfinished");
    fs::create_dir_all(unfinished.join("gpt2")).unwrap();
    fs::write(unfinished.join("lock"), "").unwrap();
    let sets = [
        "training.device=cpu",
        "training.early_stop_on=held-out",
        "training.early_stop_epochs=3",
        "training.keep_best_checkpoint=true",
        "data.validation_captions=10",
    ];
    let file = Path::new(ROOT).join("configs/flickr8k/prefix-gradient-clipping.toml");
    let config = Config::load(&file, &sets.map(ToOwned::to_owned)).unwrap();
    let (file, tokenizer) = (fixture("names/plain.pt"), fixture("tokenizer"));
    import(&Import { file: &file, config, tokenizer: &tokenizer, heads: Some(2), out: &out })
        .unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(!out.join("lock").exists());
    let run = RunFolder::open(&out).unwrap();
    Captioner::load(&run, Device::Cpu, None, &[], None).unwrap();
    Captioner::load(&run, Device::Cpu, Some(CheckpointChoice::Best), &[], None).unwrap();
    export(&run, Format::ClipCap, &folder.path().join("all.safetensors")).unwrap();
}

#[test]
fn an_imported_run_has_no_moments_to_resume_from() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    imported(&fixture("mlp.pt"), Some(4), &out).unwrap();
    let newest = checkpoints::latest(&RunFolder::new(&out).checkpoints()).unwrap().0.unwrap();
    assert!(newest.position.finished);
    let options = AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-6,
        weight_decay: 0.0,
    };
    let error = checkpoint::load_moments(&newest, &AdamW::new(Vec::new(), options))
        .unwrap_err()
        .to_string();
    assert!(error.contains("imported") && error.contains("gpt2.model"), "{error}");
}

#[test]
fn what_does_not_fit_is_named_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("runs/imported/run");
    let partial = Path::new(ROOT).join("tests/fixtures/torch_files/sound/mlp.pt");
    let evil = Path::new(ROOT).join("tests/fixtures/torch_files/hostile/os_system_2.pkl");
    for (file, heads, words) in [
        (fixture("mlp.pt"), None, &["mlp.pt", "32", "--heads"][..]),
        (fixture("mlp.pt"), Some(5), &["mlp.pt", "n_head"]),
        (
            fixture("strange.pt"),
            Some(4),
            &["strange.pt", "transformer.ln_f.offset", "transformer.ln_f.bias", "model.0.bias"],
        ),
        (fixture("wide.pt"), Some(64), &["wide.pt", "75515904", "12290"]),
        (fixture("shared.pt"), Some(64), &["shared.pt", "share", ".clone()"]),
        (partial, Some(1), &["mlp.pt", "gpt.transformer.h.0.mlp.c_fc.weight"]),
        (evil, None, &["os_system_2.pkl", "posix.system", "nothing was run"]),
    ] {
        let error = imported(&file, heads, &out).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains(".unfinished"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
    }
    imported(&fixture("mlp.pt"), Some(4), &out).unwrap();
    let error = imported(&fixture("mlp.pt"), Some(4), &out).unwrap_err();
    assert!(error.contains("exists"), "{error}");
}

#[test]
fn a_run_is_exported_with_every_weight_under_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    imported(&fixture("mlp.pt"), Some(4), &in_folder("run")).unwrap();
    let run = RunFolder::open(&in_folder("run")).unwrap();

    export(&run, Format::ClipCap, &in_folder("all.safetensors")).unwrap();
    let all = Checkpoint::open(&in_folder("all.safetensors")).unwrap();
    let dict = StateDict::load(&fixture("mlp.pt")).unwrap();
    let masks = ["gpt.transformer.h.0.attn.bias", "gpt.transformer.h.0.attn.masked_bias"];
    let theirs: BTreeSet<&str> =
        dict.iter().map(|(name, _)| name).filter(|name| !masks.contains(name)).collect();
    assert_eq!(all.names().collect::<BTreeSet<_>>(), theirs);
    assert!(theirs.contains("gpt.lm_head.weight"));
    for name in theirs {
        let values = Vec::<f32>::try_from(all.tensor(name, Device::Cpu).unwrap().flatten(0, -1));
        assert_eq!(Some(values.unwrap()), dict.get(name).unwrap().to_f32(), "{name}");
    }

    export(&run, Format::HuggingFace, &in_folder("gpt2")).unwrap();
    let file = Checkpoint::open(&in_folder("gpt2")).unwrap();
    assert_eq!(file.metadata().get("format").map(String::as_str), Some("pt"));
    let mut store = nn::VarStore::new(Device::Cpu);
    let _gpt2 = Gpt2::new(store.root(), &Gpt2Config::open(&in_folder("gpt2")).unwrap());
    gpt2::load_pretrained(&mut store, "", &file, Vocabulary::Same).unwrap();
    assert_eq!(store.variables().len(), file.names().count());
    for name in ["tokenizer.json", "vocab.json", "merges.txt"] {
        assert!(in_folder("gpt2").join(name).is_file(), "{name}");
    }
    for (format, out) in [(Format::ClipCap, "all.safetensors"), (Format::HuggingFace, "gpt2")] {
        let error = export(&run, format, &in_folder(out)).unwrap_err().to_string();
        assert!(error.contains(out) && error.contains("exists"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
}

#[test]
fn embeddings_go_to_a_pickle_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let in_folder = |name: &str| folder.path().join(name);
    fs::create_dir_all(in_folder("set/Images")).unwrap();
    let mut rows = "image,caption\n".to_owned();
    for (name, captions) in [
        ("a.jpg", ["A dog .", "It runs ."]),
        ("b.jpg", ["A dog .", "It sits ."]),
        ("c.jpg", ["A hen .", "A bird ."]),
    ] {
        let picture = Path::new(ROOT).join("tests/fixtures/pictures/decodable/rgb.png");
        fs::copy(picture, in_folder("set/Images").join(name)).unwrap();
        for caption in captions {
            writeln!(rows, "{name},{caption}").unwrap();
        }
    }
    fs::write(in_folder("set/captions.txt"), rows).unwrap();
    let corpus = Corpus::load(&in_folder("set"), None).unwrap();
    let identity = Identity {
        network: precompute::Network::Clip,
        model: "none".to_owned(),
        model_sha256: "none".to_owned(),
        preprocessing: Some(Preprocessing::clip(4)),
        upright: false,
        normalize: true,
        dtype: Dtype::F32,
        dataset_fingerprint: corpus.fingerprint(),
        dimension: 2,
    };
    let values = [0.6, 0.8, -1.0, 0.0];
    Embeddings::save(&in_folder("e"), &identity, &["a.jpg", "c.jpg"], &[], &values).unwrap();

    let data_set = Source::new(&in_folder("set"), None);
    let import_pickle = |file, out| {
        let encoder = "imported from e.pkl";
        features::import(&[file], None, &data_set, encoder, &in_folder(out))
    };
    assert_eq!(pickle::export(&in_folder("e"), &data_set, &in_folder("e.pkl")).unwrap(), (2, 4));
    let imported = import_pickle(in_folder("e.pkl"), "again").unwrap();
    assert_eq!((imported.pictures, imported.skipped.len()), (2, 1));
    let again = Embeddings::open(&in_folder("again")).unwrap();
    assert_eq!(again.names(), ["a.jpg", "c.jpg"]);
    assert_eq!(again.skipped()[0].name, "b.jpg");
    assert_eq!(again.identity(), &imported.identity);
    assert_eq!(
        (again.identity().model.as_str(), again.identity().normalize),
        ("imported from e.pkl", true)
    );
    let flat = again.tensor(Device::Cpu).unwrap().flatten(0, -1);
    assert_eq!(Vec::<f32>::try_from(flat).unwrap(), values);

    let error = import_pickle(in_folder("e.pkl"), "again").unwrap_err();
    assert!(error.to_string().contains("exists"), "{error}");
    let fixtures = Path::new(ROOT).join("tests/fixtures/torch_files/embeddings/clipcap_4.pkl");
    let error = import_pickle(fixtures, "other").unwrap_err().to_string();
    assert!(error.contains("clipcap_4.pkl") && error.contains("A dog runs ."), "{error}");
    let twice = Embeddings::save(&in_folder("x"), &identity, &["a.jpg", "a.jpg"], &[], &values);
    assert!(twice.unwrap_err().to_string().contains("a.jpg"));
    assert!(Embeddings::save(&in_folder("x"), &identity, &["a.jpg"], &[], &values).is_err());
    let values = [f32::NAN, 1.0];
    assert!(Embeddings::save(&in_folder("x"), &identity, &["a.jpg"], &[], &values).is_err());
    assert!(!in_folder("x").exists() && !in_folder("other").exists());
}
