// What a VM used.

import { get } from "../api/client";
import { Charts } from "../charts/history";
import type { Shown } from "./detail";

export const Performance = ({ vm }: Shown) => (
  <Charts
    of={vm.name}
    load={(query) => get("/api/v1/vms/{vm}/history", { at: { vm: vm.name }, query })}
    empty="chart.none.vm"
  />
);
