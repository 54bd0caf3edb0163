//! `capsmith evaluate`: scores a split of a run, or caption files as `caption-eval evaluate` does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, bail};
use caption_metrics::cli::{EvaluateArgs, EvaluateCommand, print_scores};
use caption_metrics::significance::Resampling;
use caption_metrics::{KeyStyle, Options};
use clap::ValueEnum;
use foreign_text::printable_path;
use hub::ModelFiles;
use keywords::TextEncoder;
use launchers::ProcessRank;
use recipes::{Config, System};
use runs::metrics::ScoredSplit;
use runs::{RunFolder, ScoredCaptions, checkpoints};
use tch::{Device, Kind};
use training::captioner::Captioner;
use training::evaluate::{EvaluateOptions, Evaluated, evaluate_run};

use crate::clip_scores::ClipScoreArgs;
use crate::run_arg::RunArg;
use crate::{compare, dtype, models, process, run_arg, terminal};

/// Caption and score a split of a run, or score caption files of any system.
///
/// Scores are those of pycocoevalcap, and with a CLIP those of CLIPScore's authors. The default
/// tokens are: for files Penn Treebank tokens, as in `COCOEvalCap`; for runs raw strings, as in the
/// paper; for runs of Merge-RNN Penn Treebank tokens, with Karpathy's tokens as references, as its
/// authors score them.
///
/// Several processes share the pictures when started by torchrun (`torchrun --no-python ... --
/// capsmith evaluate ...`, with that `--`), mpirun, srun or an indexed Kubernetes job; the last one
/// scores all. An interrupted evaluation resumes with the same command. Captions are kept in
/// captions.json, so scoring with another --tokenizer does not caption again.
///
/// Official scores of a run, those with its own settings, lie in its evaluation/test. Scores with
/// another decoding, checkpoint or tokenizer, or by fewer --metrics, lie in a folder of their own,
/// such as `evaluation/num_beams=5/test`. `evaluate compare RUN RUN` tests whether official scores
/// differ.
#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    run: RunArg,
    /// Split of the run: test, or validation for model selection. [default: test]
    #[arg(long, value_enum, requires = "of_run", value_name = "test|validation")]
    split: Option<SplitChoice>,
    /// Folder for the predictions and scores. [default: a folder under the run's evaluation/]
    #[arg(long, requires = "of_run", value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Type of the model's weights and activations. Other types than f32 are faster and take half
    /// the memory; some captions come out differently, so the scores get a folder of their own.
    /// [default: the run's, f32]
    #[arg(long, value_parser = dtype::names(), requires = "of_run")]
    dtype: Option<String>,
    /// Checkpoint of the run. [default: newest, or best if the run stops early by the loss on
    /// held-out captions]
    #[arg(long, value_enum, requires = "of_run")]
    checkpoint: Option<CheckpointChoice>,
    /// Override a decoding setting, such as `--set decoding.max_new_tokens=40`, or
    /// keywords.selected if that file has moved. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "of_run")]
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
        requires = "of_run"
    )]
    control: Option<u64>,
    /// Folder of the run's data set, if it has moved.
    #[arg(long, requires = "of_run", value_name = "DIR")]
    dataset: Option<PathBuf>,
    #[command(flatten)]
    clip: ClipScoreArgs,
    /// Device of models: cpu, cuda or cuda:N. [default: the one that the run was trained on, or the
    /// CPU where that is not available]
    #[arg(long, global = true)]
    device: Option<String>,
    #[command(flatten)]
    files: EvaluateArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for output in [&args.files.json, &args.files.per_image].into_iter().flatten() {
        RunFolder::refuse_own_file(output)?;
    }
    let Some(run) = args.run.path() else {
        let mut files = args.files.clone();
        match &mut files.command {
            Some(EvaluateCommand::Compare(compared)) => {
                *compared = compare::with_files_of_runs(compared)?;
            }
            None if files.references.is_none() => {
                bail!("name a run, or files with --references and --predictions");
            }
            _ => {}
        }
        let scoring = files.scoring_mut();
        let device =
            || process::device(args.device.as_deref().unwrap_or("cpu"), ProcessRank::from_env()?);
        scoring.clip = args.clip.load(scoring.metrics.as_deref(), None, device)?;
        return caption_metrics::cli::evaluate(&files, &mut out, &terminal::BARS, terminal::say);
    };
    check_file_options(&args.files)?;
    let folder = RunFolder::open(run)?;
    let tokenizer = training::evaluate::scoring_tokenizer(&folder.config()?.system);
    let mut options = args.files.scoring.options(tokenizer, terminal::say)?;
    let path = |key: &str, path: Option<&Path>| {
        path.map(|path| format!("{key}={:?}", path.display().to_string()))
    };
    let given = [
        args.dtype.as_ref().map(dtype::setting),
        path("data.dataset", args.dataset.as_deref()),
        path("data.embeddings", args.clip.embeddings_of_run(&options.metrics)),
    ];
    let sets: Vec<String> = given.into_iter().flatten().chain(args.sets.iter().cloned()).collect();
    let process = ProcessRank::from_env()?;
    let device = run_arg::device(args.device.as_deref(), &folder, process)?;
    options.clip = args.clip.load(Some(&options.metrics), Some((run, &sets)), || Ok(device))?;
    let captioning = CaptionOptions {
        checkpoint: args.checkpoint,
        sets: &sets,
        clip: args.clip.reranking(&options.metrics),
        evaluation: EvaluateOptions {
            split: args.split.map_or(ScoredSplit::Test, Into::into),
            control_seed: args.control,
            out: args.out.clone(),
            keeps_metrics: args.files.scoring.metrics.is_some(),
            process,
        },
    };
    let scored = match evaluate(&folder, run, device, &captioning, &options)? {
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
    let mut all = serde_json::Map::new();
    for mut scored in scored {
        if let Some(resamples) = args.files.bootstrap {
            let seed = args.files.seed;
            scored.evaluation.add_confidence(Resampling { resamples, seed });
        }
        terminal::say(&format!("files in {}", printable_path(&scored.folder)));
        let choice = scored.best_of.map(ScoredCaptions::choice);
        if let Some(choice) = &choice {
            writeln!(out, "{choice}")?;
        }
        print_scores(&scored.evaluation.summary, &mut out)?;
        all.insert(choice.unwrap_or_default(), serde_json::to_value(&scored.evaluation)?);
    }
    if let Some(path) = &args.files.json {
        // A single choice has no name.
        let value = all.remove("").unwrap_or(all.into());
        durable::write_json(path, &value)?;
    }
    Ok(())
}

/// Refuses options of files, which the run has already or cannot have.
fn check_file_options(files: &EvaluateArgs) -> anyhow::Result<()> {
    let EvaluateArgs { references, predictions, per_image, subset, key_style, .. } = files;
    let given = [
        ("--references", references.is_some()),
        ("--predictions", predictions.is_some()),
        ("--per-image", per_image.is_some()),
        ("--subset", subset.is_some()),
        ("--key-style", *key_style != KeyStyle::Plain),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        Some((option, _)) => bail!(
            "{option} is for files of captions, not for a run\nhint: a run has its references, predictions and per-image scores in its evaluation/"
        ),
        None => Ok(()),
    }
}

/// Choice of a run's checkpoint.
#[derive(Clone, Copy, ValueEnum)]
pub enum CheckpointChoice {
    /// The newest checkpoint.
    Newest,
    /// The checkpoint of the epoch with the lowest loss on held-out captions, or on its last batch
    /// where none are held out.
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
    let clip = clip.map(|clip| TextEncoder::load(&clip, device, Kind::Float)).transpose()?;
    Ok(Captioner::load(folder, device, checkpoint, captioning.sets, clip.map(Rc::new))?)
}

/// Returns the note on a run that is not trained to its end: the epoch at which it stands.
fn standing(folder: &RunFolder) -> anyhow::Result<Option<String>> {
    let position = checkpoints::newest_position(&folder.checkpoints())?;
    let Some(position) = position.filter(|position| !position.finished) else { return Ok(None) };
    let epochs = folder.config()?.training.epochs;
    let within = if position.batch > 0 {
        format!(" and {} batches of the next", position.batch)
    } else {
        String::new()
    };
    Ok(Some(format!(
        "the run is not finished: it stands after {} of {epochs} epochs{within} (step {}); capsmith train --resume resumes it",
        position.epoch, position.step
    )))
}

/// Captions and scores a split of a run, once for each of its rerankings.
pub fn evaluate(
    folder: &RunFolder,
    run: &Path,
    device: Device,
    captioning: &CaptionOptions,
    options: &Options,
) -> anyhow::Result<Evaluated> {
    let captioner = captioner(folder, device, captioning)?;
    if let Some(standing) = standing(folder)? {
        terminal::say(&standing);
    }
    let mut bar = terminal::Bar::default();
    evaluate_run(folder, &captioner, device, &captioning.evaluation, options, &mut bar)
        .with_context(|| format!("cannot evaluate {}", printable_path(run)))
}
