"""Who acts on this machine."""

import getpass
import os


def local_actor() -> str:
    """`local:NAME`, as the shell says it: nobody has verified it."""
    return f"local:{os.environ.get('USER') or getpass.getuser()}"
