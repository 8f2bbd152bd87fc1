// The datastore: volumes, images and other files, the host's disks, and a way to a datastore where there is none.

import { useEffect } from "preact/hooks";
import { t } from "../i18n";
import { bytes, number } from "../i18n/format";
import { segments } from "../state/router";
import { type Datastore, datastore, hasNoDatastore } from "../state/store";
import { Disks } from "../storage/disks";
import { Files } from "../storage/files";
import { followStorage, objects, storageError, volumes } from "../storage/stored";
import { UploadList } from "../storage/upload-list";
import { refreshUploads } from "../storage/uploads";
import { Volumes } from "../storage/volumes";
import { Card, Fact, Facts, Head, Loading, Meter } from "../ui/parts";
import { ProblemNotice } from "../ui/problem";
import { may } from "../state/session";
import "../styles/storage.css";

const TABS = ["volumes", "files", "disks"] as const;
type Tab = (typeof TABS)[number];

export default function Storage() {
  useEffect(followStorage, []);
  useEffect(() => {
    if (may("operator")) refreshUploads().catch(() => {});
  }, []);
  const asked = segments.value[1];
  // A host without a datastore leads to making one.
  const first: Tab = hasNoDatastore.value ? "disks" : "volumes";
  const tab = TABS.find((name) => name === asked) ?? first;
  const store = datastore.value;
  // Below it stands what would move when it comes.
  if (!store) {
    return (
      <div class="page">
        <Head title={t("nav.storage")} />
        <ProblemNotice error={storageError.value} />
        <Loading />
      </div>
    );
  }
  return (
    <div class="page">
      <Head title={t("nav.storage")} />
      <ProblemNotice error={storageError.value} />
      <State store={store} />
      <UploadList />
      <nav class="tabs" aria-label={t("nav.storage")}>
        {TABS.map((name) => (
          <a key={name} href={`/storage/${name}`} aria-current={name === tab ? "page" : undefined}>
            {t(`storage.tab.${name}`)}
          </a>
        ))}
      </nav>
      {tab === "volumes" ? <Volumes /> : tab === "files" ? <Files /> : <Disks />}
    </div>
  );
}

function State({ store }: { store: Datastore }) {
  if (store.is_volatile) return null;
  const used = store.bytes - store.free_bytes;
  return (
    <Card title={t("storage.datastore")}>
      <div class="stack">
        {store.is_read_only ? <p class="notice bad">{t("warning.readonly")}</p> : null}
        <div class="stack-small">
          <p class="figure" data-volatile>
            {bytes(store.free_bytes)} <small>{t("storage.free.of", { size: bytes(store.bytes) })}</small>
          </p>
          <Meter used={used} of={store.bytes} label={t("host.storage")} />
        </div>
        <Facts>
          <Fact name={t("storage.disk")}>
            <code>{store.disk}</code>
          </Fact>
          <Fact name={t("storage.uuid")}>
            <code data-volatile>{store.uuid}</code>
          </Fact>
          <Fact name={t("storage.tab.volumes")}>{number(volumes.value?.length ?? store.volumes)}</Fact>
          <Fact name={t("storage.tab.files")}>{number(objects.value?.length ?? store.objects)}</Fact>
        </Facts>
      </div>
    </Card>
  );
}
