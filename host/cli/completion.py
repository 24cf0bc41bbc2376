"""`outboard completion`: the script that makes a shell complete our commands, by click's mechanism."""

from __future__ import annotations

import os

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from host.cli.choices import Word
from host.cli.output import json_option, print_json, print_next

VARIABLE = "_OUTBOARD_COMPLETE"
"""What a shell sets to ask; click derives it from our name."""

TO_USE = {
    "bash": 'eval "$(outboard completion bash)"',
    "zsh": 'eval "$(outboard completion zsh)"',
    "fish": "outboard completion fish | source",
}


class Bash(BashComplete):
    """Click's, for words with a `=` in them: bash cuts them there, and would add a blank behind it."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
    )

    def get_completion_args(self) -> tuple[list[str], str]:
        pieces = split_arg_string(os.environ["COMP_WORDS"])[: int(os.environ["COMP_CWORD"]) + 1]
        pieces += [""] * (int(os.environ["COMP_CWORD"]) + 1 - len(pieces))
        words: list[str] = []
        for piece in pieces:
            if words and (piece == "=" or (words[-1].endswith("=") and words[-1] != "=")):
                words[-1] += piece
            else:
                words.append(piece)
        self._before = words[-1].rpartition("=")[0] + "=" if "=" in words[-1] else ""
        return words[1:-1], words[-1]

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.type},{str(item.value).removeprefix(self._before)}"


class Zsh(ZshComplete):
    """Click's, for words with a `=` at their end: zsh would add a blank behind it."""

    source_template = (
        ZshComplete.source_template.replace(
            'completions+=("$key")\n', '[[ $key == *= ]] && unfinished+=("$key") || completions+=("$key")\n'
        )
        .replace(
            '    if [ -n "$completions" ]',
            """    if [ -n "$unfinished" ]; then
        compadd -U -V unsorted -S '' -a unfinished
    fi

    if [ -n "$completions" ]""",
        )
        .replace("local -a response", "local -a response unfinished")
    )


def prepare() -> None:
    """To be called before click answers a shell."""
    add_completion_class(Bash, "bash")
    add_completion_class(Zsh, "zsh")


@click.command()
@click.argument("shell", type=Word(list(TO_USE)))
@json_option
def completion(shell: str, as_json: bool) -> None:
    """Print the script that lets SHELL complete commands, plugins, methods and parameters.

    \b
    bash:  eval "$(outboard completion bash)"      in ~/.bashrc
    zsh:   eval "$(outboard completion zsh)"       in ~/.zshrc, after compinit
    fish:  outboard completion fish | source       in ~/.config/fish/config.fish
    """
    app = click.get_current_context().find_root().command
    prepare()
    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(app, {}, "outboard", VARIABLE).source()
    if as_json:
        print_json({"ok": True, "shell": shell, "script": script})
        return
    click.echo(script, nl=False)
    print_next(TO_USE[shell])
