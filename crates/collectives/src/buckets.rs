//! Summation of gradients over all processes in flat buckets, sent as soon as they are full.
//!
//! The layout follows `DistributedDataParallel` (Li et al., VLDB 2020, section 3.2): buckets hold
//! parameters in the order in which rank 0's first backward pass computes their gradients. Buckets
//! are sent in that order on all ranks, so that collectives match.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Kind, Tensor, no_grad};

use crate::error::Error;
use crate::group::{Collectives, Pending};
use crate::hooks::GradientHooks;

/// Default bucket size in bytes, the 25 MiB of `DistributedDataParallel`.
pub const BUCKET_BYTES: usize = 25 << 20;

/// Sums over all processes for one step.
#[derive(Debug)]
pub struct StepSums {
    /// Weighted sums of the gradients, in the parameters' order. They are views of the buckets,
    /// which the next step overwrites.
    pub gradients: Vec<Tensor>,
    /// Sums of the scalars, f64 `[scalars]`.
    pub scalars: Tensor,
}

/// Gradient buckets of a model, summed over all processes.
pub struct Buckets {
    state: Arc<Mutex<State>>,
    _hooks: Option<GradientHooks>,
}

#[derive(Debug)]
struct State {
    group: Arc<dyn Collectives>,
    shapes: Vec<Vec<i64>>,
    bucket_bytes: usize,
    /// `None` until the end of the first backward pass.
    layout: Option<Layout>,
    mode: Mode,
    /// Parameters in the order of their gradients in the first backward pass.
    order: Vec<usize>,
    /// Error of a hook, which cannot return it itself.
    error: Option<Error>,
}

/// Action of the hooks on a gradient.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Ignore,
    Record,
    /// Add the gradient times this weight, and send full buckets.
    Send(f64),
}

#[derive(Debug)]
struct Layout {
    buckets: Vec<Bucket>,
    /// Slot of each parameter.
    slots: Vec<Slot>,
    /// Index of the next bucket to send.
    next: usize,
}

#[derive(Debug)]
struct Bucket {
    values: Tensor,
    parameters: usize,
    /// Number of parameters whose gradient in the step's last pass is missing.
    missing: usize,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Slot {
    bucket: usize,
    /// View of the bucket in the parameter's shape.
    values: Tensor,
    /// True if it holds gradients of this step.
    filled: bool,
    /// True if a hook has received the gradient of this pass.
    received: bool,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

impl Buckets {
    /// Creates buckets for `parameters`: trainable f32 leaves on one device.
    ///
    /// With `overlap`, buckets are sent during the last backward pass of a step, which must cover
    /// all parameters.
    ///
    /// # Errors
    /// Fails if libtorch cannot install a hook.
    pub fn new(
        group: Arc<dyn Collectives>,
        parameters: &[Tensor],
        bucket_bytes: usize,
        overlap: bool,
    ) -> Result<Self, Error> {
        let state = Arc::new(Mutex::new(State {
            group,
            shapes: parameters.iter().map(Tensor::size).collect(),
            bucket_bytes,
            layout: None,
            mode: Mode::Ignore,
            order: Vec::new(),
            error: None,
        }));
        let callback = Arc::clone(&state);
        let receive = move |parameter, gradient: &Tensor| {
            lock(&callback).receive(parameter, gradient);
        };
        let hooks =
            overlap.then(|| GradientHooks::new(parameters, Arc::new(receive))).transpose()?;
        Ok(Self { state, _hooks: hooks })
    }

    /// Prepares a backward pass.
    ///
    /// In a step's last pass, hooks send each gradient times `weight` as soon as it is computed.
    /// Pass the gradients to [`Self::accumulate`] in any case.
    pub fn prepare_backward(&self, weight: f64, is_last: bool) {
        let mut state = lock(&self.state);
        state.mode = match (&state.layout, is_last) {
            (None, _) => Mode::Record,
            (Some(_), true) => Mode::Send(weight),
            (Some(_), false) => Mode::Ignore,
        };
    }

    /// Adds the gradients of a backward pass, times `weight`, except those that hooks have sent.
    ///
    /// # Errors
    /// Fails if another process is lost.
    pub fn accumulate(&self, gradients: &[Tensor], weight: f64) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.mode = Mode::Ignore;
        if let Some(error) = state.error.take() {
            return Err(error);
        }
        for (slot, gradient) in state.layout()?.slots.iter_mut().zip(gradients) {
            if !std::mem::take(&mut slot.received) {
                slot.add(gradient, weight);
            }
        }
        Ok(())
    }

    /// Returns the sums of gradients and `scalars` over all processes, and ends the step.
    ///
    /// # Errors
    /// Fails if another process is lost.
    pub fn finish_step(&self, scalars: &[Tensor]) -> Result<StepSums, Error> {
        let mut state = lock(&self.state);
        let group = Arc::clone(&state.group);
        let layout = state.layout()?;
        for slot in layout.slots.iter_mut().filter(|slot| !slot.filled) {
            let _ = no_grad(|| slot.values.zero_());
        }
        while layout.next < layout.buckets.len() {
            layout.send_next(group.as_ref())?;
        }
        let doubles: Vec<Tensor> = scalars
            .iter()
            .map(|scalar| scalar.detach().to_device(group.device()).to_kind(Kind::Double))
            .collect();
        let scalars = Tensor::stack(&doubles, 0);
        let pending = group.all_reduce(&scalars)?;
        for bucket in &mut layout.buckets {
            if let Some(pending) = bucket.pending.take() {
                pending.wait()?;
            }
            bucket.missing = bucket.parameters;
        }
        pending.wait()?;
        layout.next = 0;
        let gradients = layout.slots.iter_mut().map(|slot| {
            slot.filled = false;
            slot.values.shallow_clone()
        });
        Ok(StepSums { gradients: gradients.collect(), scalars })
    }

    /// Returns the size of all buckets in bytes, which each process sends per step.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = lock(&self.state);
        (0..state.shapes.len()).map(|parameter| state.bytes(parameter)).sum()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic with the lock held ends the process anyway.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// Returns the layout, built on the first call.
    ///
    /// The order is that of rank 0's first backward pass, or the reverse of the parameters' if
    /// hooks did not record it.
    fn layout(&mut self) -> Result<&mut Layout, Error> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.build_layout()?,
        };
        Ok(self.layout.insert(layout))
    }

    fn build_layout(&self) -> Result<Layout, Error> {
        let mut order = self.order.clone();
        let unrecorded =
            (0..self.shapes.len()).rev().filter(|parameter| !order.contains(parameter));
        order.extend(unrecorded.collect::<Vec<usize>>());
        let device = self.group.device();
        let agreed_order: Vec<i64> = order.iter().map(|&parameter| parameter as i64).collect();
        let agreed_order = Tensor::from_slice(&agreed_order).to_device(device);
        self.group.broadcast(&agreed_order)?;
        let agreed_order = Vec::<i64>::try_from(agreed_order.to_device(tch::Device::Cpu))?;

        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut bytes = usize::MAX;
        for parameter in agreed_order.iter().map(|&parameter| parameter as usize) {
            if bytes >= self.bucket_bytes {
                runs.push(Vec::new());
                bytes = 0;
            }
            bytes += self.bytes(parameter);
            runs.last_mut().into_iter().for_each(|run| run.push(parameter));
        }
        let mut slots: Vec<Option<Slot>> = self.shapes.iter().map(|_| None).collect();
        let mut buckets = Vec::new();
        for run in runs {
            let numel = run.iter().map(|&parameter| self.numel(parameter)).sum::<i64>();
            let values = Tensor::zeros([numel], (Kind::Float, device));
            let mut first = 0;
            for &parameter in &run {
                let numel = self.numel(parameter);
                let view = values.narrow(0, first, numel).view(&self.shapes[parameter][..]);
                let slot =
                    Slot { bucket: buckets.len(), values: view, filled: false, received: false };
                slots[parameter] = Some(slot);
                first += numel;
            }
            let parameters = run.len();
            buckets.push(Bucket { values, parameters, missing: parameters, pending: None });
        }
        Ok(Layout { buckets, slots: slots.into_iter().flatten().collect(), next: 0 })
    }

    fn numel(&self, parameter: usize) -> i64 {
        self.shapes[parameter].iter().product()
    }

    fn bytes(&self, parameter: usize) -> usize {
        self.numel(parameter) as usize * size_of::<f32>()
    }

    /// Handles a gradient of the current backward pass.
    fn receive(&mut self, parameter: usize, gradient: &Tensor) {
        match (self.mode, &mut self.layout) {
            (Mode::Record, _) => self.order.push(parameter),
            (Mode::Send(weight), Some(layout)) if self.error.is_none() => {
                if let Err(error) = layout.receive(parameter, gradient, weight, &*self.group) {
                    self.error = Some(error);
                }
            }
            _ => {}
        }
    }
}

impl Layout {
    fn receive(
        &mut self,
        parameter: usize,
        gradient: &Tensor,
        weight: f64,
        group: &dyn Collectives,
    ) -> Result<(), Error> {
        let slot = &mut self.slots[parameter];
        slot.add(gradient, weight);
        slot.received = true;
        self.buckets[slot.bucket].missing -= 1;
        while self.buckets.get(self.next).is_some_and(|bucket| bucket.missing == 0) {
            self.send_next(group)?;
        }
        Ok(())
    }

    fn send_next(&mut self, group: &dyn Collectives) -> Result<(), Error> {
        let bucket = &mut self.buckets[self.next];
        bucket.pending = Some(group.all_reduce(&bucket.values)?);
        self.next += 1;
        Ok(())
    }
}

impl Slot {
    fn add(&mut self, gradient: &Tensor, weight: f64) {
        no_grad(|| {
            if self.filled {
                let _ = self.values.g_add_(&(gradient * weight));
            } else {
                let _ = gradient.mul_scalar_out(&self.values, weight);
            }
        });
        self.filled = true;
    }
}
