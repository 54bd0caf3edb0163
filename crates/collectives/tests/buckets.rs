//! Gradients summed in buckets by threads, which stand for processes.
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};

use collectives::{Buckets, Collectives, Error, Pending, Sums};
use tch::{Device, Kind, Tensor, no_grad};

/// One of several threads that sum tensors, call by call.
#[derive(Debug)]
struct Thread {
    rank: usize,
    shared: Arc<Shared>,
    /// Sizes of the summed tensors, in order.
    sent: Mutex<Vec<usize>>,
}

#[derive(Debug)]
struct Shared {
    threads: usize,
    /// Sum of each call, by its number, and how many threads have added to it.
    calls: Mutex<BTreeMap<usize, (usize, Tensor)>>,
    changed: Condvar,
}

impl Shared {
    fn add(&self, call: usize, tensor: &Tensor) {
        let mut calls = self.calls.lock().unwrap();
        let (count, sum) = calls.entry(call).or_insert_with(|| (0, tensor.zeros_like()));
        assert_eq!(sum.size(), tensor.size(), "all threads sum the same bucket");
        let _ = no_grad(|| sum.g_add_(tensor));
        *count += 1;
        self.changed.notify_all();
    }

    fn wait(&self, call: usize, tensor: &Tensor) {
        let all_there = |calls: &mut BTreeMap<_, (usize, Tensor)>| calls[&call].0 < self.threads;
        let calls = self.changed.wait_while(self.calls.lock().unwrap(), all_there).unwrap();
        no_grad(|| tensor.shallow_clone().copy_(&calls[&call].1));
    }
}

impl Collectives for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.shared.threads
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error> {
        let mut sent = self.sent.lock().unwrap();
        let (call, shared, tensor) = (sent.len(), Arc::clone(&self.shared), tensor.shallow_clone());
        sent.push(tensor.numel());
        shared.add(call, &tensor);
        Ok(Pending::new(move || {
            shared.wait(call, &tensor);
            Ok(())
        }))
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error> {
        if self.rank > 0 {
            let _ = no_grad(|| tensor.shallow_clone().zero_());
        }
        self.all_reduce(tensor)?.wait()
    }

    fn device(&self) -> Device {
        Device::Cpu
    }
}

/// Returns three parameters, of 6, 4 and 1 values.
fn parameters() -> Vec<Tensor> {
    [&[2, 3][..], &[4], &[]]
        .map(|size| Tensor::ones(size, (Kind::Float, Device::Cpu)).set_requires_grad(true))
        .into()
}

/// Returns a loss whose gradients are `factor` times 1, 2 and 3 everywhere.
fn gradients(parameters: &[Tensor], factor: f64) -> Vec<Tensor> {
    let terms = parameters.iter().zip(1..).map(|(p, n)| p.sum(Kind::Float) * f64::from(n) * factor);
    let loss = terms.reduce(|a, b| a + b).unwrap();
    Tensor::f_run_backward(&[&loss], &parameters.iter().collect::<Vec<_>>(), false, false).unwrap()
}

/// Result of a thread's two steps, and the sizes of what it sent.
fn walk(rank: usize, shared: &Arc<Shared>, overlap: bool) -> (Vec<Sums>, Vec<usize>) {
    let thread = Arc::new(Thread { rank, shared: Arc::clone(shared), sent: Mutex::default() });
    let group: Arc<dyn Collectives> = thread.clone();
    let parameters = parameters();
    // Room for one or two parameters.
    let buckets = Buckets::new(group, &parameters, 5 * size_of::<f32>(), overlap).unwrap();
    assert_eq!(buckets.bytes(), 11 * size_of::<f32>());
    let mut all = Vec::new();
    for step in 0..2 {
        // Of three threads one has two parts, one has one, and the last has none.
        let parts = 2 - rank;
        for part in 0..parts {
            let weight = 0.5 + part as f64;
            buckets.expect(weight, part + 1 == parts);
            let made = gradients(&parameters, f64::from(step + 1));
            if overlap && step == 1 && part + 1 == parts {
                // The buckets are on their way before the gradients are handed over.
                assert!(thread.sent.lock().unwrap().len() > 4, "nothing was sent in the pass");
            }
            buckets.add(&made, weight).unwrap();
        }
        let scalar = Tensor::from(parts as f64);
        let Sums { gradients, scalars } = buckets.finish(&[scalar]).unwrap();
        let gradients = gradients.iter().map(Tensor::copy).collect();
        all.push(Sums { gradients, scalars });
    }
    let sent = thread.sent.lock().unwrap().clone();
    (all, sent)
}

fn check(overlap: bool) {
    let shared =
        Arc::new(Shared { threads: 3, calls: Mutex::default(), changed: Condvar::default() });
    let walks: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|rank| {
                let shared = &shared;
                scope.spawn(move || walk(rank, shared, overlap))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (sums, sent) in &walks {
        assert_eq!(*sent, walks[0].1, "all send the same in the same order");
        // The order of parameters, then buckets and scalars, twice.
        assert_eq!(sent.iter().sum::<usize>(), 3 + 2 * (11 + 1), "{sent:?}");
        assert!(sent.len() > 2 * 2, "more than one bucket: {sent:?}");
        for (step, Sums { gradients, scalars }) in (1..).zip(sums) {
            // Rank 0 weighs its parts 0.5 and 1.5, rank 1 its part 0.5.
            for (gradient, number) in gradients.iter().zip(1..) {
                let expected = 2.5 * f64::from(step) * f64::from(number);
                let off = (gradient - expected).abs().max().double_value(&[]);
                assert!(off < 1e-6, "{gradient:?}");
            }
            assert_eq!(gradients[0].size(), [2, 3]);
            assert!((scalars.double_value(&[0]) - 3.0).abs() < 1e-12);
        }
    }
}

#[test]
fn gradients_are_summed_whoever_has_how_many_parts() {
    check(false);
}

#[cfg(feature = "gloo")]
#[test]
fn buckets_are_sent_while_the_backward_pass_goes_on() {
    check(true);
}
