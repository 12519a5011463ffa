"""A span of time as people write it in a file, and as they read it in a reason."""

from datetime import timedelta


def span_text(span: timedelta) -> str:
    """The one way to write a span, in the largest unit that needs no fraction; a day is 24h."""
    seconds = int(span.total_seconds())
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"
