//! AdamW of transformers 4.x and of PyTorch, and gradient clipping.
//!
//! The moments of tch's optimizers cannot be checkpointed, and its clipping does not return the
//! norm. On a CPU an update is one pass over memory; on a GPU it is libtorch's fused one, with a
//! few launches for all parameters and no synchronisation.

mod one_pass;

use networks::device;
use networks::libtorch::{self, AdamWNumbers, AdamWTensors};
use recipes::Rule;
use tch::{Kind, TchError, Tensor, no_grad};

use one_pass::Constants;

/// Constants of the update rule.
#[derive(Debug, Clone, Copy)]
pub struct AdamWOptions {
    /// Rule: position of epsilon, and time of the decay.
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
/// With gradient `g`, at step `t` counted from 1 (transformers 4.x, `optimization.AdamW`;
/// Loshchilov and Hutter, arXiv 1711.05101):
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
    /// Returns an optimizer with zero moments; `parameters` share storage with the model's.
    #[must_use]
    pub fn new(parameters: Vec<(String, Tensor)>, options: AdamWOptions) -> Self {
        let zeros = || parameters.iter().map(|(_, tensor)| tensor.zeros_like().detach()).collect();
        let (first_moments, second_moments) = (zeros(), zeros());
        Self { options, parameters, first_moments, second_moments }
    }

    /// Returns the parameters, in the order of gradients.
    #[must_use]
    pub fn parameters(&self) -> Vec<Tensor> {
        self.parameters.iter().map(|(_, tensor)| tensor.shallow_clone()).collect()
    }

    /// Updates the parameters by one step.
    ///
    /// `gradients` are in the parameters' order and are first multiplied by `factor`, a scalar on
    /// their device; `step` counts from 1; `rate` is the learning rate. Without gradients nothing
    /// changes.
    ///
    /// # Errors
    /// Fails if libtorch runs out of memory.
    pub fn step(
        &mut self,
        gradients: &[Tensor],
        factor: Option<&Tensor>,
        step: u64,
        rate: f64,
    ) -> Result<(), TchError> {
        self.step_unless(None, gradients, factor, step, rate)
    }

    /// Updates as [`Self::step`]; on a GPU nothing changes if `skip`, a float scalar there, is 1.
    ///
    /// # Errors
    /// Fails if libtorch runs out of memory.
    pub(crate) fn step_unless(
        &mut self,
        skip: Option<&Tensor>,
        gradients: &[Tensor],
        factor: Option<&Tensor>,
        step: u64,
        rate: f64,
    ) -> Result<(), TchError> {
        if gradients.is_empty() {
            return Ok(());
        }
        let gradients: Vec<Tensor> = gradients.iter().map(Tensor::contiguous).collect();
        let parameters = self.parameters();
        if parameters.iter().all(one_pass::is_plain) {
            // Reading a value costs nothing on a CPU.
            let factor = factor.map_or(1.0, |factor| factor.double_value(&[]));
            self.step_in_one_pass(&gradients, factor, step, rate);
            return Ok(());
        }
        no_grad(|| {
            let divisor = factor.map(|factor| factor.reciprocal().to_kind(Kind::Float));
            let tensors = AdamWTensors {
                parameters: &parameters,
                gradients: &gradients,
                first_moments: &self.first_moments,
                second_moments: &self.second_moments,
            };
            let step_number = Tensor::full([], step as f64, (Kind::Float, parameters[0].device()));
            let numbers = self.numbers(step, rate);
            libtorch::fused_adamw(&tensors, &numbers, &step_number, divisor.as_ref(), skip)
        })
    }

    /// Returns the constants with which `torch.optim.AdamW` follows this rule.
    fn numbers(&self, step: u64, rate: f64) -> AdamWNumbers {
        let AdamWOptions { rule, beta1, beta2, epsilon, weight_decay } = self.options;
        let (lr, weight_decay, eps) = match rule {
            Rule::Torch => (rate, weight_decay, epsilon),
            Rule::Transformers => {
                // An update u and then decay, (p - u) kept, is decay and then a smaller update.
                let kept = 1.0 - rate * weight_decay;
                let kept = if kept == 0.0 { f64::EPSILON } else { kept };
                let correction = (1.0 - beta2.powf(step as f64)).sqrt();
                (rate * kept, weight_decay / kept, epsilon / correction)
            }
        };
        AdamWNumbers { lr, beta1, beta2, weight_decay, eps }
    }

    fn step_in_one_pass(&mut self, gradients: &[Tensor], factor: f64, step: u64, rate: f64) {
        let AdamWOptions { rule, beta1, beta2, epsilon, weight_decay } = self.options;
        let exponent = step as f64;
        let correction = (1.0 - beta2.powf(exponent)).sqrt();
        let step_size = rate * correction / (1.0 - beta1.powf(exponent));
        let kept = 1.0 - rate * weight_decay;
        let (epsilon, kept_before, kept_after) = match rule {
            Rule::Transformers => (epsilon, 1.0, kept),
            Rule::Torch => (epsilon * correction, kept, 1.0),
        };
        let constants = Constants {
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            new1: (1.0 - beta1) as f32,
            new2: (1.0 - beta2) as f32,
            epsilon: epsilon as f32,
            step_size: step_size as f32,
            kept_before: kept_before as f32,
            kept_after: kept_after as f32,
            factor: factor as f32,
        };
        let threads = device::threads();
        let moments = self.first_moments.iter().zip(&self.second_moments);
        for (((_, parameter), gradient), (first, second)) in
            self.parameters.iter().zip(gradients).zip(moments)
        {
            one_pass::update([parameter, gradient, first, second], &constants, threads);
        }
    }

    /// Returns the moments under the names `first.<parameter>` and `second.<parameter>`.
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

/// Returns the factor that clips gradients of this total norm to at most `max_norm`.
///
/// The formula is that of `torch.nn.utils.clip_grad_norm_`: `min(1, max_norm / (norm + 1e-6))`.
/// Both are scalars on one device.
pub fn clipping_factor(norm: &Tensor, max_norm: f64) -> Tensor {
    no_grad(|| (max_norm / (norm + 1e-6)).clamp_max(1.0))
}

/// Returns the L2 norm of all gradients, a scalar on their device.
///
/// # Errors
/// Fails if libtorch runs out of memory.
pub fn total_norm(gradients: &[Tensor]) -> Result<Tensor, TchError> {
    no_grad(|| {
        let norms = libtorch::foreach_norm(gradients)?;
        Tensor::f_stack(&norms, 0)?.f_norm()?.f_to_kind(Kind::Float)
    })
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    const OPTIONS: AdamWOptions = AdamWOptions {
        rule: Rule::Transformers,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-2,
        weight_decay: 0.1,
    };

    /// Computes the rule in f64, one number at a time; `steps` are gradients with their rates.
    fn expected(rule: Rule, parameter: f64, steps: &[(f64, f64)]) -> f64 {
        let (mut p, mut m, mut v) = (parameter, 0.0, 0.0);
        for (index, (g, rate)) in steps.iter().enumerate() {
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

    /// Tests both forms: f32 is updated in one pass, f64 by libtorch's fused step.
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
                optimizer.step(&[doubled], Some(&half), index as u64 + 1, 0.1).unwrap();
            }
            for column in 0..2 {
                let history: Vec<(f64, f64)> =
                    gradients.iter().map(|row| (row[column], 0.1)).collect();
                let start = [0.5, -2.0][column];
                let got = parameter.double_value(&[column as i64]);
                let off = (got - expected(rule, start, &history)).abs();
                assert!(off < tolerance, "{rule:?}, {kind:?}, column {column}: {off}");
            }
        }
    }

    #[test]
    fn one_pass_on_many_threads_is_the_same_to_the_bit_and_near_the_fused_step() {
        let updated = |kind: Kind, threads: usize| {
            device::set_threads(threads);
            // No random numbers: all tests share libtorch's generator.
            let values = |scale: f64| {
                let numbers = Tensor::arange(150_000, (Kind::Float, Device::Cpu));
                (numbers * scale).sin().view([3, 50_000]).to_kind(kind)
            };
            let parameter = values(0.37);
            let mut optimizer = AdamW::new(vec![("p".into(), parameter.shallow_clone())], OPTIONS);
            for step in 1..=3 {
                // A gradient need not lie in row order.
                let gradient = values(step as f64 + 0.7).tr().contiguous().tr();
                optimizer.step(&[gradient], None, step, 1e-2).unwrap();
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
        let norm = total_norm(&gradients).unwrap();
        assert!((norm.double_value(&[]) - 5.0).abs() < 1e-6);
        assert!((clipping_factor(&norm, 1.0).double_value(&[]) - 0.2).abs() < 1e-6);
        assert!((clipping_factor(&norm, 6.0).double_value(&[]) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_norm_has_the_bits_of_one_tensor_after_the_other() {
        // No random numbers: other tests of this process draw some.
        let sizes: [&[i64]; 5] = [&[3], &[64, 33], &[], &[1, 7, 300], &[70_001]];
        let gradients = sizes.map(|size| {
            let numbers = Tensor::arange(size.iter().product::<i64>(), (Kind::Float, Device::Cpu));
            ((numbers + 1.0).square().sin() * 3.0).view(size)
        });
        let norms: Vec<Tensor> = gradients.iter().map(Tensor::norm).collect();
        assert_eq!(total_norm(&gradients).unwrap(), Tensor::stack(&norms, 0).norm());
    }

    /// Compares the fused step of a GPU, run on the CPU, with the rule in f64.
    ///
    /// Runs 40 steps with a changing rate, for large and small gradients.
    #[test]
    fn the_fused_step_follows_either_rule_for_many_steps() {
        for rule in [Rule::Transformers, Rule::Torch] {
            let start = [0.5, -2.0, 1e-3, 0.1];
            let parameters: Vec<Tensor> =
                start.iter().map(|&value| Tensor::from(value).to_kind(Kind::Float)).collect();
            let named = (0..).map(|index: i32| index.to_string()).zip(parameters.iter());
            let named = named.map(|(name, tensor)| (name, tensor.shallow_clone())).collect();
            let optimizer = AdamW::new(named, AdamWOptions { rule, ..OPTIONS });
            let gradient = |step: u64, column: usize| {
                let size = [0.3, 1e-4, 20.0, 1.0][column];
                size * ((step * 7 + column as u64 * 3) as f64).sin()
            };
            let steps: Vec<u64> = (1..=40).collect();
            let rate = |step: u64| 0.02 * (step % 9) as f64;
            for &step in &steps {
                // Ten times the gradient, divided by the scale.
                let gradients: Vec<Tensor> = (0..4)
                    .map(|column| Tensor::from(10.0 * gradient(step, column)).to_kind(Kind::Float))
                    .collect();
                let tensors = AdamWTensors {
                    parameters: &parameters,
                    gradients: &gradients,
                    first_moments: &optimizer.first_moments,
                    second_moments: &optimizer.second_moments,
                };
                let scalar = |value: f64| Tensor::from(value).to_kind(Kind::Float);
                let numbers = optimizer.numbers(step, rate(step));
                let scale = scalar(10.0);
                for skip in [1.0, 0.0] {
                    let skip = scalar(skip);
                    let number = scalar(step as f64);
                    libtorch::fused_adamw(&tensors, &numbers, &number, Some(&scale), Some(&skip))
                        .unwrap();
                }
            }
            for (column, parameter) in parameters.iter().enumerate() {
                let history: Vec<(f64, f64)> =
                    steps.iter().map(|&step| (gradient(step, column), rate(step))).collect();
                let wanted = expected(rule, start[column], &history);
                let off = (parameter.double_value(&[]) - wanted).abs();
                assert!(off < 1e-6, "{rule:?}, column {column}: {wanted} is missed by {off}");
            }
        }
    }

    #[test]
    fn decay_of_all_leaves_nothing_whichever_way_it_is_computed() {
        for kind in [Kind::Float, Kind::Double] {
            let parameter = Tensor::from_slice(&[3.0, -4.0]).to_kind(kind);
            let options = AdamWOptions { weight_decay: 2.0, ..OPTIONS };
            let mut optimizer = AdamW::new(vec![("p".into(), parameter.shallow_clone())], options);
            let gradient = Tensor::from_slice(&[1.0, 1.0]).to_kind(kind);
            optimizer.step(&[gradient], None, 1, 0.5).unwrap();
            assert!(parameter.abs().max().double_value(&[]) < 1e-15, "{kind:?}: {parameter:?}");
        }
    }
}
