// Parses the Mermaid diagrams of Markdown files, with Mermaid's own parser.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const { window } = new JSDOM(""); // Mermaid cleans labels with DOMPurify
globalThis.window = window;
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");

let diagrams = 0, failed = 0;
for (const file of process.argv.slice(2)) {
  for (const [, text] of readFileSync(file, "utf8").matchAll(/^```mermaid\n(.*?)^```$/gms)) {
    diagrams++;
    try {
      await mermaid.parse(text);
    } catch (error) {
      failed++;
      console.error(`${file}: ${error.message}`);
    }
  }
}
console.log(`${diagrams} diagrams, ${failed} with errors`);
process.exit(diagrams && !failed ? 0 : 1);
