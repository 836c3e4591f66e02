"""The script that a bare machine runs: what is rendered into it, and what shells make of it."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from piccolo.core.address import Address
from piccolo.security.authority import Authority
from piccolo.web.bundles import Bundle, _Look
from piccolo.web.install_script import Origin, render
from tests.rpc.ground import DAY, foreign, ours
from tests.web.shop import VERSION, Done, Key, Shop, bundle, run

HERE = Address("10.0.0.1", 50052)
ORIGIN = Origin(VERSION, 50051, ours().authority.pem, "sha256//" + "A" * 43 + "=")
BUNDLE = Bundle("arm64", Path("x"), _Look(10, 0, 0), "ab" * 32, 20)
TOKEN = ["--token", "piccolo1.abcdefgh.x.y"]
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


# ---- rendering ----


def test_everything_is_filled_in() -> None:
    text = render(ORIGIN, HERE, [BUNDLE, replace(BUNDLE, machine="arm")])
    for line in (
        "version='1.2.3'",
        "master='10.0.0.1'",
        "host='10.0.0.1'",
        "port='50052'",
        "grpc_port='50051'",
        "name='piccolo-master'",
        f"pin='{ORIGIN.key_pin}'",
        f"bundles='arm64 {'ab' * 32} 10 20\narm {'ab' * 32} 10 20'",
        f"authority='{ORIGIN.authority.strip()}'",
    ):
        assert f"\n{line}\n" in text
    assert "@" not in text.replace('"$@"', "")


def test_an_address_of_ipv6_is_written_as_curl_and_the_installer_want_it() -> None:
    text = render(ORIGIN, Address("2001:db8::1", 443), [BUNDLE])
    assert "\nmaster='2001:db8::1'\n" in text
    assert "\nhost='[2001:db8::1]'\n" in text


@pytest.mark.parametrize("evil", ["'; reboot '", "$(reboot)", "`reboot`", "a\\", 'a"b', "é"])
def test_nothing_that_a_shell_would_run_is_rendered(evil: str) -> None:
    with pytest.raises(ValueError, match="does not belong into a script"):
        render(ORIGIN, Address(evil, 1), [BUNDLE])
    with pytest.raises(ValueError, match="does not belong into a script"):
        render(replace(ORIGIN, version=evil), HERE, [BUNDLE])


# ---- running ----


async def script(shop: Shop, shell: str = "dash", *args: str, **env: str) -> Done:
    """As the line that is printed does it, with what curl got in between."""
    got = await shop.curl("/install.sh", "-f")
    assert got.code == 0, got.err
    return await play(got.out.decode(), shell, *args, env=env)


async def play(text: str, shell: str = "dash", *args: str, env: Mapping[str, str] = {}) -> Done:
    program = shutil.which(shell) or shell
    argv = [program, "sh"] if shell == "busybox" else [program]
    return await run(*argv, "-s", "--", *(args or TOKEN), env=env, text=text)


def machine(tmp_path: Path, name: str) -> dict[str, str]:
    """An environment in which `uname -m` says that."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "uname").write_text(f"#!/bin/sh\necho {name}\n")
    (tools / "uname").chmod(0o755)
    return {"PATH": f"{tools}:/usr/bin:/bin"}


def with_curl(tmp_path: Path, body: str) -> dict[str, str]:
    """An environment in which curl is a script; $curl is the real one."""
    env = machine(tmp_path, "x86_64")
    (tmp_path / "tools/curl").write_text(f"#!/bin/sh\ncurl={shutil.which('curl')}\n{body}\n")
    (tmp_path / "tools/curl").chmod(0o755)
    return env | {"COUNT": str(tmp_path / "count")}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
async def test_the_installer_is_run_with_all_that_was_given(shop: Shop, shell: str) -> None:
    options = [*TOKEN, "--name", "press 1", "--dry-run"]
    done = await script(shop, shell, *options)
    assert (done.code, done.err) == (0, "")
    *_, last = done.out.decode().splitlines()
    assert last == "installer: 127.0.0.1 sub 50051 " + " ".join(options)


@pytest.mark.slow
async def test_its_exit_code_is_passed_on_and_nothing_is_left(shop: Shop, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    done = await script(shop, TMPDIR=str(place), ENDS_WITH="7")
    assert done.code == 7
    assert list(place.iterdir()) == []


@pytest.mark.slow
async def test_help_needs_nothing(shop: Shop) -> None:
    done = await script(shop, "dash", "--token", "x", "--help")
    assert done.code == 0
    assert f"Usage: curl … {shop.url}/install.sh | sh -s -- [OPTION…]" in done.out.decode()
    assert b"installer" not in done.out


@pytest.mark.slow
async def test_a_script_that_was_cut_off_does_nothing(shop: Shop) -> None:
    text = (await shop.curl("/install.sh")).out.decode()
    end = len(text.rstrip())

    async def began(cut: int) -> bool:
        """It would say what is missing: without a PATH everything is."""
        done = await play(text[:cut], env={"PATH": "/nonexistent"})
        return "\nerror: " in f"\n{done.err}"

    for cut in (*range(200, end - 60, 997), *range(end - 60, end, 3), end - 1):
        assert not await began(cut)
    assert await began(end)


@pytest.mark.slow
async def test_machines_get_what_is_made_for_them(shop: Shop, tmp_path: Path) -> None:
    for name in ("arm64", "arm"):
        shop.put(name)
    for name, wanted in (("aarch64", "arm64"), ("armv7l", "arm"), ("armv8l", "arm")):
        done = await script(shop, **machine(tmp_path, name))
        assert f"for {wanted} from" in done.out.decode(), done.err
    getconf = tmp_path / "tools/getconf"
    getconf.write_text("#!/bin/sh\necho 32\n")
    getconf.chmod(0o755)
    assert b"for arm from" in (await script(shop, **machine(tmp_path, "aarch64"))).out
    done = await script(shop, **machine(tmp_path, "riscv64"))
    assert done.code == 1
    assert done.err == "error: the master has no bundle for riscv64, only for: amd64, arm, arm64\n"


@pytest.mark.slow
async def test_what_is_missing_on_the_machine_is_said(shop: Shop, tmp_path: Path) -> None:
    text = (await shop.curl("/install.sh")).out.decode()
    bare = tmp_path / "bare"
    bare.mkdir()
    for tool in ("uname", "id", "awk"):
        (bare / tool).symlink_to(shutil.which(tool) or "")
    done = await play(text, env={"PATH": str(bare)})
    assert (done.code, done.err) == (1, "error: there is no curl here: install it first\n")
    (bare / "id").unlink()
    (bare / "id").write_text("#!/bin/sh\necho 1000\n")
    (bare / "id").chmod(0o755)
    done = await play(text, env={"PATH": str(bare)})
    assert "run it as root" in done.err
    small = tmp_path / "tools/df"
    env = machine(tmp_path, "x86_64")
    small.write_text("#!/bin/sh\necho Filesystem\necho /dev/x 100 90 10 90% /tmp\n")
    small.chmod(0o755)
    done = await play(text, env=env)
    assert done.code == 1
    assert "MB are needed in /tmp or /var/tmp" in done.err


@pytest.mark.slow
async def test_the_master_is_known_by_its_authority(shop: Shop, tmp_path: Path) -> None:
    """The key may have changed since the script was made."""
    text = (await shop.curl("/install.sh")).out.decode()
    renewed = Key()
    shop.server.tls = renewed.tls()
    assert (await play(text)).code == 0
    # Of another authority: neither the name nor the key is believed.
    shop.server.tls = Key(foreign().authority).tls()
    done = await play(text)
    assert done.code == 1
    assert "no bundle from the master" in done.err
    assert "public key does not match" in done.err
    assert b"installer" not in done.out


@pytest.mark.slow
async def test_without_a_clock_the_master_is_known_by_its_key(shop: Shop) -> None:
    """No certificate is valid on a device that was never told the time."""
    long_ago = datetime.now(UTC) - 30 * DAY
    shop.key = Key(Authority.create("old", long_ago))
    shop.origin = replace(shop.origin, authority=shop.key.authority.pem, key_pin=shop.key.pin)
    shop.server.tls = shop.key.tls(made=long_ago + DAY)  # it has expired: as wrong as too early
    done = await script(shop)
    assert done.code == 0, done.err
    assert b"installer: " in done.out


@pytest.mark.slow
async def test_a_bundle_that_is_another_one_is_not_run(shop: Shop) -> None:
    text = (await shop.curl("/install.sh")).out.decode()
    shop.put(filling=b"another")
    done = await play(text)
    assert done.code == 1
    assert "not what the master promised" in done.err
    assert b"installer" not in done.out


@pytest.mark.slow
async def test_a_bundle_without_an_installer(shop: Shop) -> None:
    bundle(shop.directory, installer=None)
    done = await script(shop)
    assert done.code == 1
    assert "no install_nodeagent.sh" in done.err


@pytest.mark.slow
async def test_a_download_that_breaks_off_is_continued(shop: Shop, tmp_path: Path) -> None:
    shop.put(filling=bytes(range(256)) * 4000)
    size = (await shop.bundles.find()).offered["amd64"].size
    # Each time the connection gives a little more and ends as a cut cable would.
    env = with_curl(
        tmp_path,
        f"""n=$(($(cat "$COUNT" 2>/dev/null || echo 0) + 1)); echo "$n" >"$COUNT"
        if [ "$n" -gt 12 ]; then exec "$curl" "$@"; fi
        while [ "$1" != -o ]; do shift; done
        "$curl" -sk -r "$(((n - 1) * {size // 20}))-$((n * {size // 20} - 1))" \\
            "{shop.url}/piccolo-linux-amd64.tar.gz" >>"$2"
        exit 18""",
    )
    (tmp_path / "tools/sleep").symlink_to("/bin/true")
    done = await script(shop, **env)
    assert done.code == 0, done.err
    assert f"it broke off at {size // 20} of {size} bytes" in done.out.decode()
    assert b"installer: " in done.out
    # And one that gives nothing any more is given up.
    done = await script(shop, **with_curl(tmp_path, "echo 'curl: (7) refused' >&2; exit 7"))
    assert done.code == 1
    assert done.out.decode().count("it broke off") == 9
    assert "curl: (7) refused" in done.err


@pytest.mark.slow
async def test_shellcheck_has_nothing_to_say(shop: Shop) -> None:
    text = (await shop.curl("/install.sh")).out.decode()
    done = await run("shellcheck", "-", text=text)
    assert done.code == 0, done.out.decode()


@pytest.mark.slow
async def test_the_line_that_is_printed(shop: Shop) -> None:
    pipe = (
        f"{shlex.join(['curl', '-fsSk', '--pinnedpubkey', shop.key.pin, shop.url + '/install.sh'])}"
    )
    done = await run("sh", "-c", f"{pipe} | sh -s -- {shlex.join(TOKEN)}")
    assert (done.code, done.err) == (0, "")
    assert done.out.decode().endswith(f"sub 50051 {shlex.join(TOKEN)}\n")
    wrong = pipe.replace(shop.key.pin, Key().pin)
    done = await run("sh", "-c", f"{wrong} | sh -s -- {shlex.join(TOKEN)}")
    assert done.out == b""
    assert "public key does not match pinned public key" in done.err
