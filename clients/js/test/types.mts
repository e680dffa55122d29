// Uses of the client that a type checker accepts. Not run.

import { C8AuthError, Source, type C8AuthErrorCode, type Token } from "c8auth";

const source = new Source(new URL("https://c8auth0api.execute-api.eu-central-1.amazonaws.com/v1"), "acme", {
  credentials: async () => ({ accessKeyId: "", secretAccessKey: "" }),
  region: "eu-central-1",
  fetch,
});
const token: Token = await source.token({ signal: AbortSignal.timeout(1000) });
const text: string = token.value + token.version + token.baseUrl + new Date(token.expiry);
const response: Response = await source.fetch(new Request("https://acme.communic8.com/"), { method: "POST", body: text });
await source.fetch("/int/v1/broadcast?limit=1").catch((error: unknown) => {
  const code: C8AuthErrorCode | undefined = error instanceof C8AuthError ? error.code : undefined;
  return code;
});
await source.reject(token);
// @ts-expect-error: a token cannot be changed
token.version = response.statusText;
