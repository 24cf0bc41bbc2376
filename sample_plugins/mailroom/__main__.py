"""`python -m sample_plugins.mailroom INBOX OUTBOX`: a line for each document, a summary, an exit code."""

import sys
from pathlib import Path

import anyio
import click

from host import OutboardError
from host.observability.events import HostEvent, StateChanged
from sample_plugins.mailroom.mailroom import CannotBegin, Mailroom

FOLDER = click.Path(file_okay=False, path_type=Path)
COLOURS = {"delivered": "green", "put back": "yellow", "held": "red", "unread": "red"}


def say(what: str, who: str, how: str) -> None:
    """A line on stdout for a delivery, on stderr for trouble. Names are other people's, and made harmless."""
    text = "".join(each if each.isprintable() else "?" for each in f"{who:<28} {how}")
    label = click.style(f"{what:<12}", fg=COLOURS.get(what, "yellow"))
    click.echo(f"{label}{text}", err=what != "delivered")


def say_state(event: HostEvent) -> None:
    if isinstance(event, StateChanged) and event.state in ("backoff", "quarantined", "failed"):
        say(event.state, event.plugin, event.reason)


@click.command()
@click.argument("inbox", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("outbox", type=FOLDER)
@click.option("--watch", is_flag=True, help="Go on, and take what comes.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds to wait while nothing moves.")
@click.option("--config", type=click.Path(path_type=Path), help="An outboard.toml for the plugins.")
def main(inbox: Path, outbox: Path, watch: bool, patience: float, config: Path | None) -> None:
    """Deliver every document in INBOX, and in the folders below it, into OUTBOX, once.

    Exit code 0 if all are delivered.
    """
    if outbox.resolve().is_relative_to(inbox.resolve()):
        raise click.UsageError("OUTBOX is inside INBOX: what is delivered would come in again.")
    try:
        mailroom = Mailroom(inbox, outbox, tell=say, config=config)
        mailroom.host.on_event(say_state)
        anyio.run(lambda: mailroom.run(watch=watch, patience_s=patience))
    except BlockingIOError:
        raise click.ClickException(f"another mailroom is at work in {outbox}") from None
    except (OutboardError, CannotBegin) as error:
        raise click.ClickException(str(error)) from None
    counts = mailroom.journal.counts()
    delivered = counts.pop("delivered", 0)
    left = "".join(f", {count} {state}" for state, count in counts.items())
    click.echo(f"{delivered + sum(counts.values())} documents: {delivered} delivered{left}")
    sys.exit(1 if counts else 0)


if __name__ == "__main__":
    main()
