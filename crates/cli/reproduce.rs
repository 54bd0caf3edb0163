//! `capsmith reproduce`: reproduces a table of the paper, from data to scores.

use std::fmt::Write as _;
use std::io::LineWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use foreign_text::{printable_path, shell_command};
use hub::ModelFiles;
use studies::reproduce::{
    Family, FoundModels, LIT, PRETRAINED, Presentation, Request, Results, Row, Table, results,
    write_page,
};
use studies::stages::{self, Outcome, Plan, Runner, StageAction};

use crate::stage_screen::{Screen, changes, took};
use crate::{bounds, models, table, terminal};

/// Hub name of the captioner that the paper published.
const PUBLISHED: &str = "clip-prefix";
/// Name in a recipe of a model with random weights.
const RANDOM: &str = "random";

/// Reproduce a table of the paper: every row from data to scores.
///
/// Downloads missing files, computes embeddings and keywords, trains, captions and evaluates, and
/// writes the table next to the published numbers (table1.md, .csv, .json, .html). Each stage is a
/// `capsmith` command; --dry-run prints them. With --resume, finished stages are reused, and stages
/// with changed inputs run again with all stages that depend on them. A failed row does not stop
/// the others; the exit code reports it.
#[derive(ClapArgs)]
#[allow(clippy::struct_excessive_bools, reason = "an option each")]
pub struct Args {
    /// Table of the paper
    #[arg(value_enum)]
    pub table: PaperTable,
    /// Family of configs: flickr8k, flickr30k, real, small or demo, or a folder like those of
    /// configs/. `real` has pretrained image features and small language models; `small` takes
    /// about an hour on two CPU cores. [default: the full-size family of the table]
    #[arg(long, value_name = "FAMILY|DIR")]
    pub configs: Option<String>,
    /// Rows to reproduce, such as sbg-1,sbg-5,merge-rnn. [default: all]
    #[arg(long, value_delimiter = ',', value_parser = row, value_name = "ROW,...")]
    pub rows: Vec<Row>,
    /// Runs per row with different seeds, for a mean and standard deviation. [default: from the
    /// recipe]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: Option<u64>,
    /// Resume the study in the folder; finished stages are reused.
    #[arg(long)]
    pub resume: bool,
    /// Run every stage of the study in the folder again, and replace its results.
    #[arg(long, conflicts_with = "resume")]
    pub rerun: bool,
    /// Print each command with its state, and the time that it took before if there is one; run
    /// nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder of the data set, downloaded if missing. [default: data/flickr8k or data/flickr30k]
    #[arg(long, alias = "data", value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Folder of the models, for machines without a network: DIR/clip-vit-large-patch14, DIR/gpt2,
    /// ..., as `capsmith fetch weights NAME --out DIR` writes them. [default: downloaded from the
    /// hub]
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Devices that the runs take in turn: cpu, cuda:0, or cuda:0,cuda:1. [default: that of the
    /// config prefix-original, for all]
    #[arg(long, value_delimiter = ',')]
    pub device: Vec<String>,
    /// Number of stages to run in parallel; each gets its share of the CPU cores
    #[arg(long, default_value_t = 1, value_parser = bounds::whole(1..=bounds::MAX_JOBS))]
    pub jobs: usize,
    /// Score the paper's published checkpoint in row prefix-gradient-clipping instead of training
    /// one.
    #[arg(long)]
    pub from_published: bool,
    /// Folder of the study. [default: reproduce/table1 or reproduce/table2]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// A table of the paper.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum PaperTable {
    /// Results on Flickr8k.
    Table1,
    /// Results on Flickr30k.
    Table2,
}

impl From<PaperTable> for Table {
    fn from(table: PaperTable) -> Self {
        match table {
            PaperTable::Table1 => Self::One,
            PaperTable::Table2 => Self::Two,
        }
    }
}

fn row(text: &str) -> Result<Row, String> {
    Row::ALL.into_iter().find(|row| row.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Row::ALL.iter().map(|row| row.name()).collect();
        format!("unknown row; the rows are {}", names.join(", "))
    })
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let table = Table::from(args.table);
    let presentation = Presentation {
        page: args.folder().join(format!("{}.html", table.name())),
        command: command(),
        ..Presentation::default()
    };
    let Some(Finished { results, .. }) = reproduce(args, &presentation)? else { return Ok(()) };
    let missing: Vec<&str> = results
        .rows
        .iter()
        .filter(|line| !line.is_scored() || !line.failures.is_empty())
        .map(|line| line.row.as_str())
        .collect();
    if !missing.is_empty() && terminal::interrupted().is_none() {
        bail!("some rows could not be scored: {}; the table says why", missing.join(", "));
    }
    Ok(())
}

/// Results of a finished study.
pub struct Finished {
    /// Scores of the table.
    pub results: Results,
    /// Folders of its runs.
    pub runs: Vec<PathBuf>,
}

impl Args {
    /// Returns the folder of the study.
    fn folder(&self) -> PathBuf {
        let named = || Path::new("reproduce").join(Table::from(self.table).name());
        self.out.clone().unwrap_or_else(named)
    }
}

/// Returns the command that this process runs, as a person would type it.
pub fn command() -> String {
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|argument| argument.to_string_lossy().into_owned());
    shell_command(std::iter::once("capsmith".to_owned()).chain(arguments))
}

/// Runs the study and writes its page; returns `None` after a dry run.
pub fn reproduce(args: &Args, presentation: &Presentation) -> anyhow::Result<Option<Finished>> {
    let table = Table::from(args.table);
    let out = args.folder();
    if out.join("stages").is_dir() && !(args.resume || args.rerun || args.dry_run) {
        bail!(
            "{} holds a study already\nhint: add --resume to resume it or --rerun to run all of it again, or choose another --out",
            printable_path(&out)
        );
    }
    let request = request(args, table, out)?;
    let reproduction = request.plan()?;
    if args.dry_run {
        show(&reproduction.plan)?;
        return Ok(None);
    }
    durable::create_dir_all(&request.out)?;
    let _lock = durable::lock(&request.out.join("lock"))?;
    reproduction.write_configs()?;
    if args.rerun {
        reproduction.plan.outdate()?;
    }
    let outcomes = run_stages(&reproduction.plan, args.jobs)?;
    let results = results(&request, &reproduction, &outcomes)?;
    results.write(&request.out)?;
    terminal::print(&format!("\n{}", table::for_terminal(&results.markdown())))?;
    write_page(presentation, &request, &results, &reproduction)?;
    terminal::say(&format!(
        "wrote the table and its captions: {}",
        printable_path(&presentation.page)
    ));
    let runs = reproduction.runs.into_iter().map(|run| run.folder).collect();
    Ok(Some(Finished { results, runs }))
}

/// Returns the path of this program, which runs the stages.
pub fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the path of the capsmith program")
}

/// Runs a plan and shows its stages.
fn run_stages(plan: &Plan, jobs: usize) -> anyhow::Result<Vec<Outcome>> {
    let stop = terminal::stop_flag()?;
    // Running stages save a checkpoint before they stop.
    terminal::hold_stops(true);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let jobs = jobs.max(1);
    let runner = Runner {
        program: program()?,
        slots: jobs,
        threads: if jobs == 1 { 0 } else { (cores / jobs).max(1) },
        visible_devices: Vec::new(),
    };
    Ok(stages::run(plan, &runner, &Screen::new(plan), &stop)?)
}

/// Returns the request for a study; downloads missing files unless `--dry-run`.
fn request(args: &Args, table: Table, out: PathBuf) -> anyhow::Result<Request> {
    let name = args.configs.clone().unwrap_or_else(|| table.data_set().to_lowercase());
    let family = Family::open(&name)?;
    let dataset = args.dataset.clone().unwrap_or_else(|| PathBuf::from(&family.recipe.dataset));
    if !args.dry_run {
        fetch_data_set(table, &dataset)?;
        fetch_meteor();
    }
    let row = Row::PrefixGradientClipping;
    if args.from_published && !args.rows.is_empty() && !args.rows.contains(&row) {
        bail!("--from-published is for row {}, which --rows leaves out", row.name());
    }
    let published_checkpoint =
        args.from_published.then(|| find(args, PUBLISHED, ModelFiles::File)).transpose()?;
    Ok(Request {
        table,
        rows: if args.rows.is_empty() { Row::ALL.to_vec() } else { in_order(&args.rows) },
        models: found_models(args, &family)?,
        family,
        seeds: args.seeds,
        dataset,
        devices: args.device.clone(),
        published_checkpoint,
        meteor: has_meteor(),
        out,
    })
}

/// Returns distinct rows in the table's order.
fn in_order(rows: &[Row]) -> Vec<Row> {
    Row::ALL.into_iter().filter(|row| rows.contains(row)).collect()
}

fn fetch_data_set(table: Table, dataset: &Path) -> anyhow::Result<()> {
    if !hub::may_lack_data_set(dataset) {
        return Ok(());
    }
    terminal::say(&format!("fetching {} to {}", table.data_set(), printable_path(dataset)));
    let set = match table {
        Table::One => &hub::FLICKR8K,
        Table::Two => &hub::FLICKR30K,
    };
    let args = hub::cli::FetchDataSetArgs { out: Some(dataset.to_owned()), mirror: None };
    hub::cli::fetch_data_set(
        set,
        &args,
        &mut terminal::Bar::default(),
        &mut LineWriter::new(terminal::Notes),
    )
    .with_context(|| {
        format!(
            "cannot download {}\nhint: if it is on this machine, name its folder with --dataset",
            table.data_set()
        )
    })
}

fn has_meteor() -> bool {
    caption_metrics::meteor::Resources::open_default().is_ok()
}

/// Downloads METEOR's resources with pip; without them the other scores are still computed.
fn fetch_meteor() {
    if has_meteor() {
        return;
    }
    terminal::say("downloading METEOR's resources");
    if let Err(error) = caption_metrics::cli::fetch_meteor(
        &caption_metrics::cli::FetchMeteorArgs { from: None },
        &mut LineWriter::new(terminal::Notes),
    ) {
        terminal::say(&format!("METEOR will be missing from the scores: {error}"));
    }
}

fn found_models(args: &Args, family: &Family) -> anyhow::Result<FoundModels> {
    let recipe = &family.recipe;
    let find = |name: &str, needed| -> anyhow::Result<Option<String>> {
        if name.is_empty() || [RANDOM, LIT, PRETRAINED].contains(&name) {
            return Ok(None);
        }
        find(args, name, needed).map(Some)
    };
    let nli = if recipe.keywords.categories == "nli" { recipe.keywords.nli.as_str() } else { "" };
    let reads_sentences =
        recipe.keywords.synonyms == "sentence" || recipe.pretrain.encoder.is_some();
    let sentence = if reads_sentences { recipe.keywords.sentence.as_str() } else { "" };
    Ok(FoundModels {
        clip: find(&recipe.models.clip, ModelFiles::Clip)?,
        gpt2: find(&recipe.models.gpt2, ModelFiles::LanguageModel)?,
        vgg: find(&recipe.models.vgg, ModelFiles::File)?,
        nli: find(nli, ModelFiles::LanguageModel)?,
        sentence: find(sentence, ModelFiles::LanguageModel)?,
    })
}

/// Returns the path of a model under `--weights` or downloaded; in a dry run its name where it
/// would have to be downloaded.
fn find(args: &Args, name: &str, needed: ModelFiles) -> anyhow::Result<String> {
    if let Some(folder) = &args.weights {
        let local = name.trim_start_matches("hf:").rsplit('/').next().unwrap_or(name);
        let path = folder.join(local);
        if !path.exists() && !args.dry_run {
            bail!(
                "{} does not exist\nhint: on a machine with a network, run capsmith fetch weights {name} --out {}",
                printable_path(&path),
                printable_path(folder)
            );
        }
        return Ok(path.display().to_string());
    }
    if args.dry_run {
        let path = models::downloaded(name, needed)?;
        return Ok(path.map_or_else(|| name.to_owned(), |path| path.display().to_string()));
    }
    let path = models::find(name, needed)
        .context("without a network, name a folder with the models by --weights")?;
    Ok(path.display().to_string())
}

/// Prints the plan, with the action of each step and the time that it took before.
fn show(plan: &Plan) -> anyhow::Result<()> {
    let mut text = String::new();
    for (index, stage) in plan.stages().iter().enumerate() {
        let status = match plan.action(index)? {
            StageAction::Keep => "finished".to_owned(),
            StageAction::Resume => "to resume".to_owned(),
            StageAction::Run => "to run".to_owned(),
            StageAction::Redo => format!("to run again{}", changes(plan, index)),
            StageAction::Restore => "to run again, since its results are damaged".to_owned(),
        };
        let (name, arguments) = (&stage.name, shell_command(&stage.arguments));
        let took = took(plan, index);
        let _ = writeln!(text, "# {name}: {status}{took}\ncapsmith {arguments}\n");
    }
    terminal::print(&text)
}
