"""Load a model and its tokenizer: base models, adapters, vocabulary, 4 bits. Never run code from a model.

A chat template is code, too: `template_trial` refuses one that costs too much. Nothing here trains or saves.
"""
