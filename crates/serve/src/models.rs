//! Trained runs with the image encoders and the CLIP that they need, captioning pictures together.

use std::path::PathBuf;
use std::sync::Arc;

use keywords::TextEncoder;
use networks::memory::OutOfMemory;
use networks::transfer;
use precompute::{EncoderSource, ImageEncoder};
use progress::{Progress, Silent, Unit};
use recipes::Decoding;
use runs::RunFolder;
use tch::{Device, Kind, Tensor};
use training::captioner::Captioner;
use training::captions::Caption;
use training::inputs::normalized;
use training::keyword_selector::KeywordSelector;

use crate::backend::{Backend, Candidate, Failure, Picture, Served, ServedRun, Written};
use crate::error::Error;

/// Captions that a run writes at a time: what they hold in memory is the larger the more there are.
const CAPTIONS_TOGETHER: usize = 64;

/// A run to serve, whose files have been found.
#[derive(Debug, Clone)]
pub struct RunSource {
    /// What it is to be called.
    pub name: String,
    /// The run.
    pub folder: RunFolder,
    /// What its image encoder is called.
    pub model: String,
    /// Its image encoder.
    pub encoder: EncoderSource,
    /// The CLIP that it compares captions by, if it does.
    pub clip: Option<PathBuf>,
}

/// Trained runs with all that they need.
pub struct Models {
    runs: Vec<Run>,
    encoders: Vec<(EncoderSource, ImageEncoder)>,
    judge: Option<Judge>,
    device: Device,
}

struct Run {
    name: String,
    captioner: Captioner,
    selector: Option<KeywordSelector>,
    encoder: usize,
    most_tokens: usize,
}

/// The CLIP that says how near captions are to pictures.
struct Judge {
    encoder: usize,
    texts: TextEncoder,
}

impl Models {
    /// Loads runs, and the CLIP at `judge` to compare captions with pictures. What several runs need is
    /// loaded once.
    ///
    /// # Errors
    /// Names the run or file.
    pub fn load(
        sources: &[RunSource],
        judge: Option<&EncoderSource>,
        device: Device,
        progress: &mut dyn Progress,
    ) -> Result<Self, Error> {
        let mut models = Self { runs: Vec::new(), encoders: Vec::new(), judge: None, device };
        let total = Some(sources.len() as u64);
        progress.start("loading runs", Unit::Count("runs"), total, 0);
        for source in sources {
            let run = models.load_run(source)?;
            models.runs.push(run);
            progress.position(models.runs.len() as u64);
        }
        progress.finish();
        if let Some(source) = judge {
            let encoder = models.encoder(source)?;
            let texts = TextEncoder::load(&source.path, device, Kind::Float)?;
            models.judge = Some(Judge { encoder, texts });
        }
        Ok(models)
    }

    fn load_run(&mut self, source: &RunSource) -> Result<Run, Error> {
        let fail = |error| Error::Run { run: source.name.clone(), source: Box::new(error) };
        let encoder = self.encoder(&source.encoder)?;
        let captioner =
            Captioner::load(&source.folder, self.device, None, &[], source.clip.as_deref())
                .map_err(fail)?;
        captioner.check_encoder(&self.encoders[encoder].1, &source.model).map_err(fail)?;
        Ok(Run {
            name: source.name.clone(),
            selector: captioner.keyword_selector().map_err(fail)?,
            most_tokens: captioner.most_tokens().map_err(fail)?,
            captioner,
            encoder,
        })
    }

    /// The number of the encoder from these files.
    fn encoder(&mut self, source: &EncoderSource) -> Result<usize, Error> {
        let known = self.encoders.iter().position(|(known, _)| known == source);
        if let Some(known) = known {
            return Ok(known);
        }
        self.encoders.push((source.clone(), ImageEncoder::load(source, self.device)?));
        Ok(self.encoders.len() - 1)
    }

    /// For each encoder the embeddings of the pictures that were made ready for it.
    fn embed(&self, pictures: &[Picture]) -> Result<Vec<Option<Embedded>>, Error> {
        let encoders = self.encoders.iter().enumerate();
        encoders.map(|(number, (_, encoder))| Embedded::of(pictures, number, encoder)).collect()
    }

    /// Says of all captions how near they are to their pictures.
    fn judge(&self, all: &mut [Vec<Written>], embedded: &[Option<Embedded>]) -> Result<(), Error> {
        let Some(judge) = &self.judge else { return Ok(()) };
        let Some(pictures) = &embedded[judge.encoder] else { return Ok(()) };
        let mut candidates: Vec<(usize, &mut Candidate)> = Vec::new();
        for (picture, written) in all.iter_mut().enumerate() {
            let captions = written.iter_mut().flat_map(|written| &mut written.captions);
            candidates.extend(captions.map(|candidate| (picture, candidate)));
        }
        let texts: Vec<&str> =
            candidates.iter().map(|(_, candidate)| candidate.caption.as_str()).collect();
        let texts = judge.texts.encode(&texts)?;
        let places: Vec<usize> = candidates.iter().map(|(picture, _)| *picture).collect();
        let images = normalized(&pictures.rows(&places)?);
        let cosines =
            (texts * images).f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Double)?;
        for ((_, candidate), cosine) in candidates.into_iter().zip(Vec::<f64>::try_from(cosines)?) {
            candidate.similarity = Some(cosine);
        }
        Ok(())
    }

    fn caption_all(&self, pictures: &[Picture]) -> Result<Vec<Vec<Written>>, Error> {
        let embedded = self.embed(pictures)?;
        let empty = Written { captions: Vec::new(), keywords: None };
        let mut all: Vec<Vec<Written>> =
            pictures.iter().map(|picture| vec![empty.clone(); picture.tasks.len()]).collect();
        for group in groups(pictures) {
            let run = &self.runs[group.run];
            let places: Vec<usize> = group.members.iter().map(|&(picture, _)| picture).collect();
            let Some(embedded) = &embedded[run.encoder] else { continue };
            let written = run.write(&embedded.rows(&places)?, group.decoding)?;
            for (&(picture, task), written) in group.members.iter().zip(written) {
                all[picture][task] = written;
            }
        }
        self.judge(&mut all, &embedded)?;
        Ok(all)
    }
}

impl Run {
    /// What it writes of pictures with these embeddings `[pictures, dim]`.
    fn write(&self, embeddings: &Tensor, decoding: &Decoding) -> Result<Vec<Written>, Error> {
        let fail = |error| Error::Run { run: self.name.clone(), source: Box::new(error) };
        let pictures =
            self.captioner.image_inputs(embeddings, self.selector.as_ref()).map_err(fail)?;
        let batch_size = CAPTIONS_TOGETHER / decoding.strategy.continuations();
        let decoding = Decoding { batch_size: batch_size.max(1), ..decoding.clone() };
        let captions =
            self.captioner.caption_with(&pictures, &decoding, &mut Silent).map_err(fail)?;
        let mut keywords = pictures.keywords.map(Vec::into_iter);
        let written = captions.into_iter().map(|captions| Written {
            captions: ranked(captions),
            keywords: keywords.as_mut().and_then(Iterator::next),
        });
        Ok(written.collect())
    }
}

impl Backend for Models {
    fn served(&self) -> Served {
        let run = |run: &Run| ServedRun {
            name: run.name.clone(),
            config: Arc::new(run.captioner.config.clone()),
            encoder: run.encoder,
            most_tokens: run.most_tokens,
        };
        let preprocessing = |(_, encoder): &(_, ImageEncoder)| encoder.preprocessing().clone();
        Served {
            runs: self.runs.iter().map(run).collect(),
            preprocessings: self.encoders.iter().map(preprocessing).collect(),
            similarity: self.judge.as_ref().map(|judge| judge.encoder),
        }
    }

    fn caption(&mut self, pictures: &[Picture]) -> Result<Vec<Vec<Written>>, Failure> {
        let error = match self.caption_all(pictures) {
            Ok(written) => return Ok(written),
            Err(error) => error,
        };
        match OutOfMemory::in_error(&error) {
            // Together they do not fit; half of them may.
            Some(_) if pictures.len() > 1 => {
                let (first, others) = pictures.split_at(pictures.len() / 2);
                let mut written = self.caption(first)?;
                written.extend(self.caption(others)?);
                Ok(written)
            }
            Some(exhausted) => Err(exhausted.into()),
            None => Err(Failure::Other(error.to_string())),
        }
    }
}

/// Embeddings of some of the pictures by one encoder.
struct Embedded {
    /// `[pictures, dim]`, f32.
    embeddings: Tensor,
    /// For each picture its row, where it has one.
    row_of: Vec<Option<i64>>,
}

impl Embedded {
    /// None where no picture was made ready for the encoder.
    fn of(
        pictures: &[Picture],
        number: usize,
        encoder: &ImageEncoder,
    ) -> Result<Option<Self>, Error> {
        let mut ready: Vec<&[u8]> = Vec::new();
        let mut row_of = Vec::with_capacity(pictures.len());
        for picture in pictures {
            let pixels = picture.pixels[number].as_deref();
            row_of.push(pixels.map(|_| ready.len() as i64));
            ready.extend(pixels);
        }
        if ready.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { embeddings: encoder.encode_pictures(&ready)?, row_of }))
    }

    /// The embeddings of pictures, by their numbers, all of which have one.
    fn rows(&self, pictures: &[usize]) -> Result<Tensor, Error> {
        let rows: Vec<i64> = pictures.iter().filter_map(|&picture| self.row_of[picture]).collect();
        let rows = transfer::to_device(&Tensor::f_from_slice(&rows)?, self.embeddings.device())?;
        Ok(self.embeddings.f_index_select(0, &rows)?)
    }
}

/// Tasks of one run with equal decoding.
struct Group<'p> {
    run: usize,
    decoding: &'p Decoding,
    /// Numbers of the picture and of its task.
    members: Vec<(usize, usize)>,
}

fn groups(pictures: &[Picture]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for (number, picture) in pictures.iter().enumerate() {
        for (place, task) in picture.tasks.iter().enumerate() {
            let known = groups
                .iter_mut()
                .find(|group| group.run == task.run && *group.decoding == task.decoding);
            match known {
                Some(group) => group.members.push((number, place)),
                None => groups.push(Group {
                    run: task.run,
                    decoding: &task.decoding,
                    members: vec![(number, place)],
                }),
            }
        }
    }
    groups
}

/// Captions from the highest score to the lowest; of equal ones the first first.
fn ranked(mut captions: Vec<Caption>) -> Vec<Candidate> {
    captions.sort_by(|a, b| b.score.total_cmp(&a.score));
    let candidate = |Caption { text, score }| Candidate { caption: text, score, similarity: None };
    captions.into_iter().map(candidate).collect()
}
