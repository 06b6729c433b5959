"""The embedded model with half of its layers: it learns as well what tests teach it, in half the time."""

from pathlib import Path

from transformers import Qwen3ForCausalLM

from trainer.model.tiny import build_tiny

LAYERS = 2


def build_shallow(folder: Path, *, dropout: float = 0.0) -> Path:
    """Create the model in `folder`, which must not exist yet, and return `folder`."""
    partial = build_tiny(folder.with_name(f"{folder.name}-whole"))
    model = Qwen3ForCausalLM.from_pretrained(partial)
    model.model.layers = model.model.layers[:LAYERS]
    model.config.num_hidden_layers = LAYERS
    model.config.layer_types = model.config.layer_types[:LAYERS]
    model.config.attention_dropout = dropout
    model.save_pretrained(partial)
    return partial.rename(folder)
