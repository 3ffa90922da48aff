// Settings of @hey-api/openapi-ts. Node finds a module by its whole name only.

export default {
  input: "openapi.json",
  output: { path: "client", module: { extension: ".js" } },
  logs: { level: "silent", file: false },
};
