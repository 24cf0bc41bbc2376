"""`python -m sample_plugins.mailroom INBOX OUTBOX`: a line for each document, a summary, an exit code."""

import shutil
import sys
from pathlib import Path

import anyio
import click

from host import HostEvent, OutboardError, StateChanged
from sample_plugins.mailroom.mailroom import CannotBegin, Mailroom

COLOURS = {"delivered": "green", "held": "red", "unread": "red"}


def say(what: str, who: str, how: str) -> None:
    """A line: on stdout if something is delivered, else on stderr. Names are anybody's, and made plain."""
    stream = sys.stdout if what == "delivered" else sys.stderr
    text = "".join(each if each.isprintable() else "?" for each in f"{who:<28} {how}")
    text = text[: shutil.get_terminal_size().columns - 14] if stream.isatty() else text
    click.echo(f"{click.style(f'{what:<12}', fg=COLOURS.get(what, 'yellow'))} {text}", file=stream)


def say_state(event: HostEvent) -> None:
    if isinstance(event, StateChanged) and event.state in ("backoff", "quarantined", "failed"):
        say(event.state, event.plugin, event.reason)


@click.command()
@click.argument("inbox", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("outbox", type=click.Path(file_okay=False, path_type=Path))
@click.option("--watch", is_flag=True, help="Go on, and take what comes.")
@click.option("--patience", default=60.0, show_default=True, help="Seconds to wait while nothing moves.")
@click.option("--config", type=click.Path(path_type=Path), help="An outboard.toml, for the plugins.")
def main(inbox: Path, outbox: Path, watch: bool, patience: float, config: Path | None) -> None:
    """Deliver every document in INBOX, and in the folders below it, into OUTBOX, once.

    INBOX is only read. Exit code 0 if all are delivered.
    """
    if outbox.resolve().is_relative_to(inbox.resolve()):
        raise click.UsageError("OUTBOX is inside INBOX: what is delivered would come in again.")

    async def work() -> None:
        async with mailroom.host:
            await mailroom.run(watch=watch, patience_s=patience)

    try:
        mailroom = Mailroom(inbox, outbox, tell=say, config=config)
        mailroom.host.on_event(say_state)
        anyio.run(work)
    except BlockingIOError:
        raise click.ClickException(f"another mailroom is at work in {outbox}") from None
    except (OutboardError, CannotBegin) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        pass  # of a mailroom that watches, the usual end
    counts = mailroom.journal.counts() | ({"unread": len(mailroom.unread)} if mailroom.unread else {})
    mailroom.journal.close()
    states = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    click.echo(f"{sum(counts.values())} documents: {states}; the longest took {mailroom.longest_s:.2f} s")
    sys.exit(1 if counts.keys() - {"delivered"} else 0)


if __name__ == "__main__":
    main()
