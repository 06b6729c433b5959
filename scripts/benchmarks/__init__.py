"""Measurements of what users feel, beside other tools: `python -m scripts.benchmarks.NAME`."""
