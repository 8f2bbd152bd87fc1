// The types are those of the description that hostd serves.

import { readFileSync } from "node:fs";
import openapiTS, { astToString } from "openapi-typescript";
import { expect, test } from "vitest";

const DESCRIPTION = new URL("../../../crates/models/management/src/openapi.json", import.meta.url);
const TYPES = new URL("./schema.ts", import.meta.url);
const withoutHead = (text: string): string => text.slice(text.indexOf("export interface paths"));

test("schema.ts is made from the API's description as it is (else: npm run types)", async () => {
  const made = astToString(await openapiTS(DESCRIPTION));
  expect(withoutHead(made).trim()).toBe(withoutHead(readFileSync(TYPES, "utf8")).trim());
}, 60_000);
