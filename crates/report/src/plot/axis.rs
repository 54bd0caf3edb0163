//! Axes: their ranges and round ticks.

/// The range of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub from: f64,
    pub to: f64,
}

/// Ticks that an axis has about.
const TICKS: f64 = 5.0;

impl Axis {
    /// From the least value to the greatest; none where there is no finite value.
    pub fn tight(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut finite = values.filter(|value| value.is_finite());
        let first = finite.next()?;
        let (from, to) =
            finite.fold((first, first), |(least, most), value| (least.min(value), most.max(value)));
        if to > from {
            return Some(Self { from, to });
        }
        let room = if from == 0.0 { 0.5 } else { from.abs() / 2.0 };
        Some(Self { from: from - room, to: to + room })
    }

    /// With some room at both ends, and from 0 where that is near.
    pub fn padded(values: impl Iterator<Item = f64>) -> Option<Self> {
        let Self { from, to } = Self::tight(values)?;
        let room = (to - from) * 0.05;
        let near_zero = from >= 0.0 && from < to * 0.4;
        Some(Self { from: if near_zero { 0.0 } else { from - room }, to: to + room })
    }

    /// How far it reaches.
    pub fn length(&self) -> f64 {
        self.to - self.from
    }

    /// Where round values lie, from 0 at the axis' begin to 1 at its end, and what they are.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let step = round_step(self.length() / TICKS);
        let (first, last) = ((self.from / step).ceil(), (self.to / step).floor());
        let mut ticks = Vec::new();
        let mut number = first;
        while number <= last {
            let value = number * step;
            ticks.push(((value - self.from) / self.length(), label(value, step)));
            number += 1.0;
        }
        ticks
    }
}

/// 1, 2 or 5 times a power of ten: the first that is not smaller.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// A tick's value with as many decimals as its step has.
fn label(value: f64, step: f64) -> String {
    let magnitude = step.log10().floor();
    if value == 0.0 {
        return "0".to_owned();
    }
    if magnitude < -4.0 {
        let decimals = value.abs().log10().floor() - magnitude;
        return format!("{value:.*e}", decimals.max(0.0) as usize);
    }
    if step >= 1000.0 {
        return format!("{}k", value / 1000.0);
    }
    format!("{value:.*}", (-magnitude).max(0.0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(from: f64, to: f64) -> Vec<String> {
        Axis { from, to }.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(labels(0.0, 10.0), ["0", "2", "4", "6", "8", "10"]);
        assert_eq!(labels(0.93, 1.21), ["1.0", "1.1", "1.2"]);
        assert_eq!(labels(0.0, 2.1e-5), ["0", "5e-6", "1.0e-5", "1.5e-5", "2.0e-5"]);
        assert_eq!(labels(1.0, 12_000.0), ["5k", "10k"]);
        let at: Vec<f64> = Axis { from: 5.0, to: 15.0 }.ticks().iter().map(|tick| tick.0).collect();
        assert!(
            (at[0] - 0.1).abs() < 1e-12 && at.iter().all(|at| (0.0..=1.0).contains(at)),
            "{at:?}"
        );
    }

    #[test]
    fn a_range_of_one_value_is_widened_and_none_has_no_axis() {
        assert_eq!(Axis::tight([4.0, f64::NAN].into_iter()), Some(Axis { from: 2.0, to: 6.0 }));
        assert_eq!(Axis::tight([0.0].into_iter()), Some(Axis { from: -0.5, to: 0.5 }));
        assert_eq!(Axis::tight([f64::NAN].into_iter()), None);
        assert_eq!(Axis::padded([1.0, 20.0].into_iter()).map(|axis| axis.from), Some(0.0));
    }
}
