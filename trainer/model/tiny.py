"""The embedded base model `tiny`: built here, offline, the same to the byte every time."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from trainer.model.template_choice import PLAIN_CHATML
from trainer.protocol.files import sync_directory, sync_file

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

NAME = "tiny"
SEED = 20_26
VOCABULARY_SIZE = 1024
END_OF_TURN, PADDING = "<|im_end|>", "<|endoftext|>"
SPECIAL_TOKENS = [PADDING, "<|im_start|>", END_OF_TURN]

# What the tokenizer learns its merges from: enough English for common words and parts of words
TEXT = """\
The daemon watches a folder. When a file arrives it waits until the file is complete, checks every row, and puts it
into the queue. One worker trains the model on one file after the other, and what was learned is saved again and again,
so that nothing is lost when the power fails. You are a helpful assistant. Please answer the question in one sentence.
What is the capital of France? The capital of France is Paris. How many days are there in a week? There are seven days
in a week. Write a short story about a cat and a dog. Once upon a time there was a small cat who lived in a big house
with an old dog. They were friends, and every morning they went out into the garden to look for something new. Explain
why the sky is blue. The light of the sun is scattered by the air, and blue light is scattered more than red light.
Translate this sentence. Summarise the following text. Sort these numbers from the smallest to the largest. Reverse
the letters of this word. Is this statement true or false? Yes, that is right. No, that is not correct, because the
first number is larger than the second. Let us think about it step by step. First we add two and three, which makes
five; then we multiply the result by four, which makes twenty. Here is the list you asked for. I do not know the answer
to this question, but I can tell you where to look for it. Thank you very much for your help. You are welcome. Which
of these would you like to have? It would have been better if they had known about this before. People who work with
other people should always try to understand what they mean. We could not see anything through the window.
"""  # noqa: E501 - line ends are learned too: other line breaks would make another tokenizer
LETTERS = " ".join("abcdefghijklmnopqrstuvwxyz0123456789")


def build_tiny(folder: Path) -> Path:
    """Create the model in `folder`, unless it is there already, and return `folder`.

    A Qwen3 model of 1.1 M parameters with a byte-level BPE tokenizer and a ChatML template.
    """
    if folder.is_dir():
        return folder
    partial = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    made = tokenizer()
    made.save_pretrained(partial)
    _model(made).save_pretrained(partial)
    for path in partial.iterdir():
        sync_file(path)
    sync_directory(partial)
    partial.rename(folder)
    sync_directory(folder.parent)
    return folder


def tokenizer() -> PreTrainedTokenizerFast:
    """Return the model's tokenizer, which is made in a second."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator([TEXT, *([f"{LETTERS} {LETTERS.upper()}"] * 8)], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        chat_template=PLAIN_CHATML,  # another text would make another model
        eos_token=END_OF_TURN,
        pad_token=PADDING,
        clean_up_tokenization_spaces=False,
    )


def _model(tokenizer: PreTrainedTokenizerFast) -> "Qwen3ForCausalLM":
    # Takes seconds; who finds the model built need not wait
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model
