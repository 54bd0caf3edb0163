"""Writes texts by transformers' generate under constraints, for crates/networks/tests/decode/constraints.rs.

Usage: python constraints_goldens.py [OUTPUT]   (default: ../fixtures/decode)

The model is decode_goldens.py's: config.json and model.safetensors of the same folder. generate gets inputs_embeds, so a
prompt has no ids. Its own beam search is another one than ClipCap's where beams end at different lengths. Without an end
both keep the same beams; with one, the golden is ClipCap's search under transformers' processors, and generate's scores
are compared with its here, for all beams that both find.

  constraints.safetensors
    prompts            [6, 5, 24]
    CASE.tokens        [6, beams, 16]   best beam first, padded with 255; one beam for greedy decoding
    CASE.lengths       [6, beams]
    CASE.scores        [6, beams]       sum of log-probabilities over length to the power of length_penalty (beams only)
    logits             [6, 83]           logits and generated ids, and below generate's distributions for sampling
    history            [6, 9]
    CASE.distribution  [6, 83]
"""

import sys
from pathlib import Path

import torch
from decode_goldens import HIDDEN, PROMPT, STOP, VOCABULARY, search
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

PICTURES, LONGEST = 6, 16
MARGIN = 3e-5
NONE = {"no_repeat_ngram_size": 0, "repetition_penalty": 1.0, "min_new_tokens": 0}
# Name: constraints of greedy decoding, which ends at the stop token.
GREEDY = {
    "ngram_1": {"no_repeat_ngram_size": 1}, "ngram_3": {"no_repeat_ngram_size": 3},
    "penalty_1.3": {"repetition_penalty": 1.3}, "penalty_0.8": {"repetition_penalty": 0.8},
    "least_9": {"min_new_tokens": 9},
    "all": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "min_new_tokens": 7},
}
# Name: beams and constraints, of texts without an end.
ENDLESS = {
    "endless_ngram": (3, {"no_repeat_ngram_size": 2}),
    "endless_all": (3, {"no_repeat_ngram_size": 3, "repetition_penalty": 1.2}),
}
# Name: beams, length penalty and constraints, of texts that end at the stop token.
BEAMS = {
    "length_0.5": (3, 0.5, {}), "length_2": (3, 2.0, {}), "length_-1": (3, -1.0, {}),
    "beam_all": (3, 0.7, {"no_repeat_ngram_size": 2, "repetition_penalty": 1.2, "min_new_tokens": 5}),
}


def processors(gpt2, constraints, longest=LONGEST, **more):
    """Returns transformers' own processors, in its order, for a text after inputs_embeds."""
    config = GenerationConfig(**(NONE | constraints), max_new_tokens=longest, eos_token_id=STOP, **more)
    gpt2._prepare_special_tokens(config, False, device="cpu")
    return gpt2._get_logits_processor(generation_config=config, input_ids_seq_length=0, encoder_input_ids=None,
                                      prefix_allowed_tokens_fn=None, logits_processor=[], device="cpu")


def generated(gpt2, prompts, constraints, end=STOP, **more):
    mask = torch.ones(prompts.shape[:2], dtype=torch.long)
    return gpt2.generate(inputs_embeds=prompts, attention_mask=mask, do_sample=False, max_new_tokens=LONGEST, eos_token_id=end,
                         pad_token_id=STOP, return_dict_in_generate=True, output_scores=True, **constraints, **more)


def cut(row, end=STOP):
    row = row.tolist()
    return row[:row.index(end) + 1] if end in row else row


def greedy(gpt2, prompt, constraints):
    """Returns the tokens of a prompt, and the smallest margin of a choice."""
    found = generated(gpt2, prompt, constraints)
    row = cut(found.sequences[0])
    best = torch.stack(found.scores)[:len(row), 0].topk(2).values
    return row, (best[:, 0] - best[:, 1]).min().item()


def beams(gpt2, prompt, width, penalty, constraints, end):
    """Returns ClipCap's beams and their scores under the constraints, the smallest margin, and generate's scores."""
    stops = [STOP] if end is not None else []
    rows, scores, margin, _ = search(gpt2, prompt, width, stops, LONGEST, processors=processors(gpt2, constraints),
                                     length_penalty=penalty)
    found = generated(gpt2, prompt, constraints, end, num_beams=width, num_return_sequences=width, length_penalty=penalty)
    theirs = {tuple(cut(row, end)): score.item() for row, score in zip(found.sequences, found.sequences_scores)}
    # Where scores are divided by more than the length, so are rounding errors.
    return rows, scores, margin * LONGEST ** max(penalty - 1, 0), theirs


@torch.no_grad()
def cases_of(gpt2, prompt):
    """Returns all cases of a prompt; None where rounding errors could decide a choice."""
    cases = {}
    for name in [*GREEDY, *BEAMS, *ENDLESS]:
        if name in GREEDY:
            row, margin = greedy(gpt2, prompt, GREEDY[name])
            cases[name] = ([row], None, margin, None)
        elif name in ENDLESS:
            width, constraints = ENDLESS[name]
            cases[name] = beams(gpt2, prompt, width, 1.0, constraints, None)
        else:
            width, penalty, constraints = BEAMS[name]
            cases[name] = beams(gpt2, prompt, width, penalty, constraints, STOP)
        if cases[name][2] < MARGIN:
            return None
    return cases


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "decode"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(2)
    config = GPT2Config.from_json_file(default / "config.json")
    config._attn_implementation = "eager"
    gpt2 = GPT2LMHeadModel(config).eval()
    gpt2.load_state_dict(load_file(default / "model.safetensors"), strict=False)
    kept = []
    for tried in range(1, 2000):
        prompt = torch.randn(1, PROMPT, HIDDEN) * 2
        cases = cases_of(gpt2, prompt)
        if cases is not None:
            kept.append((prompt, cases))
        if len(kept) == PICTURES:
            break
    assert len(kept) == PICTURES
    print(f"{PICTURES} of {tried} prompts have no choice closer than {MARGIN}")
    golden = {"prompts": torch.cat([prompt for prompt, _ in kept])}
    for name in [*GREEDY, *ENDLESS, *BEAMS]:
        all_rows = [cases[name][0] for _, cases in kept]
        tokens = torch.full((PICTURES, len(all_rows[0]), LONGEST), 255, dtype=torch.uint8)
        for picture, rows in enumerate(all_rows):
            for beam, row in enumerate(rows):
                tokens[picture, beam, :len(row)] = torch.tensor(row, dtype=torch.uint8)
        golden[f"{name}.tokens"] = tokens
        golden[f"{name}.lengths"] = torch.tensor([[len(row) for row in rows] for rows in all_rows])
        if name in GREEDY:
            plain = sum(greedy(gpt2, prompt, {})[0] == cases[name][0][0] for prompt, cases in kept)
            print(f"  {name}: lengths {sorted(len(rows[0]) for rows in all_rows)}, {plain} as without it")
            assert plain < PICTURES
            continue
        golden[f"{name}.scores"] = torch.stack([cases[name][1] for _, cases in kept])
        shared = best = 0
        for _, cases in kept:
            rows, scores, _, theirs = cases[name]
            best += tuple(rows[0]) == max(theirs, key=theirs.get)
            for row, score in zip(rows, scores.tolist()):
                if tuple(row) in theirs:
                    shared += 1
                    assert abs(theirs[tuple(row)] - score) < 1e-4, (name, row, score, theirs[tuple(row)])
                else:
                    assert name not in ENDLESS, f"{name}: generate has no beam {row}"
        print(f"  {name}: lengths {sorted(len(rows[0]) for rows in all_rows)}; generate has {shared} of {PICTURES * len(rows)} "
              f"beams with these scores, and {best} of {PICTURES} best ones")
        assert best >= PICTURES // 2
    golden["logits"] = torch.randn(6, VOCABULARY) * 3
    history = torch.randint(VOCABULARY, (6, 9))
    history[:, 4:6] = history[:, 7:9]
    golden["history"] = history
    for name, constraints, more in [
        ("sampled_all", GREEDY["all"] | {"min_new_tokens": 12}, {"temperature": 0.7, "top_k": 20, "top_p": 0.903}),
        ("sampled_ngram", {"no_repeat_ngram_size": 3}, {"top_k": 0}), ("sampled_ngram_9", {"no_repeat_ngram_size": 9}, {"top_k": 0}),
    ]:
        scores = processors(gpt2, constraints, do_sample=True, **more)(history, golden["logits"].clone())
        golden[f"{name}.distribution"] = scores.softmax(-1)
        print(f"  {name}: {(golden[f'{name}.distribution'] > 0).sum(-1).tolist()} tokens stay")
    save_file(golden, root / "constraints.safetensors")


if __name__ == "__main__":
    main()
