// Every page: its path, its place in the navigation, and where its code is. A page's code comes when it is opened.

import type { ComponentType } from "preact";
import type { Schemas } from "../api/client";
import type { Key } from "../i18n";
import type { IconName } from "../ui/icons";

type Module = { default: ComponentType };

export interface Page {
  /** The first segment of the path; "" is the start. */
  path: string;
  /** Its name in the navigation; without one it is reached by links only. */
  label: Key;
  icon: IconName;
  group: "host" | "settings";
  /** The least role that gets anything from it. */
  role: Schemas["Role"];
  load: () => Promise<Module>;
}

export const PAGES: readonly Page[] = [
  { path: "", label: "nav.dashboard", icon: "gauge", group: "host", role: "viewer", load: () => import("../pages/dashboard") },
  { path: "vms", label: "nav.vms", icon: "vm", group: "host", role: "viewer", load: () => import("../pages/vms") },
  { path: "storage", label: "nav.storage", icon: "disk", group: "host", role: "viewer", load: () => import("../pages/storage") },
  { path: "network", label: "nav.network", icon: "network", group: "host", role: "viewer", load: () => import("../pages/network") },
  { path: "performance", label: "nav.performance", icon: "chart", group: "host", role: "viewer", load: () => import("../pages/performance") },
  { path: "tasks", label: "nav.tasks", icon: "tasks", group: "host", role: "viewer", load: () => import("../pages/tasks") },
  { path: "users", label: "nav.users", icon: "users", group: "settings", role: "viewer", load: () => import("../pages/users") },
  { path: "host", label: "nav.host", icon: "host", group: "settings", role: "viewer", load: () => import("../pages/host") },
];

export const pageOf = (segment: string | undefined): Page | undefined =>
  PAGES.find(({ path }) => path === (segment ?? ""));
