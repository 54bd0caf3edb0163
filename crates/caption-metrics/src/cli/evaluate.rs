//! `evaluate`, and `evaluate` `compare`, `correlate` and `judges`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use foreign_text::{printable, printable_path};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::scoring::{Note, ScoringArgs};
use super::{check_threads, refuse_overwriting};
use crate::clip_score::ClipProtocol;
use crate::correlate::correlate;
use crate::judges::{Suite, judge};
use crate::significance::{Difference, Resampling, compare};
use crate::{
    Diversity, Error, KeyStyle, Metric, Predictions, Protocol, References, Scores, Summary,
    Tokenizer, evaluate_with_progress, ratings,
};

/// Score predicted captions against reference captions.
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EvaluateArgs {
    /// Another use of the scores.
    #[command(subcommand)]
    pub command: Option<EvaluateCommand>,

    /// Reference captions; see [`readers`](crate::readers) for the formats.
    #[arg(
        long,
        value_name = "FILE",
        help = "Reference captions: {image: [captions]}, COCO annotations, pycocoevalcap's gts, \
                Flickr8k.token.txt, results.csv, JSONL or CSV"
    )]
    pub references: Option<PathBuf>,

    /// Predicted captions; see [`readers`](crate::readers) for the formats.
    #[arg(
        long,
        value_name = "FILE",
        help = "Predicted captions: {image: caption}, COCO results, pycocoevalcap's res, JSONL or \
                CSV"
    )]
    pub predictions: Option<PathBuf>,

    /// Tokenizer and metrics.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Images to score: `predictions` for those that have a prediction, as pycocoevalcap's example
    /// does with results for a part of COCO, or a file of identifiers, one a line or a JSON list;
    /// CIDEr's document frequencies come from these images only
    #[arg(long, value_name = "predictions|FILE")]
    pub subset: Option<PathBuf>,

    /// Captions of the training images, in a format of --references: diversity then has the share
    /// of novel predictions, which are none of them
    #[arg(long, value_name = "FILE")]
    pub training_captions: Option<PathBuf>,

    /// Names of scores in --json and --per-image: plain (BLEU-1) or pycocoevalcap (`Bleu_1`, and
    /// `eval` and `evalImgs` as in `COCOEvalCap`)
    #[arg(long, value_name = "plain|pycocoevalcap", default_value = "plain")]
    pub key_style: KeyStyle,

    /// Write all scores, of the corpus and of every image, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the scores of every image as CSV
    #[arg(long, value_name = "FILE")]
    pub per_image: Option<PathBuf>,

    /// Add 95% bootstrap intervals from this number of resamples of the images (1000 is usual)
    #[arg(long, value_name = "RESAMPLES", value_parser = resamples())]
    pub bootstrap: Option<usize>,

    /// Seed of the resampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl EvaluateArgs {
    /// Returns the tokenizer and metrics of the command that runs.
    pub fn scoring_mut(&mut self) -> &mut ScoringArgs {
        match &mut self.command {
            None => &mut self.scoring,
            Some(EvaluateCommand::Compare(args)) => &mut args.scoring,
            Some(EvaluateCommand::Correlate(args)) => &mut args.scoring,
            Some(EvaluateCommand::Judges(args)) => &mut args.scoring,
        }
    }
}

/// Returns the range of resamples: each holds some 200 bytes, and takes as long as all images.
fn resamples() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

/// Other uses of scores.
#[derive(Subcommand, Clone, Debug)]
pub enum EvaluateCommand {
    /// Test whether two systems' predictions differ
    Compare(CompareArgs),
    /// Correlate scores with people's ratings (Kendall's tau-c and tau-b)
    Correlate(CorrelateArgs),
    /// Compute the figures that papers print of published ratings (Flickr8k-Expert, ...)
    Judges(JudgesArgs),
}

/// Test whether two systems' predictions differ.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// Predictions of the first system, or for capsmith a run
    pub a: PathBuf,

    /// Predictions of the second system, or for capsmith a run
    pub b: PathBuf,

    /// Reference captions; two runs have their own
    #[arg(long, value_name = "FILE")]
    pub references: Option<PathBuf>,

    /// Tokenizer and metrics.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Images to compare on: `predictions` for those that have a prediction, or a file of
    /// identifiers
    #[arg(long, value_name = "predictions|FILE")]
    pub subset: Option<PathBuf>,

    /// Number of resamples of the images
    #[arg(long, default_value_t = 1000, value_parser = resamples())]
    pub resamples: usize,

    /// Seed of the resampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Write the comparison as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Correlate scores with people's ratings.
#[derive(Args, Clone, Debug)]
pub struct CorrelateArgs {
    /// Reference captions
    #[arg(long, value_name = "FILE")]
    pub references: PathBuf,

    /// Ratings: each line has an image, a caption identifier and ratings, separated by tabs or
    /// commas; Flickr8k's ExpertAnnotations.txt and CrowdFlowerAnnotations.txt are recognised
    #[arg(long, value_name = "FILE")]
    pub ratings: PathBuf,

    /// Columns that are ratings, by the header's names or by number from 1
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub rating_columns: Vec<String>,

    /// Rated captions by identifier; without it `image#k` is the k-th reference of the image
    #[arg(long, value_name = "FILE")]
    pub candidates: Option<PathBuf>,

    /// Tokenizer and metrics.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Write the correlations as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Compute the figures that papers print of published ratings.
///
/// Each figure stands beside the published one. Without the suite's files the command says which
/// to put into the folder.
#[derive(Args, Clone, Debug)]
pub struct JudgesArgs {
    /// flickr8k-expert (tau-c), flickr8k-cf (tau-b), composite (tau-c) or pascal-50s (accuracy)
    pub suite: Suite,

    /// Folder with the suite's files
    #[arg(long, value_name = "FOLDER")]
    pub data: PathBuf,

    /// Tokenizer and metrics.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Seed of the references that pascal-50s draws
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs `evaluate` with its subcommands; results go to `out` and to the named files.
///
/// Its progress bar is one of `bars`.
///
/// # Errors
/// Fails with what is wrong with the input, and writes nothing then.
pub fn evaluate(
    args: &EvaluateArgs,
    out: &mut dyn Write,
    bars: &MultiProgress,
    note: Note,
) -> anyhow::Result<()> {
    check_threads()?;
    match &args.command {
        None => run_scores(args, out, bars, note),
        Some(EvaluateCommand::Compare(args)) => run_compare(args, out, note),
        Some(EvaluateCommand::Correlate(args)) => run_correlate(args, out, note),
        Some(EvaluateCommand::Judges(args)) => run_judges(args, out, note),
    }
}

fn run_scores(
    args: &EvaluateArgs,
    out: &mut dyn Write,
    bars: &MultiProgress,
    note: Note,
) -> anyhow::Result<()> {
    let (Some(references), Some(predictions)) = (&args.references, &args.predictions) else {
        bail!("evaluate needs --references FILE and --predictions FILE");
    };
    let training = &args.training_captions;
    let inputs = [&args.references, &args.predictions, training, &args.subset];
    let outputs = [args.json.as_deref(), args.per_image.as_deref()];
    refuse_overwriting(&outputs, &inputs.map(Option::as_deref))?;
    let mut options = args.scoring.file_options(args.subset.as_deref(), note)?;
    if let Some(path) = &args.training_captions {
        if !options.metrics.contains(&Metric::Diversity) {
            bail!("--training-captions is for diversity; add it to --metrics");
        }
        let training = References::read(path)?;
        options.training_captions = Some(training.iter().flat_map(|(_, all)| all).collect());
    }
    let (references, predictions) =
        rayon::join(|| References::read(references), || read_predictions(predictions, note));
    let style = ProgressStyle::with_template("scoring {bar:30} {percent}%, {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bars.add(ProgressBar::new(0).with_style(style));
    let progress = |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let evaluation = evaluate_with_progress(&references?, &predictions?, &options, progress);
    bar.finish_and_clear();
    let mut evaluation = evaluation?;
    if let Some(resamples) = args.bootstrap {
        evaluation.add_confidence(Resampling { resamples, seed: args.seed });
    }
    if let Some(path) = &args.json {
        durable::write_with(path, |out| evaluation.write_json(out, args.key_style))?;
    }
    if let Some(path) = &args.per_image {
        durable::write_with(path, |out| evaluation.write_csv(out, args.key_style))?;
    }
    Ok(print_scores(&evaluation.summary, out)?)
}

/// Reads predictions, and prints how many are empty: each lowers the scores.
fn read_predictions(path: &Path, note: Note) -> Result<Predictions, Error> {
    let predictions = Predictions::read(path)?;
    let count = predictions.empty();
    if count > 0 {
        let file = printable_path(path);
        note(&format!(
            "warning: {file}: predictions without words: {count}; they lower the scores"
        ));
    }
    Ok(predictions)
}

/// Fails if no metric scores single captions.
fn check_has_scores(is_empty: bool) -> anyhow::Result<()> {
    if is_empty {
        bail!("diversity is of all captions together; name another metric, such as --metrics bleu");
    }
    Ok(())
}

/// Writes the scores of the corpus as a table for people.
///
/// # Errors
/// Fails if `out` cannot be written to.
pub fn print_scores(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} images, {}", summary.n, describe(&summary.protocol))?;
    let intervals = summary.confidence.as_ref().map(|confidence| &confidence.intervals);
    let width = width(&summary.corpus);
    for (name, score) in summary.corpus.iter() {
        write!(out, "{name:width$} {score:.6}")?;
        if let Some(interval) = intervals.into_iter().flatten().find(|i| i.name == name) {
            write!(out, "  [{:.6}, {:.6}]", interval.low, interval.high)?;
        }
        writeln!(out)?;
    }
    for (name, value) in summary.diversity.iter().flat_map(Diversity::entries) {
        writeln!(out, "{name:11} {}", (value * 1e6).round() / 1e6)?;
    }
    Ok(())
}

/// Returns the width of a column of these scores' names.
fn width(scores: &Scores) -> usize {
    scores.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(8)
}

fn describe(protocol: &Protocol) -> String {
    let mut text = match protocol.tokenizer {
        Tokenizer::None => "tokenizer none (captions as they stand)".to_owned(),
        Tokenizer::Ptb => "tokenizer ptb (as COCOEvalCap)".to_owned(),
    };
    if let Some(images) = protocol.references_left_out {
        let _ = write!(text, "; references of {images} images left out");
    }
    if let Some(images) = protocol.cider_images {
        let _ = write!(text, "; CIDEr with stored document frequencies of {images} images");
    }
    if let Some(clip) = &protocol.clip {
        let ClipProtocol { weight, prompt, context_length, .. } = clip;
        let (predictions, references) = (clip.cut_predictions, clip.cut_references);
        let _ = write!(text, "; CLIPScore with w = {weight} and prompt {prompt:?}");
        if predictions + references > 0 {
            let _ = write!(
                text,
                "; {predictions} predictions and {references} references cut at {context_length} tokens"
            );
        }
    }
    if protocol.captions_with_line_separators > 0 {
        let captions = protocol.captions_with_line_separators;
        let _ = write!(text, "; line separators read as white space in {captions} captions");
    }
    text
}

/// Writes a result as JSON, if a file is named.
fn write_json(path: Option<&Path>, result: &impl Serialize) -> anyhow::Result<()> {
    if let Some(path) = path {
        durable::write_json(path, result)?;
    }
    Ok(())
}

#[derive(Serialize)]
struct Comparison<'a> {
    protocol: &'a Protocol,
    n: usize,
    resampling: Resampling,
    differences: &'a [Difference],
}

fn run_compare(args: &CompareArgs, out: &mut dyn Write, note: Note) -> anyhow::Result<()> {
    let inputs = [args.references.as_deref(), args.subset.as_deref(), Some(&args.a), Some(&args.b)];
    refuse_overwriting(&[args.json.as_deref()], &inputs)?;
    let options = args.scoring.file_options(args.subset.as_deref(), note)?;
    let Some(references) = &args.references else {
        bail!("evaluate compare needs --references FILE");
    };
    let references = References::read(references)?;
    let read = |path| {
        let predictions = read_predictions(path, note)?;
        crate::evaluate(&references, &predictions, &options).map_err(|error| error.in_file(path))
    };
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let resampling = Resampling { resamples: args.resamples, seed: args.seed };
    let differences = compare(&a, &b, resampling)?;
    check_has_scores(differences.is_empty())?;
    let Summary { protocol, n, .. } = &a.summary;
    let comparison = Comparison { protocol, n: *n, resampling, differences: &differences };
    write_json(args.json.as_deref(), &comparison)?;
    writeln!(
        out,
        "{n} images, {}; A = {}, B = {}; {} resamples",
        describe(protocol),
        printable_path(&args.a),
        printable_path(&args.b),
        args.resamples
    )?;
    writeln!(
        out,
        "{:8} {:>9} {:>9} {:>9}  {:22} {:>6}",
        "", "A", "B", "B - A", "95% interval", "p"
    )?;
    for row in differences {
        let Difference { name, a, b, difference, low, high, p } = row;
        let interval = format!("[{low:+.6}, {high:+.6}]");
        writeln!(out, "{name:8} {a:9.6} {b:9.6} {difference:+9.6}  {interval:22} {p:6.4}")?;
    }
    Ok(())
}

fn run_correlate(args: &CorrelateArgs, out: &mut dyn Write, note: Note) -> anyhow::Result<()> {
    let inputs = [Some(&*args.references), Some(&args.ratings), args.candidates.as_deref()];
    refuse_overwriting(&[args.json.as_deref()], &inputs)?;
    let options = args.scoring.file_options(None, note)?;
    let references = References::read(&args.references)?;
    let ratings = ratings::read(&args.ratings, &args.rating_columns)?;
    let candidates = args.candidates.as_ref().map(Predictions::read).transpose()?;
    let found = correlate(&references, &ratings, candidates.as_ref(), &options)?;
    check_has_scores(found.tau_c.iter().len() == 0)?;
    write_json(args.json.as_deref(), &found)?;
    writeln!(
        out,
        "{} rated pairs, {} ratings ({}), {}; {} pairs left out, whose caption is the image's own",
        found.pairs,
        found.points,
        printable(&found.ratings),
        describe(&found.protocol),
        found.own_captions
    )?;
    if found.missing > 0 {
        writeln!(out, "{} missing ratings left out", found.missing)?;
    }
    let width = width(&found.tau_c);
    writeln!(out, "{:width$} tau-c x 100  tau-b x 100", "")?;
    for ((name, c), (_, b)) in found.tau_c.iter().zip(found.tau_b.iter()) {
        writeln!(out, "{name:width$} {:<11.4}  {:.4}", c * 100.0, b * 100.0)?;
    }
    Ok(())
}

fn run_judges(args: &JudgesArgs, out: &mut dyn Write, note: Note) -> anyhow::Result<()> {
    let options = args.scoring.file_options(None, note)?;
    let report = judge(args.suite, &args.data, &options, args.seed)?;
    write_json(args.json.as_deref(), &report)?;
    for table in &report.tables {
        let (pairs, published, left_out) = (table.pairs, table.published_pairs, table.left_out);
        writeln!(out, "{}: {}", table.choice, describe(&table.protocol))?;
        write!(out, "{pairs} pairs, {} ratings", table.ratings)?;
        if left_out > 0 {
            write!(out, "; {left_out} pairs left out")?;
        }
        if pairs != published {
            write!(out, "; the published figures are of {published} pairs")?;
        }
        writeln!(out, "\n{table}\n")?;
    }
    for file in &report.files {
        let known = match file.is_known_copy {
            Some(true) => ", from which the published figures come out",
            Some(false) => ", another than the one from which the published figures come out",
            None => "",
        };
        writeln!(out, "{}: SHA-256 {}{known}", file.name, file.sha256)?;
    }
    Ok(())
}
