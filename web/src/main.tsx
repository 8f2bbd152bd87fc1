// Where the page starts.

import { render } from "preact";
import { App } from "./app";
import { startLanguage } from "./i18n";
import { startRouter } from "./state/router";
import { startTheme } from "./state/theme";
import "./styles/tokens.css";
import "./styles/base.css";

startTheme();
startRouter();
void startLanguage().then(() => {
  const root = document.getElementById("app");
  if (root) render(<App />, root);
});
