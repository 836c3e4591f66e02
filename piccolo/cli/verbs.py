"""What to say to somebody who types a verb of another tool, or of another version, or an option
where none can stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import typer.core

HINTS = {
    "cert": "piccolo get certificates",
    "certificate": "piccolo get certificates",
    "certificates": "piccolo get certificates",
    "config current-context": "piccolo context show",
    "config get-contexts": "piccolo context list",
    "config use-context": "piccolo context use NAME",
    "config view": "piccolo config show master, piccolo config show agent",
    "containers": "piccolo get containers",
    "create": "piccolo token create, piccolo context create",
    "delete node": "piccolo remove node NAME",
    "delete nodes": "piccolo remove node NAME",
    "delete secret": "piccolo secret delete NAME",
    "deploy": "piccolo apply -f FILE",
    "edit": "change the document, then piccolo apply -f FILE",
    "events": "piccolo get events",
    "exec": "podman exec, on the node",
    "get deployments": "piccolo get workloads",
    "get pods": "piccolo get workloads",
    "get contexts": "piccolo context list",
    "get secret": "piccolo secret list",
    "get secrets": "piccolo secret list",
    "get token": "piccolo token list",
    "get tokens": "piccolo token list",
    "init": "piccolo master, on the machine that is to be the master",
    "join": "piccolo agent --master HOST --token TOKEN, on the machine that joins",
    "login": "piccolo context import FILE",
    "logs": "podman logs, on the node: PICCOLO keeps no logs of containers",
    "node": "piccolo get nodes",
    "nodes": "piccolo get nodes",
    "ps": "piccolo get containers",
    "renew": "piccolo context renew",
    "remove workload": "piccolo delete workload NAME",
    "revoke": "piccolo token revoke ID, piccolo context revoke NAME",
    "rm": "piccolo delete workload NAME, piccolo remove node NAME",
    "rollout": "piccolo history workload NAME, piccolo rollback workload NAME",
    "run": "piccolo apply -f FILE",
    "scale": "write replicas into the document, then piccolo apply -f FILE",
    "secret get": "piccolo secret list, for names and keys: values are never shown again",
    "secret show": "piccolo secret list, for names and keys: values are never shown again",
    "start": "piccolo apply -f FILE",
    "stop": "piccolo delete workload NAME",
    "tokens": "piccolo token list",
    "undo": "piccolo rollback workload NAME",
    "unlabel": "piccolo label node NAME KEY-",
    "up": "piccolo master, piccolo agent",
    "workload": "piccolo get workloads",
    "workloads": "piccolo get workloads",
}
_OF_WORKLOADS = ("delete", "describe", "history", "restart", "rollback")
_INSTEAD = {"get nodes": "get node", "get workloads": "get workload"}
_SHOWN = 5  # words in a suggestion
_BEHIND = ("--context", "--master", "--timeout", "--output", "-o", "--watch", "-w")


class Verbs(typer.core.TyperGroup):
    """typer's, with a hint where the word means something that PICCOLO calls otherwise."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # typer has its own NoSuchOption, where it does not tell
            option = getattr(error, "option_name", None)
            if option in _BEHIND and hasattr(error, "message"):
                verbs = [number for number, word in enumerate(given) if word in self.commands]
                rest = " ".join(given[verbs[0] :]) if verbs else "VERB"
                error.message = (
                    f"{option} goes behind the verb: {ctx.command_path} {rest} {option} …"
                )
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except Exception as error:  # typer has its own UsageError, where it does not tell
            group = ctx.command_path.partition(" ")[2]
            hint = HINTS.get(f"{group} {args[0].lower()}".strip()) if args else None
            if hasattr(error, "message"):
                if args and args[0].startswith("workload/"):  # to typer a typing error
                    error.message = error.message.partition(" Did you mean")[0]
                if hint:
                    error.message = f'there is no "{args[0]}" here. Try: {hint}'
                elif group:  # of the verbs at the top there are too many
                    shown = (name for name, c in self.commands.items() if not c.hidden)
                    error.message += f" {ctx.command_path} knows: {', '.join(sorted(shown))}."
                    if group in _OF_WORKLOADS and "Did you mean" not in error.message:
                        names = _listed(word.removeprefix("workload/") for word in args)
                        error.message += _suggestion(f"{ctx.command_path} workload {names}")
            raise


class Nameless(typer.core.TyperCommand):
    """A verb that takes no names, and tells whoever gives it some where they belong."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        given, names, _ = self.make_parser(ctx).parse_args(list(args))
        if names and not given.get("help") and not ctx.resilient_parsing:
            verb = ctx.command_path.partition(" ")[2]
            if verb in _INSTEAD:
                right = f"piccolo {_INSTEAD[verb]} {names[0]}"
            else:  # `-f *.yaml` is more than one name
                files = [*(given.get("files") or ()), *names]
                right = f"{ctx.command_path} {_listed(f'-f {file}' for file in files)}"
            ctx.fail(f"Got unexpected extra arguments ({_listed(names)}).{_suggestion(right)}")
        return super().parse_args(ctx, args)


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    return " ".join(words[:_SHOWN]) + (" …" if len(words) > _SHOWN else "")


def _suggestion(command: str) -> str:
    return f" Did you mean: {command}?"
