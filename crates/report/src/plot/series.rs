//! Reduction and smoothing of series for plots.

/// Returns at most `most` of the points (at least four), in their order.
///
/// Keeps the first and the last point. Of each of the equal parts between them it keeps the lowest
/// and the highest point, so that no peak is lost.
#[must_use]
pub fn thin(points: &[(f64, f64)], most: usize) -> Vec<(f64, f64)> {
    let most = most.max(4);
    let [first, between @ .., last] = points else { return points.to_vec() };
    if points.len() <= most {
        return points.to_vec();
    }
    let mut kept = vec![*first];
    for part in between.chunks(between.len().div_ceil((most - 2) / 2)) {
        let lowest = (0..part.len()).min_by(|&a, &b| part[a].1.total_cmp(&part[b].1)).unwrap_or(0);
        let highest = (0..part.len()).max_by(|&a, &b| part[a].1.total_cmp(&part[b].1)).unwrap_or(0);
        kept.push(part[lowest.min(highest)]);
        if lowest != highest {
            kept.push(part[lowest.max(highest)]);
        }
    }
    kept.push(*last);
    kept
}

/// Returns the exponential moving average of a series over about the last `over` values.
///
/// The average is corrected for the bias at its start.
#[must_use]
pub fn smooth(points: &[(f64, f64)], over: usize) -> Vec<(f64, f64)> {
    let decay = 1.0 - 1.0 / over.max(1) as f64;
    let (mut sum, mut weight) = (0.0, 0.0);
    let smoothed = points.iter().map(|&(x, y)| {
        sum = decay * sum + y;
        weight = decay * weight + 1.0;
        (x, sum / weight)
    });
    smoothed.collect()
}

/// Returns the y values without the lowest and the highest half percent.
pub(super) fn without_extremes(points: &[(f64, f64)]) -> Vec<f64> {
    let mut heights: Vec<f64> = points.iter().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    let cut = heights.len() / 200;
    heights[cut..heights.len() - cut].to_vec()
}

/// Returns the y values without the highest twentieth if that is far above the others.
pub(super) fn without_peaks(points: &[(f64, f64)]) -> Vec<f64> {
    let mut heights: Vec<f64> = points.iter().map(|point| point.1).collect();
    heights.sort_by(f64::total_cmp);
    let kept = heights.len() - heights.len() / 20;
    let [least, .., most] = heights[..] else { return heights };
    if most - least > 2.0 * (heights[kept - 1] - least) {
        heights.truncate(kept);
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_ends_and_peaks_and_the_order() {
        let mut points: Vec<(f64, f64)> = (0..10_000).map(|x| (f64::from(x), 1.0)).collect();
        points[4321].1 = 99.0;
        points[7000].1 = -99.0;
        let thinned = thin(&points, 600);
        assert!(thinned.len() <= 600 && thinned.len() > 300, "{}", thinned.len());
        assert_eq!((thinned[0], thinned[thinned.len() - 1]), (points[0], points[9999]));
        assert!(thinned.contains(&points[4321]) && thinned.contains(&points[7000]));
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(thin(&points[..600], 600), points[..600]);
        assert!(thin(&points[..601], 600).len() <= 600);
        assert!(thin(&[], 600).is_empty());
    }

    #[test]
    fn smoothing_keeps_a_constant_and_weighs_the_latest_most() {
        let constant = [(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)];
        assert!(smooth(&constant, 10).iter().all(|point| (point.1 - 5.0).abs() < 1e-12));
        let step = smooth(&[(1.0, 0.0), (2.0, 1.0)], 2);
        assert!((step[1].1 - 2.0 / 3.0).abs() < 1e-12, "{step:?}");
        assert_eq!(smooth(&[(1.0, 3.0), (2.0, 4.0)], 1), [(1.0, 3.0), (2.0, 4.0)]);
    }

    #[test]
    fn extremes_are_the_outermost_half_percent() {
        let points: Vec<(f64, f64)> = (0..1000).map(|y| (0.0, f64::from(y))).collect();
        let kept = without_extremes(&points);
        assert_eq!((kept[0] as i64, kept[kept.len() - 1] as i64, kept.len()), (5, 994, 990));
    }

    #[test]
    fn peaks_are_cut_only_if_they_are_few_and_far_above() {
        let falling = |peak: f64| -> Vec<(f64, f64)> {
            let value = |x: u32| if x < 3 { peak } else { 3.0 - f64::from(x) / 100.0 };
            (0..100).map(|x| (f64::from(x), value(x))).collect()
        };
        let most = |heights: Vec<f64>| heights.into_iter().reduce(f64::max).unwrap();
        assert!(most(without_peaks(&falling(9.0))) < 3.0);
        assert!((most(without_peaks(&falling(3.4))) - 3.4).abs() < 1e-12);
        assert_eq!(without_peaks(&[(1.0, 6.125), (2.0, 4.0625)]), [4.0625, 6.125]);
    }
}
