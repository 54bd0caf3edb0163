//! Sample pictures for the web page.

use datasets::Split;
use pictures::PictureFile;
use recipes::Config;

/// Maximum number of samples.
const SAMPLES: usize = 6;

/// Returns up to six test pictures, evenly spaced, of the data set that a run learned from.
///
/// Empty if the data set has moved or has no test part.
#[must_use]
pub fn sample_pictures(config: &Config) -> Vec<PictureFile> {
    let Some(corpus) = config.data.source().ok().and_then(|source| source.load().ok()) else {
        return Vec::new();
    };
    let Ok(Split { test, .. }) = Split::new(&corpus, &config.data.split_spec()) else {
        return Vec::new();
    };
    let step = test.len().div_ceil(SAMPLES).max(1);
    let samples = test.into_iter().step_by(step).map(|image| corpus.picture(image));
    samples.filter(|picture| picture.stamp().is_ok()).collect()
}
