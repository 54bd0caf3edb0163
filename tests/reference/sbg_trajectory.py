"""Writes 200 steps of SBG's training by Hugging Face's Trainer, on a tiny GPT-2.

Usage: sbg_trajectory.py [OUTPUT]    (default: tests/fixtures/sbg_trajectory)

Twice: with the loss on all tokens, as the paper, and on some only. The Trainer has its defaults (AdamW, linear decay,
clipping at 1.0) but for the batch size, the order of blocks, which is drawn and saved here, and the loss: newer
Trainers divide by the number of labels, of which each block's first is never predicted; the paper's 4.35 took the mean.
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import Sampler
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

VOCABULARY, HIDDEN, LAYERS, BLOCK = 61, 24, 2, 20
BLOCKS, BATCH, EPOCHS = 61, 8, 25
STEPS = 200
RATE = 2e-3


class Recorded(Sampler):
    """Draws another order for each epoch, and keeps it for the Rust test."""

    def __init__(self):
        self.order = []

    def __len__(self):
        return BLOCKS

    def __iter__(self):
        order = torch.randperm(BLOCKS).tolist()
        self.order.append(order)
        return iter(order)


class Watched(Trainer):
    """Trainer that takes its order from a sampler and keeps each step's exact loss, which its log rounds."""

    def __init__(self, *args, sampler, **kwargs):
        super().__init__(*args, **kwargs)
        self.model_accepts_loss_kwargs = False
        self.sampler = sampler
        self.losses = []

    def _get_train_sampler(self, *_):
        return self.sampler

    def training_step(self, *args, **kwargs):
        loss = super().training_step(*args, **kwargs)
        self.losses.append(loss.item())
        return loss


def blocks():
    """Returns random walks with a few favourite steps, which can be learned."""
    steps = torch.tensor([1, 1, 1, 5, 9])
    tokens = torch.randint(VOCABULARY, (BLOCKS, BLOCK))
    for place in range(1, BLOCK):
        walked = (tokens[:, place - 1] + steps[torch.randint(5, (BLOCKS,))]) % VOCABULARY
        tokens[:, place] = torch.where(torch.rand(BLOCKS) < 0.8, walked, tokens[:, place])
    return tokens


def train(root, model, tokens, is_target, name):
    labels = tokens.where(is_target, -100)
    data = [{"input_ids": ids, "labels": label} for ids, label in zip(tokens, labels)]
    arguments = TrainingArguments(
        output_dir="/nonexistent", per_device_train_batch_size=BATCH, num_train_epochs=EPOCHS, learning_rate=RATE,
        logging_steps=1, logging_nan_inf_filter=False, save_strategy="no", report_to=[], use_cpu=True, seed=42,
        disable_tqdm=True)
    sampler = Recorded()
    trainer = Watched(model, arguments, train_dataset=data, sampler=sampler)
    trainer.train()
    log = [line for line in trainer.state.log_history if "grad_norm" in line]
    series = {"loss": trainer.losses} | {ours: [line[theirs] for line in log]
                                         for ours, theirs in [("norm", "grad_norm"), ("rate", "learning_rate")]}
    assert all(len(values) == STEPS for values in series.values()), {key: len(values) for key, values in series.items()}
    series = {key: torch.tensor(values, dtype=torch.float64) for key, values in series.items()}
    norms = series["norm"]
    assert name != "all" or 50 < (norms > 1).sum() < 180, "clipping must bite on some steps and spare others"
    print(f"{name}: loss {series['loss'][0]:.3f} to {series['loss'][-20:].mean():.3f}, norms {norms.min():.2f} to",
          f"{norms.max():.2f}, {int((norms > 1).sum())} above 1")
    final = {f"final.{key}": value.detach().clone() for key, value in model.named_parameters()}
    order = torch.tensor(sampler.order, dtype=torch.int32)
    save_file(series | final | {"order": order}, root / f"{name}.safetensors")


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "fixtures/sbg_trajectory"
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(5)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_layer=LAYERS, n_head=3, n_positions=BLOCK, resid_pdrop=0.0,
                        embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.02, bos_token_id=1, eos_token_id=1)
    model = GPT2LMHeadModel(config)
    initial = {key: value.detach().clone() for key, value in model.named_parameters()}
    tokens = blocks()
    is_target = torch.rand(tokens.shape) < 0.3
    model.config.to_json_file(root / "config.json")
    save_file(initial, root / "model.safetensors")
    save_file({"tokens": tokens.int(), "is_target": is_target.int()}, root / "blocks.safetensors")
    for name, targets in [("all", torch.ones_like(is_target)), ("caption", is_target)]:
        model.load_state_dict(initial, strict=False)
        train(root, model, tokens, targets, name)


if __name__ == "__main__":
    main()
