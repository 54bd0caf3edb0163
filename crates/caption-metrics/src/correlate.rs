//! Agreement of scores with people: Kendall's rank correlation with ratings of captions.
//!
//! A rated pair is an image, a caption and one or more ratings. Every pair is scored as if it were
//! an image of its own (so CIDEr counts an image's references once for each of its pairs, as the
//! papers that report such correlations do), and every single rating is a point.
//! [`ratings`](crate::ratings) reads them.

use std::error::Error as StdError;
use std::num::ParseIntError;
use std::sync::Arc;

use crate::clip_score::{ClipModel, ClipScore, Cosines};
use crate::meteor::Segment;
use crate::ratings::Ratings;
use crate::{Error, Options, Predictions, Protocol, References, Scores, evaluate};

/// A caption of an image, with the references that it is scored against.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) image: String,
    /// The caption that people rated.
    pub(crate) caption: String,
    pub(crate) references: Vec<String>,
}

/// Scores by the metric's name, each with one score a pair.
pub(crate) type Columns = Vec<(&'static str, Vec<f64>)>;

/// CLIP that finds the image of a pair by the pair's number.
#[derive(Debug)]
struct ClipOfPairs {
    model: Arc<dyn ClipModel>,
    /// The image of each pair.
    images: Vec<String>,
}

impl ClipModel for ClipOfPairs {
    fn cosines(
        &self,
        pairs: &[Segment<'_, String>],
        prompt: &str,
        with_references: bool,
    ) -> Result<Cosines, Box<dyn StdError + Send + Sync>> {
        let images = pairs
            .iter()
            .map(|pair| Ok(Segment { id: &self.images[pair.id.parse::<usize>()?], ..*pair }));
        let images: Vec<Segment<'_, String>> = images.collect::<Result<_, ParseIntError>>()?;
        self.model.cosines(&images, prompt, with_references)
    }

    fn sha256(&self) -> &str {
        self.model.sha256()
    }

    fn context_length(&self) -> usize {
        self.model.context_length()
    }
}

/// Scores every pair as an image of its own.
///
/// # Errors
/// [`Error::NoReferences`] for a pair without references, and the errors of [`evaluate`].
pub(crate) fn score(pairs: &[Pair], options: &Options) -> Result<(Protocol, Columns), Error> {
    if let Some(pair) = pairs.iter().find(|pair| pair.references.is_empty()) {
        return Err(Error::NoReferences { id: pair.image.clone() });
    }
    let numbered = || (0..pairs.len()).map(|number| number.to_string()).zip(pairs);
    let references = References::new(numbered().map(|(id, pair)| (id, &pair.references)))?;
    let captions = Predictions::new(numbered().map(|(id, pair)| (id, &pair.caption)))?;
    let clip = options.clip.as_ref().map(|clip| {
        let images = pairs.iter().map(|pair| pair.image.clone()).collect();
        let model = Arc::new(ClipOfPairs { model: clip.model.clone(), images });
        ClipScore { model, ..clip.clone() }
    });
    let evaluation = evaluate(&references, &captions, &Options { clip, ..options.clone() })?;
    let names = evaluation.summary.corpus.iter().map(|(name, _)| name);
    let mut columns: Columns = names.map(|name| (name, Vec::with_capacity(pairs.len()))).collect();
    for image in evaluation.per_image() {
        for ((_, column), (_, score)) in columns.iter_mut().zip(image.scores.iter()) {
            column.push(score);
        }
    }
    Ok((evaluation.summary.protocol, columns))
}

/// Rank correlation of scores with ratings.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Correlation {
    /// Protocol of the scores.
    pub protocol: Protocol,
    /// Description of the ratings.
    pub ratings: String,
    /// Rated pairs that were scored.
    pub pairs: usize,
    /// Rated pairs whose caption is the image's own; they are left out.
    pub own_captions: usize,
    /// Ratings, each a point of the correlation.
    pub points: usize,
    /// Ratings that are missing; they are left out.
    pub missing: usize,
    /// Kendall's tau-c of every score, as papers report it for Flickr8k's expert ratings.
    pub tau_c: Scores,
    /// Kendall's tau-b of every score, as papers report it for Flickr8k's judgments of crowds.
    pub tau_b: Scores,
}

/// Correlates scores with ratings. `candidates` has the captions by identifier; without it an
/// identifier `image#k` is the k-th reference of `image`, from 0.
///
/// # Errors
/// [`Error::UnknownCaption`] or [`Error::NoReferences`] for a pair that cannot be found, and those
/// of [`evaluate`].
pub fn correlate(
    references: &References,
    ratings: &Ratings,
    candidates: Option<&Predictions>,
    options: &Options,
) -> Result<Correlation, Error> {
    let mut pairs = Vec::new();
    let mut points: Vec<(usize, f64)> = Vec::new();
    for rated in ratings.rated.iter().filter(|rated| !rated.is_own()) {
        points.extend(rated.ratings.iter().map(|&rating| (pairs.len(), rating)));
        pairs.push(Pair {
            image: rated.image.clone(),
            caption: find(references, candidates, &rated.caption)?,
            references: of_image(references, &rated.image)?,
        });
    }
    let (protocol, columns) = score(&pairs, options)?;
    let (mut tau_b, mut tau_c) = (Scores::default(), Scores::default());
    for (name, scores) in columns {
        let kendall = Kendall::new(points.iter().map(|&(pair, rating)| (scores[pair], rating)));
        tau_b.push(name, kendall.tau_b());
        tau_c.push(name, kendall.tau_c());
    }
    Ok(Correlation {
        ratings: ratings.source.clone(),
        pairs: pairs.len(),
        own_captions: ratings.rated.len() - pairs.len(),
        points: points.len(),
        missing: ratings.missing,
        tau_c,
        tau_b,
        protocol,
    })
}

/// Returns the references of an image.
pub(crate) fn of_image(references: &References, image: &str) -> Result<Vec<String>, Error> {
    references.get(image).ok_or_else(|| Error::NoReferences { id: image.to_owned() })
}

/// Returns the caption of an identifier, which is `image#k` for the k-th reference of an image.
pub(crate) fn find(
    references: &References,
    candidates: Option<&Predictions>,
    id: &str,
) -> Result<String, Error> {
    let own = || {
        let (image, number) = id.rsplit_once('#')?;
        references.get(image)?.into_iter().nth(number.parse().ok()?)
    };
    let found = candidates.map_or_else(own, |candidates| candidates.get(id));
    found.ok_or_else(|| Error::UnknownCaption { id: id.to_owned() })
}

/// Kendall's rank correlation of points (x, y), of whose pairs P agree in order and Q disagree.
#[derive(Clone, Copy, Debug)]
pub struct Kendall {
    points: f64,
    /// P - Q.
    excess: f64,
    /// Pairs of points with one x.
    tied_x: f64,
    /// Pairs of points with one y.
    tied_y: f64,
    /// The smaller number of distinct values of the two sides.
    distinct: f64,
}

impl Kendall {
    /// Counts the pairs of points. If any coordinate is NaN, both correlations are NaN.
    #[must_use]
    pub fn new(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        // The sum is 0.0 where the value is -0.0, which is equal to it.
        let mut points: Vec<(f64, f64)> =
            points.into_iter().map(|(x, y)| (x + 0.0, y + 0.0)).collect();
        let is_undefined = points.iter().any(|(x, y)| x.is_nan() || y.is_nan());
        points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let n = points.len() as f64;
        let (distinct_x, tied_x) = ties(&points, |a, b| a.0.total_cmp(&b.0).is_eq());
        let (_, tied_both) =
            ties(&points, |a, b| a.0.total_cmp(&b.0).is_eq() && a.1.total_cmp(&b.1).is_eq());
        let mut ys: Vec<f64> = points.iter().map(|point| point.1).collect();
        let disagreeing = inversions(&mut ys);
        let (distinct_y, tied_y) = ties(&ys, |a, b| a.total_cmp(b).is_eq());
        let agreeing = n * (n - 1.0) / 2.0 - tied_x - tied_y + tied_both - disagreeing;
        Self {
            points: n,
            excess: if is_undefined { f64::NAN } else { agreeing - disagreeing },
            tied_x,
            tied_y,
            distinct: distinct_x.min(distinct_y) as f64,
        }
    }

    /// Returns tau-b (Kendall 1945): with n0 pairs of points, n1 of which have one x and n2 one y,
    ///
    /// ```text
    /// τ_b = (P - Q) / √((n0 - n1) (n0 - n2))
    /// ```
    ///
    /// Not a number where a side has a single value.
    #[must_use]
    pub fn tau_b(&self) -> f64 {
        let all = self.points * (self.points - 1.0) / 2.0;
        let tau = self.excess / (all - self.tied_x).sqrt() / (all - self.tied_y).sqrt();
        tau.clamp(-1.0, 1.0)
    }

    /// Returns tau-c (Stuart 1953): with n points, and m the smaller number of distinct values of
    /// the two sides,
    ///
    /// ```text
    /// τ_c = 2 (P - Q) / (n² (m - 1) / m)
    /// ```
    ///
    /// Not a number where a side has a single value.
    #[must_use]
    pub fn tau_c(&self) -> f64 {
        let (n, m) = (self.points, self.distinct);
        (2.0 * self.excess / (n * n * (m - 1.0) / m)).clamp(-1.0, 1.0)
    }
}

/// Returns the number of runs of equal neighbours, and of pairs within runs.
fn ties<T>(sorted: &[T], same: impl Fn(&T, &T) -> bool) -> (usize, f64) {
    sorted.chunk_by(same).fold((0, 0.0), |(runs, pairs), run| {
        let length = run.len() as f64;
        (runs + 1, pairs + length * (length - 1.0) / 2.0)
    })
}

/// Sorts the values, and counts the pairs that were in the wrong order.
fn inversions(values: &mut [f64]) -> f64 {
    let middle = values.len() / 2;
    if middle == 0 {
        return 0.0;
    }
    let (left, right) = values.split_at_mut(middle);
    let mut count = inversions(left) + inversions(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut l, mut r) = (left.iter().peekable(), right.iter().peekable());
    loop {
        match (l.peek(), r.peek()) {
            (Some(a), Some(b)) if *b < *a => {
                count += l.len() as f64;
                merged.extend(r.next());
            }
            (Some(_), _) => merged.extend(l.next()),
            (None, Some(_)) => merged.extend(r.next()),
            (None, None) => break,
        }
    }
    values.copy_from_slice(&merged);
    count
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// By the definition.
    fn by_pairs(points: &[(f64, f64)]) -> f64 {
        let mut sum = 0.0;
        for (i, a) in points.iter().enumerate() {
            for b in &points[..i] {
                let product = (a.0 - b.0) * (a.1 - b.1);
                sum += if product == 0.0 { 0.0 } else { product.signum() };
            }
        }
        let distinct = |value: fn(&(f64, f64)) -> f64| {
            points.iter().map(|point| value(point).to_bits()).collect::<BTreeSet<_>>().len()
        };
        let m = distinct(|p| p.0).min(distinct(|p| p.1)) as f64;
        let n = points.len() as f64;
        2.0 * sum / (n * n * (m - 1.0) / m)
    }

    proptest! {
        #[test]
        fn tau_c_is_what_its_definition_says(
            points in prop::collection::vec((0_u8..9, 0_u8..5), 2..80),
        ) {
            let points: Vec<(f64, f64)> =
                points.into_iter().map(|(x, y)| (f64::from(x), f64::from(y))).collect();
            let (fast, slow) = (Kendall::new(points.clone()).tau_c(), by_pairs(&points));
            prop_assert!((fast - slow).abs() < 1e-12 || (fast.is_nan() && slow.is_nan()));
        }
    }

    #[test]
    fn tau_c_of_points_counted_by_hand() {
        // Nine pairs agree, two disagree, four are tied; m = 3: 2 * 7 / (36 * 2 / 3).
        let (x, y) = ([1.0, 2.0, 2.0, 3.0, 5.0, 4.0], [1.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        let kendall = Kendall::new(x.into_iter().zip(y));
        let (b, c) = (kendall.tau_b(), kendall.tau_c());
        assert!((c - 14.0 / 24.0).abs() < 1e-15, "{c}");
        // One pair has one x and three have one y, of fifteen.
        assert!((b - 7.0 / (14.0_f64 * 12.0).sqrt()).abs() < 1e-15, "{b}");
    }
}
