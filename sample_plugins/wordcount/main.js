// An outboard plugin without an SDK: the whole protocol, by hand, in one file.
//
// A message is a JSON object behind a header that gives its length in bytes:
//
//     Content-Length: 44\r\n\r\n{"jsonrpc":"2.0","id":1,"method":"shutdown"}
//
// The host asks on our stdin and we answer on our stdout. Nothing else may be written there; for
// everything else there is stderr, which the host logs.

"use strict";

// ---- what this plugin does ----------------------------------------------------------------------

const words = (text) => text.match(/[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu) ?? [];

function count({ text }) {
  const lines = text.split("\n").length - (text === "" || text.endsWith("\n") ? 1 : 0);
  return { lines, words: words(text).length, bytes: Buffer.byteLength(text) };
}

function top({ text, n = 10 }) {
  const counts = new Map();
  for (const word of words(text.toLowerCase())) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => ({ word, count })).sort((a, b) => b.count - a.count).slice(0, n);
}

// What the handshake tells the host. JSON Schema is optional; with it, the host can explain mistakes.
const object = (properties, required) => ({ type: "object", properties, required, additionalProperties: false });
const string = { type: "string" };
const integer = { type: "integer", minimum: 0 };
const methods = {
  count: {
    run: count,
    doc: "Counts lines, words and bytes.",
    params: object({ text: string }, ["text"]),
    result: object({ lines: integer, words: integer, bytes: integer }, ["lines", "words", "bytes"]),
  },
  top: {
    run: top,
    doc: "The n most frequent words, most frequent first.",
    params: object({ text: string, n: { ...integer, default: 10 } }, ["text"]),
    result: { type: "array", items: object({ word: string, count: integer }, ["word", "count"]) },
  },
};

// ---- the protocol -------------------------------------------------------------------------------

class Failure extends Error {
  constructor(code, message, data) {
    super(message);
    Object.assign(this, { code, data });
  }
}

function send(message) {
  const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
  process.stdout.write(Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]));
}

function initialize({ protocol = [] }) {
  if (!protocol.includes(1)) throw new Failure(-32008, "only protocol 1 is spoken here", { supported: [1] });
  const provides = Object.entries(methods).map(([name, { run, ...told }]) => ({ name, idempotent: true, ...told }));
  phase = "ready";
  return { protocol: 1, plugin: { name: "wordcount" }, features: [], provides: { methods: provides } };
}

function stop() {
  phase = "stopping";
  return null;
}

function check(params, { properties, required }) {
  if (params === null || typeof params !== "object") throw new Failure(-32602, "params must be an object");
  const problems = required.filter((key) => !(key in params)).map((key) => [key, "required, and missing"]);
  for (const [key, value] of Object.entries(params)) {
    const wanted = properties[key]?.type;
    const fits = wanted === "integer" ? Number.isInteger(value) && value >= 0 : typeof value === wanted;
    if (!wanted) problems.push([key, "unknown key"]);
    else if (!fits) problems.push([key, `expected ${wanted}`]);
  }
  const data = problems.map(([key, reason]) => ({ path: `$.${key}`, reason }));
  if (data.length) throw new Failure(-32602, data.map((p) => `${p.path}: ${p.reason}`).join("; "), data);
}

let phase = "new"; // then "ready", then "stopping"

function answer(method, params) {
  if (method === "initialize" && phase === "new") return initialize(params);
  if (phase === "new") throw new Failure(-32002, "initialize comes first");
  if (method === "lifecycle/ping") return { in_flight: 0 };
  if (phase === "stopping") throw new Failure(-32004, "shutting down");
  if (method === "lifecycle/start") return {};
  if (method === "shutdown") return stop();
  if (!Object.hasOwn(methods, method)) throw new Failure(-32601, `no method ${method}`);
  check(params, methods[method].params);
  return methods[method].run(params);
}

function receive(text) {
  let message;
  try {
    message = JSON.parse(text);
  } catch (error) {
    return send({ id: null, error: { code: -32700, message: error.message } });
  }
  const { id, method, params = {}, result, error } = message ?? {};
  if (result !== undefined || error !== undefined) return; // a reply, and we never asked
  if (typeof method !== "string" || !["undefined", "number", "string"].includes(typeof id)) {
    return send({ id: null, error: { code: -32600, message: "a message needs a method, and a proper id" } });
  }
  if (id === undefined) {
    // A notification. `$/cancelRequest` comes too late here, as every call is answered at once.
    if (method === "exit") process.exit(0);
    return;
  }
  try {
    send({ id, result: answer(method, params) });
  } catch ({ code = -32000, message, data }) {
    send({ id, error: { code, message, data } });
  }
}

let unread = Buffer.alloc(0);

process.stdin.on("data", (chunk) => {
  unread = Buffer.concat([unread, chunk]);
  for (;;) {
    const blank = unread.indexOf("\r\n\r\n");
    if (blank < 0) return;
    const length = Number(/content-length: *(\d+)/i.exec(unread.subarray(0, blank).toString("latin1"))[1]);
    const end = blank + 4 + length;
    if (unread.length < end) return;
    const body = unread.subarray(blank + 4, end);
    unread = unread.subarray(end);
    receive(body.toString("utf8"));
  }
});

process.stdin.on("end", () => process.exit(0)); // the host is gone, or no longer needs us
