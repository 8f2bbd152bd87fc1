// Why something failed, and what to do: in the API's own words.

import { Failed } from "../api/client";
import { t } from "../i18n";

export interface Trouble {
  what: string;
  remedy: string;
  field?: string | null;
}

export function troubleOf(error: unknown): Trouble {
  if (!(error instanceof Failed)) return { what: String(error), remedy: "" };
  if (error.isOffline) return { what: t("problem.offline"), remedy: t("problem.offline.remedy") };
  const { detail, remedy, field } = error.problem;
  return { what: detail, remedy, field };
}

export function ProblemNotice({ error }: { error: unknown }) {
  if (!error) return null;
  const { what, remedy, field } = troubleOf(error);
  return (
    <div class="notice bad" role="alert">
      <div>
        <p class="what">
          {field ? <code>{field}</code> : null} {what}
        </p>
        {remedy ? <p>{remedy}</p> : null}
      </div>
    </div>
  );
}
