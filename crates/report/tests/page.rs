//! Complete pages of runs that the tests write file by file.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use durable::digests::Digests;
use image::{Rgb, RgbImage};
use recipes::Config;
use report::{Footer, Run, names, sections};
use runs::{ImageKeywords, Keyword, KeywordsIdentity as Identity};
use runs::{Provenance, RunFolder};
use tempfile::TempDir;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// A folder with three test images, their captions, and runs.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir_all(stage.path("set/Images")).unwrap();
        let mut rows = "image,caption\n".to_owned();
        for number in 0..3_u8 {
            let picture = RgbImage::from_pixel(320, 240, Rgb([number * 100, 40, 90]));
            picture.save(stage.path(&format!("set/Images/{number}.png"))).unwrap();
            writeln!(rows, "{number}.png,a dog of number {number} .").unwrap();
        }
        fs::write(stage.path("set/captions.txt"), rows).unwrap();
        let keyword = |word: &str| Keyword { word: word.to_owned(), probability: 0.5 };
        let keywords = vec![keyword("dog"), keyword("<i>")];
        let pictures = (0..3).map(|number| (format!("{number}.png"), keywords.clone()));
        let identity = Identity::new("1".into(), "2".into(), "3".into(), "4".into(), None);
        ImageKeywords::save(&stage.path("selected.jsonl"), &identity, pictures).unwrap();
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a run that has only its configuration.
    fn run(&self, name: &str, system: &str) -> PathBuf {
        let config = Path::new(ROOT).join(format!("configs/flickr8k/{system}.toml"));
        let mut sets = vec![format!("data.dataset={}", self.path("set").display())];
        if system == "sbg" {
            sets.push(format!("keywords.selected={}", self.path("selected.jsonl").display()));
        }
        let config = Config::load(&config, &sets).unwrap();
        let provenance = Provenance {
            resumed_on: Vec::new(),
            folder: None,
            capsmith: "0.1.0".to_owned(),
            embeddings: None,
            clip_dim: 8,
            data_set: None,
            gpt2_sha256: None,
            keywords_sha256: None,
            threads: 1,
            device: "cpu".to_owned(),
            files: Digests::new(),
        };
        fs::create_dir_all(self.path(name)).unwrap();
        RunFolder::new(&self.path(name)).begin(&config, &provenance).unwrap();
        self.path(name)
    }
}

/// Returns the page of these runs, or the error.
fn page_of(runs: &[PathBuf]) -> Result<String, String> {
    let names = names(runs).map_err(|error| error.to_string())?;
    let runs = runs.iter().zip(names);
    let runs = runs.map(|(path, name)| Run::open(path, name).map_err(|error| error.to_string()));
    let body =
        sections(&runs.collect::<Result<Vec<_>, _>>()?).map_err(|error| error.to_string())?;
    let page = report::page("runs", &body, &Footer::of_command("capsmith report"));
    // No page makes requests to a server, even if parts are missing.
    assert!(!page.contains("src=\"") && !page.contains("http"), "{page}");
    Ok(page)
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// Writes the records of two training epochs of one step each.
fn train(run: &Path) {
    write(
        &run.join("metrics.csv"),
        "step,epoch,loss,learning_rate,gradient_norm,tokens_per_second\n\
         1,1,6.125,0.00001,2.5,100\n2,2,4.0625,0.00002,1.5,100\n",
    );
    write(
        &run.join("epochs.csv"),
        "epoch,step,last_loss,validation_loss\n1,1,6.125,5.75\n2,2,4.0625,4.8125\n",
    );
    write(
        &run.join("epoch-scores.csv"),
        "epoch,step,split,pictures,BLEU-1,BLEU-2,BLEU-3,BLEU-4,ROUGE_L,CIDEr\n\
         1,1,validation,200,0.31,0.2,0.1,0.05,0.3,0.4\n2,2,validation,200,0.4375,0.3,0.2,0.15,0.35,0.5\n",
    );
}

/// Writes an evaluation on images 0 to 2 with captions of these CIDEr scores.
fn evaluate(run: &Path, name: &str, bleu: f64, captions: [(&str, f64); 3]) {
    let folder = run.join("evaluation").join(name);
    let list = |entry: &dyn Fn(usize) -> String| (0..3).map(entry).collect::<Vec<_>>().join(",");
    let quoted = |text: &str| serde_json::to_string(text).unwrap();
    let predictions = list(&|number| {
        format!(r#"{{"image_id":"{number}.png","caption":{}}}"#, quoted(captions[number].0))
    });
    write(&folder.join("predictions.json"), &format!("[{predictions}]"));
    let references = list(&|number| format!(r#""{number}.png":["a dog of number {number} ."]"#));
    write(&folder.join("references.json"), &format!("{{{references}}}"));
    let per_image = list(&|number| format!(r#""{number}.png":{{"CIDEr":{}}}"#, captions[number].1));
    let scores = format!(
        r#"{{"protocol":{{"tokenizer":"none"}},"n":3,"corpus":{{"BLEU-4":{bleu},"CIDEr":1.5}},"per_image":{{{per_image}}}}}"#
    );
    write(&folder.join("scores.json"), &scores);
}

#[test]
fn a_page_has_the_numbers_and_captions_of_its_runs_and_escapes_them() {
    let stage = Stage::new();
    let (clipping, sbg) = (stage.run("a/run", "prefix-gradient-clipping"), stage.run("<b>", "sbg"));
    train(&clipping);
    evaluate(&clipping, "test", 0.25, [("a dog & a <cat>", 0.5), ("worst", 0.0), ("best", 9.875)]);
    evaluate(&clipping, "test-shuffled", 0.75, [("shuffled", 0.0); 3]);
    evaluate(&sbg, "test-best-of-1", 0.125, [("one", 0.0), ("one", 0.0), ("one", 0.0)]);
    evaluate(&sbg, "test-best-of-5", 0.3125, [("five", 0.0), ("five", 0.0), ("five", 0.0)]);
    let page = page_of(&[clipping, sbg]).unwrap();

    // The best score is marked; the control's score is ignored.
    assert!(page.contains(r#"<td class="number best" data-value="0.3125">"#), "top-5");
    assert!(page.contains(r#"<td class="number" data-value="0.25">"#));
    assert!(page.contains(r#"<td class="number" data-value="0.75">"#));
    for text in ["one caption", "top-5", "control", "a dog &amp; a &lt;cat&gt;", "five"] {
        assert!(page.contains(text), "{text}");
    }
    assert!(page.contains("&lt;b&gt;") && !page.contains("<cat>"), "names and captions are text");
    assert!(page.contains("<li>dog</li><li>&lt;i&gt;</li>"), "keywords of SBG");
    assert!(page.contains(r#"title="3 pictures">dog<"#), "the cloud of words");

    // Two systems on the same pictures: one sentence names the best, and a command tries both.
    let lead = &page[page.find("class=\"lead\"").unwrap()..];
    let lead = &lead[..lead.find("</p>").unwrap()];
    assert_eq!(lead.matches("the highest CIDEr").count(), 1, "{lead}");
    assert!(lead.contains("on 3 test pictures") && !lead.contains("compared"), "{lead}");
    assert!(page.contains("capsmith serve --run "), "{page}");

    // Curves hold the numbers of the files.
    assert!(page.contains(r#"points="1,6.125 2,4.0625""#), "loss");
    assert!(page.contains(r#"points="1,5.75 2,4.8125""#), "held out");
    assert!(page.contains(r#"points="1,0.00001 2,0.00002""#), "rate");
    assert!(page.contains(r#"points="1,0.39794 2,0.17609""#), "norm, its logarithm");
    assert!(page.contains(r#"points="1,0.31 2,0.4375""#), "BLEU-1 by epoch");
    assert!(page.contains("200 validation pictures"));

    // Images are embedded once, although both parts of the page show all of them.
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 3);
    assert!(page.matches("#picture-0\"").count() > 1);

    // The best caption comes before the worst.
    let extremes = &page[page.find("Best and worst captions</h2>").unwrap()..];
    assert!(extremes.find("best</p>").unwrap() < extremes.find("worst</p>").unwrap());
    assert!(extremes.contains("9.875"));

    // The table of configurations has only the differing keys.
    let table = &page[page.find("class=\"settings\"").unwrap()..];
    let table = &table[..table.find("</table>").unwrap()];
    assert!(table.contains("reranking.best_of") && !table.contains("data.dataset"), "{table}");
}

#[test]
fn what_a_run_does_not_have_is_said_with_the_command_that_makes_it() {
    let stage = Stage::new();
    let run = stage.run("run", "merge-rnn");
    let page = page_of(std::slice::from_ref(&run)).unwrap();
    let command = format!("capsmith evaluate {}", run.display());
    assert!(
        page.contains(&command) && page.contains("metrics.csv") && page.contains("scored_pictures")
    );
    assert!(page.contains("layer_size"), "the configuration of a single run");

    evaluate(&run, "test", 0.5, [("a", 0.0), ("b", 0.0), ("c", 0.0)]);
    fs::remove_file(stage.path("set/Images/1.png")).unwrap();
    let page = page_of(std::slice::from_ref(&run)).unwrap();
    assert_eq!(page.matches("data:image/jpeg;base64,").count(), 2);
    assert!(page.contains("no picture"));
    fs::remove_dir_all(stage.path("set")).unwrap();
    let page = page_of(&[run]).unwrap();
    assert!(page.contains("does not exist") && !page.contains("data:image/jpeg"), "{page}");
}

#[test]
fn scores_of_another_checkpoint_than_the_run_captions_with_say_so() {
    let stage = Stage::new();
    let run = stage.run("run", "prefix-gradient-clipping");
    evaluate(&run, "test", 0.25, [("a", 0.0), ("b", 0.0), ("c", 0.0)]);
    let scores = run.join("evaluation/test/scores.json");
    let text = fs::read_to_string(&scores).unwrap();
    let of_step = text.replacen('{', r#"{"checkpoint":{"step":40,"model_sha256":"1"},"#, 1);
    fs::write(&scores, of_step).unwrap();
    for (newest, is_told) in [(40, false), (60, true)] {
        fs::create_dir_all(run.join(format!("checkpoints/step-{newest:09}"))).unwrap();
        let page = page_of(std::slice::from_ref(&run)).unwrap();
        assert_eq!(page.contains("step 40 of 60"), is_told, "{newest}");
    }
}

#[test]
fn a_damaged_file_is_named() {
    let stage = Stage::new();
    let run = stage.run("run", "sbg");
    train(&run);
    evaluate(&run, "test-best-of-1", 0.5, [("a", 0.0), ("b", 0.0), ("c", 0.0)]);
    let whole = [std::slice::from_ref(&run)];
    page_of(whole[0]).unwrap();
    for (file, damage) in [
        ("config.toml", "system = 3"),
        ("metrics.csv", "step,epoch\n1,2\n3,4\n"),
        ("epochs.csv", "epoch,step\nx,2\n3,4\n"),
        ("epoch-scores.csv", "epoch,step,split\n1,2,train\n2,3,test\n"),
        ("evaluation/test-best-of-1/scores.json", "{"),
        ("evaluation/test-best-of-1/predictions.json", r#"[{"image_id":"0.png","caption":"a"}]"#),
        ("evaluation/test-best-of-1/references.json", "[1]"),
        ("../selected.jsonl", "{}"),
        ("../set/captions.txt", "image,caption\nnonsense"),
    ] {
        let path = run.join(file);
        let before = fs::read(&path).unwrap();
        fs::write(&path, damage).unwrap();
        let error = page_of(whole[0]).unwrap_err();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(error.contains(name), "{file}: {error}");
        fs::write(&path, before).unwrap();
    }
    let error = page_of(&[stage.path("set")]).unwrap_err();
    assert!(error.contains("not a run folder"), "{error}");
}
