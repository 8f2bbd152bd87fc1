// Where the parts of the picture stand: uplinks on the left, port groups in the middle, who is connected on the right.

import type { Schemas } from "../api/client";

export type Network = Schemas["Network"];
export type Port = Schemas["Port"];

export const ROW = 64;
export const NODE = 52;

export interface Node {
  key: string;
  column: 0 | 1 | 2;
  /** Of its middle, in pixels from the top. */
  y: number;
}
export interface UplinkNode extends Node {
  kind: "uplink";
  port: Port;
}
export interface GroupNode extends Node {
  kind: "group";
  name: string;
  vlan: number;
}
export interface CardNode extends Node {
  kind: "card";
  port: Port;
  group: string;
}
export interface Edge {
  key: string;
  from: Node;
  to: Node;
  isUp: boolean;
  /** Of the port whose traffic it shows. */
  port: number;
}
export interface Picture {
  height: number;
  uplinks: UplinkNode[];
  groups: GroupNode[];
  cards: CardNode[];
  edges: Edge[];
}

const who = (port: Port): string => port.vm ?? port.kind;
const middle = (ys: readonly number[]): number => ys.reduce((sum, y) => sum + y, 0) / Math.max(1, ys.length);

export function draw({ ports, port_groups }: Network): Picture {
  const cards: CardNode[] = [];
  const groups: GroupNode[] = [];
  let y = ROW / 2;
  for (const { name, vlan } of port_groups) {
    const members = ports
      .filter((port) => port.kind !== "uplink" && port.port_group === name)
      .sort((a, b) => who(a).localeCompare(who(b), "en", { numeric: true }) || a.card - b.card);
    const ys: number[] = [];
    for (const port of members) {
      cards.push({ kind: "card", key: `port-${port.number}`, column: 2, y, port, group: name });
      ys.push(y);
      y += ROW;
    }
    // A group of nobody has a row of its own.
    if (members.length === 0) {
      ys.push(y);
      y += ROW;
    }
    groups.push({ kind: "group", key: `group-${name}`, column: 1, y: middle(ys), name, vlan });
  }
  const uplinkPorts = ports.filter(({ kind }) => kind === "uplink");
  const height = Math.max(y - ROW / 2, uplinkPorts.length * ROW);
  const centre = middle(groups.map((group) => group.y)) || height / 2;
  const uplinks = uplinkPorts.map((port, index): UplinkNode => {
    const shifted = centre + (index - (uplinkPorts.length - 1) / 2) * ROW;
    const inside = Math.min(Math.max(shifted, ROW / 2 + index * ROW), Math.max(ROW / 2, height - ROW / 2));
    return { kind: "uplink", key: `port-${port.number}`, column: 0, y: inside, port };
  });
  const edges: Edge[] = [];
  for (const from of uplinks) {
    for (const to of groups) {
      const { number: port, is_up: isUp } = from.port;
      edges.push({ key: `${from.key}-${to.key}`, from, to, isUp, port });
    }
  }
  for (const to of cards) {
    const from = groups.find(({ name }) => name === to.group);
    if (from) edges.push({ key: to.key, from, to, isUp: to.port.is_up, port: to.port.number });
  }
  return { height: Math.max(height, ROW), uplinks, groups, cards, edges };
}

/** Bytes per second of each port between two looks. */
export function rates(before: Network | null, now: Network, seconds: number): Map<number, number> {
  const old = new Map(before?.ports.map((port) => [port.number, port]));
  const result = new Map<number, number>();
  for (const port of now.ports) {
    const was = old.get(port.number);
    // A port that someone else has by now, or that counts anew, says nothing yet.
    const isSame = was && was.mac === port.mac && was.bytes_in <= port.bytes_in && was.bytes_out <= port.bytes_out;
    const moved = isSame ? port.bytes_in - was.bytes_in + port.bytes_out - was.bytes_out : 0;
    result.set(port.number, seconds > 0 ? moved / seconds : 0);
  }
  return result;
}
