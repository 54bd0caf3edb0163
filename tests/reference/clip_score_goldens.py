"""Writes tests/fixtures/clip_score: two small random CLIPs saved by transformers, with a tokenizer, and CLIPScore,
RefCLIPScore and torchmetrics' score of captions by them. Run from anywhere: python tests/reference/clip_score_goldens.py

CLIPScore is written after the program of its authors (clipscore.py of github.com/jmhessel/clipscore): `A photo depicts `
before every caption, captions cut at 77 tokens, embeddings divided by their norms, w * clip(cos, 0), and the harmonic
mean with the largest cosine of a reference (clipped at 0, as in the paper). torchmetrics' score is 100 * cos without a
prompt, its mean clipped at 0; where a caption is too long torchmetrics cuts the end token, and here it is kept."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizerFast
from transformers.models.clip.tokenization_clip import bytes_to_unicode

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "clip_score"
BYTES = list(bytes_to_unicode().values())
MERGES = ["t h", "th e</w>", "i n", "in g</w>", "o n</w>"]
LONG = " ".join(f"the dog number {n} is running on the beach," for n in range(20))
IMAGES = {
    "1000_dog.jpg": ("a dog runs on the beach", ["The dog is running .", "A brown dog, wet & happy"]),
    "two.men.png": ("two men play chess", ["Two men are sitting at a table.", LONG, "chess"]),
    "COCO_val2014_000000000042.jpg": (LONG, ["a beach with dogs", LONG + " again"]),
    "empty.jpg": ("", ["nothing"]),
    "naïve.jpg": ("Ein Hund läuft 3 km weit!", ["the dog runs 3 km"]),
    "same.jpg": ("a red car", ["a red car", "a blue car"]),
}


def tokenizer_files(folder):
    """Writes CLIP's tokenizer with few merges."""
    merged = ["".join(merge.split()) for merge in MERGES]
    tokens = BYTES + [byte + "</w>" for byte in BYTES] + merged + ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False) + "\n")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES]) + "\n")
    return len(tokens)


def model_files(folder, vocab_size, activation, seed):
    """Writes a CLIP whose weights make every part matter."""
    tower = {"num_attention_heads": 2, "hidden_act": activation}
    text = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": vocab_size,
            "max_position_embeddings": 77, "bos_token_id": vocab_size - 2, "eos_token_id": vocab_size - 1,
            "pad_token_id": vocab_size - 1, **tower}
    vision = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "image_size": 8, "patch_size": 4, **tower}
    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(projection_dim=12, text_config=text, vision_config=vision)).eval()
    random = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=random)
        if "norm" in name or "layrnorm" in name:
            parameter.data = (1.0 if name.endswith("weight") else 0.0) + 0.3 * noise
        elif parameter.dim() >= 2 and "embedding" not in name:
            parameter.data = noise * 1.5 * parameter.shape[1] ** -0.5
        elif parameter.dim() >= 1:
            parameter.data = 0.5 * noise
    model.save_pretrained(folder)
    return model


def unit(rows):
    return rows / np.sqrt(np.sum(rows**2, axis=1, keepdims=True))


@torch.no_grad()
def scores(model, tokenizer, prompt, weight):
    def embed(texts, prompt):
        prefix = prompt if prompt.endswith(" ") or not prompt else prompt + " "
        ids = tokenizer([prefix + text for text in texts], truncation=True, max_length=77, padding=True, return_tensors="pt")
        return unit(model.get_text_features(**ids).numpy())

    candidates = [candidate for candidate, _ in IMAGES.values()]
    texts = embed(candidates, prompt)
    # Features of no pictures: cosines of all sizes and both signs.
    towards = np.array([[0.3], [-0.4], [0.8], [0.1], [1.5], [0.6]])
    noise = np.random.default_rng(3).standard_normal((len(IMAGES), texts.shape[1]))
    features = (3 * towards * embed(candidates, "A photo depicts") + noise).astype(np.float32)
    images = unit(features)
    clip = weight * np.clip(np.sum(images * texts, axis=1), 0, None)
    references = []
    for text, (_, captions) in zip(texts, IMAGES.values()):
        references.append(max(np.max(text.dot(embed(captions, prompt).T)), 0))
    references = np.array(references)
    total = clip + references
    ref_clip = np.divide(2 * clip * references, total, out=np.zeros_like(total), where=total > 0)
    raw = 100 * np.sum(images * embed(candidates, ""), axis=1)
    columns = {"CLIPScore": clip, "RefCLIPScore": ref_clip, "CLIPScore_torchmetrics": np.clip(raw, 0, None)}
    corpus = {name: float(np.mean(column)) for name, column in columns.items()}
    corpus["CLIPScore_torchmetrics"] = max(float(np.mean(raw)), 0.0)
    per_image = {name: column.astype(float).tolist() for name, column in columns.items()}
    return features, {"prompt": prompt, "weight": weight, "corpus": corpus, "per_image": per_image}


golden = {"images": {name: {"prediction": c, "references": r} for name, (c, r) in IMAGES.items()}, "models": {}}
for name, activation, seed in [("quick_gelu", "quick_gelu", 1), ("gelu", "gelu", 12)]:
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    vocab_size = tokenizer_files(folder)
    model = model_files(folder, vocab_size, activation, seed)
    tokenizer = CLIPTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    cases = [scores(model, tokenizer, prompt, weight) for prompt, weight in [("A photo depicts", 2.5), ("", 2.0)]]
    save_file({"features": torch.from_numpy(cases[0][0])}, folder / "features.safetensors")
    golden["models"][name] = [case for _, case in cases]
    print(name, *(case["corpus"] for _, case in cases), cases[0][1]["per_image"], sep="\n  ")
cut = lambda texts, prompt: sum(len(tokenizer(prompt + text)["input_ids"]) > 77 for text in texts)
golden["cut_predictions"] = cut([c for c, _ in IMAGES.values()], "A photo depicts ")
golden["cut_references"] = cut([text for _, r in IMAGES.values() for text in r], "A photo depicts ")
(HERE / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")
