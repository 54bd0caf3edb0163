//! Matrix products with bf16 copies of weights, compared bit by bit with casts in each pass.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic as the tests may")]

use networks::gpt2::Gpt2Config;
use networks::prefix::{ClipCaptioner, MapperConfig, MapperKind, TokenBatch};
use networks::{Bf16Copies, GradientCheckpointing, Pass, Precision};
use tch::{Device, Kind, Tensor, nn, no_grad};

const MLP: MapperKind = MapperKind::Mlp;
const TRANSFORMER: MapperKind = MapperKind::Transformer { clip_length: 2, layers: 2 };

/// Captioner and a batch for it.
struct Case {
    captioner: ClipCaptioner,
    parameters: Vec<(String, Tensor)>,
    embeddings: Tensor,
    batch: TokenBatch,
}

fn case(kind: MapperKind, is_tied: bool, is_frozen: bool) -> Case {
    tch::manual_seed(3);
    let store = nn::VarStore::new(Device::Cpu);
    let config = Gpt2Config {
        vocab_size: 40,
        n_positions: 24,
        n_embd: 32,
        n_layer: 3,
        n_head: 4,
        tie_word_embeddings: is_tied,
        ..Gpt2Config::default()
    };
    let mapper = MapperConfig::plain(kind, 16, 3);
    let captioner = ClipCaptioner::new(store.root(), &config, &mapper);
    let mut parameters: Vec<(String, Tensor)> = store.variables().into_iter().collect();
    parameters.sort_by(|(a, _), (b, _)| a.cmp(b));
    if is_frozen {
        parameters.retain(|(name, tensor)| {
            let is_gpt2 = name.starts_with("gpt.");
            let _ = tensor.set_requires_grad(!is_gpt2);
            !is_gpt2
        });
    }
    let rows: [&[i64]; 3] = [&[5, 6, 7, 8, 9], &[9, 5], &[3, 0, 4, 30]];
    let batch = TokenBatch::new(&rows, &[1, 0, 1], 3, Device::Cpu);
    let embeddings = Tensor::randn([2, 16], (Kind::Float, Device::Cpu));
    Case { captioner, parameters, embeddings, batch }
}

impl Case {
    /// Returns the loss and its gradients, with dropout.
    fn gradients(&self, precision: Precision, recompute: bool) -> (Tensor, Vec<Tensor>) {
        let checkpointing = recompute.then(|| GradientCheckpointing::new(8));
        let pass = Pass { dropout: true, precision, checkpointing: checkpointing.as_ref() };
        tch::manual_seed(8);
        let loss = self.captioner.caption_loss(&self.embeddings, &self.batch, pass);
        let parameters: Vec<&Tensor> = self.parameters.iter().map(|(_, tensor)| tensor).collect();
        let gradients = pass.gradients(&loss, &parameters).unwrap();
        (loss.detach(), gradients)
    }
}

// A single test: several would share libtorch's global generator.
#[test]
fn copies_match_casts_bit_for_bit_before_and_after_a_refresh() {
    networks::device::set_threads(1);
    for kind in [MLP, TRANSFORMER] {
        for (is_tied, is_frozen) in [(true, false), (false, false), (true, true)] {
            for recompute in [false, true] {
                let what = format!("{kind:?}, tied {is_tied}, frozen {is_frozen}, {recompute}");
                let case = case(kind, is_tied, is_frozen);
                let copies = Bf16Copies::default();
                let kept = Precision::Bf16Copies(&copies);
                let check = || {
                    let (loss, gradients) = case.gradients(kept, recompute);
                    let (other_loss, others) = case.gradients(Precision::Bf16, recompute);
                    for ((name, parameter), (ours, theirs)) in
                        case.parameters.iter().zip(gradients.iter().zip(&others))
                    {
                        assert!(ours.kind() == Kind::Float, "{what}: {name}");
                        assert_eq!(ours.size(), parameter.size(), "{what}: {name}");
                        assert_eq!(ours, theirs, "{what}: {name}");
                    }
                    assert_eq!(loss, other_loss, "{what}");
                    loss
                };
                let before = check();
                let full = case.gradients(Precision::Full, recompute).0;
                let off = (&full - &before).abs().double_value(&[]);
                assert!(off > 1e-6 && off < 5e-2, "{what}: {off:e}");
                for (_, parameter) in &case.parameters {
                    let _ = no_grad(|| parameter.shallow_clone().g_mul_scalar_(1.1));
                }
                // Norms and embeddings have no copies, so their changes affect the loss at once.
                let stale = case.gradients(kept, recompute).0;
                assert_ne!(stale, case.gradients(Precision::Bf16, recompute).0, "{what}");
                copies.refresh().unwrap();
                assert_ne!(check(), before, "{what}");
            }
        }
    }
}
