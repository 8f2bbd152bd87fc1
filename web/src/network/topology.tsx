// The picture. Its parts are links and text; the lines between them are drawn below.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Key, t } from "../i18n";
import { bytes } from "../i18n/format";
import { at } from "../state/router";
import { Icon } from "../ui/icons";
import { type CardNode, type Edge, type GroupNode, NODE, type Network, type Node, type Picture, draw } from "./picture";

interface Columns {
  width: number;
  left: (node: Node) => number;
  right: (node: Node) => number;
}

/** Three columns with room for the lines between them. */
function columnsOf(whole: number): Columns {
  const width = Math.min(220, whole * 0.28);
  const step = (whole - width) / 2;
  return { width, left: ({ column }) => column * step, right: ({ column }) => column * step + width };
}

const path = ({ from, to }: Edge, { left, right }: Columns): string => {
  const [x1, x2] = [right(from), left(to)];
  const bend = (x2 - x1) / 2;
  return `M${x1} ${from.y}C${x1 + bend} ${from.y} ${x2 - bend} ${to.y} ${x2} ${to.y}`;
};

export function Topology({ network, rates }: { network: Network; rates: Map<number, number> }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  useEffect(() => {
    if (!box.current) return;
    const watch = new ResizeObserver(([entry]) => entry && setWidth(entry.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const picture = draw(network);
  return (
    <div ref={box} class="topology" style={{ height: `${picture.height}px` }}>
      {width > 0 ? <Drawn picture={picture} columns={columnsOf(width)} rates={rates} /> : null}
    </div>
  );
}

interface DrawnProps {
  picture: Picture;
  columns: Columns;
  rates: Map<number, number>;
}

function Drawn({ picture, columns, rates }: DrawnProps) {
  const place = (node: Node) => ({
    left: `${columns.left(node)}px`,
    top: `${node.y - NODE / 2}px`,
    width: `${columns.width}px`,
  });
  const rate = (number: number) => (
    <span class="small muted" data-volatile>
      {bytes(Math.round(rates.get(number) ?? 0))}/s
    </span>
  );
  return (
    <>
      <svg aria-hidden="true">
        {picture.edges.map((edge) => (
          <path
            key={edge.key}
            d={path(edge, columns)}
            class={!edge.isUp ? "down" : (rates.get(edge.port) ?? 0) > 0 ? "busy" : ""}
          />
        ))}
      </svg>
      <ul aria-label={t("network.topology")}>
        {picture.uplinks.map((node) => (
          <li key={node.key} class={node.port.is_up ? "node" : "node down"} style={place(node)}>
            <Icon name="out" />
            <div class="words">
              <p>{t("network.uplink", { number: node.port.card + 1 })}</p>
              {node.port.is_up ? rate(node.port.number) : <span class="small">{t("network.down")}</span>}
            </div>
          </li>
        ))}
        {picture.groups.map((node) => (
          <Group key={node.key} node={node} style={place(node)} />
        ))}
        {picture.cards.map((node) => (
          <Member key={node.key} node={node} style={place(node)} rate={rate(node.port.number)} />
        ))}
      </ul>
    </>
  );
}

type Style = Record<string, string>;

const Group = ({ node, style }: { node: GroupNode; style: Style }) => (
  <li class="node group" style={style}>
    <Icon name="network" />
    <div class="words">
      <p>{node.name}</p>
      <span class="small">{node.vlan ? `VLAN ${node.vlan}` : t("network.untagged")}</span>
    </div>
  </li>
);

function Member({ node, style, rate }: { node: CardNode; style: Style; rate: preact.ComponentChild }) {
  const { port } = node;
  return (
    <li class={port.is_up ? "node" : "node down"} style={style}>
      <Icon name={port.vm ? "vm" : "host"} />
      <div class="words">
        <p>{port.vm ? <a href={at("vms", port.vm)}>{port.vm}</a> : t(`network.kind.${port.kind}` as Key)}</p>
        {port.is_up ? rate : <span class="small">{t("network.down")}</span>}
      </div>
    </li>
  );
}
