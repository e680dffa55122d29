/**
 * Calls Communic8 with the token that c8auth keeps.
 *
 *     import { Source } from "c8auth";
 *
 *     const source = new Source("https://<api>.execute-api.<region>.amazonaws.com/v1", "acme");
 *     const response = await source.fetch("/int/v1/broadcast?limit=1");
 *     console.log(await response.json());
 *
 * A Source fetches the tenant's token from the API, and holds the token until shortly before
 * it expires. The requests are signed with the AWS credentials of the program. Concurrent
 * calls share one request. While the API fails, the held token is used until it expires.
 *
 * The token is sent to its base URL and nowhere else. When Communic8 answers 401, the
 * rejection is reported, the token is fetched again, and the request is repeated.
 *
 * Make one Source for each tenant and keep it, because it holds the token. No log line and
 * no error contains a token. IAM decides which programs get which token; see docs/calling.md.
 *
 * @module
 */

import { Sha256 } from "@aws-crypto/sha256-js";
import { fromNodeProviderChain } from "@aws-sdk/credential-providers";
import { partition } from "@aws-sdk/util-endpoints";
import { SignatureV4 } from "@smithy/signature-v4";

// All times are milliseconds. State that outlives a call is compared with Date.now(),
// because monotonic time stands still while a Lambda sandbox is frozen; monotonic time
// bounds a single call.
const second = 1000;
const margin = 10 * second; // least remaining lifetime of a usable token
const early = 240 * second; // longest time before the expiry at which the next token is fetched
const getTimeout = 10 * second;
const reportTimeout = 30 * second; // API Gateway waits 29 seconds for the function
const fetchTime = 15 * second; // bounds a fetch, retries included
const renewTime = 45 * second; // bounds report and fetch after a rejection
const firstPause = 0.25 * second; // between retries, doubling
const maxPause = 4 * second;
const minRetry = second; // least time after a failed fetch
const longRetry = 10 * second; // the same, if the failure is not temporary
const maxBackoff = 120 * second; // longest time between two attempts
const maxRetryAfter = 60 * second;
const maxBody = 64 << 10; // bytes of an answer of the API
const maxRedirects = 20; // as the Fetch standard has it
const repetitions = 2; // of a request; two are needed if the new token is rejected as well

/** An error of this module. code is for programs, and message says what failed and what to do. */
export class C8AuthError extends Error {
  constructor(code, message) {
    super(printable(message));
    this.name = "C8AuthError";
    this.code = code;
  }
}

// Properties of errors that are not public: temporary, whether a retry may succeed; retryAfter,
// the least time until one; signature, whether the signature or its key is refused.
const details = new WeakMap();

function failure(code, message, about = {}) {
  const error = new C8AuthError(code, message);
  details.set(error, about);
  return error;
}

function about(error) {
  return { temporary: false, retryAfter: 0, signature: false, ...details.get(error) };
}

/** A token, to be sent to baseUrl and nowhere else. Neither inspect nor JSON show its value. */
class Token {
  #value;

  constructor(value, version, baseUrl, expiry) {
    this.#value = value;
    this.version = version;
    this.baseUrl = baseUrl; // scheme, host and port
    this.expiry = expiry; // comparable with Date.now(); Infinity: the token does not expire
    // The time is random, in the first half of the window, so that programs with the same token
    // do not fetch the next one all at once.
    const window = Math.min(early, (expiry - Date.now()) / 4);
    this.refresh = Math.max(expiry - margin - window * (1 - Math.random() / 2), Date.now() + minRetry);
    Object.freeze(this);
  }

  get value() {
    return this.#value;
  }
}

const usable = (token) => token !== undefined && token.expiry - Date.now() >= margin;
const due = (token) => Date.now() >= token.refresh;

/** Delays attempts for a version of the token after failed ones. */
class Backoff {
  #version;
  #failures = 0;
  #until = 0;

  allows(version) {
    return version !== this.#version || !pending(this.#until);
  }

  /** Counts a failure. The delay after it is first, doubled with every failure before. */
  fail(version, first) {
    if (version !== this.#version) {
      [this.#version, this.#failures] = [version, 0];
    }
    this.#until = Date.now() + Math.min(first * 2 ** this.#failures++, maxBackoff);
  }
}

/**
 * Reports whether a time is in the future. If it is more than maxBackoff ahead, the clock was
 * set back, and the time counts as past.
 */
function pending(until) {
  const left = until - Date.now();
  return left > 0 && left <= maxBackoff;
}

/** Returns the token of one tenant. */
export class Source {
  #api;
  #tenant;
  #given; // the options
  #credentials; // the provider in use; undefined: read the configuration
  #held; // the latest token
  #failed; // the failure of the last fetch
  #retryAt = 0; // when the next fetch may begin
  #replaced; // the version that was replaced last because it was rejected
  #lookups = new Backoff(); // for a newer token than a rejected one
  #reports = new Backoff(); // of a rejected token
  #flights = new Map(); // work that callers share

  constructor(url, tenant = "default", options = {}) {
    this.#api = parseApi(url, options.region || process.env.AWS_REGION || process.env.AWS_DEFAULT_REGION);
    this.#tenant = tenant;
    this.#given = options;
  }

  async token({ signal } = {}) {
    if (usable(this.#held)) {
      if (due(this.#held) && !pending(this.#retryAt)) {
        this.#share("fetch", () => this.#fetch()).catch(() => {}); // a later call reports it
      }
      return this.#held;
    }
    if (this.#failed !== undefined && pending(this.#retryAt)) {
      throw this.#failed;
    }
    return wait(this.#share("fetch", () => this.#fetch()), signal);
  }

  async reject(token, { signal } = {}) {
    await wait(this.#renew(token.version, true), signal);
  }

  async fetch(input, init = {}) {
    if (input instanceof Request) {
      const { url, method, headers, body, signal, redirect } = input;
      [input, init] = [url, { method, headers, body, signal, redirect, duplex: "half", ...init }];
    }
    let options = { ...init, headers: new Headers(init.headers), redirect: "manual" };
    let token = await this.token(init);
    let target = resolve(input, token.baseUrl);
    for (let repeated = 0, redirected = 0; ; ) {
      options.headers.set("authorization", `Bearer ${token.value}`);
      const response = await (this.#given.fetch ?? fetch)(target.href, options);
      const again = repeated < repetitions && repeatable(options.body);
      const newer = again ? await this.#replacement(response.status, token, init.signal) : undefined;
      const elsewhere = init.redirect !== "manual" && isRedirect(response) && repeatable(options.body);
      if (newer === undefined && !elsewhere) {
        return response;
      }
      await response.body?.cancel(); // unread: it may be endless
      if (newer !== undefined) {
        repeated++;
        token = newer;
        target = resolve(target, token.baseUrl);
        continue;
      }
      // Redirects are followed here, because fetch would follow them to other hosts as well.
      if (init.redirect === "error" || ++redirected > maxRedirects) {
        throw new TypeError("c8auth: Communic8 redirects the request, or does so too often");
      }
      target = resolve(new URL(response.headers.get("location"), target), token.baseUrl);
      options = redirect(options, response.status);
    }
  }

  /**
   * Returns the token for a repetition of a request that was answered with the status;
   * undefined if there is none. 403 is not reported, because the user may lack rights.
   */
  async #replacement(status, token, signal) {
    if (status !== 401 && status !== 403) {
      return undefined;
    }
    try {
      return await wait(this.#renew(token.version, status === 401), signal);
    } catch {
      return undefined; // the caller gets the answer of Communic8
    }
  }

  /** Starts the work and returns its promise, or that of the work in progress with that key. */
  #share(key, work) {
    let flight = this.#flights.get(key);
    if (flight === undefined) {
      flight = work().finally(() => this.#flights.delete(key));
      this.#flights.set(key, flight);
    }
    return flight;
  }

  /** Fetches the token, and retries after temporary failures. */
  async #fetch() {
    const deadline = performance.now() + fetchTime;
    for (let n = 0; ; n++) {
      try {
        return this.#hold(await this.#get(false, deadline));
      } catch (error) {
        const { temporary, retryAfter } = about(error);
        if (!temporary || !(await sleep(retryAfter + pause(n), deadline))) {
          this.#failed = error;
          this.#retryAt = Date.now() + Math.max(temporary ? minRetry : longRetry, retryAfter);
          throw error;
        }
      }
    }
  }

  /**
   * Keeps the token, and returns the one that is held then. instead is the rejected version
   * that token replaces, or undefined. A fetch that began before the rejection can return that
   * version late; the newer token is then kept.
   */
  #hold(token, instead) {
    [this.#failed, this.#retryAt] = [undefined, 0];
    this.#replaced = instead ?? this.#replaced;
    if (token.version !== this.#replaced || !usable(this.#held)) {
      this.#held = token;
    }
    return this.#held;
  }

  /** Returns a token of another version than the rejected one. */
  #renew(rejected, report) {
    return this.#share(`renew ${report} ${rejected}`, async () => {
      if (usable(this.#held) && this.#held.version !== rejected) {
        return this.#held; // already replaced
      }
      report &&= this.#reports.allows(rejected);
      if (!report && !this.#lookups.allows(rejected)) {
        throw failure("kept", "no newer token");
      }
      const deadline = performance.now() + renewTime;
      for (let n = 0; ; n++) {
        try {
          return await this.#renewOnce(rejected, report, deadline);
        } catch (error) {
          const { temporary, retryAfter } = about(error);
          if (!temporary || !(await sleep(retryAfter + pause(n), deadline))) {
            this.#lookups.fail(rejected, minRetry);
            if (report) {
              this.#reports.fail(rejected, Math.max(longRetry, retryAfter));
            }
            throw error;
          }
        }
      }
    });
  }

  async #renewOnce(rejected, report, deadline) {
    let kept = !report;
    let unreported; // the error of the report
    if (report) {
      try {
        kept = await this.#report(rejected, deadline);
      } catch (error) {
        unreported = error;
      }
    }
    try {
      const token = await this.#get(true, deadline);
      if (token.version !== rejected) {
        return this.#hold(token, rejected);
      }
    } catch (error) {
      if (!about(error).temporary) {
        throw error;
      }
    }
    if (kept) {
      throw failure("kept", "no newer token");
    }
    if (unreported === undefined) { // c8auth has a newer token, but vend returned a cached one, or failed
      throw failure("kept", "no newer token", { temporary: true, retryAfter: minRetry });
    }
    const { temporary, retryAfter } = about(unreported);
    throw failure("kept", `no newer token: ${unreported.message}`, {
      temporary: temporary && retryAfter <= maxPause,
      retryAfter: Math.max(minRetry, retryAfter),
    });
  }

  /** Fetches the token. With fresh, it sends no-cache, so that vend reads the store again. */
  async #get(fresh, deadline) {
    const sent = Date.now();
    const headers = fresh ? { "cache-control": "no-cache" } : {};
    const answer = await this.#exchange("GET", "", headers, undefined, deadline, getTimeout);
    const token = parseToken(answer, sent);
    if (!usable(token)) {
      throw failure("no_token", "the API gives one that has expired, or will within ten seconds", { temporary: true });
    }
    return token;
  }

  /** Reports that Communic8 rejects the version. Returns whether c8auth keeps it. */
  async #report(version, deadline) {
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ version });
    const answer = await this.#exchange("POST", "/rejections", headers, body, deadline, reportTimeout);
    const { outcome } = parseObject(answer);
    if (typeof outcome !== "string") {
      throw failure("unreachable", "the answer to a report is not the documented JSON");
    }
    return outcome === "kept";
  }

  /**
   * Sends a signed request and returns the body of a 200. If the signature is refused, it
   * reads the AWS configuration again, and signs and sends the request once more. The
   * credentials may have been renewed, or the process may have been frozen after signing.
   */
  async #exchange(method, tail, headers, body, deadline, timeout) {
    for (let again = false; ; again = true) {
      try {
        return await this.#send(method, tail, headers, body, Math.min(timeout, deadline - performance.now()));
      } catch (error) {
        if (!about(error).signature || again) {
          throw error;
        }
        this.#credentials = undefined;
      }
    }
  }

  async #send(method, tail, headers, body, timeout) {
    const { url, region } = this.#api;
    const path = `/tokens/${encodeURIComponent(this.#tenant)}${tail}`;
    const until = performance.now() + timeout;
    const credentials = await this.#keys(timeout);
    const signer = new SignatureV4({ credentials, region, service: "execute-api", sha256: Sha256 });
    const signed = await signer.sign({
      method,
      protocol: url.protocol,
      hostname: url.host,
      path: url.pathname + path,
      headers: { accept: "application/json", host: url.host, ...headers },
      body,
    });
    delete signed.headers.host; // fetch sets it
    const signal = AbortSignal.timeout(Math.max(1, Math.ceil(until - performance.now())));
    const init = { method, headers: signed.headers, body, signal, redirect: "manual" };
    let response;
    let answer;
    try {
      response = await (this.#given.fetch ?? fetch)(url.origin + signed.path, init);
      answer = await read(response);
    } catch (error) {
      throw failure("unreachable", `${url.host} ${describe(error)}`, { temporary: true });
    }
    if (response.status !== 200) {
      throw this.#classify(response, answer, method + path);
    }
    return answer;
  }

  /**
   * Returns the AWS credentials. Their provider has timeout milliseconds. The texts of the SDK's
   * errors are not shown, because they may contain the output of a credential_process.
   */
  async #keys(timeout) {
    let keys;
    try {
      this.#credentials ??= this.#given.credentials ?? fromNodeProviderChain({ ignoreCache: true });
      keys = await within(timeout, this.#credentials());
    } catch (error) {
      if (error === late) {
        const text = "no AWS credentials: their provider does not answer in time; aws sts get-caller-identity says more";
        throw failure("credentials", text, { temporary: true });
      }
      if (error?.name === "TokenProviderError") {
        throw failure("credentials", "no AWS credentials: the AWS sign-in has expired: aws sso login");
      }
      const text =
        "no AWS credentials: the environment, the shared files, the container and the instance give none, " +
        "or the provider that they name fails; aws sts get-caller-identity says more";
      throw failure("credentials", text, { temporary: true });
    }
    const parts = {
      "access key ID": keys?.accessKeyId,
      "secret access key": keys?.secretAccessKey,
      "session token": keys?.sessionToken || "-",
    };
    for (const [name, value] of Object.entries(parts)) {
      if (!isPrintable(value)) {
        const text = `the AWS ${name} is empty or has a character that none has, such as a newline at its end`;
        throw failure("credentials", text);
      }
    }
    return keys;
  }

  /** Returns the error that an answer means. It shows its status and a known error type. */
  #classify(response, answer, what) {
    const { status, headers } = response;
    const [type] = (headers.get("x-amzn-errortype") ?? "").split(":");
    const kind = signatureTypes.has(type) || otherTypes.has(type) ? type : "no known x-amzn-ErrorType";
    const { error: code } = parseObject(answer); // only answers of c8auth have it
    const retryAfter = parseRetryAfter(headers.get("retry-after") ?? "");
    // An invalid key comes with more than one type, but always with these words in the body.
    const invalid = kind === "AccessDeniedException" && answer.includes("security token included in the request");
    if (status === 403 && (signatureTypes.has(kind) || invalid)) {
      const text =
        `the signature is not accepted (${kind}): are the AWS credentials valid, is the clock right, ` +
        `and is ${this.#api.region} the API's region?`;
      return failure("denied", text, { signature: true });
    }
    if (status === 403 && kind === "AccessDeniedException") {
      return failure("denied", `a policy must grant execute-api:Invoke on ${this.#api.resource}${what}`);
    }
    if (status === 403 && kind === "MissingAuthenticationTokenException") {
      const text =
        "there is no such route (url must be the stack's output Url, with the stage at its end), " +
        "or a proxy on the way strips the header Authorization";
      return failure("unreachable", text);
    }
    if (status === 403 && kind === "ForbiddenException") {
      const text =
        `API Gateway forbids the request before it checks the signature (${kind}): ` +
        "by a rule of AWS WAF, or because the domain name is not mapped to the API";
      return failure("unreachable", text);
    }
    if (status === 403) {
      const text = `something on the way forbids the request (HTTP 403, ${kind}): a firewall, or a proxy?`;
      return failure("unreachable", text);
    }
    if (status === 407) {
      return failure("unreachable", "a proxy wants a user and a password (HTTP 407)");
    }
    if (status === 404 && code === "unknown_tenant") {
      return failure("tenant", `unknown tenant ${this.#tenant}`);
    }
    if (status === 400 && code === "invalid_request") {
      return failure("tenant", `the tenant ${this.#tenant}, or what was reported of it, is malformed`);
    }
    if (status >= 500 && typeof code === "string") {
      return failure("no_token", `c8auth answers ${status}; its log says why`, { temporary: true, retryAfter });
    }
    const temporary = status >= 500 || status === 429;
    return failure("unreachable", `it answers ${status} (${kind})`, { temporary, retryAfter });
  }
}

const signatureTypes = new Set(
  (
    "ExpiredTokenException IncompleteSignatureException InvalidClientTokenIdException InvalidSignatureException " +
    "RequestExpiredException SignatureDoesNotMatchException UnrecognizedClientException"
  ).split(" "),
);
// The other values of x-amzn-ErrorType that are shown. Another value could be a secret.
const otherTypes = new Set(
  (
    "AccessDeniedException BadRequestException ForbiddenException InternalFailureException " +
    "InternalServerErrorException LimitExceededException MissingAuthenticationTokenException NotFoundException " +
    "RequestEntityTooLargeException ServiceUnavailableException ThrottlingException TooManyRequestsException " +
    "UnauthorizedException UnsupportedMediaTypeException"
  ).split(" "),
);

// The host of a REST API, also of one behind a VPC endpoint. Its last group depends on the
// partition.
const apiHost = /^([a-z0-9]+)(?:-vpce-[0-9a-f]+)?\.execute-api(?:-fips)?\.([a-z0-9-]+)\.(.+)$/;

/** Parses the stack's output Url. resource is the prefix of the ARNs that a policy must grant. */
function parseApi(text, ambientRegion) {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !confidential(url) || url.search || url.hash) {
    throw new TypeError(
      "c8auth: url must be the stack's output Url, " +
        "such as https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1",
    );
  }
  url.pathname = url.pathname.replace(/\/+$/, "");
  const [, api, region, suffix] = apiHost.exec(url.hostname) ?? [];
  if (region !== undefined) {
    const { name, dnsSuffix, dualStackDnsSuffix } = partition(region);
    if (suffix === dnsSuffix || suffix === dualStackDnsSuffix) {
      return { url, region, resource: `arn:${name}:execute-api:${region}:*:${api}${url.pathname}/` };
    }
  }
  if (!/^[a-z0-9-]+$/.test(ambientRegion ?? "")) {
    throw new TypeError(
      "c8auth: url names no AWS region, and the configured one is empty or malformed: set AWS_REGION",
    );
  }
  const { name } = partition(ambientRegion);
  return { url, region: ambientRegion, resource: `arn:${name}:execute-api:${ambientRegion}:*:*/*/` };
}

/** Reports whether requests cannot be read on the network: by https, or to this machine. */
function confidential({ protocol, hostname, username, password }) {
  const local = ["localhost", "[::1]", "host.docker.internal"].includes(hostname) || /^127(\.\d+){3}$/.test(hostname);
  return username === "" && password === "" && (protocol === "https:" || (protocol === "http:" && local));
}

/** Reads an answer of the API. sent is when its request was sent. */
function parseToken(answer, sent) {
  const { access_token: value, version, token_type: type, expires_in: life, base_url: base } = parseObject(answer);
  const bearer = isPrintable(value) && isPrintable(version) && String(type).toLowerCase() === "bearer";
  if (!bearer || !(life === undefined || Number.isInteger(life))) {
    throw failure("unreachable", "the answer is not the documented JSON; is url the stack's output Url?");
  }
  const url = /^https?:\/\/[\w.:[\]-]{1,261}$/.test(base) && URL.canParse(base) ? new URL(base) : undefined;
  if (url === undefined || !confidential(url)) {
    throw failure("unreachable", "the answer has no base_url to send a token to; is url the stack's output Url?");
  }
  return new Token(value, version, url.origin, sent + (life ?? Infinity) * second);
}

function parseObject(answer) {
  try {
    return { ...JSON.parse(answer) };
  } catch {
    return {};
  }
}

/**
 * Reads Retry-After, a number of seconds or a date (RFC 9110, section 10.2.3). Returns
 * milliseconds, a minute at most, and 0 if it is missing or malformed.
 */
function parseRetryAfter(value) {
  const wanted = /^\d+$/.test(value) ? value * second : Date.parse(value) - Date.now();
  return Math.min(Math.max(0, wanted || 0), maxRetryAfter);
}

/** Reads the body of an answer, up to about maxBody. */
async function read(response) {
  const decoder = new TextDecoder(); // it removes a byte order mark
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length >= maxBody) {
      break; // which cancels the remainder
    }
  }
  return text + decoder.decode();
}

/** Returns the URL of a request. It throws unless the token may be sent there. */
function resolve(input, baseUrl) {
  const target = new URL(input, baseUrl);
  if (target.origin !== baseUrl || target.username || target.password) {
    throw failure("host", `nothing was sent, as the request is not for ${baseUrl}`);
  }
  return target;
}

/** Reports whether a body can be sent again. */
function repeatable(body) {
  const kinds = [ArrayBuffer, Blob, FormData, URLSearchParams];
  return body == null || typeof body === "string" || ArrayBuffer.isView(body) || kinds.some((k) => body instanceof k);
}

function isRedirect(response) {
  return [301, 302, 303, 307, 308].includes(response.status) && response.headers.has("location");
}

/** Returns the options of the request that follows a redirect, as the Fetch standard has it. */
function redirect(options, status) {
  const method = (options.method ?? "GET").toUpperCase();
  if (!(status === 303 && method !== "HEAD") && !(status < 303 && method === "POST")) {
    return options;
  }
  for (const name of ["content-encoding", "content-language", "content-location", "content-type", "content-length"]) {
    options.headers.delete(name);
  }
  return { ...options, method: "GET", body: undefined };
}

// Descriptions of failed exchanges, by the codes of Node.js. The texts of the errors are not
// shown, because they quote what the other side sent.
const codes = {
  CERT_HAS_EXPIRED: "shows a certificate that has expired",
  CERT_NOT_YET_VALID: "shows a certificate that is not valid yet",
  DEPTH_ZERO_SELF_SIGNED_CERT: "shows a certificate of an unknown authority; see NODE_EXTRA_CA_CERTS",
  EAI_AGAIN: "cannot be reached: its name cannot be resolved now",
  ECONNREFUSED: "cannot be reached: the connection is refused",
  ECONNRESET: "broke the connection off",
  EHOSTUNREACH: "cannot be reached: there is no route to it",
  ENETUNREACH: "cannot be reached: there is no route to it",
  ENOTFOUND: "cannot be reached: there is no host of that name",
  EPIPE: "broke the connection off",
  ERR_TLS_CERT_ALTNAME_INVALID: "shows a certificate for another name",
  ETIMEDOUT: "did not answer in time",
  SELF_SIGNED_CERT_IN_CHAIN: "shows a certificate of an unknown authority; see NODE_EXTRA_CA_CERTS",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "shows a certificate of an unknown authority; see NODE_EXTRA_CA_CERTS",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "shows a certificate of an unknown authority; see NODE_EXTRA_CA_CERTS",
  UND_ERR_CONNECT_TIMEOUT: "did not answer in time",
  UND_ERR_SOCKET: "broke the connection off",
};

function describe(error) {
  if (error?.name === "TimeoutError") {
    return "did not answer in time";
  }
  const code = error?.cause?.code ?? error?.code;
  return Object.hasOwn(codes, String(code)) ? codes[code] : "cannot be reached, or did not speak HTTP";
}

function isPrintable(value) {
  return typeof value === "string" && /^[!-~]+$/.test(value);
}

/** Returns the text with ? for characters that are not printable, cut to 400 characters. */
function printable(text) {
  return text.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, "?").slice(0, 400);
}

/** Returns the milliseconds to wait after the nth failure, counted from 0, with jitter. */
function pause(n) {
  return Math.min(maxPause, firstPause * 2 ** n) * (0.5 + Math.random() / 2);
}

/** Waits, and resolves to true. If the deadline is earlier, it resolves to false at once. */
async function sleep(milliseconds, deadline) {
  if (performance.now() + milliseconds > deadline) {
    return false;
  }
  await new Promise((done) => setTimeout(done, milliseconds));
  return true;
}

const late = new Error("time-out");

/** Waits for the work. After so many milliseconds, it throws late. */
function within(milliseconds, work) {
  let timer; // which also keeps Node.js running meanwhile, unlike that of AbortSignal.timeout
  const timeout = new Promise((_, fail) => {
    timer = setTimeout(fail, milliseconds, late);
  });
  return Promise.race([work, timeout]).finally(() => clearTimeout(timer));
}

/** Waits for the work, or until the signal is aborted. */
function wait(work, signal) {
  if (!signal) {
    return work;
  }
  return new Promise((done, fail) => {
    const stop = () => fail(signal.reason);
    if (signal.aborted) {
      stop();
    }
    signal.addEventListener("abort", stop, { once: true });
    work.then(done, fail).finally(() => signal.removeEventListener("abort", stop));
  });
}
