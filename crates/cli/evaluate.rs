//! `capsmith evaluate`: a run's test split, or whatever `caption-eval evaluate` scores.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use caption_metrics::Options;
use caption_metrics::cli::{EvaluateArgs, print_scores};
use clap::ValueEnum;
use foreign_text::printable_path;
use hub::ModelFiles;
use launchers::ProcessRank;
use recipes::{Config, System};
use runs::RunFolder;
use runs::metrics::ScoredSplit;
use tch::Device;
use training::captioner::Captioner;
use training::evaluate::{EvaluateOptions, Evaluated, evaluate_run};

use crate::{models, process, terminal};

/// Caption and score a split of a run, or score captions made by anybody.
///
/// Scores are pycocoevalcap's; unless told otherwise on raw strings, as the paper scores. Merge-RNN's runs are
/// scored as its authors do: on Penn Treebank tokens, with Karpathy's tokens as references.
///
/// Started by torchrun (`torchrun --no-python ... -- capsmith evaluate ...`, with that `--`), mpirun, srun or
/// an indexed job of Kubernetes, each process captions a part of the pictures, and the last to be done
/// scores all. Killed, the same command goes on where it was. Captions stay in captions.json: with another
/// tokenizer they are scored anew, and not written anew.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Run folder: captions its test split or another, lower-cased, and writes predictions and scores under
    /// evaluation/.
    #[arg(
        long,
        conflicts_with_all = [
            "references", "predictions", "json", "per_image", "bootstrap", "only_predicted"
        ]
    )]
    run: Option<PathBuf>,
    /// Which of the run's pictures: those to report on, or those held out to choose by.
    #[arg(long, value_enum, requires = "run", value_name = "test|validation")]
    split: Option<SplitChoice>,
    /// Folder for a run's predictions and scores, in place of one under the run's evaluation/.
    #[arg(long, requires = "run", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Which of the run's checkpoints; the newest, or the best where training stops by held-out
    /// captions.
    #[arg(long, value_enum, requires = "run")]
    checkpoint: Option<CheckpointChoice>,
    /// Change how the run decodes, such as `--set decoding.max_new_tokens=40`, or say where its data lies
    /// now: data.dataset, data.embeddings, keywords.selected; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "run")]
    sets: Vec<String>,
    /// Control: caption each picture from another one's embedding, shuffled by this seed.
    #[arg(long, value_name = "SEED", requires = "run")]
    shuffle_embeddings: Option<u64>,
    /// Where the CLIP of an SBG run is, if it has moved: its folder or its name at the hub.
    #[arg(long, requires = "run")]
    clip: Option<String>,
    /// Device for a run: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    #[command(flatten)]
    files: EvaluateArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let Some(run) = &args.run else {
        if args.files.command.is_none() && args.files.references.is_none() {
            bail!("name a run with --run, or files with --references and --predictions");
        }
        return caption_metrics::cli::evaluate(
            &args.files,
            &mut out,
            &terminal::BARS,
            terminal::say,
        );
    };
    let mut scoring = args.files.scoring.clone();
    let system = RunFolder::open(run)?.config()?.system;
    scoring.tokenizer.get_or_insert(training::evaluate::scoring_tokenizer(&system));
    let options = scoring.options(terminal::say)?;
    let how = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &args.sets,
        clip: args.clip.as_deref(),
        evaluation: EvaluateOptions {
            split: args.split.map_or(ScoredSplit::Test, Into::into),
            shuffle_seed: args.shuffle_embeddings,
            out: args.out.clone(),
            process: ProcessRank::from_env()?,
        },
    };
    let scored = match evaluate(run, &args.device, &how, &options)? {
        Evaluated::Scored(scored) => scored,
        Evaluated::Left(0) => {
            terminal::say("another process scores all captions");
            return Ok(());
        }
        Evaluated::Left(left) => {
            terminal::say(&format!(
                "{left} pictures are left to other processes, the last of which scores all"
            ));
            return Ok(());
        }
    };
    for scored in scored {
        terminal::say(&format!("files in {}", printable_path(&scored.folder)));
        if let Some(choice) = &scored.choice {
            writeln!(out, "{choice}")?;
        }
        print_scores(&scored.evaluation.summary, &mut out)?;
    }
    Ok(())
}

/// One of a run's checkpoints.
#[derive(Clone, Copy, ValueEnum)]
pub enum CheckpointChoice {
    /// The newest.
    Newest,
    /// The checkpoint of the epoch with the lowest loss.
    Best,
}

impl From<CheckpointChoice> for recipes::CheckpointChoice {
    fn from(choice: CheckpointChoice) -> Self {
        match choice {
            CheckpointChoice::Newest => Self::Newest,
            CheckpointChoice::Best => Self::Best,
        }
    }
}

/// One of a run's splits.
#[derive(Clone, Copy, ValueEnum)]
enum SplitChoice {
    /// The test pictures.
    Test,
    /// The held-out pictures.
    Validation,
}

impl From<SplitChoice> for ScoredSplit {
    fn from(choice: SplitChoice) -> Self {
        match choice {
            SplitChoice::Test => Self::Test,
            SplitChoice::Validation => Self::Validation,
        }
    }
}

/// Options of captioning a split.
#[derive(Default)]
pub struct CaptionOptions<'a> {
    /// Checkpoint that captions.
    pub checkpoint: Option<CheckpointChoice>,
    /// Changes of its configuration of decoding, and of the paths of its data.
    pub sets: &'a [String],
    /// Path of its CLIP, if that has moved.
    pub clip: Option<&'a str>,
    /// Images, and whether they are captioned as a control.
    pub evaluation: EvaluateOptions,
}

/// Where the CLIP is that a run compares captions by, if it does; or where it has `moved`.
pub fn reranking_clip(config: &Config, moved: Option<&str>) -> anyhow::Result<Option<PathBuf>> {
    let System::Sbg(system) = &config.system else { return Ok(None) };
    let clip = moved.unwrap_or(&system.reranking.clip);
    let found = models::find(clip, ModelFiles::ClipText)
        .context("the run compares captions with pictures by CLIP; say where it is with --clip")?;
    Ok(Some(found))
}

/// A run's captioner, with the CLIP that it compares captions by where it does.
pub fn captioner(
    folder: &RunFolder,
    device: Device,
    how: &CaptionOptions,
) -> anyhow::Result<Captioner> {
    let clip = reranking_clip(&folder.config()?, how.clip)?;
    let which = how.checkpoint.map(Into::into);
    Ok(Captioner::load(folder, device, which, how.sets, clip.as_deref())?)
}

/// Captions and scores a split of a run with a progress bar, for each of its choices.
pub fn evaluate(
    run: &Path,
    device: &str,
    how: &CaptionOptions,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    let device = process::device(device, how.evaluation.process)?;
    let folder = RunFolder::open(run)?;
    let captioner = captioner(&folder, device, how)?;
    let mut bar = terminal::Bar::default();
    evaluate_run(&folder, &captioner, device, &how.evaluation, options, &mut bar)
        .with_context(|| format!("cannot evaluate {}", printable_path(run)))
}
