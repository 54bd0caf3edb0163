//! `capsmith evaluate`.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, bail};
use caption_metrics::{Evaluation, Options, Predictions, References, Tokenizer};
use networks::device::parse_device;
use training::evaluate::{Scored, evaluate_run};
use training::run_folder::RunFolder;

use crate::terminal;

/// Caption and score a run's test split, or score captions made by anybody.
///
/// Scores are pycocoevalcap's. A run is scored as the paper scores: lower-cased raw strings, no
/// tokenizer.
#[derive(clap::Args)]
pub struct Args {
    /// Run folder: captions its test split and writes predictions and scores under evaluation/.
    #[arg(long, conflicts_with_all = ["references", "predictions"], required_unless_present = "references")]
    run: Option<PathBuf>,
    /// Control: caption each test picture from another one's embedding, shuffled by this seed.
    #[arg(long, value_name = "SEED", requires = "run")]
    shuffle_embeddings: Option<u64>,
    /// Device for a run: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Reference captions: {id: [captions]}, COCO annotations, JSONL or CSV.
    #[arg(long, requires = "predictions")]
    references: Option<PathBuf>,
    /// Predicted captions: {id: caption}, COCO results, JSONL or CSV.
    #[arg(long, requires = "references")]
    predictions: Option<PathBuf>,
}

pub fn run(args: Args) -> anyhow::Result<()> {
    match (args.run, args.references, args.predictions) {
        (Some(run), _, _) => {
            let scored = evaluate(&run, &args.device, args.shuffle_embeddings)?;
            terminal::say(&format!("files in {}", scored.folder.display()));
            print_scores(&scored.evaluation)
        }
        (None, Some(references), Some(predictions)) => {
            let references = References::read(&references)?;
            let predictions = Predictions::read(&predictions)?;
            print_scores(&caption_metrics::evaluate(&references, &predictions, &paper_protocol())?)
        }
        _ => bail!("name a --run, or --references and --predictions"),
    }
}

/// Captions and scores a run's test split with a progress bar.
pub fn evaluate(
    run: &std::path::Path,
    device: &str,
    shuffle_seed: Option<u64>,
) -> anyhow::Result<Scored> {
    let device = parse_device(device)?;
    let folder = RunFolder::open(run)?;
    let bar = terminal::bar(0, "captioning");
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let scored = evaluate_run(&folder, device, shuffle_seed, &paper_protocol(), progress)
        .with_context(|| format!("cannot evaluate {}", run.display()))?;
    bar.finish_and_clear();
    Ok(scored)
}

/// The paper's protocol: raw strings.
fn paper_protocol() -> Options {
    Options { tokenizer: Tokenizer::None, ..Options::default() }
}

fn print_scores(evaluation: &Evaluation) -> anyhow::Result<()> {
    let mut table = format!("{} images\n", evaluation.n);
    for (name, score) in evaluation.corpus.iter() {
        let _ = writeln!(table, "{name:<8} {score:.4}");
    }
    terminal::print(&table)
}
