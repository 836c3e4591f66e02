"""`piccolo audit`: who did what from where, and whether that story is still whole."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from piccolo.cli import exit_codes
from piccolo.cli.options import (
    ContextOption,
    MasterOption,
    Output,
    OutputOption,
    TimeoutOption,
    WatchOption,
)
from piccolo.core.errors import InvalidSpec

if TYPE_CHECKING:
    from piccolo.cli.output import Table
    from piccolo.rpc import wire

app = typer.Typer(
    invoke_without_command=True,
    help="List who did what from where, and whether they were let: records, in the order they "
    "were written. `verify` checks them.",
    epilog="Examples:  piccolo audit --since 1h   ·   piccolo audit -w   ·   piccolo audit verify",
)

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_AT_ONCE = 200  # rows of a table whose widths are adjusted to each other


@app.callback()
def audit(
    ctx: typer.Context,
    since: Annotated[
        str,
        typer.Option(
            "--since",
            metavar="DURATION|DATE|TIME",
            help="Only what is newer: 30m, 1h, 7d; a day such as 2026-11-21, which begins at "
            "midnight of this machine's time zone; or a time such as 2026-11-21T09:00:00Z.",
        ),
    ] = "",
    output: OutputOption = Output.TABLE,
    watch: WatchOption = False,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 10.0,
) -> None:
    if ctx.invoked_subcommand is not None:
        _refuse_options(ctx)
        return
    from piccolo.cli import client
    from piccolo.rpc import wire

    printer = _Printer(output, follow=watch)
    start = moment(since, datetime.now(UTC)) if since else None
    if watch:
        client.follow(
            master,
            timeout,
            # After a lost connection: from the last one that was shown on.
            lambda stub: stub.get_audit(
                wire.GetAuditRequest(since=printer.last or start, follow=True)
            ),
            printer.show,
            context=context,
        )
    request = wire.GetAuditRequest(since=start)
    client.stream(
        master, timeout, lambda stub: stub.get_audit(request), printer.show, context=context
    )
    printer.end()


def _refuse_options(ctx: typer.Context) -> None:
    """What stands before `verify` would not reach it."""
    for name in ctx.params:
        source = ctx.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            if name in ("since", "watch"):
                raise InvalidSpec(f"verify checks the whole trail: it takes no --{name}")
            raise InvalidSpec(f"--{name} goes behind the verb: piccolo audit verify --{name} …")


def moment(text: str, now: datetime) -> datetime:
    """`text` as RFC 3339 says, as a duration before `now`, or as the beginning of a day here.

    Raises `InvalidSpec`.
    """
    if _TIME.fullmatch(text) or _DATE.fullmatch(text):
        try:
            found = datetime.fromisoformat(text.upper())
            return found if found.tzinfo else found.astimezone()
        except (ValueError, OverflowError) as error:
            raise InvalidSpec(f"--since: {error}") from None
    from piccolo.config.units import parse_duration

    try:
        return now - timedelta(seconds=parse_duration(text))
    except InvalidSpec:
        raise InvalidSpec(
            f'--since: "{text}" is neither a duration such as 30m, 1h or 7d, nor a day such as'
            " 2026-11-21, nor a time with its zone such as 2026-11-21T09:00:00Z"
        ) from None
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


class _Printer:
    """Prints records as they come, each once."""

    def __init__(self, output: Output, *, follow: bool) -> None:
        self._output = output
        self._follow = follow
        self._number = 0
        self._rows: list[wire.AuditRecord] = []
        self._table: Table[wire.AuditRecord] | None = None
        self.last: datetime | None = None

    def show(self, record: wire.AuditRecord) -> None:
        if self._follow and 0 < record.number <= self._number:
            return  # told again after a lost connection
        self._number = max(self._number, record.number)
        self.last = record.time or self.last
        self._rows.append(record)
        documents = self._output in (Output.JSON, Output.YAML)
        if self._follow or (len(self._rows) >= _AT_ONCE and not documents):
            self._flush()

    def end(self) -> None:
        from piccolo.cli.output import dump, say
        from piccolo.cli.security.audit_rows import record_dict

        if self._output in (Output.JSON, Output.YAML):
            dump([record_dict(row) for row in self._rows], self._output)
        elif self._rows:
            self._flush()
        elif self._table is None and self._number == 0:
            say("nothing was recorded")

    def _flush(self) -> None:
        from piccolo.cli.output import Table, to_text
        from piccolo.cli.security.audit_rows import record_columns, record_dict

        rows, self._rows = self._rows, []
        if self._output is Output.NAME:
            print(*(row.number for row in rows), sep="\n", flush=True)
        elif self._output in (Output.JSON, Output.YAML):
            for row in rows:
                print(to_text(record_dict(row), self._output, one_line=True), flush=True)
        else:
            wide = self._output is Output.WIDE
            self._table = self._table or Table(record_columns(wide), wide)
            self._table.print(rows)


@app.command("verify")
def verify_audit(
    directory: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DIR]", help="A copy of the files, checked here: no master is asked."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
    context: ContextOption = "",
    master: MasterOption = None,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Find out whether the audit trail was edited, cut, or written anew; exit code 1 if so."""
    from piccolo.rpc import wire

    if directory is None:
        from piccolo.cli import client

        reply = client.call(
            master,
            timeout,
            lambda stub: stub.verify_audit(wire.VerifyAuditRequest()),
            context=context,
        )
    else:
        from piccolo.master.security.audit_reading import verify

        report = verify(directory)
        reply = wire.VerifyAuditResponse(
            intact=not report.findings,
            records=report.records,
            findings=list(report.findings),
            first=report.first,
            last=report.last.number,
            hash=report.last.hash,
        )
    if output in (Output.TABLE, Output.WIDE, Output.NAME):
        _print_report(reply, offline=directory is not None)
    else:
        from piccolo.cli.output import dump

        names = ("intact", "records", "first", "last", "hash", "findings")
        found = {name: getattr(reply, name) for name in names}
        dump({**found, "endKnown": directory is None}, output)
    if not reply.intact:
        raise typer.Exit(exit_codes.FAILED)


def _print_report(r: wire.VerifyAuditResponse, *, offline: bool) -> None:
    from piccolo.cli.output import paint

    for finding in r.findings:
        print(finding)
    if r.intact:
        verdict = paint("intact", "green")
        print(f"the audit trail is {verdict}: {_records(r.records)}, {r.first} to {r.last}")
        if r.first > 1:
            dropped = "record 1 was" if r.first == 2 else f"records 1 to {r.first - 1} were"
            print(f"  {dropped} dropped with the files (audit.files)")
    else:
        verdict = paint("NOT intact", "red")
        span = f", with numbers from {r.first} to {r.last}" if r.records else ""
        print(f"the audit trail is {verdict}: {_records(r.records)} can be read{span}")
    if offline and r.last:
        print(
            "  This copy alone cannot tell whether its end is missing or all was written anew.\n"
            f"  To be sure, find record {r.last} in `piccolo audit -o json` on the master, with\n"
            f"  the hash {r.hash}"
        )
    if not r.intact:
        other = "the master's own (piccolo audit verify)" if offline else "a copy kept elsewhere"
        print(
            f"  Next: compare it with {other}, and find out who\n"
            "  could write to the files. The trail goes on: what is recorded from now on is\n"
            "  chained as before."
        )


def _records(number: int) -> str:
    return f"{number} record" if number == 1 else f"{number} records"
