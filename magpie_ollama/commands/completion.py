"""``magpie-ollama completion``: what a shell reads to complete commands, options and values."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from magpie_ollama.commands.base import Command
from magpie_ollama.commands.options import debug_option
from magpie_ollama.display import consoles


@click.command(cls=Command, examples=("completion bash", "completion fish"))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print what SHELL reads at its start, to complete commands, options, languages, models and files.

    \b
    bash:  echo 'eval "$(magpie-ollama completion bash)"' >> ~/.bashrc
    zsh:   echo 'eval "$(magpie-ollama completion zsh)"' >> ~/.zshrc
    fish:  magpie-ollama completion fish > ~/.config/fish/completions/magpie-ollama.fish
    """
    source = get_completion_class(shell)
    assert source is not None
    script = source(ctx.find_root().command, {}, "magpie-ollama", "_MAGPIE_OLLAMA_COMPLETE").source()
    consoles.stdout().print(script, soft_wrap=True)
