// One flow over the API with a client that @hey-api/openapi-ts has generated from the
// API's own document: a connection is started, its records are read, one setting is
// changed, then it is stopped and deleted.
//
// usage: API_TOKEN=… node flow.js BASE_URL CONTACTS

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout } from "node:timers/promises";

import { createClient } from "./client/client/index.js";
import {
  deleteConnection,
  getConnection,
  getRecord,
  listRecords,
  listRecordVersions,
  startConnection,
  stopConnection,
  updateConnection,
} from "./client/index.js";
import type { Problem, RecordBody } from "./client/index.js";

const [baseUrl, contacts] = process.argv.slice(2);
const client = createClient({ baseUrl, auth: () => process.env.API_TOKEN });
const name = `typescript_${randomBytes(4).toString("hex")}`;
const path = { name };

/** Waits until something is true. */
async function until(what: string, isTrue: () => Promise<boolean>, seconds = 90) {
  const deadline = performance.now() + seconds * 1000;
  while (!(await isTrue())) {
    assert(performance.now() < deadline, `not within ${seconds} s: ${what}`);
    await setTimeout(200);
  }
}

/** The connection, which must be there. */
async function connection() {
  return (await getConnection({ client, path, throwOnError: true })).data;
}

/** All contacts, page by page, also those in the recycle bin. */
async function pages() {
  const records: RecordBody[] = [];
  let after: string | undefined;
  do {
    const { data } = await listRecords({
      client,
      path: { name, object_type: "contacts" },
      query: { limit: 100, after, archived: "any" },
      throwOnError: true,
    });
    records.push(...data.results);
    after = data.paging?.next.after;
  } while (after);
  return records;
}

/** The code of a refused request. */
function refused(answer: { response?: Response; error?: Problem }) {
  return [answer.response?.status, answer.error?.code];
}

const started = await startConnection({
  client,
  path,
  body: { streams: ["contacts"], interval: "1h", reconcile: { late: "2h" } },
  throwOnError: true,
});
assert.equal(started.data.state, "running");
await until("the first run has succeeded", async () => {
  const { observed, streams } = await connection();
  assert(!observed?.error, observed?.error?.message);
  return streams.length > 0 && streams.every((stream) => stream.last_success);
});
await until("all contacts are there", async () => (await pages()).length === Number(contacts));
const records = await pages();
assert.equal(new Set(records.map((record) => record.id)).size, Number(contacts));

const first = records[0];
assert(first);
const place = { name, object_type: "contacts", id: first.id };
const read = await getRecord({ client, path: place, throwOnError: true });
assert.deepEqual(read.data, first);
const history = await listRecordVersions({ client, path: place, throwOnError: true });
assert.equal(history.data.results[0]?.updated_at, first.updated_at);

const missing = await getRecord({ client, path: { ...place, id: "999999999" } });
assert.deepEqual(refused(missing), [404, "record_not_found"]);

// What a patch leaves out stays as it is, and does not return to its default.
const patched = await updateConnection({
  client,
  path,
  body: { reconcile: { full: "36h" } },
  throwOnError: true,
});
assert.equal(patched.data.interval, "1h");
assert.deepEqual(patched.data.reconcile, { late: "2h", archived: "1h", full: "36h" });
assert.deepEqual(
  patched.data.streams.map((stream) => stream.name),
  ["contacts"],
);

// 200 when the worker has confirmed it, 202 when that takes longer.
await stopConnection({ client, path, throwOnError: true });
await until("it is stopped", async () => (await connection()).observed?.state === "stopped");
await deleteConnection({ client, path, query: { purge: true }, throwOnError: true });
const gone = await getConnection({ client, path });
assert.deepEqual(refused(gone), [404, "connection_not_found"]);
console.log(`${name}: ${contacts} contacts`);
