//! Two ranks that share each step, on the pretend GPU: buckets, hooks and broadcasts on devices.
//!
//! The ranks are threads; NCCL itself needs GPUs.
#![cfg(feature = "gloo")]
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

mod tiny;

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex};

use collectives::{Collectives, Error, Pending};
use networks::Precision;
use networks::language_model::{Block, Blocks, LanguageModel};
use tch::{Device, Tensor, nn, no_grad};
use training::learner::{Learner, Share};

const RANKS: usize = 2;
const STEPS: u64 = 4;
/// Variable that is set in the process that sees the pretend GPU.
const INSIDE: &str = "CAPSMITH_INSIDE_PRETEND_CUDA";

/// Call that both ranks make.
#[derive(Debug, Default)]
struct Call {
    tensors: [Option<Tensor>; RANKS],
    is_done: bool,
}

/// Calls of both ranks, in order.
#[derive(Debug, Default)]
struct Calls {
    made: Mutex<Vec<Call>>,
    changed: Condvar,
}

/// Rank of two in this process.
#[derive(Debug)]
struct Rank {
    number: usize,
    device: Device,
    calls: Arc<Calls>,
    next: AtomicUsize,
}

impl Rank {
    /// Gives a tensor to the next call; the last rank runs `together` for both.
    fn begin(&self, tensor: &Tensor, together: fn(&mut Tensor, &mut Tensor)) -> Pending {
        assert_eq!(tensor.device(), self.device);
        assert!(tensor.is_contiguous());
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let mut calls = self.calls.made.lock().unwrap();
        if calls.len() <= number {
            calls.resize_with(number + 1, Call::default);
        }
        let call = &mut calls[number];
        call.tensors[self.number] = Some(tensor.shallow_clone());
        if let [Some(first), Some(second)] = &mut call.tensors {
            no_grad(|| together(first, second));
            *call = Call { is_done: true, ..Call::default() };
            self.calls.changed.notify_all();
        }
        let all = Arc::clone(&self.calls);
        Pending::new(move || {
            let calls = all.made.lock().unwrap();
            drop(all.changed.wait_while(calls, |calls| !calls[number].is_done).unwrap());
            Ok(())
        })
    }
}

impl Collectives for Rank {
    fn rank(&self) -> usize {
        self.number
    }

    fn world_size(&self) -> usize {
        RANKS
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error> {
        Ok(self.begin(tensor, |first, second| {
            let sum = &*first + second.to_device(first.device());
            first.copy_(&sum);
            second.copy_(&sum);
        }))
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error> {
        self.begin(tensor, |first, second| second.copy_(first)).wait()
    }

    fn device(&self) -> Device {
        self.device
    }
}

/// Trajectory of a rank: loss and norm of each step, and the final weights and moments.
#[derive(Debug)]
struct Way {
    values: Vec<[f64; 2]>,
    state: Vec<Tensor>,
}

struct Language {
    learner: Learner<LanguageModel>,
    store: nn::VarStore,
    device: Device,
}

impl Language {
    fn new(device: Device, recompute: bool) -> Self {
        let (learner, store) = tiny::learner(device, Precision::Full, recompute);
        Self { learner, store, device }
    }

    /// Takes a step in `parts` on the blocks of a batch with `targets`; returns loss and norm.
    fn step(
        &mut self,
        blocks: &[Block],
        parts: usize,
        targets: usize,
        finished: u64,
    ) -> [Tensor; 2] {
        let size = blocks.len().div_ceil(parts);
        let part = |some: &[Block]| Blocks::new(&some.iter().collect::<Vec<_>>(), self.device);
        let parts: Vec<Blocks> = blocks.chunks(size).map(part).collect();
        let share = Share { targets, stop_requested: false };
        let step = self.learner.compute_share(&parts, share, finished, 1).unwrap();
        self.learner.apply(&step).unwrap();
        [step.loss, step.norm]
    }

    fn way(&self, values: &[[Tensor; 2]]) -> Way {
        let mut state = training::named_variables(&self.store);
        state.extend(self.learner.optimizer().moments());
        let read = |tensor: &Tensor| tensor.detach().to_device(Device::Cpu).copy();
        Way {
            values: values
                .iter()
                .map(|step| step.each_ref().map(|value| value.double_value(&[])))
                .collect(),
            state: state.iter().map(|(_, tensor)| read(tensor)).collect(),
        }
    }
}

/// Returns a step's batch: blocks of different numbers of targets.
fn batch(step: u64) -> Vec<Block> {
    let block = |number: i64| {
        let first = 7 * step as i64 + number;
        let tokens: Vec<i64> = (0..12).map(|position| (first + 5 * position) % 60).collect();
        let is_target = (0..12).map(|position| position % (number + 2) != 0).collect();
        Block { tokens, is_target }
    };
    (0..6).map(block).collect()
}

fn targets(blocks: &[Block]) -> usize {
    Blocks::new(&blocks.iter().collect::<Vec<_>>(), Device::Cpu).targets()
}

/// Returns the number of waits of the host for the pretend GPU.
fn waits() -> u64 {
    // SAFETY: looks a name up among all libraries that are loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pretend_cuda_waits".as_ptr()) };
    assert!(!found.is_null(), "the pretend GPU is not loaded");
    // SAFETY: the pretend GPU's function of this type.
    let count = unsafe { std::mem::transmute::<*mut libc::c_void, extern "C" fn() -> u64>(found) };
    count()
}

/// Trains with two ranks that halve each batch; after the first step, neither waits.
fn together(devices: [Device; RANKS], parts: usize, recompute: bool) -> [Way; RANKS] {
    let calls = Arc::<Calls>::default();
    let meeting = Barrier::new(RANKS);
    let walk = |rank: usize| {
        let group: Arc<dyn Collectives> = Arc::new(Rank {
            number: rank,
            device: devices[rank],
            calls: Arc::clone(&calls),
            next: AtomicUsize::new(0),
        });
        let mut language = Language::new(devices[rank], recompute);
        language.learner.share(&group).unwrap();
        let mut values = Vec::new();
        let mut waited = 0;
        for finished in 0..STEPS {
            let blocks = batch(finished);
            let all = targets(&blocks);
            let (first, second) = blocks.split_at(2);
            let own = [first, second][rank];
            values.push(language.step(own, parts, all, finished));
            meeting.wait();
            let so_far = waits();
            assert!(finished == 0 || so_far == waited, "step {finished} waits {}", so_far - waited);
            waited = so_far;
            meeting.wait();
        }
        language.way(&values)
    };
    std::thread::scope(|scope| {
        [0, 1].map(|rank| scope.spawn(move || walk(rank))).map(|rank| rank.join().unwrap())
    })
}

fn alone() -> Way {
    let mut language = Language::new(Device::Cpu, false);
    let values: Vec<[Tensor; 2]> = (0..STEPS)
        .map(|finished| {
            let blocks = batch(finished);
            language.step(&blocks, 1, targets(&blocks), finished)
        })
        .collect();
    language.way(&values)
}

/// Returns the largest difference of two trajectories; NaN counts as the largest.
fn distance(one: &Way, other: &Way) -> f64 {
    assert_eq!((one.values.len(), one.state.len()), (other.values.len(), other.state.len()));
    let values = one.values.iter().flatten().zip(other.values.iter().flatten());
    let values = values.map(|(one, other)| (one - other).abs());
    let state = one.state.iter().zip(&other.state);
    let state = state.map(|(one, other)| (one - other).abs().max().double_value(&[]));
    let larger =
        |largest: f64, off: f64| if off.is_nan() { f64::INFINITY } else { largest.max(off) };
    values.chain(state).fold(0.0, larger)
}

fn check() {
    networks::device::set_threads(1);
    let gpus = ["cuda:0", "cuda:1"].map(|name| networks::device::parse_device(name).unwrap());
    let expected = alone();
    assert!(expected.values.iter().flatten().all(|value| *value > 0.0));
    for (parts, recompute) in [(1, false), (2, false), (1, true)] {
        let here = together([Device::Cpu; RANKS], parts, recompute);
        let shared = together([gpus[0]; RANKS], parts, recompute);
        let apart = together(gpus, parts, recompute);
        for (name, [first, second]) in [("cpu", &here), ("cuda:0", &shared), ("two GPUs", &apart)] {
            let what = format!("{name}, {parts} parts, recompute {recompute}");
            assert!(distance(first, second) < f64::EPSILON, "{what}: the ranks differ");
            let off = distance(first, &expected);
            assert!(off < 1e-5, "{what}: off by {off:e} of one process");
        }
    }
}

#[test]
fn gpu_ranks_that_share_steps_walk_as_one_process_without_waits() {
    if std::env::var_os(INSIDE).is_some() {
        return check();
    }
    let Some(library) = test_support::pretend_gpu(env!("CARGO_TARGET_TMPDIR")) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let report = scratch.path().join("report");
    let earlier = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let folders = std::iter::once(library).chain(std::env::split_paths(&earlier));
    let name = "gpu_ranks_that_share_steps_walk_as_one_process_without_waits";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env("LD_LIBRARY_PATH", std::env::join_paths(folders).unwrap())
        .envs([(INSIDE, "1"), ("OMP_NUM_THREADS", "1"), ("PRETEND_CUDA_DEVICES", "2")])
        .env("PRETEND_CUDA_REPORT", &report)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report = std::fs::read_to_string(report).unwrap();
    assert!(report.contains("_foreach_") && !report.contains("RACE"), "{report}");
}
