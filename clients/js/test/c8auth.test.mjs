// What the conformance suite does not see: times, the Fetch API's own ways, errors.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { afterEach, beforeEach, mock, test } from "node:test";
import { inspect } from "node:util";

import { C8AuthError, Source } from "c8auth";

const url = "https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1";
const credentials = async () => ({ accessKeyId: "AKIDEXAMPLE", secretAccessKey: "MARK" });
let api; // a fake of the API and of Communic8

// The API gives out token-1, and token-2 after a report. Communic8 accepts the tokens in
// valid. Both are reached by send, which is used instead of globalThis.fetch.
class Fake {
  fetches = [];
  reports = [];
  sent = [];
  valid = new Set(["token-1", "token-2"]);
  number = 1;
  life = 3600;
  baseUrl = "https://acme.communic8.com";
  answer; // instead of the API's

  send = async (target, init) => {
    const { origin, pathname } = new URL(target);
    if (origin !== this.baseUrl) {
      (init.method === "POST" ? this.reports : this.fetches).push({ target, ...init });
      if (this.answer) {
        return this.answer();
      }
      if (init.method === "POST") {
        this.number++;
        return Response.json({ outcome: "rotated" });
      }
      return Response.json({
        access_token: `token-${this.number}`,
        token_type: "Bearer",
        expires_in: this.life,
        version: `version-${this.number}`,
        base_url: this.baseUrl,
      });
    }
    const token = init.headers.get("authorization").slice("Bearer ".length);
    this.sent.push({ path: pathname, token, ...init });
    const location = { "/elsewhere": "https://elsewhere.example/", "/within": "/there", "/around": "/around" }[pathname];
    if (location) {
      return new Response("moved", { status: init.method === "PUT" ? 303 : init.method === "PATCH" ? 301 : 307, headers: { location } });
    }
    if (!this.valid.has(token)) {
      return new Response(pathname === "/endless" ? new ReadableStream() : "rejected", { status: 401 });
    }
    return new Response("fine");
  };

  source(options) {
    return new Source(url, "acme", { fetch: this.send, credentials, ...options });
  }
}

beforeEach(() => {
  api = new Fake();
});

afterEach(() => mock.timers.reset());

const code = (wanted, text = /./) => (error) => {
  assert.ok(error instanceof C8AuthError, inspect(error));
  assert.equal(error.code, wanted);
  assert.match(error.message, text);
  assert.ok(error.message.length <= 500 && !/MARK|[\x00-\x1f]/.test(error.message), error.message);
  assert.equal(error.cause, undefined);
  return true;
};

const settled = () => new Promise((done) => setImmediate(done));

test("the next token is fetched in the background", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const source = api.source();
  await source.token();
  mock.timers.setTime(1e12 + (3600 - 10 - 241) * 1000);
  await source.token();
  assert.equal(api.fetches.length, 1);
  mock.timers.setTime(1e12 + (3600 - 10 - 119) * 1000);
  api.number = 2;
  assert.equal((await source.token()).value, "token-1");
  while ((await source.token()).value !== "token-2") {
    await settled();
  }
  assert.equal(api.fetches.length, 2);
});

test("a failure is forgotten by the wall clock", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const source = api.source();
  api.life = "MARK";
  for (let i = 0; i < 3; i++) {
    await assert.rejects(source.token(), code("unreachable"));
  }
  assert.equal(api.fetches.length, 1);
  api.life = 3600;
  mock.timers.setTime(1e12 + 10_100);
  assert.equal((await source.token()).value, "token-1");
});

test("a clock that was set back delays nothing", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const source = api.source();
  api.life = "MARK";
  await assert.rejects(source.token(), code("unreachable"));
  api.life = 3600;
  mock.timers.setTime(1e12 - 3_600_000);
  assert.equal((await source.token()).value, "token-1");
});

test("the expiry goes by the wall clock, from before the request", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const source = api.source({
    fetch: async (...request) => {
      const answer = await api.send(...request);
      mock.timers.setTime(1e12 + 8000);
      return answer;
    },
  });
  assert.equal((await source.token()).expiry, 1e12 + 3_600_000);
  mock.timers.setTime(1e12 + 3_591_000);
  api.number = 2;
  assert.equal((await source.token()).value, "token-2");
});

test("HTTP 403 asks for a newer token less and less often", async () => {
  mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const source = api.source({
    fetch: async (target, init) => (new URL(target).origin === api.baseUrl ? new Response("", { status: 403 }) : api.send(target, init)),
  });
  const asked = [];
  for (let second = 0; second < 600; second++) {
    const before = api.fetches.length;
    mock.timers.setTime(1e12 + second * 1000);
    assert.equal((await source.fetch("/")).status, 403);
    if (api.fetches.length > before) {
      asked.push(second);
    }
  }
  assert.deepEqual(asked, [0, 1, 3, 7, 15, 31, 63, 127, 247, 367, 487]);
  assert.equal(api.reports.length, 0);
});

test("a request is signed, for the host and the region of the URL", async () => {
  await api.source({ credentials: async () => ({ ...(await credentials()), sessionToken: "session" }) }).token();
  const [{ target, headers, redirect }] = api.fetches;
  assert.equal(target, `${url}/tokens/acme`);
  assert.match(headers.authorization, /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/\d{8}\/eu-central-1\/execute-api\/aws4_request, SignedHeaders=accept;host;.*x-amz-security-token/);
  assert.equal(headers["x-amz-security-token"], "session");
  assert.equal(headers.host, undefined);
  assert.equal(redirect, "manual");
  assert.ok(!process.getActiveResourcesInfo().includes("Timeout"), "a timer keeps the program running");
});

test("the URL names the API, its region and its partition", async () => {
  for (const [given, region, resource] of [
    [`${url}/`, "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"],
    ["https://tokens.example.com", "eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/"],
    ["https://c8auth0api-vpce-0123456789abcdef0.execute-api.us-gov-west-1.amazonaws.com/v1", "us-gov-west-1", "arn:aws-us-gov:execute-api:us-gov-west-1:*:c8auth0api/v1/"],
    ["https://c8auth0api.execute-api.cn-north-1.amazonaws.com.cn/v1", "cn-north-1", "arn:aws-cn:execute-api:cn-north-1:*:c8auth0api/v1/"],
    ["https://c8auth0api.execute-api.eusc-de-east-1.amazonaws.eu/v1", "eusc-de-east-1", "arn:aws-eusc:execute-api:eusc-de-east-1:*:c8auth0api/v1/"],
    ["https://c8auth0api.execute-api.eu-central-1.api.aws/v1", "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"],
    ["https://C8AUTH0API.Execute-Api.EU-Central-1.AmazonAWS.com:443/v1", "eu-central-1", "arn:aws:execute-api:eu-central-1:*:c8auth0api/v1/"],
    ["https://c8auth0api.execute-api.eu-central-1.amazonaws.com.evil.example/v1", "eu-west-1", "arn:aws:execute-api:eu-west-1:*:*/*/"],
  ]) {
    api.answer = () => new Response("MARK", { status: 403, headers: { "x-amzn-errortype": "AccessDeniedException:MARK" } });
    const source = new Source(given, "acme", { fetch: api.send, credentials, region: "eu-west-1" });
    await assert.rejects(source.token(), (error) => code("denied")(error) && error.message.endsWith(`${resource}GET/tokens/acme`));
    assert.ok(api.fetches.at(-1).headers.authorization.includes(`/${region}/execute-api/`));
  }
  for (const given of ["", ":", "http://tokens.example.com", "https://a@b/", `${url}?a`, `${url}#a`, "https://[/"]) {
    assert.throws(() => new Source(given, "acme", { region: "eu-west-1" }), /url must be/);
  }
  for (const region of ["eu-west-1\n", "EU"]) {
    assert.throws(() => new Source("https://tokens.example.com", "acme", { region }), /AWS_REGION/);
  }
});

test("a token does not show", async () => {
  const source = api.source();
  const token = await source.token();
  for (const text of [inspect(token, { showHidden: true, depth: 9 }), JSON.stringify(token), String(token), inspect(source, { showHidden: true, depth: 9 }), JSON.stringify({ ...token })]) {
    assert.ok(!text.includes("token-1"), text);
  }
  assert.throws(() => {
    token.baseUrl = "https://elsewhere.example";
  }, TypeError);
});

test("reject", async () => {
  const source = api.source();
  const token = await source.token();
  await source.reject(token);
  assert.equal((await source.token()).value, "token-2");
  await source.reject(token); // it is replaced already
  assert.equal(api.reports.length, 1);
});

test("who does not want to wait need not", async () => {
  const source = api.source();
  let open;
  const gate = new Promise((done) => (open = done));
  const send = api.send;
  const slow = new Source(url, "acme", { credentials, fetch: async (...request) => gate.then(() => send(...request)) });
  await assert.rejects(slow.token({ signal: AbortSignal.abort() }), { name: "AbortError" });
  const controller = new AbortController();
  setTimeout(() => controller.abort(), 10);
  await assert.rejects(slow.fetch("/", { signal: controller.signal }), { name: "AbortError" });
  const waiting = slow.token();
  open();
  assert.equal((await waiting).value, "token-1");
  assert.equal(api.fetches.length, 1);
  assert.equal((await source.token({ signal: new AbortController().signal })).value, "token-1");
});

test("requests go to the base URL and nowhere else", async () => {
  const source = api.source();
  for (const input of ["/", "", "int", api.baseUrl, "HTTPS://ACME.communic8.com:443/", new URL(api.baseUrl), new Request(api.baseUrl)]) {
    assert.equal(await (await source.fetch(input, { headers: { authorization: "mine", "x-mine": "kept" } })).text(), "fine");
    assert.equal(api.sent.at(-1).headers.get("authorization"), "Bearer token-1");
    assert.equal(api.sent.at(-1).headers.get("x-mine"), "kept");
  }
  const sent = api.sent.length;
  for (const input of ["//elsewhere.example", "http://acme.communic8.com/", "https://acme.communic8.com:8443/", "https://acme.communic8.com@elsewhere.example/",
    "https://user@acme.communic8.com/", "https://acme.communic8.com.elsewhere.example/", "https://acme.communic8.com./", "\\\\elsewhere.example\\", "mailto:a@b"]) {
    await assert.rejects(source.fetch(input), code("host"), input);
  }
  assert.equal(api.sent.length, sent);
});

test("redirects are followed within the base URL", async () => {
  const source = api.source();
  await assert.rejects(source.fetch("/elsewhere"), code("host"));
  await assert.rejects(source.fetch("/around"), /too often/);
  await assert.rejects(source.fetch("/within", { redirect: "error" }), TypeError);
  assert.equal((await source.fetch("/elsewhere", { redirect: "manual" })).status, 307);
  for (const [method, then, body] of [["POST", "POST", "x"], ["PUT", "GET", undefined], ["PATCH", "PATCH", "x"]]) {
    const headers = { "content-type": "text/plain" };
    assert.equal(await (await source.fetch("/within", { method, body: "x", headers })).text(), "fine");
    const last = api.sent.at(-1);
    assert.deepEqual([last.path, last.method, last.body, last.headers.get("content-type")], ["/there", then, body, body ? "text/plain" : null]);
  }
});

test("a rejected request is repeated if its body is available", async () => {
  for (const [body, want] of [["x", 200], [new Uint8Array(1), 200], [new URLSearchParams("a=b"), 200], [new Blob(["x"]), 200], [new FormData(), 200], [new Blob(["x"]).stream(), 401]]) {
    api = new Fake();
    api.valid.delete("token-1");
    const response = await api.source().fetch("/", { method: "POST", body, duplex: "half" });
    assert.equal(response.status, want, inspect(body));
    assert.equal(await response.text(), want === 200 ? "fine" : "rejected");
  }
  api = new Fake();
  api.valid.delete("token-1");
  assert.equal((await api.source().fetch(new Request(`${api.baseUrl}/endless`))).status, 200);
  api = new Fake();
  api.valid.delete("token-1");
  assert.equal((await api.source().fetch(new Request(api.baseUrl, { method: "POST", body: "x" }))).status, 401);
});

test("errors are in words of our own", async () => {
  const failing = (cause) => () => Promise.reject(Object.assign(new TypeError("MARK"), { cause }));
  for (const [answer, text] of [
    [failing({ code: "ECONNREFUSED", message: "MARK" }), /^c8auth0api\..* cannot be reached: the connection is refused$/],
    [failing({ code: "ENOTFOUND" }), /no host of that name/],
    [failing({ code: "CERT_HAS_EXPIRED" }), /certificate that has expired/],
    [failing({ code: "ERR_TLS_CERT_ALTNAME_INVALID" }), /certificate for another name/],
    [failing({ code: "SELF_SIGNED_CERT_IN_CHAIN" }), /NODE_EXTRA_CA_CERTS/],
    [failing({ code: "MARK" }), /did not speak HTTP/],
    [failing({ code: "constructor" }), /did not speak HTTP/],
    [failing(undefined), /did not speak HTTP/],
    [() => Promise.reject("MARK"), /did not speak HTTP/],
    [() => Promise.reject(AbortSignal.abort(new DOMException("MARK", "TimeoutError")).reason), /did not answer in time/],
    [() => new Response("MARK", { status: 407 }), /HTTP 407/],
    [() => new Response("MARK", { status: 403, headers: { "x-amzn-errortype": "ForbiddenException" } }), /AWS WAF/],
  ]) {
    api.answer = answer;
    mock.timers.enable({ apis: ["Date"], now: 1e12 });
    const source = api.source();
    const now = mock.method(performance, "now", () => now.mock.callCount() * 16_000); // no retries
    await assert.rejects(source.token(), code("unreachable", text));
    now.mock.restore();
    mock.timers.reset();
  }
});

test("errors about AWS credentials are, too", async () => {
  for (const [provider, text, calls] of [
    [() => Promise.reject(Object.assign(new Error("MARK"), { name: "CredentialsProviderError" })), /aws sts get-caller-identity/, 1],
    [() => Promise.reject(Object.assign(new Error("MARK"), { name: "TokenProviderError" })), /aws sso login/, 1],
    [async () => ({ accessKeyId: "AKID", secretAccessKey: "MARK\n" }), /secret access key is empty or has a character/, 1],
    [async () => ({ accessKeyId: "", secretAccessKey: "MARK" }), /access key ID/, 1],
    [async () => ({ accessKeyId: "AKID", secretAccessKey: "MARK", sessionToken: "MA RK" }), /session token/, 1],
    [async () => undefined, /access key ID/, 1],
  ]) {
    const counted = mock.fn(provider);
    const now = mock.method(performance, "now", () => now.mock.callCount() * 16_000);
    await assert.rejects(api.source({ credentials: counted }).token(), code("credentials", text));
    now.mock.restore();
    assert.equal(counted.mock.callCount(), calls);
  }
  assert.equal(api.fetches.length, 0);
});

test("a provider of AWS credentials that hangs takes no longer than the API may", async (t) => {
  t.mock.timers.enable({ apis: ["Date", "setTimeout"], now: 1e12 });
  t.mock.method(performance, "now", Date.now);
  const ends = async (work, seconds) => {
    let ended = false;
    work.catch(() => {}).finally(() => (ended = true));
    for (let tick = 0; !ended && tick <= seconds * 10; tick++) {
      t.mock.timers.tick(100);
      await settled();
    }
    assert.ok(ended, `it takes more than ${seconds} seconds`);
  };
  let provider = () => new Promise(() => {});
  const source = api.source({ credentials: () => provider() });
  const failing = source.token();
  await ends(failing, 15);
  await assert.rejects(failing, code("credentials", /does not answer in time/));
  assert.equal(api.fetches.length, 0);

  provider = credentials;
  t.mock.timers.tick(10_000);
  const token = await source.token();
  provider = () => new Promise(() => {});
  t.mock.timers.tick((3600 - 60) * 1000); // the next one is due
  assert.equal(await source.token(), token);
  const rejecting = source.reject(token);
  await ends(rejecting, 45);
  await assert.rejects(rejecting, code("kept", /does not answer in time/));
  assert.equal(await source.token(), token);
  assert.equal(api.fetches.length, 1);
});

test("an error is short and printable", () => {
  const { message } = new C8AuthError("tenant", `\x1b[2J\u202e${"a".repeat(1000)}`);
  assert.equal(message.length, 400);
  assert.match(message, /^\?\[2J\?a+$/);
});

test("Node's own fetch is used", async (t) => {
  const server = createServer((request, response) => {
    response.end(request.url.startsWith("/v1/")
      ? JSON.stringify({ access_token: "a", token_type: "Bearer", expires_in: 60, version: "v", base_url: `http://127.0.0.1:${server.address().port}` })
      : request.headers.authorization);
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  t.after(() => server.close());
  const source = new Source(`http://127.0.0.1:${server.address().port}/v1`, undefined, { credentials, region: "eu-central-1" });
  assert.equal(await (await source.fetch("/")).text(), "Bearer a");
  server.closeAllConnections();
});
