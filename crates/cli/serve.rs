//! `capsmith serve`.

use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, bail};
use foreign_text::printable;
use networks::clip;
use networks::device::{self, parse_device};
use pictures::PictureFile;
use precompute::{Dtype, EncoderSource, Network};
use recipes::System;
use runs::RunFolder;
use serve::{Host, Models, Origin, RunSource, Settings};
use words::ClipTokenizer;

use crate::{dtype, evaluate, models, terminal};

/// Serve trained runs over HTTP, with a web page to caption pictures.
///
/// Open http://127.0.0.1:8080/ in a browser: drop a picture, choose runs, set their decoding, and
/// compare their captions. Programs post pictures to /v1/caption; http://127.0.0.1:8080/docs
/// describes the interface, and /openapi.json is its OpenAPI file, for client generators.
///
/// If CLIP is available, each caption comes with its CLIPScore. Ctrl-C stops the server after it
/// has answered the requests in flight.
#[derive(clap::Args)]
#[allow(clippy::doc_markdown, reason = "addresses as they are typed")]
#[command(after_help = "For programs:
  curl -F picture=@dog.jpg http://127.0.0.1:8080/v1/caption
  curl -F picture=@dog.jpg -F picture=@cat.jpg 'http://127.0.0.1:8080/v1/caption?runs=sbg,clipping'
  curl -H 'content-type: image/jpeg' --data-binary @dog.jpg http://127.0.0.1:8080/v1/caption")]
pub struct Args {
    /// Run folder from `capsmith train`; may be repeated. A run is named after its folder.
    #[arg(long = "run", required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Folder or hub name of CLIP, if it has moved since `precompute`, or to compare captions with
    /// pictures if no run uses CLIP.
    #[arg(long)]
    clip: Option<String>,
    /// File or hub name of VGG-16, if it has moved since `precompute`.
    #[arg(long, value_name = "FILE")]
    vgg: Option<String>,
    /// Name or file of EfficientNet-Lite, if it has moved since `precompute`.
    #[arg(long, value_name = "NAME|FILE")]
    encoder: Option<String>,
    /// Device: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Type of the weights and activations of GPT-2. Other types than f32 are faster and take half
    /// the memory; some captions come out differently. Merge-RNN, which is small, stays as it is.
    /// [default: the run's, f32]
    #[arg(long, value_parser = dtype::names())]
    dtype: Option<String>,
    /// Address to listen on; 0.0.0.0:8080 lets other machines connect
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    address: String,
    /// Port to listen on, instead of the one in --address
    #[arg(long)]
    port: Option<u16>,
    /// Origin whose web pages may use the server, such as `https://example.org`; may be repeated.
    /// Pages of other origins are refused.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    origins: Vec<Origin>,
    /// Host name that clients may use for the server, such as captions.example.org; may be
    /// repeated. The server always answers to localhost, to the host of --address, and, if other
    /// machines can connect, to any IP address.
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<Host>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = parse_device(&args.device)?;
    let sources = sources(args)?;
    let scoring_clip = scoring_clip(args, &sources)?;
    let host = args.address.rsplit_once(':').map_or(&*args.address, |(host, _)| host);
    let requested = match args.port {
        Some(port) => format!("{host}:{port}"),
        None => args.address.clone(),
    };
    let listener = TcpListener::bind(&requested).with_context(|| {
        format!(
            "cannot listen on {}\nhint: choose another address with --address or --port",
            printable(&requested)
        )
    })?;
    let address = listener.local_addr()?;
    let mut settings = Settings {
        hosts: args.allowed_hosts.clone(),
        origins: args.origins.clone(),
        samples: samples(&sources)?,
        ..Settings::default()
    };
    settings.hosts.extend(host.parse().ok());
    let stop = terminal::stop_flag()?;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    #[allow(clippy::result_large_err, reason = "called once, at the start")]
    let load = move || {
        device::set_threads(std::thread::available_parallelism().map_or(1, usize::from));
        device::keep_freed_memory();
        Models::load(&sources, scoring_clip.as_ref(), device, &mut terminal::Bar::default())
    };
    let ready = || {
        // The server answers the requests in flight before it stops.
        terminal::hold_stops(true);
        if !address.ip().is_loopback() {
            terminal::say("warning: other machines can reach this server without a password");
        }
        terminal::say(&format!("serving {} at http://{address}/ (Ctrl-C stops)", names.join(", ")));
    };
    if !serve::serve(listener, load, settings, &stop, ready)? {
        bail!("stopped before some requests in flight were answered");
    }
    Ok(())
}

/// Finds the files of all runs.
fn sources(args: &Args) -> anyhow::Result<Vec<RunSource>> {
    let source = |(path, name): (&PathBuf, String)| {
        let folder = RunFolder::open(path)?;
        let provenance = folder.provenance()?;
        let network = models::network(&provenance, args.clip.as_deref(), args.encoder.as_deref());
        let (option, moved) = match network {
            Network::Clip | Network::Imported => ("--clip", &args.clip),
            Network::Vgg => ("--vgg", &args.vgg),
            Network::EfficientNetLite => ("--encoder", &args.encoder),
        };
        let (model, encoder) =
            models::image_encoder(path, &provenance, network, option, moved.as_deref())?;
        let config = folder.config()?;
        let clip = evaluate::reranking_clip(&config, args.clip.as_deref())?;
        provenance.learned_from_line(&config, &name).iter().for_each(|line| terminal::say(line));
        let has_gpt2 = !matches!(config.system, System::MergeRnn(_));
        let settings =
            args.dtype.as_ref().filter(|_| has_gpt2).map(dtype::setting).into_iter().collect();
        Ok(RunSource { name, folder, settings, model, encoder, clip })
    };
    args.runs.iter().zip(report::names(&args.runs)?).map(source).collect()
}

/// Returns sample pictures of the first run whose data set is there.
fn samples(sources: &[RunSource]) -> anyhow::Result<Vec<PictureFile>> {
    for source in sources {
        let samples = serve::sample_pictures(&source.folder.config()?);
        if !samples.is_empty() {
            return Ok(samples);
        }
    }
    Ok(Vec::new())
}

/// Returns the CLIP to compare captions with pictures by: a run's, or the one of `--clip`.
///
/// `None` if there is neither, or its folder has no tokenizer.
fn scoring_clip(args: &Args, sources: &[RunSource]) -> anyhow::Result<Option<EncoderSource>> {
    let mut encoders = sources.iter().map(|source| &source.encoder);
    let from_run = encoders.find(|encoder| encoder.network == Network::Clip).cloned();
    let found = match (from_run, &args.clip) {
        (Some(encoder), _) => encoder,
        (None, Some(clip)) => models::encoder_source(Network::Clip, clip, Dtype::F32)?,
        (None, None) => return Ok(None),
    };
    match ClipTokenizer::from_folder(clip::folder_of(&found.path)?) {
        Ok(_) => Ok(Some(found)),
        Err(error) => {
            terminal::say(&format!("captions are not compared with pictures: {error}"));
            Ok(None)
        }
    }
}
