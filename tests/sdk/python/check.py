"""Reads a simulator with HubSpot's own SDK, three ways: page, search, batch
read. Each must give exactly what the simulator says is true.

usage: python check.py BASE_URL [TOKEN]
"""

import json
import sys
import urllib.request

import hubspot
from hubspot.crm import companies, contacts
from urllib3.util.retry import Retry


def truth(base, object_type):
    with urllib.request.urlopen(f"{base}/__sim/truth/{object_type}/objects") as answer:
        return {str(it["id"]): it for it in map(json.loads, answer)}


def compare(way, seen, expected):
    if seen.keys() != expected.keys():
        sys.exit(f"{way}: {len(seen)} objects, expected {len(expected)}")
    for object_id, found in seen.items():
        other = expected[object_id]
        given = {name: value for name, value in found.properties.items() if value}
        updated_ms = round(found.updated_at.timestamp() * 1000)
        if (given, updated_ms, bool(found.archived)) != (
            other["properties"],
            other["updated_at_ms"],
            other["archived"],
        ):
            sys.exit(f"{way}: object {object_id} differs")
    print(f"{way}: {len(seen)} objects, all equal")


def page(api, names):
    seen = {}
    for archived in (False, True):
        after = None
        while True:
            more = {} if after is None else {"after": after}
            answer = api.basic_api.get_page(
                limit=100, properties=names, archived=archived, **more
            )
            seen.update((it.id, it) for it in answer.results)
            if not answer.paging:
                break
            after = answer.paging.next.after
    return seen


def search(api, models):
    ids, last = [], "0"
    while True:
        answer = api.search_api.do_search(
            public_object_search_request=models.PublicObjectSearchRequest(
                filter_groups=[
                    {
                        "filters": [
                            {"propertyName": "hs_object_id", "operator": "GT", "value": last}
                        ]
                    }
                ],
                sorts=["hs_object_id"],
                properties=["hs_object_id"],
                limit=200,
            )
        )
        if not answer.results:
            return ids
        ids.extend(it.id for it in answer.results)
        last = ids[-1]


def batch_read(api, models, ids, names):
    seen = {}
    for start in range(0, len(ids), 100):
        answer = api.batch_api.read(
            batch_read_input_simple_public_object_id=models.BatchReadInputSimplePublicObjectId(
                inputs=[{"id": it} for it in ids[start : start + 100]],
                properties=names,
                properties_with_history=[],
            )
        )
        seen.update((it.id, it) for it in answer.results)
    return seen


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    base = sys.argv[1]
    token = sys.argv[2] if len(sys.argv) > 2 else "demo-token"
    # The SDK leaves the wait for a rate limit to urllib3.
    retry = Retry(total=8, status_forcelist=(429,), allowed_methods=None, backoff_factor=0.2)
    client = hubspot.Client.create(access_token=token, host=base, retry=retry)
    for object_type, api, models in (
        ("contacts", client.crm.contacts, contacts),
        ("companies", client.crm.companies, companies),
    ):
        definitions = client.crm.properties.core_api.get_all(object_type).results
        names = [it.name for it in definitions]
        expected = truth(base, object_type)
        compare(f"{object_type}, paged", page(api, names), expected)
        live = {key: it for key, it in expected.items() if not it["archived"]}
        ids = search(api, models)
        if len(ids) != len(live) or set(ids) != live.keys():
            sys.exit(f"{object_type}, searched: {len(ids)} ids, expected {len(live)}")
        print(f"{object_type}, searched: {len(ids)} ids, all expected")
        compare(f"{object_type}, batch read", batch_read(api, models, ids, names), live)


main()
