// The icons: strokes on a grid of 24. They never stand for words alone; a label is beside them or in aria-label.

const PATHS = {
  gauge: "M4 17a8.5 8.5 0 1 1 16 0M12 13l4-4M7 20h10",
  vm: "M4 5h16v11H4zM9 20h6M12 16v4",
  disk: "M4 6c0-1.5 3.6-2.5 8-2.500s8 1 8 2.5-3.6 2.5-8 2.500S4 7.5 4 6zM4 6v12c0 1.5 3.6 2.5 8 2.500s8-1 8-2.500V6M4 12c0 1.5 3.6 2.5 8 2.500s8-1 8-2.5",
  network: "M9 3.500h6v5H9zM3 15.500h6v5H3zM15 15.500h6v5h-6zM12 8.500V12M6 15.500V12h12v3.5",
  tasks: "M9 6h11M9 12h11M9 18h11M4 6l1 1 2-2M4 12l1 1 2-2M4 18l1 1 2-2",
  chart: "M4 4v16h16M7.5 15l3.5-4 3 2.500L19 7",
  users: "M9 11.500a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 20c0-3.5 2.9-5.5 6.5-5.500s6.5 2 6.5 5.500M16 4.800a3.5 3.5 0 0 1 0 6.400M18 15c2.2.7 3.5 2.4 3.5 5",
  host: "M4 4h16v7H4zM4 13h16v7H4zM7.5 7.500h.01M7.5 16.500h.01M11 7.500h5M11 16.500h5",
  log: "M6 3.500h9l4 4v13H6zM9.5 10h6M9.5 13.500h6M9.5 17h4",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "M6 6l12 12M18 6L6 18",
  play: "M7.5 4.500v15l12-7.500z",
  pause: "M8 5v14M16 5v14",
  power: "M12 3.500v8M6.7 6.800a7.5 7.5 0 1 0 10.6 0",
  stop: "M6 6h12v12H6z",
  reset: "M19.5 12a7.5 7.5 0 1 1-2.3-5.400M19.5 3.500v4h-4",
  plus: "M12 5v14M5 12h14",
  trash: "M4.5 7h15M9.5 7V4.500h5V7M6.5 7l.8 13h9.400l.8-13M10 11v5.500M14 11v5.5",
  camera: "M4 8h3.500L9 5.500h6L16.5 8H20v11.500H4zM12 16.500a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.400z",
  terminal: "M3.5 5h17v14h-17zM7 9.500l3 2.5-3 2.500M12.5 15H17",
  upload: "M12 15.500V4.500M7.5 9L12 4.5 16.5 9M4.5 15.500v4h15v-4",
  download: "M12 4.500v11M7.5 11l4.5 4.5 4.5-4.500M4.5 15.500v4h15v-4",
  down: "M6 9l6 6 6-6",
  right: "M9 6l6 6-6 6",
  left: "M15 6l-6 6 6 6",
  search: "M10.5 17.500a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM15.7 15.700L20.5 20.5",
  check: "M5 12.500l4.5 4.500L19 7.5",
  alert: "M12 4L2.8 19.500h18.400zM12 10v4.500M12 17h.01",
  more: "M12 5.500h.01M12 12h.01M12 18.500h.01",
  clone: "M8.5 8.500h11v11h-11zM15.5 8.500v-4h-11v11h4",
  edit: "M4.5 19.500l.8-3.800L16 5l3 3L8.3 18.700zM14 7l3 3",
  out: "M14 4.500H5v15h9M10.5 12h9M16 8.500l3.5 3.5-3.5 3.5",
  key: "M8 15.500a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM12 11.500h8.500v3M17 11.500v2.5",
  box: "M12 3.500l8 4.200v8.600l-8 4.2-8-4.200V7.700zM4 7.700l8 4.3 8-4.300M12 12v8.5",
} as const;

export type IconName = keyof typeof PATHS;

export const Icon = ({ name }: { name: IconName }) => (
  <svg
    class="icon-mark"
    viewBox="0 0 24 24"
    fill={name === "play" || name === "stop" ? "currentColor" : "none"}
    stroke="currentColor"
    stroke-width="1.7"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
    focusable="false"
  >
    <path d={PATHS[name]} />
  </svg>
);
