"""Writes losses, gradients, beams and 150 training steps of Merge-RNN in plain float64 tensor operations.

Usage: merge_rnn_goldens.py [OUTPUT]    (default: tests/fixtures/merge_rnn)

Written from the paper's description with TensorFlow's conventions (one LSTM kernel over concatenated input and state, gates
in the order input, cell, forget, output, 1 added to the forget gate; Adam with epsilon added to the uncorrected root), and
saved under the names and in the layout that networks::merge_rnn has.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

VOCABULARY, SIZE, IMAGE, EDGE, UNKNOWN = 23, 12, 10, 0, 1
IMAGES, CAPTIONS, BATCH, STEPS = 24, 60, 7, 150
BEAMS, LONGEST = 3, 9


def glorot(inputs, outputs, *shape):
    limit = (6 / (inputs + outputs)) ** 0.5
    return (torch.rand(*shape, dtype=torch.float64) * 2 - 1) * limit


class MergeRnn:
    def __init__(self, architecture):
        self.merge = architecture == "merge"
        inputs, states = (SIZE, 2 * SIZE) if self.merge else (2 * SIZE, SIZE)
        self.weights = {
            "embedding": glorot(VOCABULARY, SIZE, VOCABULARY, SIZE),
            "kernel": glorot(inputs + SIZE, 4 * SIZE, inputs + SIZE, 4 * SIZE),
            "bias": glorot(1, 4 * SIZE, 4 * SIZE),
            "image": glorot(IMAGE, SIZE, IMAGE, SIZE),
            "image_bias": glorot(1, SIZE, SIZE),
            "softmax": glorot(states, VOCABULARY, states, VOCABULARY),
            "softmax_bias": glorot(1, VOCABULARY, VOCABULARY),
        }
        self.inputs = inputs

    def step(self, word, picture, state):
        weights = self.weights
        hidden, cell = state
        seen = weights["embedding"][word]
        if not self.merge:
            seen = torch.cat([seen, picture])
        gates = torch.cat([seen, hidden]) @ weights["kernel"] + weights["bias"]
        enter, new, forget, leave = gates.chunk(4)
        cell = torch.sigmoid(forget + 1) * cell + torch.sigmoid(enter) * torch.tanh(new)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        shown = torch.cat([hidden, picture]) if self.merge else hidden
        return shown @ weights["softmax"] + weights["softmax_bias"], (hidden, cell)

    def picture(self, image):
        return image @ self.weights["image"] + self.weights["image_bias"]

    def start(self):
        return torch.zeros(SIZE, dtype=torch.float64), torch.zeros(SIZE, dtype=torch.float64)

    def loss(self, images, captions):
        """Returns the sum over all words and ends."""
        total = 0
        for image, caption in zip(images, captions):
            picture, state = self.picture(image), self.start()
            for word, target in zip([EDGE] + caption, caption + [EDGE]):
                logits, state = self.step(word, picture, state)
                total = total - torch.log_softmax(logits, 0)[target]
        return total

    def beam(self, image):
        """Returns unnormalised probabilities, computed without a cache."""
        beam = [(1.0, False, [EDGE])]
        while True:
            grown = []
            for probability, whole, prefix in beam:
                if whole:
                    grown.append((probability, True, prefix))
                    continue
                picture, state = self.picture(image), self.start()
                for word in prefix:
                    logits, state = self.step(word, picture, state)
                for word, share in enumerate(torch.softmax(logits, 0).tolist()):
                    if word == EDGE:
                        grown.append((probability * share, True, prefix))
                    elif word != UNKNOWN:
                        grown.append((probability * share, False, prefix + [word]))
            beam = sorted(grown, key=lambda one: -one[0])[:BEAMS]
            probability, whole, prefix = beam[0]
            if whole or len(prefix) - 1 == LONGEST:
                return probability, prefix[1:], whole

    def saved(self, values=None):
        """Returns the weights with PyTorch's order of gates, linear layers as [outputs, inputs]."""
        values = values or self.weights
        enter, new, forget, leave = range(4)

        def gates(kernel):
            parts = kernel.chunk(4, -1)
            return torch.cat([parts[gate] for gate in (enter, forget, new, leave)], -1)

        kernel = gates(values["kernel"])
        named = {
            "word_embedding.weight": values["embedding"],
            "lstm.weight_ih": kernel[:self.inputs].T, "lstm.weight_hh": kernel[self.inputs:].T,
            "lstm.bias": gates(values["bias"]),
            "image.weight": values["image"].T, "image.bias": values["image_bias"],
            "softmax.weight": values["softmax"].T, "softmax.bias": values["softmax_bias"],
        }
        return {name: value.detach().float().contiguous().clone() for name, value in named.items()}


def caption(image):
    """Returns captions that depend on the picture, so that they can be learned."""
    own = int(image[:4].argmax()) + 2
    length = int(torch.randint(2, 8, ()))
    words = [own + 4 * int(torch.randint(0, 4, ())) for _ in range(length)]
    return [word if torch.rand(()) < 0.9 else int(torch.randint(1, VOCABULARY, ())) for word in words]


def train(network, images, captions, places, order):
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, value in network.weights.items()}
    losses = []
    for step, batch in enumerate(order, 1):
        for value in network.weights.values():
            value.requires_grad_(True)
            value.grad = None
        loss = network.loss(images[[places[row] for row in batch]], [captions[row] for row in batch])
        loss.backward()
        losses.append(loss.item() / sum(len(captions[row]) + 1 for row in batch))
        size = 1e-3 * (1 - 0.999 ** step) ** 0.5 / (1 - 0.9 ** step)
        with torch.no_grad():
            for name, value in network.weights.items():
                first, second = moments[name]
                gradient = value.grad
                first.mul_(0.9).add_(0.1 * gradient)
                second.mul_(0.999).add_(0.001 * gradient ** 2)
                value -= size * first / (second.sqrt() + 1e-8)
    return losses


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "fixtures/merge_rnn"
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(3)
    images = torch.randn(IMAGES, IMAGE, dtype=torch.float64).float().double()
    places = [int(torch.randint(IMAGES, ())) for _ in range(CAPTIONS)]
    captions = [caption(images[place]) for place in places]
    orders = [torch.randperm(CAPTIONS)[:CAPTIONS // BATCH * BATCH].view(-1, BATCH) for _ in range(STEPS)]
    order = torch.cat(orders)[:STEPS].tolist()
    numbers = {"captions": captions, "places": places, "order": order, "beams": BEAMS, "longest": LONGEST}
    for architecture in ["merge", "inject"]:
        network = MergeRnn(architecture)
        # What is saved is float32; both sides start from the same.
        network.weights = {name: value.float().double() for name, value in network.weights.items()}
        save_file(network.saved() | {"images": images.float()}, root / f"{architecture}.initial.safetensors")
        for value in network.weights.values():
            value.requires_grad_(True)
        batch = order[0]
        loss = network.loss(images[[places[row] for row in batch]], [captions[row] for row in batch])
        loss.backward()
        gradients = network.saved({name: value.grad for name, value in network.weights.items()})
        save_file(gradients, root / f"{architecture}.gradients.safetensors")
        losses = train(network, images, captions, places, order)
        save_file(network.saved(), root / f"{architecture}.final.safetensors")
        with torch.no_grad():
            # Sharpened, so that no choice hangs on rounding, and rewarded for length, so that sentences are long.
            network.weights = {name: value.float().double() for name, value in network.weights.items()}
            network.weights["softmax"] *= 3
            network.weights["softmax_bias"][EDGE] -= 2
            network.weights["softmax_bias"][UNKNOWN] += 1
            save_file(network.saved(), root / f"{architecture}.sharpened.safetensors")
            found = [network.beam(image) for image in images]
        numbers[architecture] = {
            "loss": loss.item(), "losses": losses,
            "beams": [{"probability": one[0], "words": one[1], "whole": one[2]} for one in found]}
        lengths = [len(one[1]) for one in found]
        print(f"{architecture}: loss {loss.item():.3f}; {losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps; beams of",
              f"{min(lengths)} to {max(lengths)} words, {sum(one[2] for one in found)} whole")
    (root / "numbers.json").write_text(json.dumps(numbers))


if __name__ == "__main__":
    main()
