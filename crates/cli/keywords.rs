//! `capsmith keywords`: what SBG says of pictures.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use datasets::{Corpus, Layout};
use foreign_text::printable_path;
use hub::Wanted;
use keywords::stages::{ALL_LABELS, ENCYCLOPEDIA, Folder, LABELS};
use keywords::{
    Encyclopedia, ImageKeywords, KeywordsIdentity, Selector, TextEncoder, ZeroShot, compare,
    labels_sha256, nearest_by_wordnet, read_labels, write_labels,
};
use networks::device::parse_device;
use precompute::Embeddings;
use progress::{Progress, Unit};
use tch::Kind;
use training::inputs::{check_data_set, check_pictures, normalized};
use words::{Label, labels};

use crate::terminal::Bar;
use crate::{models, terminal};

#[derive(Subcommand)]
pub enum Command {
    /// Make labels and an encyclopedia of a data set's captions.
    ///
    /// Three stages, each a readable file in the folder: all words (all-labels.json), those without
    /// near-synonyms (labels.json), and those filed under categories (encyclopedia.json). Run again, only
    /// what has other inputs than before is made again.
    Build(BuildArgs),
    /// Choose the keywords of every picture of a data set.
    ///
    /// Writes a line of JSON for each picture, whose keywords are in the order of SBG's prompt. The
    /// labels and the encyclopedia are those of `keywords build`, or the paper's own files.
    Select(SelectArgs),
}

/// How near-synonyms are told.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Synonyms {
    /// A cosine above 0.8 by CLIP's text tower; the paper has a model of sentence-transformers.
    Clip,
    /// The same most frequent sense in WordNet.
    Wordnet,
    /// Not at all.
    None,
}

/// How labels are filed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Categories {
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
    /// How near-synonyms are told, of which the most frequent is kept.
    #[arg(long, value_enum, default_value = "wordnet")]
    synonyms: Synonyms,
    /// How labels are filed under categories.
    #[arg(long, value_enum, default_value = "clip")]
    categories: Categories,
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
    let mut stages = Stages {
        args,
        folder: Folder::new(&args.out),
        clip: Clip { args, encoder: None },
        nli: zero_shot(args)?,
        made: 0,
    };
    let labels = match &args.labels {
        Some(file) => read_labels(file)?,
        None => stages.all_labels(&corpus)?,
    };
    let labels = stages.labels(labels)?;
    stages.encyclopedia(&labels)?;
    if stages.made == 0 {
        terminal::say(&format!("{} is up to date", printable_path(&args.out)));
    }
    Ok(())
}

/// BART, where labels are filed by it.
fn zero_shot(args: &BuildArgs) -> anyhow::Result<Option<ZeroShot>> {
    let Some(nli) = args.nli.as_ref().filter(|_| args.categories == Categories::Nli) else {
        return Ok(None);
    };
    let folder = models::find(nli, Wanted::LanguageModel)?;
    let loaded = ZeroShot::load(&folder, parse_device(&args.device)?);
    Ok(Some(loaded.with_context(|| format!("cannot load BART from {}", printable_path(&folder)))?))
}

/// The stages of a keywords folder, and how many had to be made.
struct Stages<'a> {
    args: &'a BuildArgs,
    folder: Folder,
    clip: Clip<'a>,
    /// Loaded for `--categories nli`.
    nli: Option<ZeroShot>,
    made: usize,
}

impl Stages<'_> {
    /// All words of the captions.
    fn all_labels(&mut self, corpus: &Corpus) -> anyhow::Result<Vec<Label>> {
        let from = [
            ("captions", corpus.fingerprint()),
            ("capsmith", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        if !self.folder.has(ALL_LABELS, &from)? {
            let captions: Vec<&String> =
                corpus.images.iter().flat_map(|image| &image.captions).collect();
            let all = labels::count(&captions);
            self.make(ALL_LABELS, all.len(), "words", |path| write_labels(path, &from, &all))?;
        }
        Ok(self.folder.labels(ALL_LABELS)?)
    }

    /// Those of `labels` that are kept.
    fn labels(&mut self, labels: Vec<Label>) -> anyhow::Result<Vec<Label>> {
        let synonyms = if self.args.labels.is_some() { Synonyms::None } else { self.args.synonyms };
        let mode = match synonyms {
            Synonyms::Clip => format!("clip {}", self.clip.encoder()?.identity()),
            Synonyms::Wordnet => "wordnet".to_owned(),
            Synonyms::None => "none".to_owned(),
        };
        let from = [("labels", labels_sha256(&labels)), ("synonyms", mode)];
        if !self.folder.has(LABELS, &from)? {
            let kept = match synonyms {
                Synonyms::Clip => compare::without_synonyms(self.clip.encoder()?, labels)?,
                Synonyms::Wordnet => labels::without_synonyms(labels),
                Synonyms::None => labels,
            };
            self.make(LABELS, kept.len(), "labels", |path| write_labels(path, &from, &kept))?;
        }
        Ok(self.folder.labels(LABELS)?)
    }

    /// The labels filed under categories.
    fn encyclopedia(&mut self, labels: &[Label]) -> anyhow::Result<()> {
        let mode = match self.args.categories {
            Categories::Clip => format!("clip {}", self.clip.encoder()?.identity()),
            Categories::Wordnet => "wordnet".to_owned(),
            Categories::Nli => {
                format!("nli {}", self.nli.as_ref().map_or("", ZeroShot::identity))
            }
        };
        let from = [("labels", labels_sha256(labels)), ("categories", mode)];
        if self.folder.has(ENCYCLOPEDIA, &from)? {
            return Ok(());
        }
        let filed = Encyclopedia::file::<anyhow::Error>(labels, |labels, categories| {
            Ok(match self.args.categories {
                Categories::Clip => {
                    compare::nearest_by_clip(self.clip.encoder()?, labels, categories)?
                }
                Categories::Wordnet => nearest_by_wordnet(labels, categories),
                Categories::Nli => self.nearest_by_nli(labels, categories)?,
            })
        })?;
        self.make(ENCYCLOPEDIA, labels.len(), "labels filed", |path| filed.save(path, &from))?;
        Ok(self.folder.forget_partials()?)
    }

    fn nearest_by_nli(&self, labels: &[&Label], categories: &[&str]) -> anyhow::Result<Vec<usize>> {
        let nli = self.nli.as_ref().context("name BART's folder with --nli")?;
        let owned: Vec<Label> = labels.iter().map(|label| (*label).clone()).collect();
        let key = format!("nli-{:.16}-{:.16}", nli.identity(), labels_sha256(&owned));
        let mut bar = Bar::new("asking BART", Unit::Count("labels"), labels.len() as u64);
        let nearest = nli.nearest(labels, categories, self.folder.partial(&key), |found| {
            bar.position(found.len() as u64);
            self.folder.keep_partial(&key, found)
        })?;
        bar.finish();
        Ok(nearest)
    }

    fn make(
        &mut self,
        name: &str,
        count: usize,
        what: &str,
        write: impl FnOnce(&Path) -> Result<(), keywords::Error>,
    ) -> anyhow::Result<()> {
        self.folder.make(name, write)?;
        self.made += 1;
        terminal::say(&format!("{}: {count} {what}", printable_path(&self.folder.file(name))));
        Ok(())
    }
}

/// CLIP's text tower, loaded where a stage asks for it.
struct Clip<'a> {
    args: &'a BuildArgs,
    encoder: Option<TextEncoder>,
}

impl Clip<'_> {
    fn encoder(&mut self) -> anyhow::Result<&TextEncoder> {
        if self.encoder.is_none() {
            let Some(clip) = &self.args.clip else {
                bail!(
                    "--categories clip and --synonyms clip compare words by a CLIP; name it with --clip, or say --categories wordnet"
                );
            };
            self.encoder = Some(encoder(clip, &self.args.device)?);
        }
        self.encoder.as_ref().context("CLIP is loaded")
    }
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
    if args.out.exists() {
        if *ImageKeywords::open(&args.out)?.identity() == identity {
            terminal::say(&format!(
                "{} is finished already; nothing to do",
                printable_path(&args.out)
            ));
            return Ok(());
        }
        bail!(
            "{} holds keywords selected from something else; choose another --out, or move it away",
            printable_path(&args.out)
        );
    }
    let selector = Selector::new(&labels, encyclopedia.as_ref());
    let texts = encoder.encode(selector.texts())?;
    let images = normalized(&embeddings.tensor(encoder.device())?);
    let all = compare::select_all(&selector, &images, &texts, &mut Bar::default())?;
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

/// Reads the labels, and the encyclopedia where it is wanted: files that are named, or else the
/// folder's own.
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

/// Embeddings must be of this data set, by this CLIP.
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
