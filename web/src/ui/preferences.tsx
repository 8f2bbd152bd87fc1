// Language and appearance, each a labelled choice.

import { LANGUAGES, type Language, language, setLanguage, t } from "../i18n";
import { THEMES, type Theme, setTheme, theme } from "../state/theme";

export const Preferences = () => (
  <>
    <label class="picker">
      {t("language.label")}
      <select
        value={language.value}
        onChange={(event) => void setLanguage(event.currentTarget.value as Language)}
      >
        {LANGUAGES.map(({ code, name }) => (
          <option key={code} value={code} lang={code}>
            {name}
          </option>
        ))}
      </select>
    </label>
    <label class="picker">
      {t("theme.label")}
      <select value={theme.value} onChange={(event) => setTheme(event.currentTarget.value as Theme)}>
        {THEMES.map((name) => (
          <option key={name} value={name}>
            {t(`theme.${name}`)}
          </option>
        ))}
      </select>
    </label>
  </>
);
