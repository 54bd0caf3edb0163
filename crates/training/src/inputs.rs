//! Inputs of a run: captions, split, embeddings and tokenizer, checked for consistency.

use std::path::Path;

use datasets::{Corpus, Split};
use foreign_text::{printable, printable_path};
use keywords::ImageKeywords;
use precompute::{Embeddings, Network};
use recipes::{Data, System};
use tch::{Device, Tensor};
use words::{Gpt2Tokenizer, karpathy_tokens};

use crate::batches::{TokenRow, cut_long_rows};
use crate::error::Error;

/// Captions, split and image embeddings.
pub struct Inputs {
    /// Images and captions.
    pub corpus: Corpus,
    /// Images of each split, as indexes into the corpus.
    pub split: Split,
    /// Origin of the embeddings.
    pub identity: precompute::Identity,
    /// Image embeddings, `[images, clip_dim]`, f32, normalised if the configuration says so.
    pub embeddings: Tensor,
    /// SHA-256 of the embeddings file's values.
    pub embeddings_sha256: String,
    rows: Vec<Option<i64>>,
}

impl Inputs {
    /// Loads captions and embeddings, and checks that they belong together.
    ///
    /// # Errors
    /// Names the file, and the command that rebuilds it if it belongs to another data set, or is
    /// normalised although raw embeddings are configured.
    pub fn load(data: &Data, device: Device) -> Result<Self, Error> {
        let corpus = data.source()?.load()?;
        let split = Split::new(&corpus, &data.split_spec())?;
        let file = Embeddings::open(&data.embeddings)?;
        let identity = file.identity().clone();
        check_identity(data, &corpus, &identity)?;
        check_pictures(&file, &corpus)?;
        let rows = corpus
            .images
            .iter()
            .map(|image| file.row_of(&image.file_name).map(|row| row as i64))
            .collect();
        let mut embeddings = file.tensor(device)?;
        if data.normalize_embeddings && !identity.normalize {
            embeddings = networks::normalized(&embeddings)?;
        }
        let embeddings_sha256 = file.sha256().to_owned();
        Ok(Self { corpus, split, identity, embeddings, embeddings_sha256, rows })
    }

    /// Returns the row of an image in [`Self::embeddings`]; `None` if the image is unreadable.
    #[must_use]
    pub fn row(&self, image: usize) -> Option<i64> {
        self.rows[image]
    }

    /// Returns the embeddings of those of `images` that have one, `[images, clip_dim]`.
    pub fn embeddings_of(&self, images: &[usize]) -> Tensor {
        let rows: Vec<i64> = images.iter().filter_map(|&image| self.row(image)).collect();
        let rows = Tensor::from_slice(&rows).to_device(self.embeddings.device());
        self.embeddings.index_select(0, &rows)
    }

    /// Returns the number of `images` without an embedding.
    #[must_use]
    pub fn without_embedding(&self, images: &[usize]) -> usize {
        images.iter().filter(|image| self.row(**image).is_none()).count()
    }

    /// Returns the lower-cased captions of `images`, as all systems but Merge-RNN read them.
    #[must_use]
    pub fn captions(&self, images: &[usize]) -> Vec<String> {
        let captions = images.iter().flat_map(|&image| &self.corpus.images[image].captions);
        captions.map(|caption| caption.to_lowercase()).collect()
    }

    /// Returns the words of the captions of `images`, for Merge-RNN.
    ///
    /// These are the words that the data set lists, or else those of Karpathy's rule.
    #[must_use]
    pub fn words(&self, images: &[usize]) -> Vec<Vec<String>> {
        let captions = images.iter().flat_map(|&image| {
            let image = &self.corpus.images[image];
            (0..image.captions.len()).map(|caption| words(image, caption))
        });
        captions.collect()
    }

    /// Returns the reference captions of an image for scoring, in lower case.
    ///
    /// For Merge-RNN these are the words, as its authors score.
    #[must_use]
    pub fn references(&self, image: usize, system: &System) -> Vec<String> {
        match system {
            System::ClipPrefix(_) | System::Sbg(_) => self.captions(&[image]),
            System::MergeRnn(_) => {
                self.words(&[image]).into_iter().map(|words| words.join(" ")).collect()
            }
        }
    }

    /// Returns the lower-cased captions of `images` as tokens, cut as ClipCap cuts them.
    ///
    /// # Errors
    /// Fails if the tokenizer does.
    pub fn token_rows(
        &self,
        images: &[usize],
        tokenizer: &Gpt2Tokenizer,
    ) -> Result<Vec<TokenRow>, Error> {
        let mut rows = self.captioned(images);
        let texts: Vec<String> = rows
            .iter()
            .map(|row| self.corpus.images[row.image].captions[row.caption].to_lowercase())
            .collect();
        for (row, tokens) in rows.iter_mut().zip(tokenizer.encode_batch(&texts)?) {
            row.tokens = tokens.into_iter().map(i64::from).collect();
        }
        rows.retain(|row| !row.tokens.is_empty());
        cut_long_rows(&mut rows);
        Ok(rows)
    }

    /// Returns a row with the tokens of `encode` for each caption of `images`, uncut.
    pub fn rows(&self, images: &[usize], encode: impl Fn(&[String]) -> Vec<i64>) -> Vec<TokenRow> {
        let mut rows = self.captioned(images);
        for row in &mut rows {
            row.tokens = encode(&words(&self.corpus.images[row.image], row.caption));
        }
        rows.retain(|row| !row.tokens.is_empty());
        rows
    }

    /// Returns a row without tokens for each caption of those `images` that have embeddings.
    fn captioned(&self, images: &[usize]) -> Vec<TokenRow> {
        let with_embedding = images.iter().filter_map(|&image| Some((image, self.row(image)?)));
        let captions = with_embedding.flat_map(|(image, embedding)| {
            let captions = 0..self.corpus.images[image].captions.len();
            captions.map(move |caption| TokenRow { embedding, tokens: Vec::new(), image, caption })
        });
        captions.collect()
    }

    /// Returns the `selected` keywords of `images`, in the order of the prompt.
    ///
    /// All of these images must have embeddings.
    ///
    /// # Errors
    /// Fails if the keywords were selected for another data set, by another CLIP model or from
    /// other embeddings, or if an image has none.
    pub fn keywords(
        &self,
        selected: &ImageKeywords,
        images: &[usize],
    ) -> Result<Vec<Vec<String>>, Error> {
        let path = selected.path();
        let again = |reason: &str| {
            Error::Mismatch(format!(
                "{}: {reason}; move it away and select keywords again: capsmith keywords select",
                printable_path(path)
            ))
        };
        let identity = selected.identity();
        if identity.dataset_fingerprint != self.corpus.fingerprint() {
            return Err(again("these keywords are of other captions or pictures"));
        }
        if identity.clip_sha256 != self.identity.model_sha256 {
            return Err(again("these keywords were selected by another CLIP than data.embeddings"));
        }
        if identity.embeddings_sha256 != self.embeddings_sha256 {
            return Err(again(
                "these keywords were selected with other embeddings than data.embeddings",
            ));
        }
        let words = images.iter().map(|&image| {
            let name = &self.corpus.images[image].file_name;
            let keywords = selected
                .of(name)
                .ok_or_else(|| again(&format!("{} has no keywords", printable(name))))?;
            Ok(keywords.iter().map(|keyword| keyword.word.clone()).collect())
        });
        words.collect()
    }

    /// Returns `image file: caption` for messages.
    #[must_use]
    pub fn describe(&self, row: &TokenRow) -> String {
        let image = &self.corpus.images[row.image];
        format!("{}: {}", printable(&image.file_name), printable(&image.captions[row.caption]))
    }
}

/// Returns the words of one caption of an image.
fn words(image: &datasets::Image, caption: usize) -> Vec<String> {
    match image.words.get(caption) {
        Some(Some(listed)) => listed.split_whitespace().map(str::to_owned).collect(),
        _ => image.captions.get(caption).map(|text| karpathy_tokens(text)).unwrap_or_default(),
    }
}

fn check_identity(
    data: &Data,
    corpus: &Corpus,
    identity: &precompute::Identity,
) -> Result<(), Error> {
    let file = printable_path(&data.embeddings);
    check_data_set(&data.embeddings, identity, &data.dataset, corpus)?;
    if identity.normalize && !data.normalize_embeddings {
        return Err(Error::Mismatch(format!(
            "{file} holds normalised embeddings, but data.normalize_embeddings is false\nhint: set it to true, or run precompute without --normalize"
        )));
    }
    Ok(())
}

/// Checks that the embeddings in `file` belong to the data set in `folder`.
///
/// # Errors
/// Names the command that makes them.
pub fn check_data_set(
    file: &Path,
    identity: &precompute::Identity,
    folder: &Path,
    corpus: &Corpus,
) -> Result<(), Error> {
    if identity.dataset_fingerprint == corpus.fingerprint() {
        return Ok(());
    }
    let (file, folder) = (printable_path(file), printable_path(folder));
    let again = match identity.network {
        Network::Imported => "import it again: capsmith import-features FILES --encoder",
        Network::Clip => "compute it again: capsmith precompute --clip",
        Network::Vgg => "compute it again: capsmith precompute --vgg",
        Network::EfficientNetLite => "compute it again: capsmith precompute --encoder",
    };
    Err(Error::Mismatch(format!(
        "{file} was computed from other captions or pictures than {folder}\nhint: {again} {} --dataset {folder} --out {file}",
        printable(&identity.model),
    )))
}

/// Refuses embeddings of images that have changed since. Removed images do not count.
///
/// # Errors
/// Names the images, and what to do.
pub fn check_pictures(file: &Embeddings, corpus: &Corpus) -> Result<(), Error> {
    let names = corpus.images.iter().map(|image| image.file_name.as_str());
    Ok(file.check_pictures(names, |index| corpus.picture(index))?)
}

/// Reads the tokenizer in a GPT-2's folder, and checks it against the model's vocabulary.
///
/// # Errors
/// Fails if it has tokens that the model has no embedding for.
pub fn load_tokenizer(folder: &Path, vocab_size: i64) -> Result<Gpt2Tokenizer, Error> {
    let tokenizer = Gpt2Tokenizer::from_folder(folder)?;
    words::check_vocabulary(folder, tokenizer.vocab_size(), vocab_size)?;
    Ok(tokenizer)
}
