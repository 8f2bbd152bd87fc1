import { expect, test } from "vitest";
import { type Branch, tree } from "./tree";

const member = (id: number, parent?: number) => ({ id, parent, created_at: id });
type Names = (number | Names)[];
const names = (branches: Branch<{ id: number }>[]): Names =>
  branches.map(({ item, children }) => (children.length ? [item.id, names(children)] : item.id));

test("children stand below their parents, in the order of their making", () => {
  expect(names(tree([member(4, 2), member(3, 1), member(2, 1), member(1)]))).toEqual([[1, [[2, [4]], 3]]]);
});

test("a snapshot whose parent was deleted is a root", () => {
  expect(names(tree([member(5, 9), member(6, 5)]))).toEqual([[5, [6]]]);
});

test("a circle loses nobody", () => {
  const all = JSON.stringify(names(tree([member(1, 2), member(2, 1), member(3, 3)])));
  for (const id of [1, 2, 3]) expect(all).toContain(String(id));
});
