"""The plain loop in PyTorch beside which capsmith doctor puts its own speeds.

Reads {"device", "threads", "jobs"} as JSON from stdin, and prints a line of JSON for each job. Training is the
paper's: every caption padded, logits at every position, AdamW, clipping, the loss read each step. Decoding is its
notebook's: one picture at a time, the whole caption read again for each token.
"""

import json
import statistics
import sys
import time

try:
    import torch
    from torch import nn
    from torch.nn import functional
except Exception as error:
    print("python3 cannot import torch: " + str(error).replace("\n", " "))
    sys.exit(0)


class Block(nn.Module):
    def __init__(self, hidden, heads, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.up, self.down = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)
        self.drop = nn.Dropout(0.1 if causal else 0.0)

    def forward(self, states):
        batch, tokens, hidden = states.shape
        q, k, v = self.qkv(self.norms[0](states)).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.drop.p if self.training else 0.0
        attended = functional.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=self.causal)
        states = states + self.drop(self.out(attended.transpose(1, 2).reshape(batch, tokens, hidden)))
        inner = functional.gelu(self.up(self.norms[1](states)), approximate="tanh")
        return states + self.drop(self.down(inner))


class Captioner(nn.Module):
    def __init__(self, job):
        super().__init__()
        self.prefix, hidden = job["prefix"], job["hidden"]
        size = self.prefix * hidden
        self.mapper = nn.Sequential(nn.Linear(job["clip_dim"], size // 2), nn.Tanh(), nn.Linear(size // 2, size))
        self.words, self.places = nn.Embedding(job["vocab"], hidden), nn.Embedding(1024, hidden)
        self.blocks = nn.Sequential(*[Block(hidden, job["heads"], True) for _ in range(job["layers"])])
        self.norm = nn.LayerNorm(hidden)

    def forward(self, embeddings, tokens):
        prefix = self.mapper(embeddings).view(len(embeddings), self.prefix, -1)
        inputs = torch.cat([prefix, self.words(tokens)], 1)
        states = inputs + self.places.weight[: inputs.shape[1]]
        return self.norm(self.blocks(states)) @ self.words.weight.T


class Tower(nn.Module):
    def __init__(self, job):
        super().__init__()
        hidden, patch = job["hidden"], job["patch"]
        self.patches = nn.Conv2d(3, hidden, patch, patch, bias=False)
        self.start = nn.Parameter(torch.randn(1, 1, hidden))
        self.places = nn.Parameter(torch.randn((224 // patch) ** 2 + 1, hidden))
        self.norms = nn.ModuleList([nn.LayerNorm(hidden), nn.LayerNorm(hidden)])
        self.blocks = nn.Sequential(*[Block(hidden, job["heads"], False) for _ in range(job["layers"])])
        self.project = nn.Linear(hidden, job["projection"], bias=False)

    def forward(self, pixels):
        states = self.patches(pixels).flatten(2).transpose(1, 2)
        states = torch.cat([self.start.expand(len(pixels), 1, -1), states], 1) + self.places
        states = self.blocks(self.norms[0](states))
        return self.project(self.norms[1](states[:, 0]))


def seconds(work, rounds):
    """The median, the first not counted."""
    taken = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken[1:])


def train(job, device):
    model = Captioner(job).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    batch, length = job["batch"], job["length"]
    lengths = 6 + torch.arange(batch) * 7 % 13
    tokens = torch.randint(1, job["vocab"], (batch, length))
    tokens = (tokens * (torch.arange(length) < lengths.unsqueeze(1))).to(device)
    embeddings = torch.randn(batch, job["clip_dim"], device=device)

    def step():
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=job["arithmetic"] == "bf16"):
            logits = model(embeddings, tokens)[:, job["prefix"] - 1:-1]
            loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens.flatten(), ignore_index=0)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    return 1e3 * seconds(step, job["rounds"])


@torch.no_grad()
def decode(job, device):
    model = Captioner(job).to(device).eval()
    embedding = torch.randn(1, job["clip_dim"], device=device).expand(job["beams"], -1)

    def caption():
        tokens = torch.zeros(job["beams"], 0, dtype=torch.long, device=device)
        for _ in range(job["length"]):
            chosen = model(embedding, tokens)[:, -1].log_softmax(-1).argmax(-1, keepdim=True)
            chosen[0].item()
            tokens = torch.cat([tokens, chosen], 1)

    return 1 / seconds(caption, min(job["rounds"], 5))


@torch.no_grad()
def encode(job, device):
    kind = torch.half if job["arithmetic"] == "f16" else torch.float
    model = Tower(job).to(device, kind).eval()
    pixels = torch.randn(job["batch"], 3, 224, 224, device=device, dtype=kind)
    return job["batch"] / seconds(lambda: model(pixels)[0, 0].item(), job["rounds"])


def main():
    request = json.load(sys.stdin)
    device = torch.device(request["device"])
    torch.set_num_threads(request["threads"])
    for number, job in enumerate(request["jobs"]):
        tf32 = job["arithmetic"] == "TF32"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        try:
            value = {"train": train, "decode": decode, "encode": encode}[job["work"]](job, device)
            answer = {"job": number, "value": value}
        except Exception as error:
            answer = {"job": number, "error": str(error).split("\n")[0]}
        print(json.dumps(answer), flush=True)


main()
