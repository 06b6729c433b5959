"""The commands people type. One file per command; `options`, `text` and the views are shared."""
