"""What a model answers to a few fixed prompts, in numbers: to see that a copy of it is the same model."""

import hashlib
from importlib.metadata import version

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainer.protocol.backups import LogitsFingerprint

PROMPTS = (
    "The quick brown fox jumps over the lazy dog.",
    "1, 2, 3, 5, 8, 13,",
    "def add(a, b):\n    return",
    "Übermorgen — 明日 — завтра",
)
MOST_TOKENS = 32
SAMPLED = 32  # logits of each prompt
THREADS = 2  # the same everywhere: their number decides the order of sums
TOLERANCE = 1e-3  # of the largest logit: other processors and libraries round differently


def fingerprint_logits(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> LogitsFingerprint:
    """Return the fingerprint of a model that has just been loaded; it is put into evaluation mode."""
    torch.set_num_threads(THREADS)
    model.eval()
    digest, sample = hashlib.sha256(), []
    for prompt in PROMPTS:
        tokens = tokenizer(prompt, add_special_tokens=False)["input_ids"][:MOST_TOKENS] or [0]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False).logits[0, -1].float().cpu()
        digest.update(logits.numpy().astype("<f4").tobytes())
        places = torch.linspace(0, len(logits) - 1, SAMPLED).long()
        sample += [float(value) for value in logits[places]]
    return LogitsFingerprint(
        sha256=digest.hexdigest(),
        sample=tuple(sample),
        libraries={name: version(name) for name in ("torch", "transformers")},
    )


def difference(one: LogitsFingerprint, other: LogitsFingerprint) -> float:
    """Return the largest difference of the logits that both have kept."""
    pairs = zip(one.sample, other.sample, strict=False)
    return max((abs(first - second) for first, second in pairs), default=0.0)


def is_close(one: LogitsFingerprint, other: LogitsFingerprint) -> bool:
    """Whether two fingerprints may be of the same model on different machines."""
    scale = max((abs(value) for value in one.sample), default=0.0)
    return len(one.sample) == len(other.sample) and difference(one, other) <= TOLERANCE * max(1.0, scale)
