//! How well scores agree with people: Kendall's rank correlation with ratings of captions.
//!
//! A rated pair is an image, a caption and one or more ratings. Every pair is scored as if it were an
//! image of its own (so CIDEr counts an image's references once for each of its pairs, as the papers
//! that report such correlations do), and every single rating is a point.

use std::path::Path;

use crate::{Error, Metric, Options, Predictions, References, Scores, evaluate, text};

/// One image and caption that people rated.
#[derive(Clone, Debug, PartialEq)]
pub struct Rated {
    /// The image.
    pub image: String,
    /// The caption's identifier.
    pub caption: String,
    /// The ratings, one a person.
    pub ratings: Vec<f64>,
}

impl Rated {
    /// Whether the caption was written for this very image, as its identifier `image#k` shows.
    fn is_own(&self) -> bool {
        self.caption.rsplit_once('#').is_some_and(|(image, _)| image == self.image)
    }
}

/// Reads ratings: a line is an image, a caption's identifier, and ratings, between tabs or commas (the
/// form of Flickr8k's `ExpertAnnotations.txt`). A first line without numbers is a header.
///
/// # Errors
/// Names the file and the line.
pub fn read_ratings(path: &Path) -> Result<Vec<Rated>, Error> {
    let text = text::read(path)?;
    let malformed = |message| Error::Malformed { path: path.to_owned(), message };
    let mut rated = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let separator = if line.contains('\t') { '\t' } else { ',' };
        let mut fields = line.split(separator).map(str::trim);
        let (image, caption) = (fields.next(), fields.next());
        let ratings: Result<Vec<f64>, _> = fields.map(str::parse).collect();
        match (image, caption, ratings) {
            (Some(image), Some(caption), Ok(ratings))
                if !ratings.is_empty() && ratings.iter().all(|rating| rating.is_finite()) =>
            {
                let (image, caption) = (image.to_owned(), caption.to_owned());
                rated.push(Rated { image, caption, ratings });
            }
            _ if number == 0 => {}
            _ => {
                return Err(malformed(format!(
                    "line {}: expected an image, a caption's identifier and numbers",
                    number + 1
                )));
            }
        }
    }
    if rated.is_empty() {
        return Err(malformed("it holds no ratings".to_owned()));
    }
    Ok(rated)
}

/// What [`correlate`] finds.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Correlation {
    /// Rated pairs that were scored.
    pub pairs: usize,
    /// Rated pairs whose caption is the image's own; they are left out.
    pub own_captions: usize,
    /// Ratings, each a point of the correlation.
    pub points: usize,
    /// Kendall's tau-c of every score.
    pub tau_c: Scores,
}

/// Correlates scores with ratings. `candidates` has the captions by identifier; without it an identifier
/// `image#k` is the k-th reference of `image`, from 0.
///
/// # Errors
/// [`Error::UnknownCaption`] or [`Error::NoReferences`] for a pair that cannot be found, and those of
/// [`evaluate`].
pub fn correlate(
    references: &References,
    rated: &[Rated],
    candidates: Option<&Predictions>,
    options: &Options,
) -> Result<Correlation, Error> {
    let mut pairs = Vec::new();
    let mut lists = Vec::new();
    let mut points: Vec<(usize, f64)> = Vec::new();
    for rated in rated.iter().filter(|rated| !rated.is_own()) {
        let id = pairs.len();
        let captions = references
            .get(&rated.image)
            .ok_or_else(|| Error::NoReferences { id: rated.image.clone() })?;
        let caption = find(references, candidates, &rated.caption)
            .ok_or_else(|| Error::UnknownCaption { id: rated.caption.clone() })?;
        pairs.push((id.to_string(), caption));
        lists.push((id.to_string(), captions.iter().map(String::as_str)));
        points.extend(rated.ratings.iter().map(|&rating| (id, rating)));
    }
    let evaluation = evaluate(&References::new(lists)?, &Predictions::new(pairs)?, options)?;
    let mut tau_c = Scores::default();
    for metric in Metric::ALL {
        for name in metric.names() {
            let scores: Option<Vec<f64>> =
                evaluation.per_image.iter().map(|image| image.scores.get(name)).collect();
            if let Some(scores) = scores {
                let points = points.iter().map(|&(pair, rating)| (scores[pair], rating));
                tau_c.push(name, kendall_tau_c(points));
            }
        }
    }
    let own_captions = rated.iter().filter(|rated| rated.is_own()).count();
    Ok(Correlation { pairs: evaluation.summary.n, own_captions, points: points.len(), tau_c })
}

fn find<'a>(
    references: &'a References,
    candidates: Option<&'a Predictions>,
    id: &str,
) -> Option<&'a str> {
    if let Some(candidates) = candidates {
        return candidates.get(id);
    }
    let (image, number) = id.rsplit_once('#')?;
    references.get(image)?.get(number.parse::<usize>().ok()?).map(String::as_str)
}

/// Kendall's tau-c (Stuart 1953): with n points, of whose pairs P agree in order and Q disagree, and m the
/// smaller number of distinct values of the two sides,
///
/// ```text
/// τ_c = 2 (P - Q) / (n² (m - 1) / m)
/// ```
///
/// Not a number where a side has a single value.
#[must_use]
pub fn kendall_tau_c(points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
    let mut points: Vec<(f64, f64)> = points.into_iter().collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let n = points.len() as f64;
    let (distinct_x, tied_x) = ties(&points, |a, b| a.0.total_cmp(&b.0).is_eq());
    let (_, tied_both) =
        ties(&points, |a, b| a.0.total_cmp(&b.0).is_eq() && a.1.total_cmp(&b.1).is_eq());
    let mut ys: Vec<f64> = points.iter().map(|point| point.1).collect();
    let disagreeing = inversions(&mut ys);
    let (distinct_y, tied_y) = ties(&ys, |a, b| a.total_cmp(b).is_eq());
    let all = n * (n - 1.0) / 2.0;
    let agreeing = all - tied_x - tied_y + tied_both - disagreeing;
    let m = distinct_x.min(distinct_y) as f64;
    2.0 * (agreeing - disagreeing) / (n * n * (m - 1.0) / m)
}

/// The number of runs of equal neighbours, and of pairs within runs.
fn ties<T>(sorted: &[T], same: impl Fn(&T, &T) -> bool) -> (usize, f64) {
    sorted.chunk_by(same).fold((0, 0.0), |(runs, pairs), run| {
        let length = run.len() as f64;
        (runs + 1, pairs + length * (length - 1.0) / 2.0)
    })
}

/// Sorts, and counts the pairs that stood in the wrong order.
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
            let (fast, slow) = (kendall_tau_c(points.clone()), by_pairs(&points));
            prop_assert!((fast - slow).abs() < 1e-12 || (fast.is_nan() && slow.is_nan()));
        }
    }

    #[test]
    fn tau_c_of_points_counted_by_hand() {
        // Nine pairs agree, two disagree, four are tied; m = 3: 2 * 7 / (36 * 2 / 3).
        let (x, y) = ([1.0, 2.0, 2.0, 3.0, 5.0, 4.0], [1.0, 1.0, 2.0, 3.0, 2.0, 3.0]);
        let tau = kendall_tau_c(x.into_iter().zip(y));
        assert!((tau - 14.0 / 24.0).abs() < 1e-15, "{tau}");
    }
}
