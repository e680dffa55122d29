/** What went wrong. */
export type C8AuthErrorCode =
  /** There are no usable AWS credentials to sign with. */
  | "credentials"
  /** IAM does not allow it. The message names what a policy must grant. */
  | "denied"
  /** c8auth knows no such tenant. */
  | "tenant"
  /** The tenant has no valid token now: none is stored yet, or it has expired. */
  | "no_token"
  /** The API does not answer, or something else does. */
  | "unreachable"
  /** The request is not for the token's base URL. Nothing was sent there. */
  | "host"
  /** c8auth has nothing newer than the rejected token. */
  | "kept";

/**
 * An error of this module. The message says what to do; it has at most 500 printable
 * characters, no secret, and nothing that the other side sent.
 */
export class C8AuthError extends Error {
  readonly name: "C8AuthError";
  readonly code: C8AuthErrorCode;
  constructor(code: C8AuthErrorCode, message: string);
}

/** A token, to be sent to baseUrl and nowhere else. Neither inspect nor JSON show its value. */
export interface Token {
  readonly value: string;
  readonly version: string;
  /** Scheme, host and port. */
  readonly baseUrl: string;
  /** As Date.now(); Infinity for a token that does not expire. */
  readonly expiry: number;
}

export interface Options {
  /**
   * Provides the AWS credentials to sign with. It is called for each request to the API.
   * Without it, the SDK's default chain does: environment, shared files, container or
   * instance role.
   */
  credentials?: () => Promise<{ accessKeyId: string; secretAccessKey: string; sessionToken?: string }>;
  /** The API's region, if its URL does not name it. Without it, AWS_REGION. */
  region?: string;
  /** Carries all requests, for example through a proxy. Without it, globalThis.fetch. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Gives out the token of one tenant. */
export class Source {
  /**
   * @param url the stack's output Url.
   * @param tenant "default" if left out.
   * @throws TypeError if url or the region is malformed.
   */
  constructor(url: string | URL, tenant?: string, options?: Options);

  /**
   * Resolves to a token that is valid for ten seconds at least: the held one at once, or
   * the next one within 15 seconds. Rejects with a C8AuthError, or the signal's reason.
   */
  token(options?: { signal?: AbortSignal | null }): Promise<Token>;

  /**
   * Says that Communic8 rejects the token. Afterwards token resolves to another one. For
   * programs that see a rejection that is not HTTP 401; fetch does this by itself. Takes up
   * to 45 seconds. Rejects with a C8AuthError, whose code is "kept" if there is no newer
   * token, or the signal's reason.
   */
  reject(token: Token, options?: { signal?: AbortSignal | null }): Promise<void>;

  /**
   * Sends a request to Communic8, as globalThis.fetch does. Its URL is a path, or begins
   * with the token's base URL; for any other, redirects included, it rejects with the code
   * "host". A request whose body is not a stream is repeated after HTTP 401, and after 403
   * if there is a newer token. Rejects with what token and globalThis.fetch reject with.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
}
