//! Backend of trained runs, with their image encoders and a CLIP for caption similarities.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use caption_metrics::clip_score::{PROMPT, WEIGHT, clip_score};
use keywords::TextEncoder;
use precompute::{EncoderSource, ImageEncoder};
use progress::{Progress, Silent, Unit};
use recipes::Decoding;
use runs::RunFolder;
use tch::{Device, Kind, Tensor};
use training::captioner::Captioner;
use training::captions::{Caption, for_people, ranked};
use training::clip_scorer;
use training::keyword_selector::KeywordSelector;

use crate::backend::{
    Backend, BackendError, Candidate, PreparedImage, ServedModels, ServedRun, TaskOutput,
};
use crate::embeddings::EmbeddingCache;
use crate::error::Error;
use crate::halves::in_halves;

/// Maximum number of captions that a run generates at a time, which bounds memory.
const CAPTIONS_PER_BATCH: usize = 64;

/// Run to serve, with the paths of its files.
#[derive(Debug, Clone)]
pub struct RunSource {
    /// Name in requests.
    pub name: String,
    /// Run folder.
    pub folder: RunFolder,
    /// Settings that override the run's decoding, as `key=value`.
    pub settings: Vec<String>,
    /// Name of the image encoder.
    pub model: String,
    /// Image encoder.
    pub encoder: EncoderSource,
    /// CLIP model that ranks the run's captions, if any.
    pub clip: Option<PathBuf>,
}

/// Loaded runs and the models that they need.
pub struct Models {
    runs: Vec<LoadedRun>,
    encoders: Vec<(EncoderSource, ImageEncoder)>,
    /// Text towers of CLIP.
    text_encoders: Vec<Rc<TextEncoder>>,
    embeddings: EmbeddingCache,
    similarity_model: Option<SimilarityModel>,
    device: Device,
}

struct LoadedRun {
    name: String,
    captioner: Captioner,
    selector: Option<KeywordSelector>,
    encoder: usize,
    max_tokens: usize,
}

/// CLIP model that scores the similarity of captions and images.
struct SimilarityModel {
    encoder: usize,
    texts: Rc<TextEncoder>,
}

impl Models {
    /// Loads runs, and the CLIP model at `similarity_model` for caption similarities, if given.
    ///
    /// Models that several runs share are loaded once.
    ///
    /// # Errors
    /// Fails with the run or file.
    pub fn load(
        sources: &[RunSource],
        similarity_model: Option<&EncoderSource>,
        device: Device,
        progress: &mut dyn Progress,
    ) -> Result<Self, Error> {
        let mut models = Self {
            runs: Vec::new(),
            encoders: Vec::new(),
            text_encoders: Vec::new(),
            embeddings: EmbeddingCache::default(),
            similarity_model: None,
            device,
        };
        let total = Some(sources.len() as u64);
        progress.start("loading runs", Unit::Count("runs"), total, 0);
        for source in sources {
            let run = models.load_run(source)?;
            models.runs.push(run);
            progress.position(models.runs.len() as u64);
        }
        progress.finish();
        if let Some(source) = similarity_model {
            let encoder = models.encoder(source)?;
            let texts = models.text_encoder(&source.path)?;
            models.similarity_model = Some(SimilarityModel { encoder, texts });
        }
        Ok(models)
    }

    fn load_run(&mut self, source: &RunSource) -> Result<LoadedRun, Error> {
        let fail = |error| Error::Run { run: source.name.clone(), source: Box::new(error) };
        let encoder = self.encoder(&source.encoder)?;
        let clip = source.clip.as_ref().map(|clip| self.text_encoder(clip)).transpose();
        let clip = clip.map_err(|error| fail(error.into()))?;
        let captioner = Captioner::load(&source.folder, self.device, None, &source.settings, clip)
            .map_err(fail)?;
        captioner.check_encoder(&self.encoders[encoder].1, &source.model).map_err(fail)?;
        Ok(LoadedRun {
            name: source.name.clone(),
            selector: captioner.keyword_selector().map_err(fail)?,
            max_tokens: captioner.most_tokens().map_err(fail)?,
            captioner,
            encoder,
        })
    }

    /// Returns the index of the encoder loaded from `source`.
    fn encoder(&mut self, source: &EncoderSource) -> Result<usize, Error> {
        let existing = self.encoders.iter().position(|(existing, _)| existing == source);
        if let Some(existing) = existing {
            return Ok(existing);
        }
        self.encoders.push((source.clone(), ImageEncoder::load(source, self.device)?));
        Ok(self.encoders.len() - 1)
    }

    /// Returns the text tower of the CLIP at `path`.
    fn text_encoder(&mut self, path: &Path) -> Result<Rc<TextEncoder>, keywords::Error> {
        if let Some(existing) = self.text_encoders.iter().find(|one| one.path() == path) {
            return Ok(existing.clone());
        }
        let loaded = Rc::new(TextEncoder::load(path, self.device, Kind::Float)?);
        self.text_encoders.push(loaded.clone());
        Ok(loaded)
    }

    /// Returns, for each encoder, the embeddings of the images preprocessed for it.
    fn embed(&mut self, images: &[PreparedImage]) -> Result<Vec<ImageRows>, Error> {
        let encoders = self.encoders.iter().enumerate();
        let embed = |(number, (_, encoder)): (usize, &(_, ImageEncoder))| {
            let encode = |pixels: &[&[u8]]| Ok(encoder.encode_pictures(pixels)?);
            self.embeddings.embed(number, images, encode).map(ImageRows)
        };
        encoders.map(embed).collect()
    }

    /// Sets the similarity of every caption to its image, and its CLIPScore.
    fn add_similarities(
        &self,
        all: &mut [Vec<TaskOutput>],
        embeddings: &[ImageRows],
    ) -> Result<(), Error> {
        let Some(similarity_model) = &self.similarity_model else { return Ok(()) };
        let mut candidates: Vec<(usize, &mut Candidate)> = Vec::new();
        for (image, outputs) in all.iter_mut().enumerate() {
            let captions = outputs.iter_mut().flat_map(|outputs| &mut outputs.captions);
            candidates.extend(captions.map(|candidate| (image, candidate)));
        }
        let texts: Vec<&str> =
            candidates.iter().map(|(_, candidate)| candidate.caption.as_str()).collect();
        let indices: Vec<usize> = candidates.iter().map(|(image, _)| *image).collect();
        if indices.is_empty() {
            return Ok(());
        }
        let images = networks::normalized(&embeddings[similarity_model.encoder].of(&indices)?)?;
        let cosines = |prompt: &str| -> Result<Vec<f64>, Error> {
            let (texts, _) = clip_scorer::encode(&similarity_model.texts, prompt, &texts)?;
            Ok(clip_scorer::row_products(&texts, &images)?)
        };
        let scored = cosines("")?.into_iter().zip(cosines(PROMPT)?);
        for ((_, candidate), (cosine, with_prompt)) in candidates.into_iter().zip(scored) {
            candidate.similarity = Some(cosine);
            candidate.clip_score = Some(clip_score(with_prompt, WEIGHT));
        }
        Ok(())
    }

    fn caption_all(&mut self, images: &[PreparedImage]) -> Result<Vec<Vec<TaskOutput>>, Error> {
        let embeddings = self.embed(images)?;
        let empty = TaskOutput { captions: Vec::new(), keywords: None };
        let mut all: Vec<Vec<TaskOutput>> =
            images.iter().map(|image| vec![empty.clone(); image.tasks.len()]).collect();
        for group in group_tasks(images) {
            let run = &self.runs[group.run];
            let indices: Vec<usize> = group.members.iter().map(|&(image, _)| image).collect();
            let outputs = run.write(&embeddings[run.encoder].of(&indices)?, group.decoding)?;
            for (&(image, task), outputs) in group.members.iter().zip(outputs) {
                all[image][task] = outputs;
            }
        }
        self.add_similarities(&mut all, &embeddings)?;
        Ok(all)
    }
}

impl LoadedRun {
    /// Generates captions for images with embeddings `[images, dim]`.
    fn write(&self, embeddings: &Tensor, decoding: &Decoding) -> Result<Vec<TaskOutput>, Error> {
        let fail = |error| Error::Run { run: self.name.clone(), source: Box::new(error) };
        let images =
            self.captioner.image_inputs(embeddings, self.selector.as_ref()).map_err(fail)?;
        let batch_size = CAPTIONS_PER_BATCH / decoding.strategy.continuations();
        let decoding = Decoding { batch_size: batch_size.max(1), ..decoding.clone() };
        let captions =
            self.captioner.caption_with(&images, &decoding, &mut Silent).map_err(fail)?;
        let mut keywords = images.keywords.map(Vec::into_iter);
        let outputs = captions.into_iter().map(|captions| TaskOutput {
            captions: candidates(captions),
            keywords: keywords.as_mut().and_then(Iterator::next),
        });
        Ok(outputs.collect())
    }
}

impl Backend for Models {
    fn served(&self) -> ServedModels {
        let run = |run: &LoadedRun| ServedRun {
            name: run.name.clone(),
            learned_from: run.captioner.provenance.learned_from(&run.captioner.config),
            config: Arc::new(run.captioner.config.clone()),
            encoder: run.encoder,
            max_tokens: run.max_tokens,
        };
        let preprocessing = |(_, encoder): &(_, ImageEncoder)| encoder.preprocessing().clone();
        ServedModels {
            runs: self.runs.iter().map(run).collect(),
            preprocessings: self.encoders.iter().map(preprocessing).collect(),
            similarity: self
                .similarity_model
                .as_ref()
                .map(|similarity_model| similarity_model.encoder),
        }
    }

    fn caption(&mut self, images: &[PreparedImage]) -> Result<Vec<Vec<TaskOutput>>, BackendError> {
        in_halves(images, &mut |images| self.caption_all(images))
    }
}

/// Embeddings `[1, dim]` of images by one encoder, for those that were preprocessed for it.
struct ImageRows(Vec<Option<Tensor>>);

impl ImageRows {
    /// Returns the embeddings `[images, dim]` of images given by index, all of which must have one.
    fn of(&self, images: &[usize]) -> Result<Tensor, Error> {
        let rows: Vec<&Tensor> =
            images.iter().filter_map(|&image| self.0[image].as_ref()).collect();
        Ok(Tensor::f_cat(&rows, 0)?)
    }
}

/// Tasks of one run with equal decoding settings.
struct TaskGroup<'p> {
    run: usize,
    decoding: &'p Decoding,
    /// Image index and task index of each task.
    members: Vec<(usize, usize)>,
}

fn group_tasks(images: &[PreparedImage]) -> Vec<TaskGroup<'_>> {
    let mut groups: Vec<TaskGroup> = Vec::new();
    for (number, image) in images.iter().enumerate() {
        for (task_index, task) in image.tasks.iter().enumerate() {
            let existing = groups
                .iter_mut()
                .find(|group| group.run == task.run && *group.decoding == task.decoding);
            match existing {
                Some(group) => group.members.push((number, task_index)),
                None => groups.push(TaskGroup {
                    run: task.run,
                    decoding: &task.decoding,
                    members: vec![(number, task_index)],
                }),
            }
        }
    }
    groups
}

/// Returns the different captions by descending score.
fn candidates(captions: Vec<Caption>) -> Vec<Candidate> {
    let candidate = |Caption { text, score }| Candidate {
        text: for_people(&text),
        caption: text,
        score,
        similarity: None,
        clip_score: None,
    };
    ranked(captions).into_iter().map(candidate).collect()
}
