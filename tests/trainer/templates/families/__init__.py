"""Families of published chat templates, each with semantics of its own: written anew, not copied."""

from tests.trainer.templates.families import (
    agents,
    chatml,
    deepseek,
    gemma,
    llama,
    mistral,
    plain,
    qwen,
    tags,
)
from tests.trainer.templates.families.family import Family, Part, Refused

FAMILIES: list[Family] = [
    *chatml.FAMILIES,
    *qwen.FAMILIES,
    *llama.FAMILIES,
    *mistral.FAMILIES,
    *gemma.FAMILIES,
    *deepseek.FAMILIES,
    *tags.FAMILIES,
    *plain.FAMILIES,
    *agents.FAMILIES,
]

__all__ = ["FAMILIES", "Family", "Part", "Refused"]
