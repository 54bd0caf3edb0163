//! `capsmith evaluate`: scores a split of a run, or caption files as `caption-eval evaluate` does.

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

use crate::clip_scores::ClipScoreArgs;
use crate::{models, process, terminal};

/// Caption and score a split of a run, or score caption files of any system.
///
/// Scores are those of pycocoevalcap, and with a CLIP those of CLIPScore's authors. By default files
/// are scored on Penn Treebank tokens, as by `COCOEvalCap`; runs on raw strings, as in the paper, and runs of Merge-RNN on Penn Treebank
/// tokens with Karpathy's tokens as references, as by its authors.
///
/// Several processes share the pictures when started by torchrun (`torchrun --no-python ... --
/// capsmith evaluate ...`, with that `--`), mpirun, srun or an indexed Kubernetes job; the last one
/// scores all. An interrupted evaluation resumes with the same command. Captions are kept in
/// captions.json, so scoring with another --tokenizer does not caption again.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Run folder. Captions one of its splits, lower-cased, and writes predictions and scores under
    /// its evaluation/.
    #[arg(
        long,
        conflicts_with_all = [
            "references", "predictions", "json", "per_image", "bootstrap", "subset", "key_style",
            "training_captions"
        ]
    )]
    run: Option<PathBuf>,
    /// Split of the run: test, or validation for model selection. [default: test]
    #[arg(long, value_enum, requires = "run", value_name = "test|validation")]
    split: Option<SplitChoice>,
    /// Folder for the predictions and scores. [default: a folder under the run's evaluation/]
    #[arg(long, requires = "run", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Checkpoint of the run. [default: newest, or best if the run stops early by validation loss]
    #[arg(long, value_enum, requires = "run")]
    checkpoint: Option<CheckpointChoice>,
    /// Override a decoding setting, such as `--set decoding.max_new_tokens=40`, or a path of data
    /// that has moved: data.dataset, data.embeddings, keywords.selected. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "run")]
    sets: Vec<String>,
    /// Control experiment: score each picture's references against the caption of another picture,
    /// by embeddings (and keywords of SBG) shuffled with this seed, 1 if not given. Writes beside
    /// the normal scores, into evaluation/test-shuffled.
    #[arg(
        long,
        alias = "shuffle-embeddings",
        num_args = 0..=1,
        default_missing_value = "1",
        value_name = "SEED",
        requires = "run"
    )]
    control: Option<u64>,
    #[command(flatten)]
    clip: ClipScoreArgs,
    /// Device for --run and --clip: cpu, cuda or cuda:N
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
        let mut files = args.files.clone();
        let metrics = files.scoring.metrics.as_deref().unwrap_or_default();
        files.scoring.clip = args.clip.load(metrics, None, &args.device)?;
        return caption_metrics::cli::evaluate(&files, &mut out, &terminal::BARS, terminal::say);
    };
    let system = RunFolder::open(run)?.config()?.system;
    let tokenizer = training::evaluate::scoring_tokenizer(&system);
    let mut options = args.files.scoring.options(tokenizer, terminal::say)?;
    options.clip = args.clip.load(&options.metrics, Some((run, &args.sets)), &args.device)?;
    let captioning = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &args.sets,
        clip: args.clip.reranking(),
        evaluation: EvaluateOptions {
            split: args.split.map_or(ScoredSplit::Test, Into::into),
            control_seed: args.control,
            out: args.out.clone(),
            process: ProcessRank::from_env()?,
        },
    };
    let scored = match evaluate(run, &args.device, &captioning, &options)? {
        Evaluated::Scored(scored) => scored,
        Evaluated::Left(0) => {
            terminal::say("another process scores the captions");
            return Ok(());
        }
        Evaluated::Left(left) => {
            terminal::say(&format!(
                "{left} pictures are left to other processes; the last one scores all"
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

/// Choice of a run's checkpoint.
#[derive(Clone, Copy, ValueEnum)]
pub enum CheckpointChoice {
    /// The newest checkpoint.
    Newest,
    /// The checkpoint of the epoch with the lowest validation loss.
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

/// Choice of a run's split.
#[derive(Clone, Copy, ValueEnum)]
enum SplitChoice {
    /// Test pictures.
    Test,
    /// Held-out pictures.
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
    /// Checkpoint to caption with.
    pub checkpoint: Option<CheckpointChoice>,
    /// Overrides of decoding settings and data paths, as `key=value`.
    pub sets: &'a [String],
    /// Folder or hub name of the run's CLIP, if it has moved.
    pub clip: Option<&'a str>,
    /// Split, output folder and processes of the evaluation.
    pub evaluation: EvaluateOptions,
}

/// Returns the path of the CLIP that reranks captions, from `moved` or the config; `None` unless
/// SBG.
pub fn reranking_clip(config: &Config, moved: Option<&str>) -> anyhow::Result<Option<PathBuf>> {
    let System::Sbg(system) = &config.system else { return Ok(None) };
    let clip = moved.unwrap_or(&system.reranking.clip);
    let found = models::find(clip, ModelFiles::ClipText)
        .context("the run reranks captions by CLIP; name its folder with --clip")?;
    Ok(Some(found))
}

/// Loads a run's captioner, with its reranking CLIP if it has one.
pub fn captioner(
    folder: &RunFolder,
    device: Device,
    captioning: &CaptionOptions,
) -> anyhow::Result<Captioner> {
    let clip = reranking_clip(&folder.config()?, captioning.clip)?;
    let checkpoint = captioning.checkpoint.map(Into::into);
    Ok(Captioner::load(folder, device, checkpoint, captioning.sets, clip.as_deref())?)
}

/// Captions and scores a split of a run, once for each of its rerankings.
pub fn evaluate(
    run: &Path,
    device: &str,
    captioning: &CaptionOptions,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    let device = process::device(device, captioning.evaluation.process)?;
    let folder = RunFolder::open(run)?;
    let captioner = captioner(&folder, device, captioning)?;
    let mut bar = terminal::Bar::default();
    evaluate_run(&folder, &captioner, device, &captioning.evaluation, options, &mut bar)
        .with_context(|| format!("cannot evaluate {}", printable_path(run)))
}
