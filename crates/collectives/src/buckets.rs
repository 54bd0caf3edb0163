//! Gradients summed over all processes in flat buckets, each sent as soon as it is full.
//!
//! The layout is that of `DistributedDataParallel` (Li and others, VLDB 2020, section 3.2): parameters
//! lie in the buckets in the order in which a backward pass makes their gradients, which the first
//! pass shows; rank 0's order is everybody's. Buckets are sent in that order whichever is full first,
//! so that all processes send the same one.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tch::{Kind, Tensor, no_grad};

use crate::hooks::Hooks;
use crate::{Collectives, Error, Pending};

/// Bytes of a bucket, about; `DistributedDataParallel`'s 25 MiB.
pub const BUCKET_BYTES: usize = 25 << 20;

/// What a step's processes made together.
#[derive(Debug)]
pub struct Sums {
    /// The weighted sum of all gradients, in the parameters' order. They lie in the buckets, and are
    /// overwritten by the next step.
    pub gradients: Vec<Tensor>,
    /// The sums of the scalars, f64 `[scalars]`.
    pub scalars: Tensor,
}

/// The gradients of a model's parameters, summed over all processes.
pub struct Buckets {
    state: Arc<Mutex<State>>,
    _hooks: Option<Hooks>,
}

#[derive(Debug)]
struct State {
    group: Arc<dyn Collectives>,
    shapes: Vec<Vec<i64>>,
    bucket_bytes: usize,
    /// None before the first step's end.
    layout: Option<Layout>,
    mode: Mode,
    /// Parameters in the order in which their gradients came in the first backward pass.
    order: Vec<usize>,
    /// What went wrong in a hook, which cannot say so itself.
    error: Option<Error>,
}

/// What hooks do with a gradient.
#[derive(Debug, Clone, Copy)]
enum Mode {
    Ignore,
    Record,
    /// Keep it, multiplied with this, and send the buckets that are full.
    Send(f64),
}

#[derive(Debug)]
struct Layout {
    buckets: Vec<Bucket>,
    /// Of each parameter its bucket and its values there.
    slots: Vec<Slot>,
    /// The bucket that is sent next.
    next: usize,
}

#[derive(Debug)]
struct Bucket {
    values: Tensor,
    parameters: usize,
    /// Parameters whose gradients are not there yet in the last pass.
    missing: usize,
    pending: Option<Pending>,
}

#[derive(Debug)]
struct Slot {
    bucket: usize,
    /// A view of the bucket in the parameter's shape.
    values: Tensor,
    /// Whether something of this step is in it.
    filled: bool,
    /// Whether a hook has taken this pass's gradient.
    received: bool,
}

impl fmt::Debug for Buckets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buckets").finish_non_exhaustive()
    }
}

impl Buckets {
    /// Of `parameters`, which are leaves that take gradients, all on one device and f32. With `overlap`
    /// they are sent while the backward pass goes on, which must be one pass for all of them.
    ///
    /// # Errors
    /// When libtorch refuses a hook.
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
        let receiver = Arc::clone(&state);
        let receive = move |parameter, gradient: &Tensor| {
            locked(&receiver).receive(parameter, gradient);
        };
        let hooks = overlap.then(|| Hooks::new(parameters, Arc::new(receive))).transpose()?;
        Ok(Self { state, _hooks: hooks })
    }

    /// Makes ready for a backward pass. Of a step's last one, each gradient is sent, multiplied with
    /// `weight`, as soon as it is made. All of them are still to be given to [`Self::add`].
    pub fn expect(&self, weight: f64, is_last: bool) {
        let mut state = locked(&self.state);
        state.mode = match (&state.layout, is_last) {
            (None, _) => Mode::Record,
            (Some(_), true) => Mode::Send(weight),
            (Some(_), false) => Mode::Ignore,
        };
    }

    /// Adds the gradients of a backward pass, multiplied with `weight`: those that were not sent while
    /// it went on.
    ///
    /// # Errors
    /// When another process is lost.
    pub fn add(&self, gradients: &[Tensor], weight: f64) -> Result<(), Error> {
        let mut state = locked(&self.state);
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

    /// The sums over all processes of what was added, and of scalars.
    ///
    /// # Errors
    /// When another process is lost.
    pub fn finish(&self, scalars: &[Tensor]) -> Result<Sums, Error> {
        let mut state = locked(&self.state);
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
        Ok(Sums { gradients: gradients.collect(), scalars })
    }

    /// Bytes of all buckets: what each process gives into a step's sums.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = locked(&self.state);
        (0..state.shapes.len()).map(|parameter| state.bytes(parameter)).sum()
    }
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // A panic while it was held ends the process anyway.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The layout, which the first call makes: by the order of rank 0's first backward pass, or where
    /// that was not watched from the last parameter to the first.
    fn layout(&mut self) -> Result<&mut Layout, Error> {
        let layout = match self.layout.take() {
            Some(layout) => layout,
            None => self.lay_out()?,
        };
        Ok(self.layout.insert(layout))
    }

    fn lay_out(&self) -> Result<Layout, Error> {
        let mut order = self.order.clone();
        let unwatched = (0..self.shapes.len()).rev().filter(|parameter| !order.contains(parameter));
        order.extend(unwatched.collect::<Vec<usize>>());
        let device = self.group.device();
        let ranked: Vec<i64> = order.iter().map(|&parameter| parameter as i64).collect();
        let ranked = Tensor::from_slice(&ranked).to_device(device);
        self.group.broadcast(&ranked)?;
        let ranked = Vec::<i64>::try_from(ranked.to_device(tch::Device::Cpu))?;

        let mut runs: Vec<Vec<usize>> = Vec::new();
        let mut bytes = usize::MAX;
        for parameter in ranked.iter().map(|&parameter| parameter as usize) {
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

    /// A gradient that the backward pass under way has made.
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
