//! `capsmith reproduce`: a table of the paper, from data to scores.

use std::fmt::Write as _;
use std::io::LineWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args as ClapArgs, ValueEnum};
use foreign_text::printable_path;
use hub::ModelFiles;
use indicatif::HumanDuration;
use networks::device::parse_device;
use studies::reproduce::{
    Estimate, Family, FoundModels, Request, Results, Row, Table, results, write_page,
};
use studies::stages::{self, Outcome, Plan, Runner, StageAction};
use tch::{Kind, Tensor};

use crate::stage_screen::{Screen, changes};
use crate::{bounds, models, terminal};

/// The paper's own captioner, at the hub.
const PUBLISHED: &str = "clip-prefix";
/// What a recipe calls a model that is made with random weights.
const RANDOM: &str = "random";

/// Reproduce a table of the paper: every row from data to scores.
///
/// Fetches what is missing, computes embeddings and keywords, trains, captions and evaluates, and writes the
/// table beside the published one (table1.md, .csv, .json, .html). Each step is a `capsmith` command that
/// --dry-run shows; with --resume, finished ones are kept, and those with other inputs than before are run
/// again with all that depends on them. A row that fails does not stop the others, but the exit code says so.
#[derive(ClapArgs)]
pub struct Args {
    /// Which table: of Flickr8k, or of Flickr30k.
    #[arg(value_enum)]
    pub table: WhichTable,
    /// Configurations: flickr8k, flickr30k, small or demo, or a folder like those of configs/. The table's
    /// full-size ones unless given; small runs in about an hour on two CPU cores.
    #[arg(long, value_name = "FAMILY|DIR")]
    pub configs: Option<String>,
    /// Only these rows, such as sbg-1,sbg-5,merge-rnn.
    #[arg(long, value_delimiter = ',', value_parser = row, value_name = "ROW,...")]
    pub rows: Vec<Row>,
    /// Runs of each row, for a mean and a standard deviation; the recipe's number unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub seeds: Option<u64>,
    /// Keep finished steps and resume the others.
    #[arg(long)]
    pub resume: bool,
    /// Run every step again in the study's folder, in place of what is finished there.
    #[arg(long, conflicts_with = "resume")]
    pub rerun: bool,
    /// Only show the commands, and how long they may take by a quick measurement.
    #[arg(long)]
    pub dry_run: bool,
    /// Folder of the data set; data/flickr8k or data/flickr30k unless given, fetched where it is missing.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Folder with the models, for machines without a network: DIR/clip-vit-large-patch14, DIR/gpt2, ...,
    /// as `capsmith fetch weights NAME --out DIR` lays them out. Fetched where it is not given.
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Devices, which runs take in turn: cpu, cuda:0, or cuda:0,cuda:1; the configured ones unless given.
    #[arg(long, value_delimiter = ',')]
    pub device: Vec<String>,
    /// Steps that run side by side; each gets its share of the CPU's cores.
    #[arg(long, default_value_t = 1, value_parser = bounds::whole(1..=bounds::MOST_JOBS))]
    pub jobs: usize,
    /// Score the checkpoint that the paper published in row prefix-gradient-clipping, instead of training.
    #[arg(long)]
    pub from_published: bool,
    /// Folder of the study; reproduce/ and the table's name unless given.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

/// A table of the paper.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum WhichTable {
    /// Flickr8k.
    Table1,
    /// Flickr30k.
    Table2,
}

impl From<WhichTable> for Table {
    fn from(table: WhichTable) -> Self {
        match table {
            WhichTable::Table1 => Self::One,
            WhichTable::Table2 => Self::Two,
        }
    }
}

fn row(text: &str) -> Result<Row, String> {
    Row::ALL.into_iter().find(|row| row.name() == text).ok_or_else(|| {
        let names: Vec<&str> = Row::ALL.iter().map(|row| row.name()).collect();
        format!("there is no such row; the rows are {}", names.join(", "))
    })
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let finished = reproduce(args)?;
    let Some(Finished { results, .. }) = finished else { return Ok(()) };
    let missing: Vec<&str> = results
        .rows
        .iter()
        .filter(|line| !line.is_scored() || !line.failures.is_empty())
        .map(|line| line.row)
        .collect();
    if !missing.is_empty() && terminal::interrupted().is_none() {
        bail!("not all rows could be scored: {}; the table says why", missing.join(", "));
    }
    Ok(())
}

/// A study that came to its end.
pub struct Finished {
    /// The table.
    pub results: Results,
    /// Its page.
    pub page: PathBuf,
}

/// Runs the study; none where it was only to be shown.
pub fn reproduce(args: &Args) -> anyhow::Result<Option<Finished>> {
    let table = Table::from(args.table);
    let out = args.out.clone().unwrap_or_else(|| Path::new("reproduce").join(table.name()));
    if out.join("stages").is_dir() && !(args.resume || args.rerun || args.dry_run) {
        bail!(
            "{} holds a study already; add --resume to resume it, --rerun to run all of it again, or choose another --out",
            printable_path(&out)
        );
    }
    let request = request(args, table, out)?;
    let reproduction = request.plan()?;
    if args.dry_run {
        show(
            &reproduction.plan,
            &Estimate::new(&request, &reproduction, speed(Estimate::device(&reproduction))?),
        )?;
        return Ok(None);
    }
    durable::create_dir_all(&request.out)?;
    let _lock = durable::lock(&request.out.join("lock"))?;
    reproduction.write_configs()?;
    if args.rerun {
        reproduction.plan.outdate()?;
    }
    let outcomes = run_stages(&reproduction.plan, args.jobs)?;
    let results = results(&reproduction, &outcomes, table, &request.rows)?;
    results.write(&request.out)?;
    terminal::print(&format!("\n{}", results.markdown()))?;
    let page = request.out.join(format!("{}.html", table.name()));
    write_page(&page, &results, &reproduction)?;
    terminal::say(&format!("the table with its captions: {}", printable_path(&page)));
    Ok(Some(Finished { results, page }))
}

/// This program, to run stages with.
pub fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find capsmith's own program")
}

/// Runs a plan on the screen.
fn run_stages(plan: &Plan, jobs: usize) -> anyhow::Result<Vec<Outcome>> {
    let stop = terminal::stop_flag()?;
    // The stages under way save what they have.
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

/// What is to be done, with everything that is missing fetched, unless it is only to be shown.
fn request(args: &Args, table: Table, out: PathBuf) -> anyhow::Result<Request> {
    let name = args.configs.clone().unwrap_or_else(|| table.data_set().to_lowercase());
    let family = Family::open(&name)?;
    let dataset = args.data.clone().unwrap_or_else(|| PathBuf::from(&family.recipe.dataset));
    if !args.dry_run {
        fetch_data_set(table, &dataset)?;
        fetch_meteor();
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

/// The rows in the table's order, each once.
fn in_order(rows: &[Row]) -> Vec<Row> {
    Row::ALL.into_iter().filter(|row| rows.contains(row)).collect()
}

fn fetch_data_set(table: Table, dataset: &Path) -> anyhow::Result<()> {
    if dataset.exists() {
        return Ok(());
    }
    terminal::say(&format!(
        "{} is not there: fetching {}",
        printable_path(dataset),
        table.data_set()
    ));
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
        format!("cannot fetch {}; --data names its folder on this machine", table.data_set())
    })
}

fn has_meteor() -> bool {
    caption_metrics::meteor::Resources::open_default().is_ok()
}

/// METEOR's resources come over pip; without them the other scores come out all the same.
fn fetch_meteor() {
    if has_meteor() {
        return;
    }
    terminal::say("fetching METEOR's resources");
    if let Err(error) = caption_metrics::cli::fetch_meteor(
        &caption_metrics::cli::FetchMeteorArgs { from: None },
        &mut LineWriter::new(terminal::Notes),
    ) {
        terminal::say(&format!("METEOR is left out: {error}"));
    }
}

fn found_models(args: &Args, family: &Family) -> anyhow::Result<FoundModels> {
    let recipe = &family.recipe;
    let find = |name: &str, needed| -> anyhow::Result<Option<String>> {
        if name.is_empty() || name == RANDOM {
            return Ok(None);
        }
        find(args, name, needed).map(Some)
    };
    let nli = if recipe.keywords.categories == "nli" { recipe.keywords.nli.as_str() } else { "" };
    Ok(FoundModels {
        clip: find(&recipe.models.clip, ModelFiles::Clip)?,
        gpt2: find(&recipe.models.gpt2, ModelFiles::LanguageModel)?,
        vgg: find(&recipe.models.vgg, ModelFiles::File)?,
        nli: find(nli, ModelFiles::LanguageModel)?,
    })
}

/// A model in the folder of `--weights`, or one that is fetched; only its name for a dry run without.
fn find(args: &Args, name: &str, needed: ModelFiles) -> anyhow::Result<String> {
    if let Some(folder) = &args.weights {
        let local = name.trim_start_matches("hf:").rsplit('/').next().unwrap_or(name);
        let path = folder.join(local);
        if !path.exists() && !args.dry_run {
            bail!(
                "{} is not there; on a machine with a network: capsmith fetch weights {name} --out {}",
                printable_path(&path),
                printable_path(folder)
            );
        }
        return Ok(path.display().to_string());
    }
    if args.dry_run {
        return Ok(name.to_owned());
    }
    let path = models::find(name, needed)
        .context("--weights names a folder with the models, for machines without a network")?;
    Ok(path.display().to_string())
}

/// Prints the plan, with the action and estimated time of each step.
fn show(plan: &Plan, estimate: &Estimate) -> anyhow::Result<()> {
    let (mut text, mut left) = (String::new(), 0.0);
    for (at, stage) in plan.stages().iter().enumerate() {
        let action = plan.action(at)?;
        let todo = match action {
            StageAction::Keep => "finished".to_owned(),
            StageAction::Resume => "to resume".to_owned(),
            StageAction::Run => "to be run".to_owned(),
            StageAction::Redo => format!("to be run again{}", changes(plan, at)),
            StageAction::Restore => "to be run again, since its results are damaged".to_owned(),
        };
        let seconds = if action == StageAction::Keep { 0.0 } else { estimate.seconds(at) };
        left += seconds;
        let (name, arguments) = (&stage.name, stage.arguments.join(" "));
        let time =
            if seconds > 0.0 { format!(", about {}", duration(seconds)) } else { String::new() };
        let _ = writeln!(text, "# {name}: {todo}{time}\ncapsmith {arguments}\n");
    }
    let _ = writeln!(
        text,
        "In all about {}, one after the other: estimated from sizes at the {:.0} GFLOP/s that a product of matrices reached.",
        duration(left),
        estimate.speed() / 1e9,
    );
    terminal::print(&text)
}

fn duration(seconds: f64) -> HumanDuration {
    HumanDuration(Duration::from_secs_f64(seconds))
}

/// Measures for half a second how many floating-point operations a second a device computes, by a product
/// of matrices of GPT-2 small's size.
fn speed(device: &str) -> anyhow::Result<f64> {
    let options = (Kind::Float, parse_device(device)?);
    let left = Tensor::f_rand([512, 768], options)?;
    let right = Tensor::f_rand([768, 3072], options)?;
    // Reading a value waits for a GPU.
    let once = || left.matmul(&right).double_value(&[0, 0]);
    once();
    let (started, mut products) = (Instant::now(), 0.0);
    while started.elapsed() < Duration::from_millis(500) {
        once();
        products += 1.0;
    }
    Ok(2.0 * 512.0 * 768.0 * 3072.0 * products / started.elapsed().as_secs_f64())
}
