//! Stages that the runs share: features, models, keywords and the baseline.

use std::path::{Path, PathBuf};

use super::{Error, FoundModels, LIT, PRETRAINED, Planner, Shared, words};
use crate::stages::{Input, Resume, Stage};

impl Planner<'_> {
    /// Adds the stages of features, models and keywords that these configurations need.
    pub(super) fn shared(&mut self, configs: &[&str]) -> Result<Shared, Error> {
        let needs = |system: &str| configs.iter().any(|config| config.starts_with(system));
        let (models, device) = (&self.request.models, self.device(0)?);
        let recipe = &self.request.family.recipe;
        let encoded = if recipe.models.encoder.is_empty() {
            None
        } else {
            let (encoder, tuned) = self.encoder()?;
            Some(self.precompute("features", ["--encoder", &encoder], &device, tuned)?)
        };
        let (clip, clip_stage) = match (&models.clip, encoded) {
            (Some(clip), _) => (clip.clone(), None),
            (None, Some(features)) if recipe.models.clip == LIT => self.lit(features)?,
            (None, _) => self.random_model("clip", &[])?,
        };
        let (gpt2, gpt2_stage) = match &models.gpt2 {
            Some(gpt2) => (gpt2.clone(), None),
            None if recipe.models.gpt2 == PRETRAINED => self.pretrained_gpt2()?,
            None => self.random_gpt2()?,
        };
        let merge_rnn_uses_clip = models.vgg.is_none() && encoded.is_none();
        let embeddings = if needs("prefix") || needs("sbg") || merge_rnn_uses_clip {
            Some(if recipe.models.clip == LIT {
                self.projected(&clip, clip_stage)?
            } else {
                self.precompute("embeddings", ["--clip", &clip], &device, clip_stage)?
            })
        } else {
            None
        };
        let features = match (&models.vgg, encoded) {
            (_, Some(encoded)) => Some(encoded),
            (Some(vgg), None) if needs("merge-rnn") => {
                Some(self.precompute("features", ["--vgg", vgg], &device, None)?)
            }
            _ => embeddings,
        };
        let keywords = match embeddings {
            Some(embeddings) if needs("sbg") => Some(self.keywords(&clip, &device, embeddings)?),
            _ => None,
        };
        Ok(Shared { clip, gpt2, gpt2_stage, embeddings, features, keywords })
    }

    /// Returns the image encoder's name or file, with the stage that tunes it if the recipe does.
    fn encoder(&mut self) -> Result<(String, Option<usize>), Error> {
        let recipe = &self.request.family.recipe;
        let encoder = recipe.models.encoder.as_str();
        let Some(options) = &recipe.pretrain.encoder else { return Ok((encoder.to_owned(), None)) };
        let mut more = vec!["--encoder", encoder];
        let mut models: Vec<Input> = self.model(encoder).into_iter().collect();
        if let Some(sentence) = &self.request.models.sentence {
            more.extend(["--sentence-model", sentence]);
            models.extend(self.model(sentence));
        }
        let (folder, stage) = self.pretrained("encoder", &more, options, models, Vec::new())?;
        let file = Path::new(&folder).join("model.safetensors");
        Ok((file.display().to_string(), stage))
    }

    /// Adds the stage that trains a text tower and a projection on the encoder's features.
    fn lit(&mut self, features: usize) -> Result<(String, Option<usize>), Error> {
        let file = self.features();
        let options = &self.request.family.recipe.pretrain.clip;
        self.pretrained("clip", &["--image-features", &file], options, None, vec![features])
    }

    /// Adds the stage that projects the encoder's features by a CLIP of [`Self::lit`].
    fn projected(&mut self, clip: &str, after: Option<usize>) -> Result<usize, Error> {
        let dataset = self.request.dataset.display().to_string();
        let (features, out) = (self.features(), self.embeddings());
        let mut arguments = words(&["precompute", "--dataset", &dataset, "--clip", clip]);
        arguments.extend(words(&["--image-features", &features, "--out", &out]));
        self.add(Stage {
            name: "embeddings".to_owned(),
            arguments,
            inputs: self.data_set.clone(),
            after: after.into_iter().collect(),
            outputs: vec![PathBuf::from(out)],
            ..Stage::default()
        })
    }

    /// Adds the stage that trains a language model on the training captions.
    fn pretrained_gpt2(&mut self) -> Result<(String, Option<usize>), Error> {
        let options = &self.request.family.recipe.pretrain.gpt2;
        self.pretrained("gpt2", &[], options, None, Vec::new())
    }

    /// Adds a stage of `capsmith pretrain`, which reads the data set and `models`.
    fn pretrained(
        &mut self,
        kind: &str,
        more: &[&str],
        options: &toml::Table,
        models: impl IntoIterator<Item = Input>,
        after: Vec<usize>,
    ) -> Result<(String, Option<usize>), Error> {
        let out = self.models().join(kind);
        let mut arguments = words(&["pretrain", kind]);
        arguments.extend(words(more));
        arguments.extend(self.training_pictures()?);
        arguments.extend(words(&["--out", &out.display().to_string()]));
        for (name, value) in options {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            arguments.extend([format!("--{}", name.replace('_', "-")), value]);
        }
        let stage = self.add(Stage {
            name: format!("pretrain-{kind}"),
            arguments,
            inputs: self.data_set_and(models),
            after,
            outputs: vec![out.clone()],
            ..Stage::default()
        })?;
        Ok((out.display().to_string(), Some(stage)))
    }

    /// Returns the options that name the data set and the split of the CLIP-prefix rows.
    fn training_pictures(&self) -> Result<Vec<String>, Error> {
        let data = self.parse("prefix-original", &[])?.data;
        let dataset = self.request.dataset.display().to_string();
        let (split, test_captions) = (data.split.to_string(), data.test_captions.to_string());
        let validation_captions = data.validation_captions.to_string();
        let mut options = words(&["--dataset", &dataset, "--split", &split]);
        options.extend(words(&["--test-captions", &test_captions]));
        options.extend(words(&["--validation-captions", &validation_captions]));
        Ok(options)
    }

    /// Adds the stage of the baseline without a model, if the recipe has one.
    pub(super) fn baseline(&mut self, shared: &Shared) -> Result<Option<(usize, PathBuf)>, Error> {
        let recipe = &self.request.family.recipe;
        let (neighbours, out) = (recipe.neighbours, self.request.out.join("neighbours"));
        // The encoder's features, or else the embeddings that the prefix rows read.
        let (after, embeddings) = if recipe.models.encoder.is_empty() {
            (shared.embeddings, self.embeddings())
        } else {
            (shared.features, self.features())
        };
        let Some(after) = after.filter(|_| neighbours > 0) else { return Ok(None) };
        let mut arguments = words(&["baseline", "neighbours"]);
        arguments.extend(self.training_pictures()?);
        let (count, text) = (neighbours.to_string(), out.display().to_string());
        let more = ["--embeddings", &embeddings, "--neighbours", &count, "--out", &text];
        arguments.extend(words(&more));
        let stage = self.add(Stage {
            name: "neighbours".to_owned(),
            arguments,
            inputs: vec![self.metrics()],
            after: vec![after],
            outputs: vec![out.clone()],
            ..Stage::default()
        })?;
        Ok(Some((stage, out)))
    }

    fn random_gpt2(&mut self) -> Result<(String, Option<usize>), Error> {
        // Its tokenizer is trained on captions, which must exclude the test set.
        let captions = self.training_pictures()?;
        self.random_model("gpt2", &captions)
    }

    fn random_model(
        &mut self,
        kind: &str,
        more: &[String],
    ) -> Result<(String, Option<usize>), Error> {
        let out = self.models().join(kind);
        let mut arguments = words(&["init", kind, "--out", &out.display().to_string()]);
        arguments.extend_from_slice(more);
        let inputs = if more.is_empty() { Vec::new() } else { self.data_set.clone() };
        let stage = self.add(Stage {
            name: format!("init-{kind}"),
            arguments,
            inputs,
            outputs: vec![out.clone()],
            ..Stage::default()
        })?;
        Ok((out.display().to_string(), Some(stage)))
    }

    fn precompute(
        &mut self,
        name: &str,
        encoder: [&str; 2],
        device: &str,
        after: Option<usize>,
    ) -> Result<usize, Error> {
        let out = self.request.out.join(format!("{name}.safetensors"));
        let dataset = self.request.dataset.display().to_string();
        let dtype = &self.request.family.recipe.precompute.dtype;
        let mut arguments = words(&["precompute", "--dataset", &dataset]);
        arguments.extend(words(&encoder));
        let text = out.display().to_string();
        arguments.extend(words(&["--out", &text, "--device", device, "--dtype", dtype]));
        self.add(Stage {
            name: name.to_owned(),
            arguments,
            resume: Resume::Rerun,
            inputs: self.data_set_and(self.model(encoder[1])),
            after: after.into_iter().collect(),
            outputs: vec![out],
            ..Stage::default()
        })
    }

    /// Adds the stages that build labels and encyclopedia and select keywords; returns the last
    /// one.
    fn keywords(&mut self, clip: &str, device: &str, embeddings: usize) -> Result<usize, Error> {
        let recipe = &self.request.family.recipe.keywords;
        let dataset = self.request.dataset.display().to_string();
        let folder = self.request.out.join("keywords");
        let folder_text = folder.display().to_string();
        let mut build = words(&[
            "keywords",
            "build",
            "--dataset",
            &dataset,
            "--out",
            &folder_text,
            "--clip",
            clip,
            "--synonyms",
            &recipe.synonyms,
            "--categories",
            &recipe.categories,
            "--device",
            device,
        ]);
        let mut models: Vec<Input> = self.model(clip).into_iter().collect();
        let FoundModels { nli, sentence, .. } = &self.request.models;
        for (option, model) in [("--nli", nli), ("--sentence-model", sentence)] {
            if let Some(model) = model {
                build.extend(words(&[option, model]));
                models.extend(self.model(model));
            }
        }
        let built = self.add(Stage {
            name: "keywords/build".to_owned(),
            arguments: build,
            resume: Resume::Rerun,
            inputs: self.data_set_and(models),
            after: vec![embeddings],
            outputs: vec![folder.clone()],
            ..Stage::default()
        })?;
        let selected = self.selected();
        let embeddings_file = self.embeddings();
        self.add(Stage {
            name: "keywords/select".to_owned(),
            arguments: words(&[
                "keywords",
                "select",
                "--dataset",
                &dataset,
                "--clip",
                clip,
                "--embeddings",
                &embeddings_file,
                "--keywords",
                &folder_text,
                "--out",
                &selected.display().to_string(),
                "--device",
                device,
            ]),
            resume: Resume::Rerun,
            after: vec![built],
            outputs: vec![selected],
            ..Stage::default()
        })
    }
}
