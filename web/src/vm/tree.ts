// A list whose members name their parent, as a tree.

export interface Branch<T> {
  item: T;
  children: Branch<T>[];
}

interface Member {
  id: number;
  parent?: number | null;
  created_at: number;
}

/** In the order of their making. A parent that is not there, or names itself in a circle, makes a root. */
export function tree<T extends Member>(list: readonly T[]): Branch<T>[] {
  const branches = new Map<number, Branch<T>>();
  const order = [...list].sort((a, b) => a.created_at - b.created_at || a.id - b.id);
  const roots: Branch<T>[] = [];
  for (const item of order) branches.set(item.id, { item, children: [] });
  const isBelow = (from: T, id: number): boolean => {
    const seen = new Set<number>();
    let at: T | undefined = from;
    while (at && !seen.has(at.id)) {
      seen.add(at.id);
      if (at.parent == null) return false;
      if (at.parent === id) return true;
      at = branches.get(at.parent)?.item;
    }
    return false;
  };
  for (const item of order) {
    const branch = branches.get(item.id);
    const parent = item.parent == null ? undefined : branches.get(item.parent);
    if (!branch) continue;
    if (parent && !isBelow(parent.item, item.id) && parent !== branch) parent.children.push(branch);
    else roots.push(branch);
  }
  return roots;
}
