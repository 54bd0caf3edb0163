"""Writes beams by ClipCap's search and distributions by transformers' filters, for crates/networks/tests/decode.

Usage: python decode_goldens.py [OUTPUT]   (default: ../fixtures/decode)

The beam search is reimplemented here on a tiny random GPT-2 of transformers, with ClipCap's choices and arithmetic:
one picture at a time, without a cache. The distributions are transformers' own warpers'.

  config.json, model.safetensors     GPT-2's config; all weights
  beams.safetensors
    prompts        [16, 5, 24]       prompt of each picture's beams
    CASE.tokens    [16, beams, 67]   best beam first, shorter ones padded with 255
    CASE.lengths   [16, beams]       tokens up to and including the one that stops a beam
    CASE.scores    [16, beams]       sum of log-probabilities over length
  filters.safetensors
    logits         [10, 200]         rows with ties, a peaked and a flat one among them
    T_K_P          [10, 200]         probabilities for that temperature, top-k and top-p; "none" is without
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation.logits_process import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

PICTURES, PROMPT, HIDDEN, VOCABULARY = 16, 5, 24, 83
LONGEST, STOP = 67, 13
STOPS = [STOP, 0, 29, 56]
LIFT = 1.3
# Name: beams, tokens that stop one, most tokens. ClipCap's own setting is the one of 5 beams and a single stop token.
CASES = {f"beams_{beams}": (beams, [STOP], LONGEST) for beams in (1, 2, 3, 5, 8)}
CASES |= {"several_stops": (5, STOPS, LONGEST), "short": (5, [STOP], 6), "one_token": (5, [STOP], 1)}
# Scores were seen to differ by up to 3e-6 between this and capsmith: float32 through two blocks, averaged.
MARGIN = 3e-5

FILTERS = [(1.0, None, None), (0.7, None, None), (1.0, 5, None), (1.0, None, 0.803), (1.0, None, 0.013), (1.3, 50, None),
           (0.5, 20, 0.903), (2.0, 3, 0.503), (1.5, 1, None), (1.0, 500, 0.953), (1.7, 40, 0.999)]


def random_gpt2():
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=HIDDEN, n_positions=PROMPT + LONGEST - 1, n_layer=2, n_head=4,
                        bos_token_id=1, eos_token_id=1)
    config._attn_implementation = "eager"
    gpt2 = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in gpt2.named_parameters():
            norm = ".ln_" in name and name.endswith("weight")
            parameter.normal_(1.0 if norm else 0.0, 0.4)
        # Lifts the stop token's logits, so that beams end as often as captions do.
        stop = gpt2.transformer.wte.weight[STOP]
        gpt2.transformer.ln_f.bias += LIFT * stop / stop.norm()
    return gpt2


@torch.no_grad()
def search(gpt2, prompt, width, stops, longest, by_length=True, processors=lambda _, scores: scores, length_penalty=1.0):
    """Returns beams, best first, their lengths and scores, the smallest margin of a choice, and events of the search."""
    stops, events, margin = torch.tensor(stops, dtype=torch.long), set(), float("inf")
    log_probabilities = gpt2(inputs_embeds=prompt).logits[0, -1].log_softmax(-1)
    log_probabilities = processors(torch.empty(1, 0, dtype=torch.long), log_probabilities.unsqueeze(0))[0]
    best = log_probabilities.topk(width + 1).values
    margin = min(margin, (best[-2] - best[-1]).item())
    sums, tokens = log_probabilities.topk(width)
    tokens = tokens.unsqueeze(1)
    lengths, stopped = torch.ones(width), torch.isin(tokens[:, 0], stops)
    while tokens.shape[1] < longest and not stopped.all():
        # A row a beam, padded behind its stop: padding is read but its logits are overwritten.
        inputs = torch.cat([prompt.expand(width, -1, -1), gpt2.transformer.wte(tokens)], 1)
        log_probabilities = processors(tokens, gpt2(inputs_embeds=inputs).logits[:, -1].log_softmax(-1))
        log_probabilities[stopped] = -float("inf")
        log_probabilities[stopped, 0] = 0.0
        longer = lengths + (~stopped).float()
        divisors = longer**length_penalty if by_length else torch.ones(width)
        averages = ((sums.unsqueeze(1) + log_probabilities) / divisors.unsqueeze(1)).flatten()
        best = averages.topk(width + 1).values
        margin = min(margin, (best[-2] - best[-1]).item())
        averages, chosen = averages.topk(width)
        parents, next_tokens = chosen // VOCABULARY, chosen % VOCABULARY
        if len(parents.unique()) < width:
            events.add("a beam branches")
        if not torch.isin(torch.where(stopped)[0], parents).all():
            events.add("a stopped beam is pushed out")
        if stopped[parents].any():
            events.add("a stopped beam stays")
        tokens = torch.cat([tokens[parents], next_tokens.unsqueeze(1)], 1)
        sums, lengths = averages * divisors[parents], longer[parents]
        stopped = stopped[parents] | torch.isin(next_tokens, stops)
    events.add("all stop" if stopped.all() else "cut at the longest")
    scores = sums / lengths**length_penalty
    order = scores.argsort(descending=True)
    if width > 1:
        margin = min(margin, (-scores[order].diff()).min().item())
    lengths = lengths.long()
    rows = [tokens[beam, :lengths[beam]].tolist() for beam in order]
    if len({len(row) for row in rows}) > 1:
        events.add("lengths differ")
    return rows, scores[order], margin, events


def beams_golden(gpt2):
    """Writes the beams of random prompts whose every choice, in every case, is beyond rounding errors."""
    kept = []
    for tried in range(1, 1000):
        prompt = torch.randn(1, PROMPT, HIDDEN) * 2
        found = {}
        for name, case in CASES.items():
            found[name] = search(gpt2, prompt, *case)
            if found[name][2] < MARGIN:
                break
        else:
            kept.append((prompt, found))
        if len(kept) == PICTURES:
            break
    assert len(kept) == PICTURES
    print(f"beams: {PICTURES} of {tried} prompts have no choice closer than {MARGIN}")
    golden = {"prompts": torch.cat([prompt for prompt, _ in kept])}
    for name, (beams, stops, longest) in CASES.items():
        events, lengths, sums_agree = {}, [], 0
        tokens = torch.full((PICTURES, beams, LONGEST), 255, dtype=torch.uint8)
        for picture, (prompt, found) in enumerate(kept):
            rows, _, _, happened = found[name]
            for beam, row in enumerate(rows):
                tokens[picture, beam, :len(row)] = torch.tensor(row, dtype=torch.uint8)
            for event in happened:
                events[event] = events.get(event, 0) + 1
            lengths.append([len(row) for row in rows])
            sums_agree += sorted(search(gpt2, prompt, beams, stops, longest, by_length=False)[0]) == sorted(rows)
        print(f"  {name}: best beams' lengths {sorted(row[0] for row in lengths)}; {events}; by sums the same {sums_agree}")
        golden[f"{name}.tokens"], golden[f"{name}.lengths"] = tokens, torch.tensor(lengths)
        golden[f"{name}.scores"] = torch.stack([found[name][1] for _, found in kept])
        if beams > 2 and longest == LONGEST:
            wanted = {"a beam branches", "a stopped beam is pushed out", "a stopped beam stays", "all stop",
                      "cut at the longest", "lengths differ"}
            assert wanted <= set(events), f"{name}: no case of {wanted - set(events)}"
            assert sums_agree < PICTURES, f"{name}: dividing by length changes nothing"
    return golden


def filters_golden():
    rows = [torch.randn(200) * scale for scale in (1.0, 3.0, 3.0, 10.0)]
    rows += [(torch.randn(200) * 2).round(), (torch.randn(200) * 3).mul(4).round().div(4), torch.randn(200).mul(8).round() / 8]
    peaked = torch.randn(200)
    peaked[77] = 30.0
    rows += [peaked, torch.zeros(200), torch.linspace(5.0, -5.0, 200)]
    logits = torch.stack(rows)
    golden = {"logits": logits}
    for temperature, top_k, top_p in FILTERS:
        scores = TemperatureLogitsWarper(temperature)(None, logits)
        if top_k is not None:
            scores = TopKLogitsWarper(top_k)(None, scores)
        if top_p is not None:
            ascending = scores.sort(-1).values.softmax(-1, dtype=torch.double).cumsum(-1)
            assert (ascending - (1 - top_p)).abs().min() > 1e-6, "a token's place hangs on rounding"
            scores = TopPLogitsWarper(top_p)(None, scores)
        name = "_".join("none" if value is None else str(value) for value in (temperature, top_k, top_p))
        golden[name] = scores.softmax(-1)
        print(f"filter {name}: {(golden[name] > 0).sum(-1).tolist()} tokens stay")
    return golden


def main():
    default = Path(__file__).resolve().parent.parent / "fixtures" / "decode"
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    root.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(1)
    gpt2 = random_gpt2()
    gpt2.config.to_json_file(root / "config.json")
    weights = {name: parameter.detach() for name, parameter in gpt2.named_parameters()}
    save_file(weights, root / "model.safetensors")
    save_file(beams_golden(gpt2), root / "beams.safetensors")
    save_file(filters_golden(), root / "filters.safetensors")


if __name__ == "__main__":
    main()
