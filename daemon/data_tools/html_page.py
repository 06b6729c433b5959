"""The frame of an HTML page that loads nothing and runs nothing. Escapes nothing: its caller does."""

# The page says itself that it needs neither scripts nor the network; a browser then refuses both
HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; }}
body {{ max-width: {width_rem}rem; margin: 2rem auto; padding: 0 1rem; }}
body {{ color: #1a1a1a; background: #fff; }}
svg text {{ font: 13px system-ui, sans-serif; fill: #1a1a1a; }}
{style}
</style>
</head>
<body>
"""
END = "</body>\n</html>\n"


def head(title: str, *, width_rem: int, style: str) -> str:
    """Return what stands in front of a page's content.

    Args:
        title: escaped.
        style: rules of CSS beside those that all pages share.
    """
    return HEAD.format(title=title, width_rem=width_rem, style=style)
