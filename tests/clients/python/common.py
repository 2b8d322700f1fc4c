"""What the Python clients and servers share."""

import asyncio
import sys

# Seconds; a script that hangs must not outlive its test by much. A server serves several clients.
DEADLINE = 60
SERVER_DEADLINE = 300

# Compressible, and larger than any buffer on the way.
LARGE = "0123456789abcdef" * 65536

# Seconds between two messages of `busy`: many clients share the machine.
PACE = 0.01


def expect(what, got, wanted):
    """Fails with a message that names both values."""
    if got != wanted:
        short = [repr(value)[:200] for value in (got, wanted)]
        raise AssertionError(f"{what}: got {short[0]}, wanted {short[1]}")


def run_client(scenarios):
    """Runs the scenarios that the command line names, in order."""
    url, *names = sys.argv[1:]

    async def main():
        async with asyncio.timeout(DEADLINE):
            for name in names:
                scenario, _, path = name.partition("@")
                try:
                    await scenarios[scenario](url if not path else at(url, path))
                except Exception as error:
                    print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
                    sys.exit(1)
                print(f"ok {name}", flush=True)

    asyncio.run(main())


def at(url, path):
    """The same server, another path."""
    return url.rsplit("/", 1)[0] + path


async def until_stdin_ends():
    """A server lives as long as the test that holds its standard input, but never long."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        async with asyncio.timeout(SERVER_DEADLINE):
            await reader.read()
    except TimeoutError:
        pass


def say(line):
    """Tells the test something."""
    print(line, flush=True)
