//! Embeddings and keywords: the same files from both devices.

use std::path::Path;

use serde_json::Value;
use tch::Tensor;

use super::device::{PretendGpu, on_processor};
use crate::cli::stage::Stage;
use crate::cli::workspace::Workspace;

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

/// Copies a CLIP of the fixtures and adds a `preprocessor_config.json` for images of `size`.
fn clip(folder: &Path, name: &str, size: &str) -> String {
    let out = folder.join(name);
    std::fs::create_dir(&out).unwrap();
    for entry in std::fs::read_dir(fixture(&format!("clip/{name}"))).unwrap() {
        let file = entry.unwrap().path();
        std::fs::copy(&file, out.join(file.file_name().unwrap())).unwrap();
    }
    let file = "preprocessor_config.json";
    let known = std::fs::read_to_string(Path::new(&Stage::get().clip()).join(file)).unwrap();
    std::fs::write(out.join(file), known.replace("32", size)).unwrap();
    out.display().to_string()
}

/// Returns the largest difference between two files' embeddings.
fn distance(one: &Path, other: &Path) -> f64 {
    let embeddings = |path: &Path| {
        let tensors = Tensor::read_safetensors(path).unwrap();
        tensors.into_iter().find(|(name, _)| name == "embeddings").unwrap().1
    };
    (embeddings(one) - embeddings(other)).abs().max().double_value(&[])
}

#[test]
fn gpu_embeddings_are_the_processors() {
    let Some(gpu) = PretendGpu::find() else { return };
    let (stage, folder) = (Stage::get(), tempfile::tempdir().unwrap());
    let quick_gelu = clip(folder.path(), "quick_gelu", "24");
    let gelu = clip(folder.path(), "gelu_sharded", "30");
    let vgg = fixture("vgg/torchvision.safetensors");
    for (number, (network, model, dtype, device, tolerance)) in [
        // The processor fuses the activation with the product where it has kernels of the type.
        ("--clip", &quick_gelu, "f32", "cuda:0", 1e-5),
        ("--clip", &quick_gelu, "f16", "cuda", 1e-2),
        ("--clip", &quick_gelu, "bf16", "cuda:0", 1e-1),
        // Its heads are too narrow for a GPU's fused attention, which the processor's is not.
        ("--clip", &gelu, "f32", "cuda:1", 1e-5),
        ("--vgg", &vgg, "f32", "cuda:0", 0.0),
        ("--vgg", &vgg, "f16", "cuda:0", 0.0),
    ]
    .into_iter()
    .enumerate()
    {
        let out = |name: &str| folder.path().join(format!("{name}-{number}.safetensors"));
        let words = |device: &str, name: &str| {
            let (set, out) = (stage.pictures(), out(name).display().to_string());
            let words = ["precompute", "--dataset", &set, network, model, "--dtype", dtype];
            // Whole batches and one that is not.
            let batch = ["--batch-size", "16", "--device", device, "--out", &out];
            words.iter().chain(&batch).map(ToString::to_string).collect::<Vec<_>>()
        };
        on_processor(&words("cpu", "here"));
        let ran = gpu.with("DEVICES", &2).success(&words(device, "there"));
        let what = format!("{network} {model} {dtype} {device}");
        if tolerance > 0.0 {
            let off = distance(&out("there"), &out("here"));
            assert!(off < tolerance, "{what}: off by {off:e}");
        } else {
            assert!(read(out("there")) == read(out("here")), "{what}");
        }
        let slow = ran.total("h2d_unpinned");
        assert_eq!(slow, 0, "{network} {dtype}: copies from pageable memory");
        if dtype == "f32" {
            let tf32 = ran.report.lines().find(|line| line.ends_with("TF32 allowed"));
            assert_eq!(tf32, None, "{network} {dtype}");
        }
    }
}

/// Returns a file of selected keywords without its digest and probabilities, and the latter.
fn selected(file: &str) -> (Vec<Value>, Vec<f64>) {
    let text = std::fs::read_to_string(file).unwrap();
    let mut rows: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows[0]["sha256"].take();
    let keywords = rows[1..].iter_mut().flat_map(|row| row["keywords"].as_array_mut().unwrap());
    let probabilities = keywords.map(|keyword| keyword["probability"].take().as_f64().unwrap());
    let probabilities = probabilities.collect();
    (rows, probabilities)
}

/// Returns the copies and waits of a trace, from the first image on.
fn transfers(trace: &str) -> Vec<&str> {
    let is_transfer = |line: &&str| {
        ["h2d", "d2h", "wait", "event wait"].iter().any(|kind| line.starts_with(kind))
    };
    let transfers = trace.lines().filter(is_transfer);
    transfers.skip_while(|line| !line.ends_with(" Byte")).collect()
}

#[test]
fn gpu_pictures_travel_as_bytes_and_the_next_batch_is_there_before_one_is_waited_for() {
    let Some(gpu) = PretendGpu::find() else { return };
    let (stage, folder) = (Stage::get(), tempfile::tempdir().unwrap());
    let clip = clip(folder.path(), "quick_gelu", "24");
    let trace = folder.path().join("trace");
    for (size, sizes) in [("25", &[25, 25, 10][..]), ("60", &[60]), ("64", &[60])] {
        let out = folder.path().join(size).display().to_string();
        let words = ["precompute", "--dataset", &stage.pictures(), "--clip", &clip, "--out", &out];
        let more = ["--batch-size", size, "--device", "cuda:0", "--dtype", "bf16"];
        gpu.with("TRACE", &trace.display()).success(&[&words[..], &more].concat());
        let trace = std::fs::read_to_string(&trace).unwrap();
        let mut expected = Vec::new();
        for (number, size) in sizes.iter().enumerate() {
            expected.push(format!("h2d pinned [{size}, 3, 24, 24] Byte"));
            expected.push(format!("d2h pinned [{size}, 20] BFloat16"));
            if number > 0 {
                // The batch itself is computed meanwhile.
                expected.push("event wait synchronizeEvent".to_owned());
            }
        }
        expected.push("wait synchronizeEvent".to_owned());
        assert_eq!(transfers(&trace), expected, "batches of {size}");
    }
}

#[test]
fn gpu_keywords_are_the_processors() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let (pictures, clip, bart) = (place.stage.pictures(), place.stage.clip(), fixture("bart"));
    for (kind, more, reads) in [
        // The labels' similarities, and those with the categories and below them.
        ("clip", &["--clip", &clip, "--synonyms", "clip", "--categories", "clip"][..], 1..=3),
        // One for 64 labels, whatever the categories.
        ("nli", &["--categories", "nli", "--nli", &bart, "--synonyms", "none"], 1..=9),
    ] {
        let words = |device: &str, out: &str| {
            let words = ["keywords", "build", "--dataset", &pictures, "--out", out];
            [&words[..], more, &["--device", device]].concat().join("\n")
        };
        let (here, there) = (place.of(&format!("{kind}-cpu")), place.of(&format!("{kind}-gpu")));
        on_processor(&words("cpu", &here).lines().collect::<Vec<_>>());
        let ran = gpu.success(&words("cuda:0", &there).lines().collect::<Vec<_>>());
        assert!(reads.contains(&ran.total("d2h")), "{kind}: {} reads", ran.total("d2h"));
        assert_eq!(ran.total("scalars"), 0, "{kind}: values read one by one");
        for file in ["labels.json", "encyclopedia.json"] {
            let read = |folder: &str| read(Path::new(folder).join(file));
            assert!(read(&here) == read(&there), "{kind}: {file}");
        }
    }
    let (embeddings, keywords) = (place.stage.embeddings(), place.of("keywords"));
    let out = place.of("selected-gpu.jsonl");
    let words = ["keywords", "select", "--dataset", &pictures, "--clip", &clip, "--embeddings"];
    let more = [&embeddings, "--keywords", &keywords, "--out", &out, "--device", "cuda:0"];
    let ran = gpu.success(&[&words[..], &more].concat());
    assert_eq!(ran.total("d2h"), 1, "the similarities of all pictures are read together");
    let (there, probabilities) = selected(&out);
    let (here, expected) = selected(&place.of("selected.jsonl"));
    assert_eq!(there, here);
    let off = probabilities.iter().zip(&expected).map(|(one, other)| (one - other).abs());
    assert!(off.fold(0.0, f64::max) < 1e-5);
}
