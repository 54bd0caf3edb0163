//! `capsmith keywords`: keyword files for SBG.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use datasets::{Corpus, Layout};
use foreign_text::printable_path;
use hub::Wanted;
use indicatif::ProgressBar;
use keywords::{
    BuildEvent, Categories, Encyclopedia, Folder, ImageKeywords, KeywordsIdentity, LABELS,
    LabelSource, Selector, Synonyms, TextEncoder, ZeroShot, compare, labels_sha256, read_labels,
};
use networks::device::parse_device;
use precompute::Embeddings;
use tch::Kind;
use training::inputs::{check_data_set, check_pictures, normalized};
use words::Label;

use crate::{models, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Make labels and an encyclopedia of a data set's captions.
    ///
    /// Three stages, each a readable file in the folder: all words (all-labels.json), those without
    /// near-synonyms (labels.json), and those filed under categories (encyclopedia.json). Run again, it
    /// rebuilds only the files whose inputs have changed.
    Build(BuildArgs),
    /// Choose the keywords of every picture of a data set.
    ///
    /// Writes a line of JSON for each picture, whose keywords are in the order of SBG's prompt. The
    /// labels and the encyclopedia are those of `keywords build`, or the paper's own files.
    Select(SelectArgs),
}

/// Method of finding near-synonyms.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SynonymsBy {
    /// A cosine above 0.8 by CLIP's text tower; the paper has a model of sentence-transformers.
    Clip,
    /// The same most frequent sense in WordNet.
    Wordnet,
    /// Not at all.
    None,
}

/// Method of filing labels.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CategoriesBy {
    /// By the cosine with the category's name, by CLIP's text tower.
    Clip,
    /// By the distance in WordNet.
    Wordnet,
    /// By BART, trained on MNLI, as the paper: slow without a GPU.
    Nli,
}

#[derive(clap::Args)]
pub struct BuildArgs {
    /// Folder with the captions and the folder of pictures.
    #[arg(long)]
    dataset: PathBuf,
    /// Layout of the captions; recognised from the folder unless named.
    #[arg(long, value_name = "kaggle|original|karpathy|webdataset")]
    layout: Option<Layout>,
    /// Folder to write to.
    #[arg(long)]
    out: PathBuf,
    /// CLIP, where a stage needs it: a Hugging Face folder, or a model of the hub such as
    /// openai/clip-vit-large-patch14.
    #[arg(long)]
    clip: Option<String>,
    /// Method of finding near-synonyms, of which the most frequent is kept.
    #[arg(long, value_enum, default_value = "wordnet")]
    synonyms: SynonymsBy,
    /// Method of filing labels under categories.
    #[arg(long, value_enum, default_value = "clip")]
    categories: CategoriesBy,
    /// BART for --categories nli: a Hugging Face folder, or facebook/bart-large-mnli of the hub.
    #[arg(long, value_name = "MODEL", required_if_eq("categories", "nli"))]
    nli: Option<String>,
    /// Labels to file in place of built ones: the paper's published list, or its pickle.
    #[arg(long, value_name = "FILE", conflicts_with = "synonyms")]
    labels: Option<PathBuf>,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

#[derive(clap::Args)]
pub struct SelectArgs {
    /// Folder with the captions and the folder of pictures.
    #[arg(long)]
    dataset: PathBuf,
    /// Layout of the captions; recognised from the folder unless named.
    #[arg(long, value_name = "kaggle|original|karpathy|webdataset")]
    layout: Option<Layout>,
    /// The file that `capsmith precompute` wrote.
    #[arg(long)]
    embeddings: PathBuf,
    /// The CLIP of the embeddings: a Hugging Face folder, or a model of the hub.
    #[arg(long)]
    clip: String,
    /// Folder that `capsmith keywords build` wrote.
    #[arg(long, required_unless_present = "labels")]
    keywords: Option<PathBuf>,
    /// Labels in place of the folder's: the paper's published list, or its pickle.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// An encyclopedia in place of the folder's: the paper's published one, or its pickle.
    #[arg(long, value_name = "FILE")]
    encyclopedia: Option<PathBuf>,
    /// The variant without the walk through the encyclopedia: only the most probable labels.
    #[arg(long, conflicts_with = "encyclopedia")]
    no_hierarchy: bool,
    /// File to write.
    #[arg(long)]
    out: PathBuf,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Build(args) => build(args),
        Command::Select(args) => select(args),
    }
}

fn build(args: &BuildArgs) -> anyhow::Result<()> {
    let corpus = load(&args.dataset, args.layout)?;
    let source = match &args.labels {
        Some(file) => LabelSource::List(read_labels(file)?),
        None => LabelSource::Captions {
            captions: corpus.images.iter().flat_map(|image| &image.captions).collect(),
            fingerprint: corpus.fingerprint(),
        },
    };
    let by_clip = (args.synonyms == SynonymsBy::Clip && args.labels.is_none())
        || args.categories == CategoriesBy::Clip;
    let clip = match &args.clip {
        Some(clip) if by_clip => Some(encoder(clip, &args.device)?),
        _ => None,
    };
    let clip = || {
        clip.as_ref().context(
            "--categories clip and --synonyms clip compare words by a CLIP; name it with --clip, or say --categories wordnet",
        )
    };
    let bart = zero_shot(args)?;
    let synonyms = match args.synonyms {
        _ if args.labels.is_some() => Synonyms::None,
        SynonymsBy::Clip => Synonyms::Clip(clip()?),
        SynonymsBy::Wordnet => Synonyms::Wordnet,
        SynonymsBy::None => Synonyms::None,
    };
    let categories = match args.categories {
        CategoriesBy::Clip => Categories::Clip(clip()?),
        CategoriesBy::Wordnet => Categories::Wordnet,
        CategoriesBy::Nli => Categories::Nli(bart.as_ref().context("name BART with --nli")?),
    };
    let (mut bar, mut is_changed) = (None::<ProgressBar>, false);
    keywords::build(&Folder::new(&args.out), source, &synonyms, &categories, &mut |event| {
        match event {
            BuildEvent::Written { file, count, entries } => {
                is_changed = true;
                if let Some(bar) = bar.take() {
                    bar.finish_and_clear();
                }
                terminal::say(&format!("{}: {count} {entries}", printable_path(file)));
            }
            BuildEvent::Filed { done, total } => {
                let bar = bar.get_or_insert_with(|| terminal::bar(0, "asking BART"));
                bar.set_length(total as u64);
                bar.set_position(done as u64);
            }
        }
    })?;
    if !is_changed {
        terminal::say(&format!("{} is up to date", printable_path(&args.out)));
    }
    Ok(())
}

/// Loads BART for `--categories nli`.
fn zero_shot(args: &BuildArgs) -> anyhow::Result<Option<ZeroShot>> {
    let Some(nli) = args.nli.as_ref().filter(|_| args.categories == CategoriesBy::Nli) else {
        return Ok(None);
    };
    let folder = models::find(nli, Wanted::LanguageModel)?;
    let loaded = ZeroShot::load(&folder, parse_device(&args.device)?);
    Ok(Some(loaded.with_context(|| format!("cannot load BART from {}", printable_path(&folder)))?))
}

fn encoder(clip: &str, device: &str) -> anyhow::Result<TextEncoder> {
    let folder = models::find(clip, Wanted::ClipText)?;
    TextEncoder::load(&folder, parse_device(device)?, Kind::Float)
        .with_context(|| format!("cannot load CLIP from {}", printable_path(&folder)))
}

fn load(dataset: &Path, layout: Option<Layout>) -> anyhow::Result<Corpus> {
    let corpus = Corpus::load(dataset, layout)?;
    for warning in &corpus.warnings {
        terminal::say(&format!("warning: {warning}"));
    }
    Ok(corpus)
}

fn select(args: &SelectArgs) -> anyhow::Result<()> {
    let corpus = load(&args.dataset, args.layout)?;
    let (labels, encyclopedia) = sources(args)?;
    let embeddings = Embeddings::open(&args.embeddings)?;
    let encoder = encoder(&args.clip, &args.device)?;
    check(args, &corpus, &embeddings, &encoder)?;
    let identity = KeywordsIdentity::new(
        corpus.fingerprint(),
        embeddings.sha256().to_owned(),
        encoder.identity().to_owned(),
        labels_sha256(&labels),
        encyclopedia.as_ref().map(Encyclopedia::sha256),
    );
    if ImageKeywords::is_finished(&args.out, &identity)? {
        terminal::say(&format!("{} is finished already; nothing to do", printable_path(&args.out)));
        return Ok(());
    }
    let selector = Selector::new(&labels, encyclopedia.as_ref());
    let bar = terminal::bar(embeddings.names().len() as u64, "selecting keywords");
    let texts = encoder.encode(selector.texts())?;
    let images = normalized(&embeddings.tensor(encoder.device())?);
    let all =
        compare::select_all(&selector, &images, &texts, |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let count: usize = all.iter().map(Vec::len).sum();
    let pictures = embeddings.names().iter().cloned().zip(all);
    ImageKeywords::save(&args.out, &identity, pictures)?;
    terminal::say(&format!(
        "{}: {count} keywords of {} pictures, {} texts compared with each",
        printable_path(&args.out),
        embeddings.names().len(),
        selector.texts().len()
    ));
    Ok(())
}

/// Reads the labels and, with a hierarchy, the encyclopedia: named files, or else the folder's own.
fn sources(args: &SelectArgs) -> anyhow::Result<(Vec<Label>, Option<Encyclopedia>)> {
    let folder = |option: &str| {
        args.keywords.as_deref().map(Folder::new).with_context(|| {
            format!("name a file with {option}, or a folder of `capsmith keywords build` with --keywords")
        })
    };
    let labels = match &args.labels {
        Some(file) => read_labels(file)?,
        None => folder("--labels")?.labels(LABELS)?,
    };
    if args.no_hierarchy {
        return Ok((labels, None));
    }
    let encyclopedia = match &args.encyclopedia {
        Some(file) => Encyclopedia::open(file)?,
        None => folder("--encyclopedia")?.encyclopedia()?,
    };
    Ok((labels, Some(encyclopedia)))
}

/// Fails unless the embeddings are of this data set, by this CLIP.
fn check(
    args: &SelectArgs,
    corpus: &Corpus,
    embeddings: &Embeddings,
    encoder: &TextEncoder,
) -> anyhow::Result<()> {
    let (file, identity) = (printable_path(&args.embeddings), embeddings.identity());
    let again = format!(
        "make them again: capsmith precompute --dataset {} --clip {}",
        printable_path(&args.dataset),
        args.clip
    );
    check_data_set(&args.embeddings, identity, &args.dataset, corpus)?;
    check_pictures(embeddings, corpus)?;
    if identity.dimension != encoder.dimension() {
        bail!(
            "{file} holds embeddings of {} values, but {} makes texts of {}; they are of another model; {again}",
            identity.dimension,
            args.clip,
            encoder.dimension()
        );
    }
    if identity.model_sha256 != encoder.identity() {
        bail!(
            "{file} was made by another CLIP than {} (its weights have another SHA-256); {again}",
            args.clip
        );
    }
    Ok(())
}
