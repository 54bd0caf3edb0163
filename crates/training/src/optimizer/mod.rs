//! AdamW as transformers 4.x or as PyTorch has it, and gradient clipping that returns the norm.
//!
//! tch's optimizers cannot be checkpointed (nothing reads or writes their moments) and its clipping
//! does not return the norm. On a GPU everything stays on the device: no value is read back.

mod fused;

use networks::device;
use tch::{Device, Kind, Tensor, no_grad};

use crate::config::Rule;
use fused::Constants;

/// The constants of the update rule.
#[derive(Debug, Clone, Copy)]
pub struct AdamWOptions {
    /// Where epsilon is added, and when parameters decay.
    pub rule: Rule,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// AdamW over named parameters.
///
/// With gradient `g`, at step `t` counted from 1 (transformers 4.x, `optimization.AdamW`; Loshchilov
/// and Hutter, arXiv 1711.05101):
///
/// ```text
/// m = beta1 m + (1 - beta1) g         v = beta2 v + (1 - beta2) g^2
/// p = p - rate sqrt(1 - beta2^t) / (1 - beta1^t)  m / (sqrt(v) + epsilon)
/// p = p - rate weight_decay p
/// ```
///
/// `torch.optim.AdamW` adds epsilon after bias correction and decays first. That is
///
/// ```text
/// p = p - rate weight_decay p
/// p = p - rate sqrt(1 - beta2^t) / (1 - beta1^t)  m / (sqrt(v) + epsilon sqrt(1 - beta2^t))
/// ```
#[derive(Debug)]
pub struct AdamW {
    options: AdamWOptions,
    parameters: Vec<(String, Tensor)>,
    first_moments: Vec<Tensor>,
    second_moments: Vec<Tensor>,
}

impl AdamW {
    /// Starts with zero moments for `parameters`, which share storage with the model's.
    #[must_use]
    pub fn new(parameters: Vec<(String, Tensor)>, options: AdamWOptions) -> Self {
        let zeros = || parameters.iter().map(|(_, tensor)| tensor.zeros_like().detach()).collect();
        let (first_moments, second_moments) = (zeros(), zeros());
        Self { options, parameters, first_moments, second_moments }
    }

    /// The parameters, in the order that gradients must have.
    #[must_use]
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
    }

    /// The parameters with their names, in the order that gradients must have.
    pub fn named_parameters(&self) -> &[(String, Tensor)] {
        &self.parameters
    }

    /// Moves the parameters by one step.
    ///
    /// `gradients` are in the parameters' order, and are multiplied with `factor`, a scalar on their
    /// device, first; `step` counts from 1; `rate` is the learning rate.
    pub fn step(&mut self, gradients: &[Tensor], factor: Option<&Tensor>, step: u64, rate: f64) {
        let AdamWOptions { rule, beta1, beta2, epsilon, weight_decay } = self.options;
        let exponent = step as f64;
        let correction = (1.0 - beta2.powf(exponent)).sqrt();
        let step_size = rate * correction / (1.0 - beta1.powf(exponent));
        let kept = 1.0 - rate * weight_decay;
        let (epsilon, kept_before, kept_after) = match rule {
            Rule::Transformers => (epsilon, 1.0, kept),
            Rule::Torch => (epsilon * correction, kept, 1.0),
        };
        // Reading a value costs nothing on the processor, and makes a GPU's owner wait.
        let on_processor = |tensor: &&Tensor| tensor.device() == Device::Cpu;
        let constants = Constants {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            new1: (1.0 - beta1) as f32,
            new2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            step_size: step_size as f32,
            kept_before: kept_before as f32,
            kept_after: kept_after as f32,
            factor: factor
                .filter(on_processor)
                .map_or(1.0, |factor| factor.double_value(&[]) as f32),
        };
        let threads = device::threads();
        no_grad(|| {
            for (index, gradient) in gradients.iter().enumerate() {
                let parameter = &mut self.parameters[index].1;
                let first = &mut self.first_moments[index];
                let second = &mut self.second_moments[index];
                let gradient = gradient.contiguous();
                if fused::update(parameter, &gradient, first, second, &constants, threads) {
                    continue;
                }
                let gradient =
                    factor.map_or_else(|| gradient.shallow_clone(), |factor| &gradient * factor);
                let _ = first.g_mul_scalar_(beta1);
                let _ = first.g_add_(&(&gradient * (1.0 - beta1)));
                let _ = second.g_mul_scalar_(beta2);
                let _ = second.addcmul_(&gradient, &(&gradient * (1.0 - beta2)));
                let denominator = second.sqrt().g_add_scalar_(epsilon);
                if weight_decay > 0.0 {
                    let _ = parameter.g_mul_scalar_(kept_before);
                }
                let _ = parameter.addcdiv_(&(&*first * -step_size), &denominator);
                if weight_decay > 0.0 {
                    let _ = parameter.g_mul_scalar_(kept_after);
                }
            }
        });
    }

    /// The moments under the names `first.<parameter>` and `second.<parameter>`.
    #[must_use]
    pub fn moments(&self) -> Vec<(String, Tensor)> {
        let named = |prefix: &'static str, moments: &[Tensor]| -> Vec<(String, Tensor)> {
            self.parameters
                .iter()
                .zip(moments)
                .map(|((name, _), moment)| (format!("{prefix}.{name}"), moment.shallow_clone()))
                .collect()
        };
        let mut all = named("first", &self.first_moments);
        all.extend(named("second", &self.second_moments));
        all
    }
}

/// What gradients of this total norm are multiplied with, so that it becomes at most `max_norm`.
///
/// As `torch.nn.utils.clip_grad_norm_`: `min(1, max_norm / (norm + 1e-6))`. Scalars on one device.
pub fn clipping_factor(norm: &Tensor, max_norm: f64) -> Tensor {
    no_grad(|| (max_norm / (norm + 1e-6)).clamp_max(1.0))
}

/// The L2 norm of all gradients together, a scalar on their device.
pub fn total_norm(gradients: &[Tensor]) -> Tensor {
    no_grad(|| {
        let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
        Tensor::stack(&norms, 0).norm().to_kind(Kind::Float)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: AdamWOptions = AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-2,
        weight_decay: 0.1,
    };

    /// The rule in plain f64, one number at a time, as its authors write it.
    fn expected(rule: Rule, parameter: f64, gradients: &[f64], rate: f64) -> f64 {
        let (mut p, mut m, mut v) = (parameter, 0.0, 0.0);
        for (index, g) in gradients.iter().enumerate() {
            let t = f64::from(u32::try_from(index).unwrap() + 1);
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            let (first, second) = (1.0 - 0.9_f64.powf(t), 1.0 - 0.999_f64.powf(t));
            match rule {
                Rule::Transformers => {
                    p -= rate * second.sqrt() / first * m / (v.sqrt() + 1e-2);
                    p -= rate * 0.1 * p;
                }
                Rule::Torch => {
                    p -= rate * 0.1 * p;
                    p -= rate * (m / first) / ((v / second).sqrt() + 1e-2);
                }
            }
        }
        p
    }

    /// Both ways: f32 is updated in one pass, f64 by tensor operations.
    #[test]
    fn steps_follow_either_rule() {
        let kinds = [(Kind::Double, 1e-12), (Kind::Float, 1e-6)];
        let rules = [Rule::Transformers, Rule::Torch];
        for (rule, (kind, tolerance)) in
            rules.iter().flat_map(|rule| kinds.map(|kind| (*rule, kind)))
        {
            let parameter =
                Tensor::from_slice(&[0.5_f64, -2.0]).to_kind(kind).set_requires_grad(true);
            let mut optimizer = AdamW::new(
                vec![("p".into(), parameter.shallow_clone())],
                AdamWOptions { rule, ..OPTIONS },
            );
            let gradients = [[0.3, -0.01], [-0.2, 0.02], [0.05, 0.0]];
            for (index, gradient) in gradients.iter().enumerate() {
                // Twice the gradient, halved by the factor.
                let doubled = Tensor::from_slice(gradient).to_kind(kind) * 2.0;
                let half = Tensor::from(0.5_f64).to_kind(kind);
                optimizer.step(&[doubled], Some(&half), index as u64 + 1, 0.1);
            }
            for column in 0..2 {
                let history: Vec<f64> = gradients.iter().map(|row| row[column]).collect();
                let start = [0.5, -2.0][column];
                let got = parameter.double_value(&[column as i64]);
                let off = (got - expected(rule, start, &history, 0.1)).abs();
                assert!(off < tolerance, "{rule:?}, {kind:?}, column {column}: {off}");
            }
        }
    }

    #[test]
    fn one_pass_on_many_threads_is_the_same_to_the_bit_and_near_tensor_operations() {
        let updated = |kind: Kind, threads: usize| {
            device::set_threads(threads);
            tch::manual_seed(3);
            let draw = || Tensor::randn([3, 50_000], (Kind::Float, Device::Cpu)).to_kind(kind);
            let parameter = draw();
            let mut optimizer = AdamW::new(vec![("p".into(), parameter.shallow_clone())], OPTIONS);
            for step in 1..=3 {
                // A gradient need not lie in row order.
                optimizer.step(&[draw().tr().contiguous().tr()], None, step, 1e-2);
            }
            parameter
        };
        let one = updated(Kind::Float, 1);
        assert_eq!(one, updated(Kind::Float, 2));
        let off = (one - updated(Kind::Double, 1)).abs().max().double_value(&[]);
        assert!(off < 1e-6, "{off}");
    }

    #[test]
    fn clipping_spares_small_gradients() {
        let gradients = [Tensor::from_slice(&[3.0_f32]), Tensor::from_slice(&[0.0_f32, 4.0])];
        let norm = total_norm(&gradients);
        assert!((norm.double_value(&[]) - 5.0).abs() < 1e-6);
        assert!((clipping_factor(&norm, 1.0).double_value(&[]) - 0.2).abs() < 1e-6);
        assert!((clipping_factor(&norm, 6.0).double_value(&[]) - 1.0).abs() < 1e-12);
    }
}
