// Runs calls through the JavaScript client, as the conformance suite wants them.

import { createInterface } from "node:readline";

import { C8AuthError, Source } from "c8auth";

const source = new Source(process.env.C8AUTH_URL, process.env.C8AUTH_TENANT);

async function call({ method, path, body }) {
  try {
    const response = await source.fetch(path, { method, body: method === "GET" ? undefined : body });
    return { outcome: String(response.status), body: await response.text() };
  } catch (error) {
    return { outcome: error instanceof C8AuthError ? error.code : "failed", error: error.message };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  console.log(JSON.stringify(await Promise.all(Array.from({ length: command.times }, () => call(command)))));
}
