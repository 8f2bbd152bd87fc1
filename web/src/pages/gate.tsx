// The frame of the pages before a login: mark, card, language.

import type { ComponentChildren } from "preact";
import { t } from "../i18n";
import { Mark } from "../ui/brand";
import { Preferences } from "../ui/preferences";

export const Gate = ({ children }: { children: ComponentChildren }) => (
  <div class="gate">
    <main>
      <div class="brand">
        <Mark />
        {t("app.name")}
      </div>
      {children}
    </main>
    <footer>
      <Preferences />
    </footer>
  </div>
);
