"""How fast the connection is over a broker: throughput in MiB/s and round trips in ms, medians of several
runs.

    python benchmarks/connection.py mqtt://localhost:1883 [--user NAME --password PASSWORD] [--protocol 4]

One client publishes at QoS 1 (bulk lane), another receives; a round trip is a publish until its PUBACK, and a
publish until the other client has the message.
"""

import argparse
import asyncio
import statistics
import time

from antiphon.broker_config.connection import BrokerAddress, Connected, Connection, Event, Lane, Message
from antiphon.broker_config.paho_connection import PahoConnection

KIB, MIB = 1 << 10, 1 << 20
SIZES = (64 * KIB, 256 * KIB, 512 * KIB, MIB)
TOTAL = 256 * MIB
RUNS = 5
TRIPS = 200
TOPIC = "antiphon-benchmark/line"


async def main(address: BrokerAddress, protocol: int) -> None:
    """Measure and print."""
    chosen = 4 if protocol == 4 else 5
    async with (
        PahoConnection(address, "benchmark-out", protocol=chosen) as out,
        PahoConnection(address, "benchmark-in", protocol=chosen) as into,
    ):
        await connected(out)
        reached = await connected(into)
        print(f"{address.url}, MQTT {reached.protocol}, largest packet {reached.maximum_packet} bytes")
        await into.subscribe(TOPIC)
        print(f"{'payload':>10} {'out MiB/s':>10} {'through MiB/s':>14}")
        for size in SIZES:
            if size + 100 < reached.maximum_packet:
                await report(out, into, size)
        acknowledged, through = await trips(out, into)
        print(f"round trip: PUBACK {acknowledged * 1e3:.2f} ms, to the other client {through * 1e3:.2f} ms")


async def report(out: Connection, into: Connection, size: int) -> None:
    """One line of the table: published only, and received by the other client."""
    await into.unsubscribe(TOPIC)
    alone = [await flood(out, size) for _ in range(RUNS)]
    await into.subscribe(TOPIC)
    through: list[float] = []
    for _ in range(RUNS):
        receiving = asyncio.create_task(receive(into, TOTAL // size), name="receive")
        start = time.perf_counter()
        await flood(out, size)
        await receiving
        through.append(TOTAL / MIB / (time.perf_counter() - start))
    print(f"{size // KIB:>6} KiB {statistics.median(alone):>10.0f} {statistics.median(through):>14.0f}")


async def flood(out: Connection, size: int) -> float:
    """Publish `TOTAL` bytes; returns MiB/s until the last PUBACK."""
    payload = bytes(size)
    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(TOTAL // size):
            group.create_task(out.publish(TOPIC, payload, lane=Lane.BULK))
    return TOTAL / MIB / (time.perf_counter() - start)


async def trips(out: Connection, into: Connection) -> tuple[float, float]:
    """Median seconds until PUBACK, and until the other client has the message."""
    acknowledged: list[float] = []
    through: list[float] = []
    for _ in range(TRIPS):
        start = time.perf_counter()
        await out.publish(TOPIC, b"1")
        acknowledged.append(time.perf_counter() - start)
        await receive(into, 1)
        start = time.perf_counter()
        await out.publish(TOPIC, b"1", qos=0)
        await receive(into, 1)
        through.append(time.perf_counter() - start)
    return statistics.median(acknowledged), statistics.median(through)


async def receive(into: Connection, count: int) -> None:
    """Take so many messages."""
    events = into.events()
    async with asyncio.timeout(60):
        while count:
            count -= isinstance(await anext(events), Message)


async def connected(connection: Connection) -> Connected:
    """The first event of a connection."""
    async with asyncio.timeout(20):
        event: Event = await anext(connection.events())
    if not isinstance(event, Connected):
        raise SystemExit(f"no connection: {event}")
    return event


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("url", nargs="?", default="mqtt://localhost:1883")
    parser.add_argument("--user")
    parser.add_argument("--password")
    parser.add_argument("--protocol", type=int, default=5)
    arguments = parser.parse_args()
    asyncio.run(main(BrokerAddress(arguments.url, arguments.user, arguments.password), arguments.protocol))
