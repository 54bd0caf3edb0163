"""The Python side of `capsmith bench`: the reference's own loops on data and weights that capsmith wrote.

Usage: python bench.py train|decode|sbg|pictures|embed FOLDER --threads N [--rounds N] [--dtype f32|bf16|f16]

capsmith starts this script (`capsmith bench train --python PYTHON ...`). Results are printed as one JSON object.

FOLDER holds, for train and decode, config.json and model.safetensors (ClipCap's names) and batches.safetensors:
  embeddings [images, clip_dim]; tokens [captions, longest] padded with -1; images [captions]; order [steps, batch]
for pictures and embed a file list.txt of paths, and for embed clip.txt, the path of a CLIP folder.

  train     the paper's step as its notebook takes it: every caption padded to the data set's longest, logits at every
            position, AdamW of transformers 4.x, clipping at norm 1. transformers' own unused second loss, which the
            notebook computes too, is left out. Under autocast if --dtype is bf16.
  decode    the notebook's loop (one picture at a time, no cache, 15 tokens), and transformers' generate with its cache
            on a batch, greedy; in f32, and in --dtype too.
  pictures  Pillow: open, RGB, bicubic resize of the shorter side to 224, centre crop; and the same to a normalised
            numpy array. One process.
  embed     transformers: its fast image processor and CLIP's image tower on batches of 32 pictures, in --dtype.
"""

import argparse
import json
import time
from pathlib import Path

LONGEST_WRITTEN = 15


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", choices=["train", "decode", "sbg", "pictures", "embed"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"], default="f32")
    return parser.parse_args()


def seconds(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def captioner(folder, dropout):
    import torch
    from safetensors.torch import load_file
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config.from_json_file(folder / "config.json")
    # One config, two sides: neither may stop by itself.
    config.eos_token_id = config.bos_token_id = None
    weights = load_file(folder / "model.safetensors")
    gpt = GPT2LMHeadModel(config)
    first, second = weights["clip_project.model.0.weight"], weights["clip_project.model.2.weight"]
    mapper = torch.nn.Sequential(torch.nn.Linear(first.shape[1], first.shape[0]), torch.nn.Tanh(),
                                 torch.nn.Linear(second.shape[1], second.shape[0]))
    gpt.load_state_dict({k.removeprefix("gpt."): v for k, v in weights.items() if k.startswith("gpt.")}, strict=False)
    mapper.load_state_dict({k.removeprefix("clip_project.model."): v for k, v in weights.items()
                            if k.startswith("clip_project.model.")})
    gpt.train(dropout)
    return gpt, mapper, second.shape[0] // config.n_embd


def train(folder, rounds, dtype):
    import torch
    from safetensors.torch import load_file

    gpt, mapper, prefix_length = captioner(folder, dropout=True)
    batches = load_file(folder / "batches.safetensors")
    parameters = [*gpt.parameters(), *mapper.parameters()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]

    def loss_of(batch):
        tokens = batches["tokens"][batch].long()
        real = tokens >= 0
        tokens = tokens.clamp_min(0)
        prefix = mapper(batches["embeddings"][batches["images"][batch].long()]).view(len(batch), prefix_length, -1)
        inputs = torch.cat([prefix, gpt.transformer.wte(tokens)], 1)
        mask = torch.cat([torch.ones(len(batch), prefix_length, dtype=torch.bool), real], 1).float()
        logits = gpt(inputs_embeds=inputs, attention_mask=mask).logits[:, prefix_length - 1:-1]
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=0)

    def step(number, batch):
        for parameter in parameters:
            parameter.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            loss = loss_of(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        size = 2e-5 * (1 - 0.999**number) ** 0.5 / (1 - 0.9**number)
        with torch.no_grad():
            for parameter, (m, v) in zip(parameters, moments):
                m.mul_(0.9).add_(parameter.grad, alpha=0.1)
                v.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
                parameter.addcdiv_(m, v.sqrt().add_(1e-6), value=-size)
        return loss.item()

    order = batches["order"].long()
    with torch.no_grad():
        gpt.eval()
        loss = loss_of(order[0]).item()
        gpt.train()
    step(1, order[0])
    taken = [seconds(lambda: step(number + 2, order[number % len(order)]))[0] for number in range(rounds)]
    return {"loss": loss, "seconds": taken}


def decode(folder, rounds, dtype):
    import torch
    from safetensors.torch import load_file

    gpt, mapper, prefix_length = captioner(folder, dropout=False)
    embeddings = load_file(folder / "batches.safetensors")["embeddings"]
    types = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
    generated = {}

    def one(embedding):
        inputs = mapper(embedding.unsqueeze(0)).view(1, prefix_length, -1)
        written = []
        for _ in range(LONGEST_WRITTEN):
            logits = gpt(inputs_embeds=inputs, use_cache=False).logits[0, -1]
            values, order = logits.sort(descending=True)
            before = values.softmax(0).cumsum(0) - values.softmax(0)
            logits[order[before > 0.8]] = -float("inf")
            token = logits.argmax()
            written.append(token.item())
            inputs = torch.cat([inputs, gpt.transformer.wte(token.view(1, 1))], 1)
        return written

    def batch(rows):
        prefix = mapper(embeddings[:rows]).view(rows, prefix_length, -1)
        mask = torch.ones(rows, prefix_length, dtype=torch.long)
        return gpt.generate(inputs_embeds=prefix, attention_mask=mask, max_new_tokens=LONGEST_WRITTEN,
                            min_new_tokens=LONGEST_WRITTEN, do_sample=False, pad_token_id=0)

    with torch.no_grad():
        one(embeddings[0])
        taken, generated["captions"] = [], []
        for number in range(rounds):
            spent, written = seconds(lambda: one(embeddings[number]))
            taken.append(spent)
            generated["captions"].append(written)
        generated["notebook"] = taken
        batch(40)
        generated["generate_40"] = [seconds(lambda: batch(40))[0] / 40 for _ in range(rounds)]
        if dtype != "f32":
            embeddings = embeddings.to(types[dtype])
            gpt.to(types[dtype]), mapper.to(types[dtype])
            batch(40)
        generated["generate_40_dtype"] = [seconds(lambda: batch(40))[0] / 40 for _ in range(rounds)]
    return generated


def sbg(folder, rounds, _dtype):
    """Times the computation of transformers' text-generation pipeline for one prompt, without its tokenizer."""
    import torch
    from safetensors.torch import load_file

    gpt, _, _ = captioner(folder, dropout=False)
    prompt = load_file(folder / "batches.safetensors")["prompt"].long().unsqueeze(0)

    def samples(count):
        return gpt.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=True, top_k=50,
                            max_new_tokens=LONGEST_WRITTEN, min_new_tokens=LONGEST_WRITTEN, num_return_sequences=count,
                            pad_token_id=0)

    with torch.no_grad():
        samples(1)
        return {"one_after_the_other": [seconds(lambda: [samples(1) for _ in range(5)])[0] for _ in range(rounds)],
                "in_one_call": [seconds(lambda: samples(5))[0] for _ in range(rounds)]}


def pictures(folder, rounds, _dtype):
    import numpy as np
    from PIL import Image

    paths = (folder / "list.txt").read_text().splitlines()
    mean = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
    deviation = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)

    def picture(path):
        image = Image.open(path).convert("RGB")
        width, height = image.size
        if width <= height:
            size = 224, int(224 * height / width)
        else:
            size = int(224 * width / height), 224
        image = image.resize(size, Image.Resampling.BICUBIC)
        left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
        return image.crop((left, top, left + 224, top + 224))

    def array(path):
        pixels = np.asarray(picture(path), np.float32) / 255
        return ((pixels - mean) / deviation).transpose(2, 0, 1).copy()

    def all_of(work):
        start = time.process_time()
        for path in paths:
            work(path).getbbox() if work is picture else work(path)
        return (time.process_time() - start) / len(paths)

    all_of(array)
    return {"cropped": [all_of(picture) for _ in range(rounds)], "normalised": [all_of(array) for _ in range(rounds)]}


def embed(folder, rounds, dtype):
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessorFast, CLIPVisionModelWithProjection

    paths = (folder / "list.txt").read_text().splitlines()
    clip = (folder / "clip.txt").read_text()
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}[dtype]
    processor = CLIPImageProcessorFast.from_pretrained(clip)
    model = CLIPVisionModelWithProjection.from_pretrained(clip, dtype=dtype).eval()

    def all_pictures():
        for start in range(0, len(paths), 32):
            images = [Image.open(path).convert("RGB") for path in paths[start:start + 32]]
            pixels = processor(images=images, return_tensors="pt")["pixel_values"]
            model(pixels.to(dtype))

    with torch.no_grad():
        all_pictures()
        return [seconds(all_pictures)[0] / len(paths) for _ in range(rounds)]


def main():
    options = arguments()
    if options.work != "pictures":
        import torch

        torch.set_num_threads(options.threads)
        torch.manual_seed(0)
    work = {"train": train, "decode": decode, "sbg": sbg, "pictures": pictures, "embed": embed}[options.work]
    print(json.dumps(work(options.folder, options.rounds, options.dtype)))


if __name__ == "__main__":
    main()
