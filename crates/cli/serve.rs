//! `capsmith serve`.

use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, bail};
use foreign_text::printable;
use networks::clip;
use networks::device::{self, parse_device};
use precompute::{Dtype, EncoderSource, Network};
use runs::RunFolder;
use serve::{Host, Limits, Models, RunSource};
use words::ClipTokenizer;

use crate::{evaluate, models, terminal};

/// Caption pictures in the browser, or over HTTP, with trained runs.
///
/// Opens a page at http://127.0.0.1:8080/: drop a picture, choose among the runs, set how they decode,
/// and compare their captions. Programs post pictures to /v1/caption.
///
/// Where a CLIP is served, it says how near each caption is to the picture. Ctrl-C stops the server when
/// requests in flight are answered.
#[derive(clap::Args)]
#[allow(clippy::doc_markdown, reason = "addresses as they are typed")]
#[command(
    after_help = "For programs:\n  curl -F picture=@dog.jpg http://127.0.0.1:8080/v1/caption"
)]
pub struct Args {
    /// Run folder that `capsmith train` wrote; may be repeated. A run is called as its folder is.
    #[arg(long = "run", required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// CLIP's folder or its name at the hub, where it has moved since the runs' embeddings were computed,
    /// or to compare captions with pictures where no run has one.
    #[arg(long)]
    clip: Option<String>,
    /// VGG-16's file or its name at the hub, where it has moved since.
    #[arg(long, value_name = "FILE")]
    vgg: Option<String>,
    /// Device: cpu, cuda or cuda:N.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Where to listen; 0.0.0.0:8080 lets other machines reach it.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    address: String,
    /// Host by which browsers and programs may call the server, such as captions.example.org; may be repeated.
    /// Without it the server answers to localhost and to the host of --address, and to any IP address
    /// where other machines reach it.
    #[arg(long = "allowed-host", value_name = "HOST")]
    allowed_hosts: Vec<Host>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let device = parse_device(&args.device)?;
    let sources = sources(args)?;
    let judge = judge(args, &sources)?;
    let listener = TcpListener::bind(&args.address).with_context(|| {
        format!(
            "cannot listen on {}; choose another address with --address",
            printable(&args.address)
        )
    })?;
    let address = listener.local_addr()?;
    let mut allowed = args.allowed_hosts.clone();
    allowed.extend(args.address.rsplit_once(':').and_then(|(host, _)| host.parse().ok()));
    let stop = terminal::stop_flag()?;
    let names: Vec<String> = sources.iter().map(|source| source.name.clone()).collect();
    #[allow(clippy::result_large_err, reason = "made once, at the start")]
    let load = move || {
        device::set_threads(std::thread::available_parallelism().map_or(1, usize::from));
        Models::load(&sources, judge.as_ref(), device, &mut terminal::Bar::default())
    };
    let ready = || {
        // Requests in flight are answered.
        terminal::hold_stops(true);
        if !address.ip().is_loopback() {
            terminal::say(
                "warning: other machines can reach this server, and nothing asks them for a password",
            );
        }
        terminal::say(&format!("serving {} at http://{address}/ until Ctrl-C", names.join(", ")));
    };
    if !serve::serve(listener, load, &Limits::default(), allowed, &stop, ready)? {
        bail!("some requests in flight could not be answered in time");
    }
    Ok(())
}

/// The runs with all their files found.
fn sources(args: &Args) -> anyhow::Result<Vec<RunSource>> {
    let source = |(path, name): (&PathBuf, String)| {
        let folder = RunFolder::open(path)?;
        let provenance = folder.provenance()?;
        let (option, moved) = match models::network(&provenance) {
            Network::Clip => ("--clip", &args.clip),
            Network::Vgg => ("--vgg", &args.vgg),
        };
        let (model, encoder) = models::image_encoder(path, &provenance, option, moved.as_deref())?;
        let clip = evaluate::reranking_clip(&folder.config()?, args.clip.as_deref())?;
        Ok(RunSource { name, folder, model, encoder, clip })
    };
    args.runs.iter().zip(report::names(&args.runs)?).map(source).collect()
}

/// The CLIP to compare captions with pictures by: that of a run, or as it is named. None where its folder
/// has no tokenizer.
fn judge(args: &Args, sources: &[RunSource]) -> anyhow::Result<Option<EncoderSource>> {
    let mut encoders = sources.iter().map(|source| &source.encoder);
    let of_a_run = encoders.find(|encoder| encoder.network == Network::Clip).cloned();
    let found = match (of_a_run, &args.clip) {
        (Some(encoder), _) => encoder,
        (None, Some(clip)) => {
            let path = models::find(clip, models::encoder_files(Network::Clip))?;
            EncoderSource { network: Network::Clip, path, dtype: Dtype::F32 }
        }
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
