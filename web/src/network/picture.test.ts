import { expect, test } from "vitest";
import { type Network, type Port, ROW, draw, rates } from "./picture";

const port = (number: number, kind: Port["kind"], more: Partial<Port> = {}): Port => ({
  number,
  kind,
  card: 0,
  mac: `02:00:00:00:00:0${number}`,
  is_up: true,
  addresses: [],
  frames_in: 0,
  bytes_in: 0,
  frames_out: 0,
  bytes_out: 0,
  undelivered: 0,
  refused: 0,
  ...more,
});
const group = (name: string, vlan = 0) => ({
  name,
  vlan,
  promiscuous: false,
  mac_changes: false,
  forged_transmits: false,
});
const network: Network = {
  port_groups: [group("management"), group("guests", 20), group("empty", 30)],
  ports: [
    port(0, "uplink"),
    port(1, "hostd", { port_group: "management" }),
    port(2, "vm", { vm: "web", port_group: "guests" }),
    port(3, "vm", { vm: "dns", port_group: "guests", is_up: false }),
  ],
};

test("everyone stands in its column, nobody on another's place, and who is connected has a line", () => {
  const picture = draw(network);
  const all = [...picture.uplinks, ...picture.groups, ...picture.cards];
  expect(all.length).toBe(7);
  for (const column of [0, 1, 2]) {
    const ys = all.filter((node) => node.column === column).map(({ y }) => y).sort((a, b) => a - b);
    for (let at = 1; at < ys.length; at += 1) expect((ys[at] ?? 0) - (ys[at - 1] ?? 0)).toBeGreaterThanOrEqual(ROW);
    for (const y of ys) expect(y <= picture.height - ROW / 2 && y >= ROW / 2).toBe(true);
  }
  expect(picture.edges.length).toBe(3 + 3);
  expect(picture.edges.filter(({ isUp }) => !isUp).map(({ port: number }) => number)).toEqual([3]);
  expect(picture.cards.map((node) => node.port.vm)).toEqual([undefined, "dns", "web"]);
});

test("a host without a network has a picture, too", () => {
  expect(draw({ ports: [], port_groups: [] })).toEqual({ height: ROW, uplinks: [], groups: [], cards: [], edges: [] });
});

test("rates are of the same port only", () => {
  const later: Network = {
    ...network,
    ports: [
      port(0, "uplink", { bytes_in: 3000, bytes_out: 1000 }),
      port(2, "vm", { mac: "02:00:00:00:00:99", bytes_in: 500 }),
      port(7, "vm", { bytes_in: 500 }),
    ],
  };
  expect([...rates(network, later, 2)]).toEqual([[0, 2000], [2, 0], [7, 0]]);
  expect([...rates(null, later, 2)]).toEqual([[0, 0], [2, 0], [7, 0]]);
});
