// More of what the UI says: the pages of storage, network, users, host.
export const enMore = {} as const;
