//! `capsmith keywords`: keyword files for SBG.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use datasets::Corpus;
use foreign_text::printable_path;
use hub::ModelFiles;
use keywords::{
    Categories, Encyclopedia, Folder, ImageKeywords, KeywordsIdentity, LABELS, LabelSource,
    Selector, SentenceEncoder, Synonyms, TextEncoder, ZeroShot, compare, labels_sha256,
    read_labels,
};
use networks::device::parse_device;
use precompute::Embeddings;
use tch::Kind;
use training::inputs::{check_data_set, check_pictures};
use words::Label;

use crate::data_set::DataSet;
use crate::terminal::Bar;
use crate::{models, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Build labels and an encyclopedia from a data set's captions.
    ///
    /// Writes three readable files: all words (all-labels.json), the words without near-synonyms
    /// (labels.json), and these sorted into categories (encyclopedia.json). Run again, the command
    /// rebuilds only files whose inputs have changed.
    Build(BuildArgs),
    /// Select the keywords of every picture of a data set.
    ///
    /// Writes one line of JSON per picture, with its keywords in the order of SBG's prompt. Labels
    /// and encyclopedia come from `keywords build`, or from the paper's published files.
    Select(SelectArgs),
}

/// Method of detecting near-synonyms.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SynonymMethod {
    /// Cosine similarity above 0.8 by CLIP's text tower.
    Clip,
    /// Cosine similarity above 0.8 by a sentence-transformers model, as in the paper.
    Sentence,
    /// Same most frequent sense in WordNet.
    Wordnet,
    /// Keep all words.
    None,
}

/// Method of sorting labels into categories.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CategoryMethod {
    /// Cosine similarity with the category's name by CLIP's text tower.
    Clip,
    /// Distance in WordNet.
    Wordnet,
    /// BART trained on MNLI, as in the paper; slow without a GPU.
    Nli,
}

#[derive(clap::Args)]
pub struct BuildArgs {
    #[command(flatten)]
    data_set: DataSet,
    /// Folder to write.
    #[arg(long)]
    out: PathBuf,
    /// CLIP, required by `--synonyms clip` and `--categories clip`: a Hugging Face folder, or a hub
    /// name such as openai/clip-vit-large-patch14.
    #[arg(long)]
    clip: Option<String>,
    /// Method of detecting near-synonyms, of which only the most frequent word is kept
    #[arg(long, value_enum, default_value = "wordnet")]
    synonyms: SynonymMethod,
    /// Model for `--synonyms sentence`: a folder of sentence-transformers with a BERT and mean
    /// pooling, or a hub name; the paper's is tekraj/avodamed-synonym-generator1.
    #[arg(long, value_name = "MODEL", default_value = models::SENTENCE_MODEL)]
    sentence_model: String,
    /// Method of sorting labels into categories
    #[arg(long, value_enum, default_value = "clip")]
    categories: CategoryMethod,
    /// BART for `--categories nli`: a Hugging Face folder, or the hub name
    /// facebook/bart-large-mnli.
    #[arg(long, value_name = "MODEL", required_if_eq("categories", "nli"))]
    nli: Option<String>,
    /// Label list to sort instead of building one: the paper's published list, as JSON or pickle.
    #[arg(long, value_name = "FILE", conflicts_with = "synonyms")]
    labels: Option<PathBuf>,
    /// Device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
}

#[derive(clap::Args)]
pub struct SelectArgs {
    #[command(flatten)]
    data_set: DataSet,
    /// Embeddings file from `capsmith precompute`.
    #[arg(long)]
    embeddings: PathBuf,
    /// CLIP that computed the embeddings: a Hugging Face folder or a hub name.
    #[arg(long)]
    clip: String,
    /// Folder from `capsmith keywords build`.
    #[arg(long, required_unless_present = "labels")]
    keywords: Option<PathBuf>,
    /// Label list instead of the folder's: the paper's published list, as JSON or pickle.
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Encyclopedia instead of the folder's: the paper's published one, as JSON or pickle.
    #[arg(long, value_name = "FILE")]
    encyclopedia: Option<PathBuf>,
    /// Ablation without the encyclopedia: select the most probable labels only.
    #[arg(long, conflicts_with = "encyclopedia")]
    no_hierarchy: bool,
    /// Keywords file (.jsonl) to write.
    #[arg(long)]
    out: PathBuf,
    /// Device: cpu, cuda or cuda:N
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
    let corpus = args.data_set.load()?;
    let source = match &args.labels {
        Some(file) => LabelSource::List(read_labels(file)?),
        None => LabelSource::Captions {
            captions: corpus.images.iter().flat_map(|image| &image.captions).collect(),
            fingerprint: corpus.fingerprint(),
        },
    };
    let uses_clip = (args.synonyms == SynonymMethod::Clip && args.labels.is_none())
        || args.categories == CategoryMethod::Clip;
    let clip = match &args.clip {
        Some(clip) if uses_clip => Some(encoder(clip, &args.device)?),
        _ => None,
    };
    let clip = || {
        clip.as_ref().context(
            "--categories clip and --synonyms clip need a CLIP\nhint: name its folder with --clip, or use --categories wordnet",
        )
    };
    let bart = zero_shot(args)?;
    let sentence = sentence_encoder(args)?;
    let synonyms = match (args.synonyms, &sentence) {
        _ if args.labels.is_some() => Synonyms::None,
        (_, Some(encoder)) => Synonyms::Sentence(encoder),
        (SynonymMethod::Clip, None) => Synonyms::Clip(clip()?),
        (SynonymMethod::Wordnet, None) => Synonyms::Wordnet,
        (SynonymMethod::None | SynonymMethod::Sentence, None) => Synonyms::None,
    };
    let categories = match args.categories {
        CategoryMethod::Clip => Categories::Clip(clip()?),
        CategoryMethod::Wordnet => Categories::Wordnet,
        CategoryMethod::Nli => Categories::Nli(
            bart.as_ref().context("--categories nli needs BART; name its folder with --nli")?,
        ),
    };
    let folder = Folder::new(&args.out);
    let written = keywords::build(&folder, source, &synonyms, &categories, &mut Bar::default())?;
    if written.is_empty() {
        terminal::say(&format!("{} is up to date", printable_path(&args.out)));
    }
    Ok(())
}

/// Loads the model for `--synonyms sentence`.
fn sentence_encoder(args: &BuildArgs) -> anyhow::Result<Option<SentenceEncoder>> {
    if args.synonyms != SynonymMethod::Sentence || args.labels.is_some() {
        return Ok(None);
    }
    models::sentence_encoder(&args.sentence_model, parse_device(&args.device)?).map(Some)
}

/// Loads BART for `--categories nli`.
fn zero_shot(args: &BuildArgs) -> anyhow::Result<Option<ZeroShot>> {
    let Some(nli) = args.nli.as_ref().filter(|_| args.categories == CategoryMethod::Nli) else {
        return Ok(None);
    };
    let folder = models::find(nli, ModelFiles::LanguageModel)?;
    let loaded = ZeroShot::load(&folder, parse_device(&args.device)?);
    Ok(Some(loaded.with_context(|| format!("cannot load BART from {}", printable_path(&folder)))?))
}

fn encoder(clip: &str, device: &str) -> anyhow::Result<TextEncoder> {
    let folder = models::find(clip, ModelFiles::ClipText)?;
    TextEncoder::load(&folder, parse_device(device)?, Kind::Float)
        .with_context(|| format!("cannot load CLIP from {}", printable_path(&folder)))
}

fn select(args: &SelectArgs) -> anyhow::Result<()> {
    let corpus = args.data_set.load()?;
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
    let texts = encoder.encode(selector.texts())?;
    let images = networks::normalized(&embeddings.tensor(encoder.device())?)?;
    let all = compare::select_all(&selector, &images, &texts, &mut Bar::default())?;
    let count: usize = all.iter().map(Vec::len).sum();
    let pictures = embeddings.names().iter().cloned().zip(all);
    ImageKeywords::save(&args.out, &identity, pictures)?;
    terminal::say(&format!(
        "wrote {}: {count} keywords of {} pictures, each compared with {} texts",
        printable_path(&args.out),
        embeddings.names().len(),
        selector.texts().len()
    ));
    Ok(())
}

/// Reads the labels and, unless `--no-hierarchy`, the encyclopedia: named files, or the folder's.
fn sources(args: &SelectArgs) -> anyhow::Result<(Vec<Label>, Option<Encyclopedia>)> {
    let folder = |option: &str| {
        args.keywords.as_deref().map(Folder::new).with_context(|| {
            format!("name a file with {option}, or a folder from `capsmith keywords build` with --keywords")
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

/// Fails unless this CLIP computed the embeddings from this data set.
fn check(
    args: &SelectArgs,
    corpus: &Corpus,
    embeddings: &Embeddings,
    encoder: &TextEncoder,
) -> anyhow::Result<()> {
    let (file, identity) = (printable_path(&args.embeddings), embeddings.identity());
    let again = format!(
        "\nhint: compute them again: capsmith precompute --dataset {} --clip {}",
        printable_path(&args.data_set.dataset),
        args.clip
    );
    check_data_set(&args.embeddings, identity, &args.data_set.dataset, corpus)?;
    check_pictures(embeddings, corpus)?;
    if identity.dimension != encoder.dimension() {
        bail!(
            "{file} holds embeddings of {} values, but text embeddings of {} have {}: another model computed them{again}",
            identity.dimension,
            args.clip,
            encoder.dimension()
        );
    }
    if identity.model_sha256 != encoder.identity() {
        bail!(
            "{file} was computed by another CLIP than {}, whose weights have another SHA-256{again}",
            args.clip
        );
    }
    Ok(())
}
