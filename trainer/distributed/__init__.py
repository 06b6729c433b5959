"""Several processes share each optimizer step."""
