// A list of the host that no event tells of: loaded when it is shown, and anew after each change.

import { useEffect, useState } from "preact/hooks";
import { onReset } from "../state/events";

export interface Loaded<T> {
  list: readonly T[] | null;
  error: unknown;
  reload: () => Promise<void>;
}

export function useList<T>(load: () => Promise<T[]>): Loaded<T> {
  const [list, setList] = useState<readonly T[] | null>(null);
  const [error, setError] = useState<unknown>(null);
  const reload = (): Promise<void> =>
    load().then((found) => {
      setList(found);
      setError(null);
    }, setError);
  useEffect(() => {
    void reload();
    return onReset(() => void reload());
  }, []);
  return { list, error, reload };
}
