"""Measure the model in training: validation loss, suites of questions, previews. Changes no weight."""
