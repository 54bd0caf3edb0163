//! Axes: ranges and round ticks.

/// Range of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    pub from: f64,
    pub to: f64,
}

/// Approximate number of ticks on an axis.
const TICKS: f64 = 5.0;

impl Axis {
    /// Returns the axis from the smallest to the largest value; `None` if no value is finite.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
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

    /// Returns the axis widened at both ends by `share` of its length; a start at 0 stays.
    pub fn widened(self, share: f64) -> Self {
        let room = self.length() * share;
        Self { from: if self.from == 0.0 { 0.0 } else { self.from - room }, to: self.to + room }
    }

    /// Returns the axis with its start moved down to 0 if 0 is near.
    pub fn down_to_zero_if_near(self) -> Self {
        let near = self.from >= 0.0 && self.from < self.to * 0.4;
        Self { from: if near { 0.0 } else { self.from }, ..self }
    }

    /// Returns the length of the range.
    pub fn length(&self) -> f64 {
        self.to - self.from
    }

    /// Returns the ticks of an axis of log10 values, labelled with the original values.
    pub fn powers(&self) -> Vec<(f64, String)> {
        let value = |at: f64| 10f64.powf(self.from + at * self.length());
        let labelled = |at: f64| {
            let value = value(at);
            let decimals = (1.0 - value.log10().floor()).clamp(0.0, 6.0) as usize;
            if value >= 10_000.0 { format!("{value:.0e}") } else { format!("{value:.decimals$}") }
        };
        self.ticks().into_iter().map(|(at, _)| (at, labelled(at))).collect()
    }

    /// Returns the ticks: positions from 0 at the start of the axis to 1 at its end, and labels.
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

/// Returns the smallest 1, 2 or 5 times a power of ten that is at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// Formats a tick's value with as many decimals as its step has.
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
    fn ticks_of_logarithms_are_called_by_what_they_are_of() {
        let ticks = Axis { from: -1.0, to: 2.0 }.powers();
        let called: Vec<&str> = ticks.iter().map(|(_, called)| called.as_str()).collect();
        assert_eq!(called, ["0.10", "1.0", "10", "100"]);
    }

    #[test]
    fn a_range_of_one_value_is_widened_and_none_has_no_axis() {
        assert_eq!(Axis::of([4.0, f64::NAN].into_iter()), Some(Axis { from: 2.0, to: 6.0 }));
        assert_eq!(Axis::of([0.0].into_iter()), Some(Axis { from: -0.5, to: 0.5 }));
        assert_eq!(Axis::of([f64::NAN].into_iter()), None);
        let (near, far) = (Axis { from: 1.0, to: 20.0 }, Axis { from: 18.0, to: 20.0 });
        assert_eq!(near.down_to_zero_if_near().widened(0.1), Axis { from: 0.0, to: 22.0 });
        assert_eq!(far.down_to_zero_if_near().widened(0.1), Axis { from: 17.8, to: 20.2 });
    }
}
