"""The models that are measured: Qwen3 shapes with random weights, and how much arithmetic they need.

Shapes: T = tokens of a row.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A Qwen3 model's sizes."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int = 1024

    @property
    def body_weights(self) -> int:
        """Weights of the layers that every token is multiplied with."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (queries + 2 * keys) + queries * self.hidden
        return self.layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def head_weights(self) -> int:
        """Weights that a token is multiplied with to predict the next."""
        return self.hidden * self.vocabulary

    def training_flops(self, lengths: Iterable[int], *, supervised: int, is_causal: bool) -> float:
        """Return the floating point operations that training these rows once cannot do without.

        6 for each weight and token: 2 forward, 4 backward. The head counts where something is learned only.
        Attention: 12 x layers x heads x head_dim for each pair of tokens in a row, of which a causal model
        needs half (Chowdhery et al., "PaLM", 2022, appendix B).
        """
        lengths = list(lengths)
        pairs = sum(length**2 for length in lengths) * (0.5 if is_causal else 1.0)
        products = 6 * (self.body_weights * sum(lengths) + self.head_weights * supervised)
        return products + 12 * self.layers * self.heads * self.head_dim * pairs


def _square(hidden: int, layers: int, vocabulary: int = 1024) -> Shape:
    heads = hidden // 64
    return Shape(
        hidden=hidden,
        layers=layers,
        heads=heads,
        kv_heads=heads,
        head_dim=64,
        intermediate=4 * hidden,
        vocabulary=vocabulary,
    )


SHAPES = {
    "tiny": Shape(hidden=128, layers=4, heads=4, kv_heads=2, head_dim=32, intermediate=512),
    "6M": _square(256, 6),
    "60M": _square(768, 8),
    "240M": _square(1536, 8),
    "large-vocabulary": _square(256, 2, vocabulary=151_936),
    "Qwen3-0.6B": Shape(
        hidden=1024,
        layers=28,
        heads=16,
        kv_heads=8,
        head_dim=128,
        intermediate=3072,
        vocabulary=151_936,
    ),
}


def build_model(folder: Path, shape: Shape, *, seed: int = 1) -> Path:
    """Write a model of that shape with random weights and the tokenizer of `tiny`; return its folder."""
    import torch  # here, because a process that only compares others never needs it
    from transformers import AutoTokenizer, GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    from trainer.model.tiny import build_tiny

    build_tiny(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    return folder
