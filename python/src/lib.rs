//! The native half of the Python package `caption_eval`; `caption_eval/_native.pyi` describes it.
//!
//! Images are numbered by position here: Python's identifiers may be any hashable objects.
//! Every function releases the global interpreter lock while it computes.
#![allow(clippy::needless_pass_by_value, reason = "pyo3 extracts arguments as owned values")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use caption_metrics::meteor::{Resources, resources};
use caption_metrics::significance::{self, Resampling};
use caption_metrics::{
    CiderFrequencies, Confidence, Error, Evaluation, KeyStyle, Metric, Options, Predictions,
    References, Tokenizer, ptb,
};
use pyo3::exceptions::{PyFileNotFoundError, PyOSError, PyValueError};
use pyo3::prelude::*;

/// A score's key, as in pycocoevalcap, with its value.
type Named<T> = (&'static str, T);

/// Scores of a corpus and of its images, in the order of the references.
#[derive(IntoPyObject)]
struct Scored {
    corpus: Vec<Named<f64>>,
    per_image: Vec<Named<Vec<f64>>>,
    diversity: Option<Vec<Named<f64>>>,
    confidence: Option<Vec<Named<(f64, f64)>>>,
}

/// A row of a comparison of two systems.
#[derive(IntoPyObject)]
#[allow(clippy::struct_field_names, reason = "the keys of a Python dictionary")]
struct Difference {
    metric: &'static str,
    a: f64,
    b: f64,
    difference: f64,
    low: f64,
    high: f64,
    p: f64,
}

/// Settings of an evaluation, as Python gives them.
#[derive(FromPyObject)]
struct Settings {
    metrics: Vec<String>,
    tokenizer: String,
    cider_df: Option<PathBuf>,
    training_captions: Option<Vec<String>>,
}

impl Settings {
    fn options(&self) -> PyResult<Options> {
        let metrics: Result<Vec<Metric>, _> =
            self.metrics.iter().map(|name| name.parse()).collect();
        let metrics = metrics.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let tokenizer: Result<Tokenizer, _> = self.tokenizer.parse();
        let meteor = metrics.contains(&Metric::Meteor).then(Resources::open_default).transpose();
        let frequencies = self.cider_df.as_deref().map(CiderFrequencies::read).transpose();
        Ok(Options {
            metrics,
            tokenizer: tokenizer.map_err(|error| PyValueError::new_err(error.to_string()))?,
            meteor: meteor.map_err(|error| raised(error.into()))?,
            cider_frequencies: frequencies.map_err(raised)?.map(Arc::new),
            training_captions: self.training_captions.clone().map(Arc::from),
            ..Options::default()
        })
    }
}

/// Returns the Python exception of an error.
fn raised(error: Error) -> PyErr {
    match error {
        Error::MeteorResources(resources::Error::Missing(path)) => {
            PyFileNotFoundError::new_err(format!(
                "METEOR's resources are not at {}; run caption_eval.fetch() (or \
                 `caption-eval fetch meteor`) once, or leave METEOR out of the metrics",
                path.display()
            ))
        }
        Error::Read { .. } | Error::MeteorResources(_) => PyOSError::new_err(error.to_string()),
        error => PyValueError::new_err(error.to_string()),
    }
}

/// Scores one prediction for each list of references.
fn evaluate(
    references: &[Vec<String>],
    predictions: &[String],
    options: &Options,
) -> Result<Evaluation, Error> {
    let id = |position: usize| position.to_string();
    let references =
        References::new(references.iter().enumerate().map(|(image, list)| (id(image), list)))?;
    let predictions =
        Predictions::new(predictions.iter().enumerate().map(|(image, text)| (id(image), text)))?;
    caption_metrics::evaluate(&references, &predictions, options)
}

/// Returns the key of a score in pycocoevalcap.
fn key(name: &'static str) -> &'static str {
    KeyStyle::Pycocoevalcap.name(name)
}

#[pyfunction]
#[pyo3(signature = (references, predictions, settings, resamples=None, seed=0))]
fn score(
    py: Python<'_>,
    references: Vec<Vec<String>>,
    predictions: Vec<String>,
    settings: Settings,
    resamples: Option<usize>,
    seed: u64,
) -> PyResult<Scored> {
    let options = settings.options()?;
    py.detach(|| {
        let mut evaluation = evaluate(&references, &predictions, &options).map_err(raised)?;
        if let Some(resamples) = resamples {
            evaluation.add_confidence(Resampling { resamples, seed });
        }
        let corpus: Vec<Named<f64>> = evaluation.summary.corpus.iter().collect();
        let mut per_image: Vec<Named<Vec<f64>>> =
            corpus.iter().map(|(name, _)| (key(name), Vec::new())).collect();
        for image in evaluation.per_image() {
            for ((_, scores), (_, score)) in per_image.iter_mut().zip(image.scores.iter()) {
                scores.push(score);
            }
        }
        let confidence = evaluation.summary.confidence.map(|Confidence { intervals, .. }| {
            intervals.into_iter().map(|i| (key(i.name), (i.low, i.high))).collect()
        });
        let corpus = corpus.into_iter().map(|(name, score)| (key(name), score)).collect();
        let diversity = evaluation.summary.diversity.map(|diversity| diversity.entries());
        Ok(Scored { corpus, per_image, diversity, confidence })
    })
}

#[pyfunction]
fn compare(
    py: Python<'_>,
    references: Vec<Vec<String>>,
    a: Vec<String>,
    b: Vec<String>,
    settings: Settings,
    resamples: usize,
    seed: u64,
) -> PyResult<Vec<Difference>> {
    let options = settings.options()?;
    py.detach(|| {
        let evaluate = |predictions: &[String]| evaluate(&references, predictions, &options);
        let (a, b) = (evaluate(&a).map_err(raised)?, evaluate(&b).map_err(raised)?);
        let rows = significance::compare(&a, &b, Resampling { resamples, seed }).map_err(raised)?;
        let row = |row: significance::Difference| Difference {
            metric: key(row.name),
            a: row.a,
            b: row.b,
            difference: row.difference,
            low: row.low,
            high: row.high,
            p: row.p,
        };
        Ok(rows.into_iter().map(row).collect())
    })
}

#[pyfunction]
fn tokenize(py: Python<'_>, captions: Vec<String>) -> Vec<String> {
    py.detach(|| ptb::tokenize(&captions).captions)
}

#[pyfunction]
fn read_references(py: Python<'_>, path: PathBuf) -> PyResult<Vec<(String, Vec<String>)>> {
    py.detach(|| {
        let read = References::read(path).map_err(raised)?;
        Ok(read.iter().map(|(id, captions)| (id.to_owned(), captions)).collect())
    })
}

#[pyfunction]
fn read_predictions(py: Python<'_>, path: PathBuf) -> PyResult<Vec<(String, String)>> {
    py.detach(|| {
        let read = Predictions::read(path).map_err(raised)?;
        Ok(read.iter().map(|(id, caption)| (id.to_owned(), caption)).collect())
    })
}

#[pyfunction]
fn resources_path() -> PyResult<PathBuf> {
    resources::default_path().map_err(|error| raised(error.into()))
}

#[pyfunction]
fn check_resources(py: Python<'_>) -> PyResult<()> {
    py.detach(|| Resources::open_default().map(|_| ()).map_err(|error| raised(error.into())))
}

#[pyfunction]
fn build_resources(py: Python<'_>, package: PathBuf) -> PyResult<PathBuf> {
    let build = |package: &Path| resources::build(package, &resources::default_path()?);
    py.detach(|| build(&package).map(|built| built.path).map_err(|error| raised(error.into())))
}

/// The module `caption_eval._native`.
#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(score, module)?)?;
    module.add_function(wrap_pyfunction!(compare, module)?)?;
    module.add_function(wrap_pyfunction!(tokenize, module)?)?;
    module.add_function(wrap_pyfunction!(read_references, module)?)?;
    module.add_function(wrap_pyfunction!(read_predictions, module)?)?;
    module.add_function(wrap_pyfunction!(resources_path, module)?)?;
    module.add_function(wrap_pyfunction!(check_resources, module)?)?;
    module.add_function(wrap_pyfunction!(build_resources, module)?)
}
