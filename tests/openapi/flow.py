"""One flow over the API with a client that openapi-python-client has generated from
the API's own document: a connection is started, its records are read, one setting is
changed, then it is stopped and deleted.

usage: API_TOKEN=… python flow.py BASE_URL CONTACTS
"""

import os
import secrets
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from hubspot_streams import AuthenticatedClient
from hubspot_streams.api.connections import (
    delete_connection,
    get_connection,
    start_connection,
    stop_connection,
    update_connection,
)
from hubspot_streams.api.records import get_record, list_record_versions, list_records
from hubspot_streams.models import (
    ConnectionBody,
    DesiredState,
    HistoryBody,
    ListRecordsArchived,
    ObservedState,
    PassIntervalsRequest,
    PendingBody,
    Problem,
    RecordBody,
    RecordsBody,
    SettingsBody,
)
from hubspot_streams.types import UNSET, Unset

T = TypeVar("T")


def expect(kind: type[T], answer: object) -> T:
    """The answer, which must be of this kind."""
    if not isinstance(answer, kind):
        sys.exit(f"expected {kind.__name__}, got {answer}")
    return answer


def until(what: str, true: Callable[[], bool], seconds: float = 90) -> None:
    """Waits until something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.2)


def connection(client: AuthenticatedClient, name: str) -> ConnectionBody:
    return expect(ConnectionBody, get_connection.sync(name, client=client))


def is_synced(client: AuthenticatedClient, name: str) -> bool:
    """Whether a run of each stream has succeeded."""
    found = connection(client, name)
    if found.observed and found.observed.error:
        sys.exit(f"{name}: {found.observed.error.message}")
    return bool(found.streams) and all(stream.last_success for stream in found.streams)


def is_stopped(client: AuthenticatedClient, name: str) -> bool:
    observed = connection(client, name).observed
    return bool(observed and observed.state == ObservedState.STOPPED)


def pages(client: AuthenticatedClient, name: str) -> list[RecordBody]:
    """All contacts, page by page, also those in the recycle bin."""
    records: list[RecordBody] = []
    after: str | Unset = UNSET
    while True:
        answer = list_records.sync(
            name,
            "contacts",
            client=client,
            limit=100,
            after=after,
            archived=ListRecordsArchived.ANY,
        )
        page = expect(RecordsBody, answer)
        records.extend(page.results)
        if not page.paging:
            return records
        after = page.paging.next_.after


def main() -> None:
    base_url, contacts = sys.argv[1], int(sys.argv[2])
    client = AuthenticatedClient(base_url, os.environ["API_TOKEN"])
    name = f"python_{secrets.token_hex(4)}"

    passes = PassIntervalsRequest(late="2h")
    settings = SettingsBody(streams=["contacts"], interval="1h", reconcile=passes)
    started = expect(ConnectionBody, start_connection.sync(name, client=client, body=settings))
    assert started.state == DesiredState.RUNNING, started
    until("the first run has succeeded", lambda: is_synced(client, name))
    until("all contacts are there", lambda: len(pages(client, name)) == contacts)
    records = pages(client, name)
    assert len({record.id for record in records}) == contacts, "a record came twice"

    first = records[0]
    read = expect(RecordBody, get_record.sync(name, "contacts", first.id, client=client))
    assert read == first, (read, first)
    answer = list_record_versions.sync(name, "contacts", first.id, client=client)
    newest = expect(HistoryBody, answer).results[0]
    assert newest.updated_at == first.updated_at, newest

    missing = expect(Problem, get_record.sync(name, "contacts", "999999999", client=client))
    assert (missing.status, missing.code) == (404, "record_not_found"), missing

    # What a patch leaves out stays as it is, and does not return to its default.
    patch = SettingsBody(reconcile=PassIntervalsRequest(full="36h"))
    patched = expect(ConnectionBody, update_connection.sync(name, client=client, body=patch))
    assert (patched.interval, patched.reconcile.late) == ("1h", "2h"), patched
    assert patched.reconcile.full == "36h", patched
    assert [stream.name for stream in patched.streams] == ["contacts"], patched

    # 200 when the worker has confirmed it, 202 when that takes longer.
    stopped = stop_connection.sync(name, client=client)
    assert isinstance(stopped, ConnectionBody | PendingBody), stopped
    until("it is stopped", lambda: is_stopped(client, name))
    expect(PendingBody, delete_connection.sync(name, client=client, purge=True))
    gone = expect(Problem, get_connection.sync(name, client=client))
    assert (gone.status, gone.code) == (404, "connection_not_found"), gone
    print(f"{name}: {contacts} contacts")


if __name__ == "__main__":
    main()
