//! Benchmark of a training step of several processes, and of its parts.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use collectives::{BUCKET_BYTES, Buckets, Collectives};
use launchers::ProcessRank;
use networks::{Pass, device};
use serde::Serialize;
use tch::{Device, Kind, Tensor};
use training::Error;
use training::PrefixBatch as Batch;
use training::batches::share_of_batch;
use training::learner::{Learner, LearnerOptions, Model, Share};
use training::named_variables;
use training::optimizer::AdamW;

use crate::{Bench, adamw, schedule};

/// Durations of a distributed step; seconds are medians over rounds of the mean over processes.
#[derive(Debug, Clone, Serialize)]
pub struct DistributedStep {
    /// Number of processes.
    pub processes: usize,
    /// Captions in a batch of all processes.
    pub captions: usize,
    /// Seconds of a process's forward and backward pass.
    pub compute: f64,
    /// Seconds of waiting for the slowest process.
    pub wait: f64,
    /// Seconds of summing the gradients after that.
    pub communicate: f64,
    /// Seconds of clipping and the optimizer.
    pub update: f64,
    /// Seconds of a step as in training, where gradients are sent during the backward pass.
    pub step: f64,
    /// Bytes of gradients that each process adds to the sums of a step.
    pub gradient_bytes: usize,
    /// Bytes that each process must send at least, in a ring.
    pub least_sent_bytes: usize,
    /// Largest peak memory of a process in bytes.
    pub peak_memory_bytes: usize,
}

impl Bench {
    /// Measures steps of a launcher's processes; this one is `process`.
    ///
    /// # Errors
    /// Fails if another process is lost or memory is exhausted.
    pub fn measure_distributed(
        self,
        process: ProcessRank,
        rounds: usize,
        options: LearnerOptions,
    ) -> Result<DistributedStep, Error> {
        device::keep_freed_memory();
        let group = collectives::connect(process, self.device, Duration::from_mins(10))?;
        let batches = 0..=rounds;
        let parts: Vec<(Batch, usize)> = batches
            .map(|number| {
                let batch = &self.batches[number % self.batches.len()];
                let targets = self.batch(batch).tokens.targets();
                (self.batch(&share_of_batch(batch, &self.rows, process)), targets)
            })
            .collect();
        let captions = self.batches[0].len();
        let mut optimizer = AdamW::new(named_variables(&self.store), adamw());
        let parameters = optimizer.parameters();
        let buckets = Buckets::new(Arc::clone(&group), &parameters, BUCKET_BYTES, false)?;
        let gradient_bytes = buckets.bytes();

        let mut phases = Vec::new();
        for (number, (part, targets)) in (1..).zip(&parts) {
            let weight = part.tokens.targets() as f64 / *targets as f64;
            group.barrier()?;
            let start = Instant::now();
            let pass = Pass {
                dropout: options.dropout,
                precision: options.precision,
                checkpointing: None,
            };
            let loss = self.captioner.loss(part, pass);
            let leaves: Vec<&Tensor> = parameters.iter().collect();
            let gradients = Tensor::f_run_backward(&[&loss], &leaves, false, false)?;
            buckets.accumulate(&gradients, weight)?;
            drop(gradients);
            wait_for(&loss);
            let computed = start.elapsed().as_secs_f64();
            group.barrier()?;
            let all_finished = start.elapsed().as_secs_f64();
            let sums = buckets.finish_step(&[loss.detach() * weight])?;
            wait_for(&sums.scalars);
            let summed = start.elapsed().as_secs_f64();
            optimizer.step(&sums.gradients, None, number, 1e-6)?;
            wait_for(&parameters[0]);
            let updated = start.elapsed().as_secs_f64();
            phases.push([
                computed,
                all_finished - computed,
                summed - all_finished,
                updated - summed,
            ]);
        }
        drop(buckets);
        let mut learner = Learner::new(self.captioner, optimizer, schedule(), options);
        if !process.is_single() {
            learner.share(&group)?;
        }
        let mut steps = Vec::new();
        for (number, (part, targets)) in (0..).zip(parts) {
            group.barrier()?;
            let start = Instant::now();
            let share = Share { targets, stop_requested: false };
            let step = learner.compute_share(&[part], share, number, number as i64)?;
            learner.apply(&step)?;
            wait_for(&step.norm);
            steps.push(start.elapsed().as_secs_f64());
        }
        let column = |phase: usize| phases.iter().map(|row| row[phase]).collect::<Vec<_>>();
        let median = |seconds: Vec<f64>| median_of_means(&group, &seconds);
        Ok(DistributedStep {
            processes: process.world_size,
            captions,
            compute: median(column(0))?,
            wait: median(column(1))?,
            communicate: median(column(2))?,
            update: median(column(3))?,
            step: median(steps)?,
            gradient_bytes,
            least_sent_bytes: 2 * gradient_bytes * (process.world_size - 1) / process.world_size,
            peak_memory_bytes: maximum(&group, peak_memory())?,
        })
    }
}

/// Waits for a GPU by reading a value of its result.
fn wait_for(tensor: &Tensor) {
    let _ = tensor.view(-1).double_value(&[0]);
}

/// Returns the median over rounds, without the first, of the mean over the processes.
fn median_of_means(group: &Arc<dyn Collectives>, seconds: &[f64]) -> Result<f64, Error> {
    let sums = Tensor::from_slice(&seconds[1..]).to_device(group.device());
    group.all_reduce(&sums)?.wait()?;
    let mut means = Vec::<f64>::try_from(sums.to_device(Device::Cpu) / group.world_size() as f64)?;
    means.sort_by(f64::total_cmp);
    Ok(means.get(means.len() / 2).copied().unwrap_or_default())
}

/// Returns the largest of the processes' values.
fn maximum(group: &Arc<dyn Collectives>, value: usize) -> Result<usize, Error> {
    let values = Tensor::zeros([group.world_size() as i64], (Kind::Int64, group.device()));
    let _ = values.get(group.rank() as i64).fill_(value as i64);
    group.all_reduce(&values)?.wait()?;
    Ok(values.max().int64_value(&[]) as usize)
}

/// Returns the peak memory of this process in bytes; 0 if the system does not report it.
fn peak_memory() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1024
}
