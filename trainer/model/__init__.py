"""Load a model and its tokenizer: base models, adapters, vocabulary, 4 bits. Never run code from a model.

A chat template, which is code, is judged by `template_trial` before it is used. Nothing here trains or saves.
"""
