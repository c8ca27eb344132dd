"""A bare echo: aiomqtt alone answers each request on one topic with the same payload on another. Peer of the ping."""

from __future__ import annotations

import asyncio
import socket
import sys

import aiomqtt


async def _echo(port: int) -> None:
    async with aiomqtt.Client(
        "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, identifier="bench-echo"
    ) as client:
        raw = client._client.socket()
        assert isinstance(raw, socket.socket)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await client.subscribe("bench/request", qos=1)
        print("ready", flush=True)
        async for message in client.messages:
            payload = message.payload
            assert isinstance(payload, bytes)
            await client.publish("bench/answer", payload, qos=1)


if __name__ == "__main__":
    asyncio.run(_echo(int(sys.argv[1])))
