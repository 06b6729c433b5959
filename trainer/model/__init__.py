"""Load a model and its tokenizer: base models, adapters, vocabulary, 4 bits. Never run code from a model."""
