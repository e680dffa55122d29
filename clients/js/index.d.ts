/** The codes of errors. */
export type C8AuthErrorCode =
  /** There are no usable AWS credentials to sign with. */
  | "credentials"
  /** IAM denies the request (the message names what a policy must grant) or the signature is not accepted. */
  | "denied"
  /** c8auth has no tenant of that name, or the name is malformed. */
  | "tenant"
  /** c8auth has no valid token for the tenant now: none is stored, it has expired, or it cannot be read. */
  | "no_token"
  /** The API does not answer, or another server or a proxy answers. */
  | "unreachable"
  /** The request is not for the token's base URL. Nothing was sent there. */
  | "host"
  /** c8auth has no newer token than the rejected one. */
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
  /** In milliseconds, comparable with Date.now(); Infinity for a token that does not expire. */
  readonly expiry: number;
}

export interface Options {
  /**
   * Provides the AWS credentials to sign with. It is called for each request to the API, and
   * counts as failed if it takes longer than that request may: ten seconds for a token.
   * The default is the SDK's chain: environment, shared files, container or instance role.
   */
  credentials?: () => Promise<{ accessKeyId: string; secretAccessKey: string; sessionToken?: string }>;
  /** The API's region, if url does not name it. The default is AWS_REGION, or else AWS_DEFAULT_REGION. */
  region?: string;
  /** Sends all requests, for example through a proxy. The default is globalThis.fetch. */
  fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

/** Returns the token of one tenant. Concurrent calls share requests to the API. */
export class Source {
  /**
   * @param url the stack's output Url.
   * @param tenant "default" if left out.
   * @throws TypeError if url or the region is malformed.
   */
  constructor(url: string | URL, tenant?: string, options?: Options);

  /**
   * Resolves to a token that is valid for ten seconds at least. A held token is returned at
   * once; otherwise one is fetched, which takes 15 seconds at most. Rejects with a
   * C8AuthError, or the signal's reason.
   */
  token(options?: { signal?: AbortSignal | null }): Promise<Token>;

  /**
   * Reports that Communic8 rejects the token. If it resolves, token returns another one from
   * then on. It is for rejections with another status than 401, which fetch reports by
   * itself. It takes 45 seconds at most. Rejects with a C8AuthError, whose code is "kept" if
   * there is no newer token, or the signal's reason.
   */
  reject(token: Token, options?: { signal?: AbortSignal | null }): Promise<void>;

  /**
   * Sends a request to Communic8, as globalThis.fetch does. Its URL must be a path, or begin
   * with the token's base URL; for any other URL, also that of a redirect, it rejects with the
   * code "host". A request whose body is not a stream is repeated after HTTP 401, and after
   * 403 if there is a newer token. Rejects with the errors of token and of globalThis.fetch.
   */
  fetch(input: string | URL | Request, init?: RequestInit): Promise<Response>;
}
