//! Too little device memory: one message with a hint, and no panic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::captions::pictures;
use super::device::{PretendGpu, Ran, on_processor};
use super::runs::{Config, language_model};
use crate::cli::serve::Server;
use crate::cli::stage::capsmith;
use crate::cli::workspace::Workspace;

/// Runs a command with each of these percentages of its memory, and checks its message.
///
/// From `computing` percent on, the models are loaded, and the message names the `ways_out`.
fn check(gpu: &PretendGpu, words: &[String], shares: &[u64], computing: u64, ways_out: &[&str]) {
    let peak = gpu.success(words).steps.iter().map(|step| step.get("peak_bytes")).max().unwrap();
    for share in shares {
        let words: Vec<String> =
            words.iter().map(|word| word.replace("RUN", &format!("at-{share}"))).collect();
        let said = gpu.with("MEMORY", &(peak * share / 100)).failure(&words);
        let messages = said.matches("error:").count();
        assert!(messages == 1 && said.contains("memory"), "{share} %: {said}");
        for way_out in ways_out.iter().filter(|_| *share >= computing) {
            assert!(said.contains(way_out), "{share} %: no {way_out} in: {said}");
        }
    }
}

#[test]
fn gpu_out_of_memory_in_training_names_the_ways_out() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    let sets = [&model, "training.device=cuda:0", "training.batch_size=40"];
    for system in ["prefix", "sbg"] {
        let words = Config { name: system, system, sets: &[] }.train(
            &place,
            &format!("{system}-RUN"),
            &sets,
        );
        let ways_out = ["batch_size", "accumulation_steps", "gradient_checkpointing"];
        check(&gpu, &words, &[10, 50, 90], 40, &ways_out);
    }
}

#[test]
fn gpu_out_of_memory_in_precomputation_and_captioning_names_the_batch_size() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let (set, clip) = (place.stage.pictures(), place.stage.clip());
    let words = ["precompute", "--dataset", &set, "--clip", &clip, "--out", &place.of("RUN")];
    let words = words.iter().chain(&["--device", "cuda:0"]).map(ToString::to_string);
    check(&gpu, &words.collect::<Vec<_>>(), &[5, 60, 95], 60, &["lower --batch-size", "to 16"]);

    let model = language_model(&place, 4, "0.1");
    on_processor(&Config { name: "prefix", system: "prefix", sets: &[] }.train(
        &place,
        "prefix",
        &[&model],
    ));
    let words = ["caption", "--run", &place.of("prefix"), "--device", "cuda:0"];
    let beams = "decoding.strategy={ kind = \"beam\", num_beams = 10 }";
    let beams = ["--set", "decoding.batch_size=20", "--set", beams];
    let words = words.iter().chain(&beams).map(ToString::to_string).chain(pictures(&place, 20));
    check(&gpu, &words.collect::<Vec<_>>(), &[95], 90, &["decoding.batch_size=10"]);
}

#[test]
fn gpu_out_of_memory_in_evaluation_names_the_batch_size() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    for system in ["prefix", "merge-rnn"] {
        let sets = if system == "prefix" { &[model.as_str()][..] } else { &[] };
        on_processor(&Config { name: system, system, sets: &[] }.train(&place, system, sets));
        let words = ["evaluate", "--run", &place.of(system), "--device", "cuda:0"];
        let beams = "decoding.strategy={ kind = \"beam\", num_beams = 10 }";
        let out = [
            "--set",
            "decoding.batch_size=10",
            "--set",
            beams,
            "--out",
            &place.of(&format!("{system}-RUN")),
        ]
        .map(str::to_owned);
        let words = words.iter().map(ToString::to_string).chain(out).collect::<Vec<_>>();
        check(&gpu, &words, &[30, 95], 90, &["batch_size"]);
    }
}

#[test]
fn gpu_out_of_memory_in_a_request_is_a_503_and_the_server_continues() {
    let Some(gpu) = PretendGpu::find() else { return };
    let place = Workspace::with_keywords();
    let model = language_model(&place, 4, "0.1");
    on_processor(&Config { name: "prefix", system: "prefix", sets: &[] }.train(
        &place,
        "prefix",
        &[&model],
    ));
    let picture = STANDARD.encode(std::fs::read(&pictures(&place, 1)[0]).unwrap());
    // Answers a request for 8 beams and then one for 1 beam, with this much memory.
    let serve = |memory: u64| {
        let counts = tempfile::tempdir().unwrap();
        let words = ["serve", "--address", "127.0.0.1:0", "--device", "cuda:0", "--run"];
        let mut command = capsmith(&[&words[..], &[&place.of("prefix")]].concat());
        gpu.with("MEMORY", &memory).lend(&mut command, counts.path());
        let server = Server::start_with(command, "prefix");
        let answers = [8, 1].map(|beams| {
            let strategy = json!({ "kind": "beam", "beams": beams });
            let decoding = json!({ "prefix": { "strategy": strategy } });
            server.ask(&json!({ "picture": picture, "decoding": decoding }))
        });
        assert_eq!(server.stop(), Some(143));
        let output = std::process::Command::new("true").output().unwrap();
        (answers, Ran::read(output, counts.path()))
    };
    let (answers, ran) = serve(1 << 30);
    assert_eq!(answers.map(|(status, _)| status), [200, 200]);
    let peak = ran.steps.iter().map(|step| step.get("peak_bytes")).max().unwrap();
    let ([(status, answer), (after, _)], _) = serve(peak - peak / 100);
    assert_eq!((status, after), (503, 200), "{answer}");
    let said = answer["error"].as_str().unwrap();
    assert!(said.contains("no memory left") && !said.contains("CUDA"), "{said}");
}
