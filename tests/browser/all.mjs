// All tests, one after the other: they share one connection.

import "./connect.test.mjs";
import "./actions.test.mjs";
import "./live.test.mjs";
import "./worker.test.mjs";
import "./data.test.mjs";
import "./sql.test.mjs";
import "./runs.test.mjs";
import "./problems.test.mjs";
import "./accessibility.test.mjs";
import "./token.test.mjs";
