// /vms, /vms/new and /vms/NAME/…

import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { segments } from "../state/router";
import { Loading } from "../ui/parts";
import { VmList } from "../vm/list";
import { VmPage } from "../vm/detail";
import "../styles/vm.css";

export default function Vms() {
  const [, name] = segments.value;
  if (name === undefined) return <VmList />;
  if (name === "new") return <Wizard />;
  return <VmPage key={name} name={name} />;
}

/** The wizard's code comes when it is opened. */
function Wizard() {
  const [Loaded, setLoaded] = useState<ComponentType | null>(null);
  useEffect(() => {
    void import("../vm/wizard").then(({ Wizard: wizard }) => setLoaded(() => wizard));
  }, []);
  return Loaded ? <Loaded /> : <Loading />;
}
