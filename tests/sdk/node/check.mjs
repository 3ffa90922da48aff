// Reads a simulator with HubSpot's own SDK: pages, search and batch read. Each
// must return exactly what the simulator holds.
//
// usage: node check.mjs BASE_URL [TOKEN]

import { Client } from "@hubspot/api-client";

const [base, token = "demo-token"] = process.argv.slice(2);
if (!base) {
  console.error("usage: node check.mjs BASE_URL [TOKEN]");
  process.exit(2);
}
// The SDK waits by itself if a 429 names a limit that it knows.
const client = new Client({ accessToken: token, basePath: base, numberOfApiCallRetries: 6 });

async function truth(type) {
  const answer = await fetch(`${base}/__sim/truth/${type}/objects`);
  const lines = (await answer.text()).split("\n").filter(Boolean);
  return new Map(lines.map((line) => JSON.parse(line)).map((it) => [String(it.id), it]));
}

function compare(way, seen, expected) {
  if (seen.size !== expected.size) {
    throw new Error(`${way}: ${seen.size} objects, expected ${expected.size}`);
  }
  for (const [id, object] of seen) {
    const other = expected.get(id);
    const set = Object.entries(object.properties).filter(([, value]) => value);
    const wrong =
      !other ||
      object.updatedAt.getTime() !== other.updated_at_ms ||
      Boolean(object.archived) !== other.archived ||
      set.length !== Object.keys(other.properties).length ||
      set.some(([name, value]) => other.properties[name] !== value);
    if (wrong) throw new Error(`${way}: object ${id} differs`);
  }
  console.log(`${way}: ${seen.size} objects, all equal`);
}

async function page(api, names) {
  const seen = new Map();
  for (const archived of [false, true]) {
    let after;
    do {
      const answer = await api.basicApi.getPage(100, after, names, undefined, undefined, archived);
      for (const object of answer.results) seen.set(object.id, object);
      after = answer.paging?.next?.after;
    } while (after);
  }
  return seen;
}

async function search(api) {
  const ids = [];
  let last = "0";
  for (;;) {
    const answer = await api.searchApi.doSearch({
      filterGroups: [
        { filters: [{ propertyName: "hs_object_id", operator: "GT", value: last }] },
      ],
      sorts: ["hs_object_id"],
      properties: ["hs_object_id"],
      limit: 200,
    });
    if (answer.results.length === 0) return ids;
    ids.push(...answer.results.map((it) => it.id));
    last = ids[ids.length - 1];
  }
}

async function batchRead(api, ids, names) {
  const seen = new Map();
  for (let start = 0; start < ids.length; start += 100) {
    const answer = await api.batchApi.read({
      inputs: ids.slice(start, start + 100).map((id) => ({ id })),
      properties: names,
      propertiesWithHistory: [],
    });
    for (const object of answer.results) seen.set(object.id, object);
  }
  return seen;
}

for (const [type, api] of [
  ["contacts", client.crm.contacts],
  ["companies", client.crm.companies],
]) {
  const names = (await client.crm.properties.coreApi.getAll(type)).results.map((it) => it.name);
  const expected = await truth(type);
  compare(`${type}, paged`, await page(api, names), expected);
  const live = new Map([...expected].filter(([, it]) => !it.archived));
  const ids = await search(api);
  if (new Set(ids).size !== live.size || ids.some((id) => !live.has(id))) {
    throw new Error(`${type}, searched: ${ids.length} ids, expected ${live.size}`);
  }
  console.log(`${type}, searched: ${ids.length} ids, all expected`);
  compare(`${type}, batch read`, await batchRead(api, ids, names), live);
}
