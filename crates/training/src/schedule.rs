//! Learning rate as a pure function of the step.

use recipes::Schedule;

/// Linear warm-up, then linear decay to zero or a constant rate.
///
/// The formula is that of `get_linear_schedule_with_warmup` of transformers 4.x: `step` counts
/// finished steps, so the first step of a schedule with warm-up has rate 0.
#[derive(Debug, Clone, Copy)]
pub struct RateSchedule {
    /// Shape after the warm-up.
    pub shape: Schedule,
    /// Rate at the end of the warm-up.
    pub peak: f64,
    /// Steps from 0 to `peak`.
    pub warmup_steps: u64,
    /// Step at which a linear rate reaches 0 again.
    pub total_steps: u64,
}

impl RateSchedule {
    /// Returns the learning rate of the step that follows `step` finished ones.
    #[must_use]
    pub fn rate(&self, step: u64) -> f64 {
        let factor = if step < self.warmup_steps {
            step as f64 / self.warmup_steps.max(1) as f64
        } else if self.shape == Schedule::Constant {
            1.0
        } else {
            let left = self.total_steps.saturating_sub(step) as f64;
            left / self.total_steps.saturating_sub(self.warmup_steps).max(1) as f64
        };
        self.peak * factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_from_zero_to_the_peak_and_falls_to_zero() {
        let schedule = RateSchedule {
            shape: Schedule::Linear,
            peak: 2e-5,
            warmup_steps: 100,
            total_steps: 1100,
        };
        for (step, expected) in
            [(0, 0.0), (1, 2e-7), (50, 1e-5), (100, 2e-5), (600, 1e-5), (1099, 2e-8), (1100, 0.0)]
        {
            assert!((schedule.rate(step) - expected).abs() < 1e-18, "step {step}");
        }
    }

    #[test]
    fn a_constant_rate_stays_at_its_peak() {
        let schedule =
            RateSchedule { shape: Schedule::Constant, peak: 1e-3, warmup_steps: 0, total_steps: 9 };
        assert!([0, 1, 9, 90].iter().all(|&step| (schedule.rate(step) - 1e-3).abs() < 1e-18));
    }

    #[test]
    fn a_schedule_shorter_than_its_warm_up_still_ends() {
        let schedule =
            RateSchedule { shape: Schedule::Linear, peak: 1.0, warmup_steps: 10, total_steps: 5 };
        assert!((schedule.rate(4) - 0.4).abs() < 1e-12);
        assert!(schedule.rate(10).abs() < 1e-12);
    }
}
