"""The API of uploads: how much has come, the next part as it comes, and giving up."""

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool

from daemon.client.client import Client
from daemon.monitor.endpoints import Api, BadRequest, Content
from trainer.protocol.places import Priority
from trainer.protocol.text import printable

if TYPE_CHECKING:
    from daemon.client.results import UploadState
    from daemon.client.uploads import Upload, UploadSink

PART_BYTES = 1 << 20  # written at once
SILENCE_S = 60.0  # after which a connection that brings nothing is given up; what came stays
CLEAN_EVERY_S = 3_600.0

api = Api()

Size = Annotated[int, Field(ge=0)]
Id = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")]


class WhichUpload(BaseModel):
    """An upload, as its parts name it."""

    model_config = ConfigDict(extra="forbid")

    size: Size
    priority: Priority = Priority.NORMAL
    id: Id = ""


class UploadLimits(BaseModel):
    """What may be uploaded."""

    most_bytes: int
    """That a file may have; 0 allows no upload."""


@api.get("/api/uploads")
def upload_limits(client: Client) -> UploadLimits:
    """How large a file may be that is uploaded."""
    return UploadLimits(most_bytes=client.uploads.most_bytes)


@api.get("/api/uploads/{name}")
def upload_state(
    client: Client, name: str, size: Size, priority: Priority = Priority.NORMAL, id: Id = ""
) -> "UploadState":
    """How many bytes of a file have come, so where to go on; and as what it was added, once it was."""
    return client.uploads.state(_upload(name, size, priority, id))


@api.put("/api/uploads/{name}")
async def upload_part(
    client: Client,
    name: str,
    size: Size,
    content: Content,
    offset: Size = 0,
    priority: Priority = Priority.NORMAL,
    id: Id = "",
) -> "UploadState":
    """Take the bytes of a file from an offset on. Once it is whole, it appears in the inbox.

    Args:
        size: bytes of the whole file.
        offset: as many as have come already.
        id: chosen by the sender, to tell two uploads of the same file apart.
    """
    wanted = _upload(name, size, priority, id)
    with ExitStack() as stack:
        sink = await run_in_threadpool(stack.enter_context, client.uploads.opened(wanted, offset))
        try:
            await _take(content, sink)
        except TimeoutError as error:
            raise BadRequest(
                f"{printable(name)}: nothing came for {SILENCE_S:g} s; {sink.received:,} bytes are kept, to "
                "go on from"
            ) from error
        if sink.received < size:
            return await run_in_threadpool(client.uploads.state, wanted)
        return await run_in_threadpool(client.uploads.finish, wanted)


async def _take(content: Content, sink: "UploadSink") -> None:
    """Write what comes, in parts that are worth a thread; what has come before an end is written, too."""
    waiting = bytearray()
    parts = aiter(content.parts)
    try:
        while True:
            async with asyncio.timeout(SILENCE_S):
                part = await anext(parts, None)
            if part is None:
                break
            waiting += part
            if len(waiting) >= PART_BYTES:
                await run_in_threadpool(sink.write, bytes(waiting))
                waiting.clear()
    finally:
        if waiting:
            sink.write(bytes(waiting))
            waiting.clear()


@api.post("/api/uploads/{name}/cancel")
def cancel_upload(client: Client, name: str, body: WhichUpload) -> "UploadState":
    """Give an upload up, and remove what has come of it."""
    from daemon.client.uploads import UploadState

    client.uploads.cancel(_upload(name, body.size, body.priority, body.id))
    return UploadState(received=0, size=body.size, added_as=None)


async def remove_abandoned_now_and_then(client: Client) -> None:
    """Remove uploads that nobody has continued for a day, as long as this runs."""
    while True:
        await run_in_threadpool(_remove_abandoned, client)
        await asyncio.sleep(CLEAN_EVERY_S)


def _remove_abandoned(client: Client) -> None:
    if client.is_working_directory:
        client.uploads.remove_abandoned()


def _upload(name: str, size: int, priority: Priority, id: str) -> "Upload":
    from daemon.client.uploads import Upload

    return Upload(name=name, size=size, priority=priority, id=id)
