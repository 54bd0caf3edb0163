//! `evaluate`, `evaluate compare` and `evaluate correlate`.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use foreign_text::{printable, printable_path};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Failure, check_threads};
use crate::correlate::{Correlation, correlate};
use crate::meteor::{Resources, resources};
use crate::significance::{Difference, Resampling, compare};
use crate::{
    Metric, Options, Predictions, Protocol, References, Summary, Tokenizer, files, ratings,
};

/// Score predicted captions against reference captions.
///
/// Files may be larger than memory: captions wait in the folder of temporary files (TMPDIR).
#[derive(Args, Clone, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EvaluateArgs {
    /// Something else to do with scores.
    #[command(subcommand)]
    pub command: Option<EvaluateCommand>,

    /// Reference captions; see [`readers`](crate::readers) for the formats.
    #[arg(
        long,
        value_name = "FILE",
        help = "Reference captions: {image: [captions]}, COCO annotations, JSONL or CSV"
    )]
    pub references: Option<PathBuf>,

    /// Predicted captions; see [`readers`](crate::readers) for the formats.
    #[arg(
        long,
        value_name = "FILE",
        help = "Predicted captions: {image: caption}, COCO results, JSONL or CSV"
    )]
    pub predictions: Option<PathBuf>,

    /// How to score.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Score only the images that have a prediction, as pycocoevalcap's example does with results
    /// for a part of COCO; CIDEr's weights are those of these images
    #[arg(long)]
    pub only_predicted: bool,

    /// Write all scores, of the corpus and of every image, as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Write the scores of every image as CSV
    #[arg(long, value_name = "FILE")]
    pub per_image: Option<PathBuf>,

    /// Add 95% bootstrap intervals from so many resamples of the images (1000 is usual)
    #[arg(long, value_name = "RESAMPLES", value_parser = resamples())]
    pub bootstrap: Option<usize>,

    /// The seed of the resampling
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Numbers of resamples that are taken: each holds some 200 bytes, and takes as long as all images.
fn resamples() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000_000)
}

/// What else can be done with scores.
#[derive(Subcommand, Clone, Debug)]
pub enum EvaluateCommand {
    /// Test whether two systems' predictions differ
    Compare(CompareArgs),
    /// Correlate scores with people's ratings (Kendall's tau-c and tau-b)
    Correlate(CorrelateArgs),
}

/// How to score.
#[derive(Args, Clone, Debug)]
pub struct ScoringArgs {
    /// none: captions as they stand, as the paper's notebooks score them; ptb: pycocoevalcap's Penn
    /// Treebank tokenizer, as in `COCOEvalCap` [default: none]
    #[arg(long, value_name = "none|ptb")]
    pub tokenizer: Option<Tokenizer>,

    /// Which metrics, out of bleu,meteor,rouge,cider [default: all, METEOR if it has been fetched]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub metrics: Option<Vec<Metric>>,
}

impl ScoringArgs {
    /// Options with METEOR's resources opened where they are needed. Without `--metrics` a METEOR that
    /// has not been fetched is left out, and standard error says so.
    ///
    /// # Errors
    /// [`Failure::Resources`] where METEOR is asked for and its resources cannot be opened.
    pub fn options(&self) -> Result<Options, Failure> {
        let (metrics, meteor) = match &self.metrics {
            Some(metrics) => {
                let wanted = metrics.contains(&Metric::Meteor);
                (metrics.clone(), wanted.then(Resources::open_default).transpose()?)
            }
            None => match Resources::open_default() {
                Ok(resources) => (Metric::ALL.to_vec(), Some(resources)),
                Err(error @ (resources::Error::Missing(_) | resources::Error::NoDataFolder)) => {
                    // Nobody can be told when stderr is closed or its disk full.
                    let _ = writeln!(io::stderr(), "METEOR is left out: {error}");
                    (Options::default().metrics, None)
                }
                Err(error) => return Err(error.into()),
            },
        };
        let tokenizer = self.tokenizer.unwrap_or_default();
        Ok(Options { tokenizer, metrics, meteor, only_predicted: false })
    }
}

/// Test whether two systems' predictions differ.
#[derive(Args, Clone, Debug)]
pub struct CompareArgs {
    /// The first system's predictions
    pub a: PathBuf,

    /// The second system's predictions
    pub b: PathBuf,

    /// Reference captions
    #[arg(long, value_name = "FILE")]
    pub references: PathBuf,

    /// How to score.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Compare only on the images that have a prediction
    #[arg(long)]
    pub only_predicted: bool,

    /// How often to resample the images
    #[arg(long, default_value_t = 1000, value_parser = resamples())]
    pub resamples: usize,

    /// The seed of the resampling
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

    /// Ratings: a line is image, caption identifier and ratings, between tabs or commas; Flickr8k's
    /// ExpertAnnotations.txt and CrowdFlowerAnnotations.txt are known
    #[arg(long, value_name = "FILE")]
    pub ratings: PathBuf,

    /// Columns that are ratings, by the header's names or by number from 1
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    pub rating_columns: Vec<String>,

    /// The rated captions by identifier; without it `image#k` is the k-th reference of the image
    #[arg(long, value_name = "FILE")]
    pub candidates: Option<PathBuf>,

    /// How to score.
    #[command(flatten)]
    pub scoring: ScoringArgs,

    /// Write the correlations as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs `evaluate` with its sub-commands; results go to `out` and to the files that are named.
///
/// # Errors
/// Says what is wrong with the input, and writes nothing then.
pub fn evaluate(args: &EvaluateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    check_threads()?;
    match &args.command {
        None => run(args, out),
        Some(EvaluateCommand::Compare(args)) => run_compare(args, out),
        Some(EvaluateCommand::Correlate(args)) => run_correlate(args, out),
    }
}

fn run(args: &EvaluateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let (Some(references), Some(predictions)) = (&args.references, &args.predictions) else {
        return Err(Failure::Usage("evaluate needs --references FILE and --predictions FILE"));
    };
    let options = Options { only_predicted: args.only_predicted, ..args.scoring.options()? };
    let resampling = args.bootstrap.map(|resamples| Resampling { resamples, seed: args.seed });
    let bar = bar();
    let progress = |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let evaluation = files::evaluate(references, predictions, &options, resampling, progress);
    bar.finish_and_clear();
    let evaluation = evaluation?;
    if let Some(path) = &args.json {
        evaluation.write_json(path)?;
    }
    if let Some(path) = &args.per_image {
        evaluation.write_csv(path)?;
    }
    print_scores(&evaluation.summary, out)
}

/// Shows on a terminal how far the scores are.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("scoring {bar:30} {percent}%, {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Writes the scores of the corpus as a table for people.
///
/// # Errors
/// When `out` cannot be written to.
pub fn print_scores(summary: &Summary, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(out, "{} images, {}", summary.n, protocol(&summary.protocol))?;
    for (name, score) in summary.corpus.iter() {
        write!(out, "{name:8} {score:.6}")?;
        let interval = summary
            .confidence
            .as_ref()
            .and_then(|confidence| confidence.intervals.iter().find(|i| i.name == name));
        if let Some(interval) = interval {
            write!(out, "  [{:.6}, {:.6}]", interval.low, interval.high)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn protocol(protocol: &Protocol) -> String {
    let tokenizer = match protocol.tokenizer {
        Tokenizer::None => "captions as they stand",
        Tokenizer::Ptb => "PTB tokens",
    };
    let left_out = protocol.images_without_prediction.map_or_else(String::new, |images| {
        format!("; {images} images without a prediction left out")
    });
    let separators = match protocol.captions_with_line_separators {
        0 => String::new(),
        n => format!("; line separators read as white space in {n} captions"),
    };
    format!("{tokenizer}{left_out}{separators}")
}

#[derive(Serialize)]
struct Comparison<'a> {
    protocol: &'a Protocol,
    n: usize,
    resampling: Resampling,
    differences: Vec<Named<'a>>,
}

#[derive(Serialize)]
struct Named<'a> {
    metric: &'static str,
    #[serde(flatten)]
    difference: &'a Difference,
}

fn run_compare(args: &CompareArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let options = Options { only_predicted: args.only_predicted, ..args.scoring.options()? };
    let references = References::read(&args.references)?;
    let read = |path| {
        let predictions = Predictions::read(path)?;
        crate::evaluate(&references, &predictions, &options).map_err(|error| error.in_file(path))
    };
    let (a, b) = (read(&args.a)?, read(&args.b)?);
    let resampling = Resampling { resamples: args.resamples, seed: args.seed };
    let differences = compare(&a, &b, resampling)?;
    let a = a.summary;
    if let Some(path) = &args.json {
        let named = differences
            .iter()
            .map(|difference| Named { metric: difference.name, difference })
            .collect();
        let comparison =
            Comparison { protocol: &a.protocol, n: a.n, resampling, differences: named };
        durable::write(path, (serde_json::to_string_pretty(&comparison)? + "\n").as_bytes())?;
    }
    writeln!(
        out,
        "{} images, {}; A = {}, B = {}; {} resamples",
        a.n,
        protocol(&a.protocol),
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
        let interval = format!("[{:+.6}, {:+.6}]", row.low, row.high);
        writeln!(
            out,
            "{:8} {:9.6} {:9.6} {:+9.6}  {interval:22} {:6.4}",
            row.name, row.a, row.b, row.difference, row.p
        )?;
    }
    Ok(())
}

fn run_correlate(args: &CorrelateArgs, out: &mut dyn Write) -> Result<(), Failure> {
    let options = args.scoring.options()?;
    let references = References::read(&args.references)?;
    let ratings = ratings::read(&args.ratings, &args.rating_columns)?;
    let candidates = args.candidates.as_ref().map(Predictions::read).transpose()?;
    let found: Correlation = correlate(&references, &ratings, candidates.as_ref(), &options)?;
    if let Some(path) = &args.json {
        durable::write(path, (serde_json::to_string_pretty(&found)? + "\n").as_bytes())?;
    }
    writeln!(
        out,
        "{} rated pairs, {} ratings ({}); {} pairs left out, whose caption is the image's own",
        found.pairs,
        found.points,
        printable(&found.ratings),
        found.own_captions
    )?;
    if found.missing > 0 {
        writeln!(out, "{} missing ratings left out", found.missing)?;
    }
    writeln!(out, "{:8} tau-c x 100  tau-b x 100", "")?;
    for ((name, c), (_, b)) in found.tau_c.iter().zip(found.tau_b.iter()) {
        writeln!(out, "{name:8} {:<11.4}  {:.4}", c * 100.0, b * 100.0)?;
    }
    Ok(())
}
