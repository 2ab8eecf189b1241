"""The offer to fetch weights, where the embedded engine is asked for and has none."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import click

from magpie_ollama.display import consoles
from magpie_ollama.display.progress import reading
from magpie_ollama.display.words import size
from magpie_ollama.servers import weights


def offer(given: Mapping[str, Any]) -> None:
    """Asks at a terminal whether to fetch the small model, and fetches it. Whoever is not asked, or declines, meets the
    error that names all remedies. Raises ``ModelMissing`` where it cannot be fetched."""
    watched = consoles.stderr().is_terminal and sys.stdin is not None and sys.stdin.isatty()
    if not watched or given["model"] or given["model_path"] or given.get("quiet") or not weights.is_available():
        return
    if weights.small_weights() is not None or find_spec("huggingface_hub") is None:
        return
    amount = size(weights.SMALL_BYTES)
    asked = f"No weights are here. Fetch {weights.SMALL} from the Hugging Face Hub: {amount}, English only?"
    if click.confirm(asked, err=True):
        with reading("Fetching", weights.SMALL_BYTES, quiet=False) as fetched:
            weights.find_weights(f"{weights.SMALL}:{weights.SMALL_FILE}", None, lambda done, total: fetched(done))
