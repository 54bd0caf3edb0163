"""Writes tests/fixtures/clip: two small random CLIPs saved by transformers, their outputs for random pictures and
texts, and transformers' reading of config.json files. Run from anywhere: python tests/reference/clip_goldens.py"""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

HERE = Path(__file__).resolve().parent.parent / "fixtures" / "clip"

QUICK_GELU = {
    "projection_dim": 20,
    "logit_scale_init_value": 1.5,
    "vision_config": {
        "hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4,
        "image_size": 24, "patch_size": 8, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    },
    "text_config": {
        "hidden_size": 24, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 3,
        "vocab_size": 99, "max_position_embeddings": 16, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
        "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1,
    },
}
# 30 pixels are four patches of 7 and two pixels that nobody sees; norms whose epsilon shows.
GELU = {
    "projection_dim": 28,
    "vision_config": {
        "hidden_size": 30, "intermediate_size": 50, "num_hidden_layers": 2, "num_attention_heads": 5,
        "image_size": 30, "patch_size": 7, "hidden_act": "gelu", "layer_norm_eps": 1e-2,
    },
    "text_config": {
        "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 2,
        "vocab_size": 120, "max_position_embeddings": 13, "hidden_act": "gelu", "layer_norm_eps": 1e-2,
        "eos_token_id": 97, "bos_token_id": 96, "pad_token_id": 97,
    },
}


def randomise(model, seed):
    """Sets weights that make every part matter: biases and norms far from 0 and 1, activations out of the linear range."""
    random = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=random)
        if "norm" in name or "layrnorm" in name:
            parameter.data = (1.0 if name.endswith("weight") else 0.0) + 0.3 * noise
        elif name.endswith("bias"):
            parameter.data = 0.3 * noise
        elif parameter.dim() >= 2 and "embedding" not in name:
            parameter.data = noise * 1.5 * parameter.shape[1] ** -0.5
        elif "patch_embedding" in name:
            parameter.data = noise * 0.1
        elif parameter.dim() >= 1:
            parameter.data = 0.5 * noise


def texts(random, config):
    """Returns rows of several lengths with the end token (by the config's rule) inside, padded on the right."""
    end = 98 if config.eos_token_id == 2 else config.eos_token_id
    rows, masks = [], []
    length = config.max_position_embeddings
    for own in (length, 3, 9, 1):
        row = torch.randint(3, 90, (own,), generator=random)
        row[-1] = end
        if own == 9:
            # Two ends: the first one counts. Higher ids than the end token where it is not the highest.
            row[4] = end
            if end == 97:
                row[2] = 119
        rows.append(torch.cat([row, torch.full((length - own,), end)]))
        masks.append(torch.cat([torch.ones(own), torch.zeros(length - own)]).long())
    # Tokens after the end that are no padding; the mask hides some before it.
    rows.append(torch.randint(3, 90, (length,), generator=random))
    rows[-1][6] = end
    masks.append(torch.ones(length).long())
    masks[-1][[1, 2, 5]] = 0
    return torch.stack(rows), torch.stack(masks)


def checkpoint(name, values, seed, shard_bytes=None):
    config = CLIPConfig(**values)
    model = CLIPModel(config).eval()
    randomise(model, seed)
    folder = HERE / name
    if shard_bytes is None:
        model.save_pretrained(folder)
    else:
        model.save_pretrained(folder, max_shard_size=shard_bytes)
        assert (folder / "model.safetensors.index.json").exists()
    # What is read back is what counts, and transformers must find nothing amiss.
    model, report = CLIPModel.from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    random = torch.Generator().manual_seed(seed + 1)
    size = config.vision_config.image_size
    pixels = torch.randn((3, 3, size, size), generator=random)
    ids, mask = texts(random, config.text_config)
    with torch.no_grad():
        images = model.get_image_features(pixels)
        bare = model.get_text_features(ids)
        masked = model.get_text_features(ids, attention_mask=mask)
    tensors = {
        "pixels": pixels, "image_features": images, "ids": ids, "attention_mask": mask,
        "text_features": bare, "masked_text_features": masked,
    }
    save_file(tensors, folder / "golden.safetensors")
    print(name, {key: f"{value.std():.2f}" for key, value in tensors.items() if value.is_floating_point()},
          f"mask changes {(bare - masked).abs().amax(1).tolist()}")


def effective(config):
    """Returns the values of a config.json that change transformers' computation."""
    text, vision = config.text_config, config.vision_config
    alike = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
             "layer_norm_eps", "initializer_factor"]
    of_text = alike + ["vocab_size", "max_position_embeddings", "eos_token_id"]
    of_vision = alike + ["num_channels", "image_size", "patch_size", "initializer_range"]
    return {
        "projection_dim": config.projection_dim,
        "logit_scale_init_value": config.logit_scale_init_value,
        "text_config": {key: getattr(text, key) for key in of_text},
        "vision_config": {key: getattr(vision, key) for key in of_vision},
    }


def configs():
    """Returns config.json files of published and other models."""
    large_text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
                  "projection_dim": 768}
    large_vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
                    "patch_size": 14, "projection_dim": 768}
    forms = [
        {},
        {"model_type": "clip", "text_config": None, "vision_config": None},
        {"model_type": "clip", "text_config_dict": None, "vision_config_dict": None, "text_config": {"eos_token_id": 2},
         "vision_config": {"patch_size": 16, "dropout": 0.0}, "projection_dim": 512},
        {"model_type": "clip", "projection_dim": 768, "logit_scale_init_value": 2.6592,
         "text_config": dict(large_text, eos_token_id=2, vocab_size=49408), "text_config_dict": large_text,
         "vision_config": dict(large_vision, image_size=224), "vision_config_dict": large_vision},
        {"text_config": {"hidden_act": "gelu", "vocab_size": 7}, "text_config_dict": {"hidden_size": 256},
         "vision_config": {"hidden_act": "gelu", "image_size": 336}, "vision_config_dict": {"layer_norm_eps": 0.001}},
        {"text_config": {"hidden_act": "gelu", "initializer_factor": 0.5, "layer_norm_eps": 1e-6, "attention_dropout": 0.1},
         "vision_config": {"num_channels": 1, "initializer_range": 0.5}, "logit_scale_init_value": 1},
    ]
    # What CLIPConfig does to its arguments must not reach the forms.
    return [{"config": form, "effective": effective(CLIPConfig(**json.loads(json.dumps(form))))} for form in forms]


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    checkpoint("quick_gelu", QUICK_GELU, 1)
    checkpoint("gelu_sharded", GELU, 2, shard_bytes="90KB")
    (HERE / "configs.json").write_text(json.dumps(configs(), indent=1) + "\n")


if __name__ == "__main__":
    main()
