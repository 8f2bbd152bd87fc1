// More of what the UI says: the pages of storage, network, users, host.
import type { enMore } from "./en-more";

export const jaMore: Readonly<Record<keyof typeof enMore, string>> = {};
