"""What a plugin's files say of it before it is run: is everything there, and may it do what its code does."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from host.authoring.findings import Finding, of_manifest
from host.authoring.source import Shown, read_source
from host.config.problems import FileProblem
from host.config.read import Document, parse_toml, read_text
from host.discovery.changed import code_files, missing_file
from host.discovery.validate import Candidate
from protocol.manifest import Permission, is_plugin_name
from protocol.methods import is_own_name
from protocol.script import OUTBOARD, script_blocks

__all__ = ["document_of", "of_files", "of_permissions", "path_in"]

_USES: dict[Permission, str] = {
    "plugins": "calls the plugin",
    "host": "uses the service",
    "events": "publishes or hears",
}


def document_of(candidate: Candidate) -> Document:
    """Of the manifest, which could be read a moment ago."""
    text = read_text(candidate.file)
    if isinstance(text, FileProblem):
        text = ""
    found = parse_toml(candidate.file, script_blocks(text)[0] if candidate.single_file and text else text)
    return found if isinstance(found, Document) else Document(candidate.file, {}, {})


def of_files(candidate: Candidate, shown: Shown) -> Iterator[Finding]:
    """What keeps it from being run is an error; a file that may not belong to it is not."""
    missing = missing_file(candidate)
    if missing is not None:
        hint = "put it there, or mend [run] command"
        yield Finding(
            file=candidate.file, key="run.command", message=f"there is no file {missing!r}", hint=hint
        )
    if candidate.manifest.run.python is None:
        return
    for file in code_files(candidate):
        if not file.endswith(".py"):
            continue
        text = read_text(file)
        if isinstance(text, FileProblem):
            yield msgspec.structs.replace(of_manifest(text), severity="warning")
            continue
        try:
            read_source(text, file, shown)
        except (SyntaxError, ValueError, RecursionError) as error:
            is_entry = file.endswith(f"/{candidate.manifest.run.python}")
            line = error.lineno if isinstance(error, SyntaxError) else None
            message = f"not Python: {getattr(error, 'msg', None) or error}"
            severity = "error" if is_entry else "warning"
            yield Finding(severity=severity, file=file, line=line, message=message)  # type: ignore[arg-type]


def of_permissions(candidate: Candidate, document: Document, shown: Shown) -> Iterator[Finding]:
    permissions = candidate.manifest.permissions
    keys: tuple[Permission, ...] = ("plugins", "host", "events")
    for key in keys:
        for index, pattern in enumerate(getattr(permissions, key)):
            if _may_match(key, pattern):
                continue
            what = {"plugins": "plugin", "host": "service", "events": "topic"}[key]
            problem = document.problem(
                path_in(candidate, "permissions", key, f"[{index}]"), f"no {what} can be called {pattern!r}"
            )
            yield msgspec.structs.replace(of_manifest(problem), severity="warning")
    seen = set()
    for use in shown.uses:
        if permissions.permits(use.key, use.wanted) or (use.key, use.wanted) in seen:
            continue
        seen.add((use.key, use.wanted))
        line = permissions.line_for(use.key, use.wanted)
        yield Finding(
            severity="warning",
            file=use.place.file,
            line=use.place.line,
            message=f"{_USES[use.key]} `{use.wanted}`, which its manifest does not permit",
            hint=f"[permissions] needs {line}",
        )


def _may_match(key: Permission, pattern: str) -> bool:
    if any(c in pattern for c in "*?["):
        return True
    return is_plugin_name(pattern) if key == "plugins" else is_own_name(pattern)


def path_in(candidate: Candidate, *keys: str) -> tuple[str, ...]:
    return (*OUTBOARD, *keys) if candidate.single_file else keys
